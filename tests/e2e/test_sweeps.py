"""What is over leaves the disk of a real server by itself, and nothing else does (docs/threats.md I5 and I8)."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from entrepot.home import living_pids
from support.crashing import FAILPOINTS, Ledger, ask, initiate, stray_and_missing, upload, wait_for, wait_for_clean_disk
from support.inside import rows, segment_files
from support.server import Server, kill_all

MIB = 1024 * 1024
BRIEF = {"X_Fal_Object_Lifecycle": '{"expiration_duration_seconds": 1}'}
Make = Callable[..., Server]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Server] = []

    def server(**settings: str) -> Server:
        made.append(Server(tmp_path / "server", {"sweep_interval": "0.1", "drain_timeout": "3", **settings}))
        return made[-1]

    yield server
    for each in made:
        if each.process is not None:
            each.kill()
            kill_all(living_pids(each.home))


def count(server: Server, sql: str) -> int:
    return int(rows(server, f"SELECT count(*) FROM {sql}")[0][0])


def test_the_bytes_of_expired_files_leave_the_disk_and_the_others_stay(make: Make) -> None:
    server, ledger = make().start(), Ledger()
    assert ledger.upload(server, MIB)
    kept = segment_files(server)
    gone = [upload(server, "brief.bin", os.urandom(1000 * n), **BRIEF)[1] for n in range(20)]
    wait_for(lambda: segment_files(server) == kept, "the expired bytes are gone")
    wait_for(lambda: count(server, "blobs WHERE state <> 'live'") == 0, "their rows are gone")
    assert {ask(server, "GET", path)[0] for path in gone} == {410}
    ledger.check(server)


def test_the_url_of_an_expired_file_is_forgotten_after_its_time(make: Make) -> None:
    server = make(tombstone_ttl="0").start()
    _, path = upload(server, "brief.bin", b"x", **BRIEF)
    wait_for(lambda: ask(server, "GET", path)[0] == 404, "the URL is forgotten")
    assert count(server, "objects") == 0


def test_an_upload_that_is_never_finished_ends(make: Make) -> None:
    server = make(upload_ttl="1").start()
    target, path = initiate(server, "never.bin")
    wait_for(lambda: count(server, "uploads WHERE state = 'open'") == 0, "the stale upload ends")
    assert ask(server, "PUT", target, b"late")[0] in (403, 404, 410)
    assert ask(server, "GET", path)[0] == 404
    assert segment_files(server) == set()


def test_what_a_killed_server_left_half_written_is_removed_by_the_next(make: Make) -> None:
    server, ledger = make().start(), Ledger()
    assert ledger.upload(server, MIB)
    with ExitStack() as stack:
        _half_an_upload(stack, server)
        server.kill()
    assert len(stray_and_missing(server)[0]) == 1
    server.start()
    wait_for_clean_disk(server)
    ledger.check(server)


def test_what_a_living_process_is_writing_is_not_taken_for_a_leftover(make: Make) -> None:
    """The keeper of a running server is killed again and again: each new one looks for orphans at once."""
    server = make().start()
    ledger = Ledger()
    with ExitStack() as stack:
        connection, rest = _half_an_upload(stack, server)
        (half,) = segment_files(server)
        for _ in range(2):
            for pid in keepers(server):
                os.kill(pid, signal.SIGKILL)
            looks = server.log().count("looked for orphans")
            wait_for(lambda looks=looks: server.log().count("looked for orphans") > looks, "a new keeper looks")  # type: ignore[misc]
        assert segment_files(server) == {half}
        connection.sendall(rest)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert stray_and_missing(server) == (set(), set())
    assert ledger.upload(server, 10)


# The second file of three; the commits by which an object lets go, a blob is condemned, and it is forgotten.
@pytest.mark.parametrize("failpoint", ["unlink:2", "db_sync:1", "db_sync:2", "db_sync:3"])
def test_a_keeper_that_is_killed_goes_on_where_it_stopped(make: Make, tmp_path: Path, failpoint: str) -> None:
    server, ledger, armed = make(), Ledger(), tmp_path / "armed"
    server.environ = {
        "PYTHONPATH": str(FAILPOINTS),
        "ENTREPOT_TEST_KILL": f"{failpoint}:entrepot-keeper",
        "ENTREPOT_TEST_ARMED": str(armed),
    }
    server.start()
    assert ledger.upload(server, MIB)
    kept = segment_files(server)
    wait_for(lambda: keepers(server), "the keeper is up")
    old = keepers(server)
    armed.touch()
    for _ in range(3):
        assert upload(server, "brief.bin", os.urandom(1000), **BRIEF)[0] == 200
    wait_for(lambda: keepers(server) != old, "the keeper meets the failpoint")
    armed.unlink()
    wait_for(lambda: segment_files(server) == kept, "everything that expired is swept in the end")
    wait_for(lambda: count(server, "blobs") == 1, "its rows are gone")
    ledger.check(server)
    assert server.stop() == 0


def keepers(server: Server) -> list[int]:
    """The processes that may write but do not listen."""
    return sorted(set(living_pids(server.home)) - set(server.workers()))


def _half_an_upload(stack: ExitStack, server: Server) -> tuple[socket.socket, bytes]:
    """An upload of which so much was sent that a part of it is on the disk; the rest."""
    data = os.urandom(4 * MIB)
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 60))
    before = segment_files(server)
    connection.sendall(
        f"POST /files/upload HTTP/1.1\r\nHost: a\r\nAuthorization: Key {server.key}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        + data[: 3 * MIB]
    )
    wait_for(
        lambda: any(path.stat().st_size for path in segment_files(server) - before), "the first bytes are on the disk"
    )
    return connection, data[3 * MIB :]
