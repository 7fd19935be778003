"""The volume on a disk of its own that is full, read-only or gone (docs/threats.md H04, H05), on a real server."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from e2e.test_disk_trouble import MIB, Mount, fill, mount, run
from support.crashing import ask
from support.server import Server

__all__ = ["mount"]
FILES = "/v1/serverless/files"


@pytest.fixture
def server(tmp_path: Path):
    folder = tmp_path / "volume"
    folder.mkdir()
    server = Server(tmp_path / "server", {"volume": str(folder), "min_free_space": "0", "drain_timeout": "5"})
    yield server
    if server.process is not None:
        server.kill()


def volume(server: Server) -> Path:
    return Path(server.settings["volume"])


def put(server: Server, name: str, data: bytes) -> int:
    return ask(server, "PUT", f"{FILES}/file/{name}", data, Authorization=f"Key {server.key}")[0]


def delete(server: Server, name: str, query: str = "") -> int:
    return ask(server, "DELETE", f"{FILES}/file/{name}{query}", Authorization=f"Key {server.key}")[0]


def check(server: Server, files: dict[str, bytes]) -> None:
    """These files are there, whole, and no others."""
    key = f"Key {server.key}"
    listed = json.loads(ask(server, "GET", f"{FILES}/list", Authorization=key)[1])
    assert {entry["path"] for entry in listed} == set(files)
    for name, data in files.items():
        assert ask(server, "GET", f"{FILES}/file/{name}", Authorization=key)[:2] == (200, data)


def test_h04_a_full_disk_refuses_writes_with_507_and_can_be_read_and_tidied(server: Server, mount: Mount) -> None:
    mount(volume(server), "-t", "tmpfs", "-o", "size=6m", "none")
    server.start()
    files = {}
    for number in range(20):
        data = os.urandom(MIB)
        status = put(server, f"{number}.bin", data)
        if status != 201:
            break
        files[f"{number}.bin"] = data
    assert (status, 3 <= len(files) <= 6) == (507, True)
    assert put(server, "0.bin", os.urandom(MIB)) == 507  # what it would have replaced stays
    fill(volume(server)).rename(volume(server) / "filler")
    check(server, {**files, "filler": (volume(server) / "filler").read_bytes()})
    assert delete(server, "filler", "?permanent=true") == 200
    assert delete(server, "0.bin", "?permanent=true") == 200
    del files["0.bin"]
    assert put(server, "new.bin", b"x" * MIB) == 201
    check(server, {**files, "new.bin": b"x" * MIB})


def test_h05_a_read_only_disk_refuses_writes_with_503_and_can_be_read(server: Server, mount: Mount) -> None:
    mount(volume(server), "-t", "tmpfs", "none")
    server.start()
    assert put(server, "a", b"a") == 201
    assert run("mount", "-o", "remount,ro", str(volume(server)))
    assert put(server, "b", b"b") == 503
    assert put(server, "a", b"other") == 503
    assert delete(server, "a") == 503
    check(server, {"a": b"a"})
    assert run("mount", "-o", "remount,rw", str(volume(server)))
    assert put(server, "b", b"b") == 201
    check(server, {"a": b"a", "b": b"b"})


def test_h05_a_disk_that_is_gone_is_never_written_under(server: Server, mount: Mount) -> None:
    mount(volume(server), "-t", "tmpfs", "none")
    server.start()
    assert put(server, "a", b"a") == 201
    assert run("umount", "-l", str(volume(server)))
    assert put(server, "b", b"b") == 503
    assert list(volume(server).iterdir()) == []
    assert server.stop() == 0
    second = server.run(*server.arguments(), check=False)
    assert second.returncode == 1
    assert "mounted" in second.stderr
    assert list(volume(server).iterdir()) == []
