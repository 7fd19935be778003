"""`entrepot upload` as people and scripts use it, against a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path

import pytest

from support.server import Server, clean_environ, command

MIB = 1024 * 1024


@pytest.fixture
def up(server: Server, tmp_path: Path):
    """Run `entrepot upload ...` in a folder of its own: `up("a.png", stdin=b"...")`."""

    def run(*args: str, stdin: bytes | int = subprocess.DEVNULL, **environ: str) -> subprocess.CompletedProcess[bytes]:
        own = {"ENTREPOT_URL": server.url, "ENTREPOT_KEY": server.key}
        env = clean_environ(tmp_path, **{**own, **environ})
        if isinstance(stdin, bytes):
            return subprocess.run(
                command("upload", *args), cwd=tmp_path, env=env, capture_output=True, timeout=120, input=stdin
            )
        return subprocess.run(
            command("upload", *args), cwd=tmp_path, env=env, capture_output=True, timeout=120, stdin=stdin
        )

    return run


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as reply:
        body: bytes = reply.read()
        return body


def lines(ran: subprocess.CompletedProcess[bytes]) -> list[str]:
    return ran.stdout.decode().splitlines()


def test_the_url_alone_is_printed(up, tmp_path):
    (tmp_path / "note.txt").write_bytes(b"a note")
    ran = up("note.txt")
    assert (ran.returncode, ran.stderr) == (0, b"")
    (url,) = lines(ran)
    assert fetch(url) == b"a note"


@pytest.mark.parametrize("encoding", ["ascii:strict", "latin-1:strict"])
def test_a_name_that_the_place_has_no_letters_for_is_shown_as_an_escape(up, tmp_path, encoding):
    (tmp_path / "\u65e5.txt").write_bytes(b"day")
    ran = up("--dry-run", "\u65e5.txt", PYTHONIOENCODING=encoding, PYTHONUTF8="1")
    assert ran.returncode == 0 and b"\\u65e5.txt" in ran.stdout and ran.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_urls_that_cannot_be_written_are_said_as_failures_and_no_upload_stops(server, tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
    env = clean_environ(tmp_path, ENTREPOT_URL=server.url, ENTREPOT_KEY=server.key)
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            command("upload", "a", "b"), cwd=tmp_path, env=env, stdout=full, stderr=subprocess.PIPE, timeout=120
        )
    urls = re.findall(r"not written: (\S+)", ran.stderr.decode())
    assert (ran.returncode, [fetch(url) for url in urls]) == (1, [b"a", b"b"])
    assert b"No space left on device" in ran.stderr and b"Traceback" not in ran.stderr


def test_urls_come_in_the_order_of_the_files_though_the_first_is_the_largest(up, tmp_path):
    (tmp_path / "large").write_bytes(os.urandom(24 * MIB))
    for name in ("b", "a", "c", "d", "e"):
        (tmp_path / name).write_text(name)
    ran = up("large", "b", "a", "c", "d", "e")
    assert [url.rpartition("_")[2] for url in lines(ran)] == ["large", "b", "a", "c", "d", "e"]


def test_a_flag_may_stand_between_the_files(up, tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "-b").write_text("b")
    said = [json.loads(line) for line in lines(up("a", "--json", "--", "-b"))]
    assert [one["file"] for one in said] == ["a", "-b"]


def test_json_tells_what_is_stored(up, tmp_path):
    (tmp_path / "note.txt").write_bytes(b"a note")
    (said,) = [json.loads(line) for line in lines(up("--json", "--expires", "90m", "note.txt"))]
    assert list(said) == ["url", "file", "size", "digest", "content_type", "expires_at"]
    assert (said["file"], said["size"], said["content_type"]) == ("note.txt", 6, "text/plain")
    assert said["digest"].startswith("sha256:")
    left = datetime.fromisoformat(said["expires_at"]).timestamp() - datetime.now().timestamp()
    assert 80 * 60 < left < 100 * 60


def test_a_private_file_is_read_by_its_owner_only(server, up, tmp_path):
    (tmp_path / "secret").write_bytes(b"private")
    (url,) = lines(up("--private", "secret"))
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(url)
    with refused.value as reply:
        assert reply.code == 403
    owner = urllib.request.Request(url, headers={"authorization": f"Key {server.key}"})
    with urllib.request.urlopen(owner, timeout=60) as reply:
        assert reply.read() == b"private"


def test_a_folder_stands_for_its_files_and_links_are_left_out(up, tmp_path):
    (tmp_path / "shots" / "two").mkdir(parents=True)
    (tmp_path / "shots" / "one.txt").write_text("one")
    (tmp_path / "shots" / "two" / "three.txt").write_text("three")
    (tmp_path / "shots" / "link.txt").symlink_to("/etc/hostname")
    (tmp_path / "shots" / "circle").symlink_to(tmp_path)
    ran = up("--json", "shots")
    assert [json.loads(line)["file"] for line in lines(ran)] == ["shots/one.txt", "shots/two/three.txt"]
    said = ran.stderr.decode().splitlines()
    assert said == [
        "skipped: shots/circle is a link to a folder",
        "skipped: shots/link.txt is a link",
    ]
    assert up("--quiet", "shots").stderr == b""


def test_a_link_that_is_named_is_uploaded_as_what_it_leads_to(up, tmp_path):
    (tmp_path / "real").write_bytes(b"real")
    (tmp_path / "link.txt").symlink_to("real")
    (url,) = lines(up("link.txt"))
    assert fetch(url) == b"real" and url.endswith("_link.txt")


def test_a_folder_without_files_is_not_passed_over_in_silence(up, tmp_path):
    (tmp_path / "empty").mkdir()
    ran = up("empty")
    assert ran.returncode == 3 and b"holds no file" in ran.stderr


def test_quoted_patterns_are_expanded(up, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("1.png", "2.png", "3.txt", "a/b/4.png"):
        (tmp_path / name).write_text(name)
    said = [json.loads(line)["file"] for line in lines(up("--json", "*.png", "**/4.png"))]
    assert said == ["1.png", "2.png", "a/b/4.png"]


def test_a_pattern_that_matches_nothing_is_a_failure(up):
    ran = up("*.nothing")
    assert (ran.returncode, ran.stdout) == (3, b"")
    assert b"*.nothing: No file matches" in ran.stderr


def test_the_standard_input_is_uploaded(up):
    ran = up("-", "--name", "clip.mp4", "--content-type", "video/mp4", "--json", stdin=b"frames")
    said = json.loads(ran.stdout)
    assert (said["file"], said["content_type"], fetch(said["url"])) == ("-", "video/mp4", b"frames")
    assert said["url"].endswith("_clip.mp4")


def test_a_pipe_with_a_name_is_uploaded(up, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    env = {"PATH": os.environ["PATH"]}
    with subprocess.Popen(["sh", "-c", "printf frames > pipe"], cwd=tmp_path, env=env):
        (url,) = lines(up("pipe"))
    assert fetch(url) == b"frames"


def test_a_device_is_refused(up):
    ran = up("/dev/zero")
    assert ran.returncode == 1 and b"/dev/zero is a device" in ran.stderr and b"fix:" in ran.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_one_failure(up, tmp_path):
    (tmp_path / "closed").write_text("x")
    (tmp_path / "closed").chmod(0)
    ran = up("closed")
    assert ran.returncode == 1 and b"Permission denied" in ran.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_stays_flat_for_a_large_sparse_file(server, tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(300 * MIB)
    program = (
        "import sys; from entrepot.cli.main import main; code = main(sys.argv[1:]);"
        "peak = [line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1];"
        "print(peak, file=sys.stderr); sys.exit(code)"
    )
    env = clean_environ(tmp_path, ENTREPOT_URL=server.url, ENTREPOT_KEY=server.key, ENTREPOT_NO_PROGRESS="1")
    start = [*command()[:1], "-c", program, "upload", "sparse"]
    ran = subprocess.run(start, cwd=tmp_path, env=env, capture_output=True, timeout=100)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stderr.split()[-1]) < 150 * 1024  # KiB


def test_the_one_that_fails_does_not_stop_the_others(up, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    ran = up("a", "missing", "/dev/zero", "b")
    assert ran.returncode == 7
    assert [fetch(url) for url in lines(ran)] == [b"a", b"b"]
    said = ran.stderr.decode()
    assert "missing: No such file" in said and "/dev/zero" in said
    assert said.endswith("2 of 4 uploaded, 2 failed\n")


def test_an_error_has_cause_fix_code_and_request(up, tmp_path):
    (tmp_path / "a").write_text("a")
    ran = up("a", ENTREPOT_KEY="no:key")
    assert ran.returncode == 4
    assert re.fullmatch(r"entrepot: a: .+\n  fix: .+\n  code: unauthorized \(request \S+\)\n", ran.stderr.decode())


def test_a_dry_run_sends_nothing_and_needs_no_server(up, tmp_path):
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots" / "a.bin").write_bytes(bytes(1500))
    (tmp_path / "b").write_bytes(b"b")
    nowhere = {"ENTREPOT_URL": "", "ENTREPOT_KEY": ""}
    ran = up("--dry-run", "shots", "b", **nowhere)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert lines(ran) == ["    1.5 kB  shots/a.bin", "       1 B  b", "2 files, 1.5 kB; nothing was uploaded"]
    said = json.loads(up("-n", "--json", "shots", "-", **nowhere).stdout)
    assert (said["count"], said["bytes"]) == (2, None)
    assert said["files"][0] == {"file": "shots/a.bin", "name": "a.bin", "size": 1500}
    assert up("-n", "missing", **nowhere).returncode == 3


def test_bytes_that_are_held_already_are_not_sent_again(server, up, tmp_path):
    (tmp_path / "large").write_bytes(os.urandom(2 * MIB))
    first, second = lines(up("large")), lines(up("large"))
    third = lines(up("--no-skip-existing", "large"))
    assert len({*first, *second, *third}) == 3
    by_reuse = [line for line in server.log_lines() if line.get("path") == "/files/upload/existing"]
    assert [line["status"] for line in by_reuse[-2:]] == [404, 200]


def test_names_that_would_act_on_a_terminal_are_shown_as_escapes(up, tmp_path):
    evil = "a\x1b]0;x\x07\nb"
    ran = up(evil)
    assert b"\x1b" not in ran.stderr and b"a\\x1b]0;x\\x07\\nb: No such file" in ran.stderr


def test_a_name_that_is_no_utf8_is_uploaded(up, tmp_path):
    (Path(os.fsdecode(bytes(tmp_path) + b"/\xff.txt"))).write_text("odd")
    (url,) = lines(up("*.txt"))
    assert fetch(url) == b"odd"


@pytest.mark.parametrize(
    "args",
    [
        ["--expires", "soon"],
        ["--expires", "0"],
        ["--part-size", "0"],
        ["--concurrency", "0"],
        ["--timeout", "-1"],
        ["--content-type", "nothing"],
        ["--name", "n"],
        ["-", "-"],
        ["--profile", "nobody"],
    ],
    ids=" ".join,
)
def test_an_option_that_makes_no_sense_is_a_wrong_usage(up, tmp_path, args):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    ran = up("a", "b", *args)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert ran.stderr and b"Traceback" not in ran.stderr


def test_errors_are_red_only_where_colour_is_wanted(up):
    assert b"\x1b" not in up("missing").stderr
    assert b"\x1b[1;31m" in up("missing", FORCE_COLOR="1").stderr
    assert b"\x1b" not in up("missing", FORCE_COLOR="1", NO_COLOR="1").stderr
