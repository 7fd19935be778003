"""Downloads by processes of their own: at once, killed, cancelled, and from a real server."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import entrepot
from entrepot.toolkit import DownloadError, download_file, download_file_async
from support.internet import Reply, Request, Site
from support.server import clean_environ

PROGRAM = """
import sys
from entrepot.toolkit import download_file
print(download_file(sys.argv[1], sys.argv[2]))
"""


def start(tmp_path: Path, url: str, folder: Path) -> subprocess.Popen[str]:
    environ = clean_environ(tmp_path, ENTREPOT_FETCH_ALLOW="127.0.0.1")
    command = [sys.executable, "-c", PROGRAM, url, str(folder)]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def waits(pid: int) -> bool:
    """Whether a process has the lock of a download open: it holds it or waits for it."""
    with contextlib.suppress(OSError):
        return any(os.readlink(fd).endswith(".lock") for fd in Path(f"/proc/{pid}/fd").iterdir())
    return False


@pytest.fixture
def loopback(monkeypatch):
    monkeypatch.setenv("ENTREPOT_FETCH_ALLOW", "127.0.0.1")


def test_e09_twenty_processes_cause_one_transfer_and_all_get_the_file(tmp_path):
    body, gate = os.urandom(3_000_000), threading.Event()

    def answer(request: Request) -> Reply:
        if request.method == "GET":
            gate.wait(90)
        return Reply(body, headers={"ETag": '"1"'})

    with Site(answer) as site:
        folder = tmp_path / "shared"
        running = [start(tmp_path, f"{site.url}/file.bin", folder) for _ in range(20)]
        until(lambda: all(waits(process.pid) for process in running))
        gate.set()
        results = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0] * 20, results
    assert {out.strip() for out, _ in results} == {str(folder / "file.bin")}
    assert all(err == "" for _, err in results)
    assert (folder / "file.bin").read_bytes() == body
    assert os.listdir(folder) == ["file.bin"]
    assert site.count("GET") == 1
    assert site.sent == len(body)


@pytest.mark.parametrize("etag", ['"1"', ""])
def test_e10_after_a_kill_the_next_download_is_whole_and_nothing_is_left(tmp_path, etag, loopback):
    body, gate = os.urandom(40 * 1024 * 1024), threading.Event()
    cuts = [36 * 1024 * 1024]

    def answer(request: Request) -> Reply:
        headers = {"ETag": etag} if etag else {}
        if etag and "range" in request.headers:
            at = int(request.headers["range"].removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {at}-{len(body) - 1}/{len(body)}"
            return Reply(body[at:], 206, headers)
        cut = cuts.pop() if cuts and request.method == "GET" else None
        return Reply(body, headers=headers, cut=cut, pause=gate if cut else None)

    with Site(answer) as site:
        folder = tmp_path / "target"
        process = start(tmp_path, f"{site.url}/file.bin", folder)
        # The last bytes may still be on their way to the disk; what counts is that most are.
        until(lambda: sum(path.stat().st_size for path in folder.glob(".*.part")) >= 34 * 1024 * 1024)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=120)
        gate.set()
        assert not (folder / "file.bin").exists()
        assert any(name.endswith(".lock") for name in os.listdir(folder))
        sent = site.sent
        path = download_file(f"{site.url}/file.bin", folder)
        assert path.read_bytes() == body
        assert os.listdir(folder) == ["file.bin"]
        if etag:
            assert site.sent - sent <= len(body) - 16 * 1024 * 1024, "what was noted was not sent again"


def test_e09_when_the_one_that_downloads_is_killed_another_takes_over(tmp_path):
    body, gate = os.urandom(100_000), threading.Event()

    def answer(request: Request) -> Reply:
        if site.count("GET") > 1:
            return Reply(body)
        return Reply(body, cut=5, pause=gate)

    with Site(answer) as site:
        folder = tmp_path / "target"
        first = start(tmp_path, f"{site.url}/file.bin", folder)
        until(lambda: site.sent == 5)
        others = [start(tmp_path, f"{site.url}/file.bin", folder) for _ in range(3)]
        first.kill()
        first.communicate(timeout=120)
        results = [process.communicate(timeout=120) for process in others]
        gate.set()
    assert [process.returncode for process in others] == [0] * 3, results
    assert (folder / "file.bin").read_bytes() == body
    assert os.listdir(folder) == ["file.bin"]
    assert site.count("GET") == 2


def test_relative_folders_are_below_the_volume(tmp_path, monkeypatch, loopback):
    monkeypatch.setenv("ENTREPOT_VOLUME", str(tmp_path / "volume"))
    with Site(lambda request: Reply(b"x")) as site:
        assert download_file(f"{site.url}/a.bin", "models/") == tmp_path / "volume" / "models" / "a.bin"
        assert download_file(f"{site.url}/a.bin", tmp_path / "abs") == tmp_path / "abs" / "a.bin"


def test_the_loopback_is_refused_unless_it_is_allowed(tmp_path, monkeypatch):
    monkeypatch.delenv("ENTREPOT_FETCH_ALLOW", raising=False)
    with Site(lambda request: Reply(b"x")) as site, pytest.raises(DownloadError, match="non-routable"):
        download_file(f"{site.url}/a.bin", tmp_path)
    assert site.requests == []


def test_the_proxy_of_the_variable_is_asked_and_no_name_is_looked_up(tmp_path, monkeypatch):
    with Site(lambda request: Reply(b"x")) as site:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("ENTREPOT_FETCH_PROXY", f"http://me:secret@127.0.0.1:{site.port}")
        assert download_file("http://files.invalid.example/a.bin", tmp_path).read_bytes() == b"x"
        assert site.requests[0].path == "http://files.invalid.example/a.bin"
        assert "proxy-authorization" in site.requests[0].headers
        monkeypatch.setenv("ENTREPOT_FETCH_PROXY", f"http://me:secret@127.0.0.1:{site.port}/x")
        with pytest.raises(DownloadError, match="ENTREPOT_FETCH_PROXY") as caught:
            download_file("http://files.invalid.example/b.bin", tmp_path)
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_two_positional_arguments_and_the_stock_keywords_are_taken(tmp_path, loopback):
    with Site(lambda request: Reply(b"x")) as site:
        path = download_file(f"{site.url}/a", tmp_path, force=True, request_headers={"A": "b"}, filesize_limit=500)
    assert path.read_bytes() == b"x"
    assert site.requests[0].headers["a"] == "b"


def test_an_unknown_way_to_verify_is_refused(tmp_path):
    with pytest.raises(ValueError, match="verify"):
        download_file("http://example.com/x", tmp_path, verify="md5")  # type: ignore[arg-type]


def test_the_async_twin_downloads_and_can_be_cancelled(tmp_path, loopback):
    gate = threading.Event()
    replies = {"/a": Reply(b"whole"), "/b": Reply(b"never whole", cut=3, pause=gate)}

    async def main() -> None:
        assert (await download_file_async(f"{site.url}/a", tmp_path)).read_bytes() == b"whole"
        task = asyncio.create_task(download_file_async(f"{site.url}/b", tmp_path))
        while site.sent < 8:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not [name for name in os.listdir(tmp_path) if name != "a"]

    with Site(lambda request: replies[request.path]) as site:
        asyncio.run(main())
        gate.set()


def uploaded(server, tmp_path, monkeypatch, data: bytes) -> str:
    source = tmp_path / "source.bin"
    source.write_bytes(data)
    monkeypatch.setenv("ENTREPOT_URL", server.url)
    monkeypatch.setenv("ENTREPOT_KEY", server.key)
    return str(entrepot.upload_file(str(source)))


def test_f08_files_of_the_configured_server_are_read_and_verified(server, tmp_path, monkeypatch):
    data = os.urandom(3_000_000)
    monkeypatch.delenv("ENTREPOT_FETCH_ALLOW", raising=False)
    url = uploaded(server, tmp_path, monkeypatch, data)
    path = download_file(url, tmp_path / "in")
    assert path.read_bytes() == data
    facts = os.getxattr(path, "user.entrepot").decode()
    assert hashlib.sha256(data).hexdigest() in facts
    for verify in (None, "size", "etag", "digest"):
        assert download_file(url, tmp_path / "in", verify=verify) == path
    with pytest.raises(DownloadError, match="no file of the server"):
        download_file(f"{server.url}/users/current", tmp_path / "in")


def test_e07_the_real_server_s_digest_tells_a_damaged_copy(server, tmp_path, monkeypatch):
    data = os.urandom(100_000)
    url = uploaded(server, tmp_path, monkeypatch, data)
    path = download_file(url, tmp_path / "in")
    path.write_bytes(bytes(len(data)))
    assert download_file(url, tmp_path / "in").read_bytes() == bytes(len(data)), "the size is all that is looked at"
    assert download_file(url, tmp_path / "in", verify="digest").read_bytes() == data


def test_f09_an_interrupt_leaves_no_half_file(tmp_path):
    gate = threading.Event()
    with Site(lambda request: Reply(bytes(100), cut=50, pause=gate)) as site:
        folder = tmp_path / "target"
        process = start(tmp_path, f"{site.url}/file.bin", folder)
        until(lambda: site.sent == 50)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        gate.set()
    assert os.listdir(folder) == []
