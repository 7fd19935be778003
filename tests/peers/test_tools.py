"""Download tools as people have them: resumed, in several ranges, with a key, and every byte as it was stored."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from support.server import Server
from support.talk import Talk

DATA = random.Random(7).randbytes(6_000_000)
FILM = Path(__file__).parents[1] / "support" / "media" / "film.mp4"
HALF = 2_345_678


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of Debian's in a folder; where it is missing, the test is skipped and says so."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed: `make peers-tools` gets it")
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


# What each tool is called with to read a URL into the file `got`, with a header where one is needed; those that resume
# find the first half there.
COMMANDS = {
    "curl": ["curl", "-sS", "-f", "-o", "got", "URL"],
    "curl -C -": ["curl", "-sS", "-f", "-C", "-", "-o", "got", "URL"],
    "wget": ["wget", "-q", "-O", "got", "URL"],
    "wget -c": ["wget", "-q", "-c", "-O", "got", "URL"],
    "aria2c -x4": ["aria2c", "-q", "-x4", "-s4", "-k1M", "--allow-overwrite=true", "-o", "got", "URL"],
    "aria2c -c": ["aria2c", "-q", "-c", "-x1", "-o", "got", "URL"],
    "rclone copyurl": ["rclone", "--config", "none", "copyurl", "URL", "got"],
}
RESUMING = {"curl -C -", "wget -c", "aria2c -c"}
HEADER = {"curl": "-H{}", "wget": "--header={}", "aria2c": "--header={}", "rclone": "--header={}"}


def arguments(name: str, url: str, header: str = "") -> list[str]:
    tool, *rest = (url if word == "URL" else word for word in COMMANDS[name])
    return [tool, *([HEADER[tool].format(header)] if header else []), *rest]


@pytest.mark.parametrize("name", COMMANDS)
def test_tools_read_a_file_of_the_cdn(server: Server, tmp_path: Path, name: str) -> None:
    url = Talk(server).upload(DATA, content_type="application/octet-stream", x_fal_file_name="data.bin")
    if name in RESUMING:
        (tmp_path / "got").write_bytes(DATA[:HALF])
    since = len(server.log_lines())
    done = run(tmp_path, *arguments(name, url))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "got").read_bytes() == DATA
    if name in RESUMING:
        statuses = {line["status"] for line in server.log_lines()[since:] if line.get("method") == "GET"}
        assert 206 in statuses, "the rest was asked for, not the whole"


@pytest.mark.parametrize("name", COMMANDS)
def test_tools_read_a_file_of_the_volume_with_a_key(server: Server, tmp_path: Path, name: str) -> None:
    header = f"Authorization: Key {server.key}"
    url = f"{server.url}/v1/serverless/files/file/peers/data.bin"
    talk = Talk(server)
    assert talk.put(url, DATA, authorization=header.partition(": ")[2]).status in (200, 201)
    if name in RESUMING:
        (tmp_path / "got").write_bytes(DATA[:HALF])
    done = run(tmp_path, *arguments(name, url, header))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "got").read_bytes() == DATA


@pytest.mark.parametrize("name", ["curl", "wget", "aria2c -x4", "rclone copyurl"])
def test_tools_are_refused_without_a_key(server: Server, tmp_path: Path, name: str) -> None:
    private = '{"initial_acl": {"default": "forbid"}}'
    url = Talk(server).upload(b"secret", x_fal_object_lifecycle=private)
    assert run(tmp_path, *arguments(name, url)).returncode != 0
    assert b"secret" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_tools_put_to_a_signed_url(server: Server, tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(DATA)
    urls = Talk(server).initiate()
    done = run(tmp_path, "curl", "-sS", "-f", "-T", "sent", urls["upload_url"])
    assert done.returncode == 0, done.stderr
    assert Talk(server).get(urls["file_url"]).body == DATA


@pytest.mark.parametrize("options", [["-ss", "0.5"], ["-ss", "0.5", "-seekable", "1"]])
def test_ffmpeg_seeks_in_a_film_by_its_url(server: Server, tmp_path: Path, options: list[str]) -> None:
    url = Talk(server).upload(FILM.read_bytes(), content_type="video/mp4", x_fal_file_name="film.mp4")
    output = ["-frames:v", "1", "-f", "framemd5", "-"]
    quiet = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin"]
    remote = run(tmp_path, *quiet, *options, "-i", url, *output)
    local = run(tmp_path, *quiet, *options[:2], "-i", str(FILM), *output)
    assert (remote.returncode, remote.stderr) == (0, "")
    assert remote.stdout == local.stdout
    assert "0," in remote.stdout
