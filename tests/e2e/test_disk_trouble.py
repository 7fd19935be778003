"""A real server on a disk that is full, read-only, or gone (docs/threats.md H04, H05): writes are refused with the
cause, reads go on, nothing is written where it does not belong, and all is well when the disk is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.crashing import Ledger, ask, initiate, upload, wait_for, wait_for_clean_disk
from support.server import Server

MIB = 1024 * 1024
Mount = Callable[..., None]


def run(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, timeout=90).returncode == 0


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """`mount(folder, *arguments)`; all mounts end with the test."""
    probe = tmp_path / "probe"
    probe.mkdir()
    if not run("mount", "-t", "tmpfs", "none", str(probe)):
        pytest.skip("this needs the right to mount (root)")
    run("umount", str(probe))
    with ExitStack() as stack:

        def do(folder: Path, *arguments: str) -> None:
            folder.mkdir(exist_ok=True)
            assert run("mount", *arguments, str(folder)), arguments
            stack.callback(run, "umount", "-l", str(folder))

        yield do


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "disk", {"sweep_interval": "0.2", "drain_timeout": "5", "min_free_space": "0"})
    yield server
    if server.process is not None:
        server.kill()


def fill(folder: Path) -> Path:
    """Take all the room there is in a folder's file system."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        size = MIB
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    return path


def ready(server: Server) -> int:
    return ask(server, "GET", "/readyz")[0]


def test_a_full_disk_refuses_writes_with_507_and_serves_reads_until_there_is_room(server: Server, mount: Mount) -> None:
    mount(server.folder, "-t", "tmpfs", "-o", "size=24m", "none")
    server.start()
    ledger = Ledger()
    while ledger.upload(server, 3 * MIB):
        pass
    assert 3 <= len(ledger.acknowledged) <= 8
    status, body, _ = ask(server, "POST", "/files/upload", bytes(3 * MIB), Authorization=f"Key {server.key}")
    assert (status, json.loads(body)["code"]) == (507, "insufficient_storage")
    ledger.check(server, again=True)
    # What failed took its bytes with it, so there is room for less.
    assert ledger.upload(server, 1000)
    # Not one byte left, neither for files nor for the catalogue's log nor for the server's own log.
    filler = fill(server.folder)
    assert upload(server, "none.bin", b"x" * 5000)[0] == 507
    assert ask(server, "POST", "/storage/upload/initiate", b'{"file_name":"a"}', Authorization=f"Key {server.key}")[
        0
    ] in (200, 507)
    ledger.check(server, again=True)
    assert ready(server) == 200  # a server that can be read stays in service
    filler.unlink()
    wait_for(lambda: ledger.upload(server, MIB), "an upload succeeds when there is room again")
    ledger.check(server, again=True)
    assert server.stop() == 0
    server.start()
    wait_for_clean_disk(server)
    ledger.check(server, again=True)


def test_a_disk_that_is_full_to_the_last_byte_gets_room_when_files_expire(server: Server, mount: Mount) -> None:
    mount(server.folder, "-t", "tmpfs", "-o", "size=24m", "none")
    server.start()
    brief = {"X_Fal_Object_Lifecycle": '{"expiration_duration_seconds": 5}'}
    for _ in range(3):
        assert upload(server, "brief.bin", os.urandom(4 * MIB), **brief)[0] == 200
    fill(server.folder)
    ledger = Ledger()
    assert not ledger.upload(server, 4 * MIB)
    wait_for(lambda: ledger.upload(server, 4 * MIB), "the expired files make room")
    (path,) = ledger.acknowledged
    assert ask(server, "GET", path)[1] == ledger.acknowledged[path]


def test_a_disk_that_is_read_only_refuses_writes_with_503_and_serves_reads(server: Server, mount: Mount) -> None:
    server.folder.mkdir()
    server.key = server.new_key()
    blobs = server.home / "blobs"
    mount(blobs, "--bind", str(blobs))
    server.start()
    ledger = Ledger()
    assert ledger.upload(server, MIB)
    assert run("mount", "-o", "remount,bind,ro", str(blobs))
    assert upload(server, "none.bin", b"x")[0] == 503
    assert ready(server) == 503
    ledger.check(server, again=True)
    assert "Read-only file system" in server.log()
    assert run("mount", "-o", "remount,bind,rw", str(blobs))
    assert ready(server) == 200
    assert ledger.upload(server, MIB)
    ledger.check(server, again=True)


def test_a_disk_that_is_unmounted_refuses_all_and_nothing_is_written_under_the_mount_point(
    server: Server, mount: Mount
) -> None:
    blobs = server.home / "blobs"
    blobs.mkdir(parents=True)
    mount(blobs, "-t", "tmpfs", "none")
    server.start()
    ledger = Ledger()
    assert ledger.upload(server, MIB)
    target, _ = initiate(server, "begun.bin")
    assert run("umount", "-l", str(blobs))
    assert upload(server, "none.bin", b"x")[0] == 503
    assert ask(server, "PUT", target, b"x")[0] == 503
    assert ready(server) == 503
    assert "replaced or unmounted" in server.log()
    assert list(blobs.iterdir()) == []


def test_a_server_does_not_start_without_the_disk_of_its_files(server: Server, mount: Mount) -> None:
    blobs, disk = server.home / "blobs", server.folder / "disk"
    blobs.mkdir(parents=True)
    mount(disk, "-t", "tmpfs", "none")
    mount(blobs, "--bind", str(disk))
    server.start()
    ledger = Ledger()
    assert ledger.upload(server, MIB)
    assert server.stop() == 0
    assert run("umount", str(blobs))
    second = server.run(*server.arguments(), check=False)
    assert second.returncode == 1
    assert "Is its disk mounted?" in second.stderr
    assert list(blobs.iterdir()) == []
    assert run("mount", "--bind", str(disk), str(blobs))
    server.start()
    ledger.check(server)


def test_a_root_that_is_replaced_refuses_writes_until_it_is_back(server: Server) -> None:
    server.start()
    ledger = Ledger()
    assert ledger.upload(server, MIB)
    blobs, aside = server.home / "blobs", server.home / "aside"
    blobs.rename(aside)
    blobs.mkdir()
    assert upload(server, "none.bin", b"x")[0] == 503
    assert ready(server) == 503
    assert list(blobs.iterdir()) == []
    blobs.rmdir()
    assert upload(server, "none.bin", b"x")[0] == 503
    aside.rename(blobs)
    assert ready(server) == 200
    assert ledger.upload(server, MIB)
    ledger.check(server, again=True)
    shutil.rmtree(aside, ignore_errors=True)
