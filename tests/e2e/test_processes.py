"""The processes of a server and the home they share: who may hold it, who follows whom, and how they end
(docs/threats.md H06, H12)."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from entrepot.home import living_pids
from support.crashing import Ledger, ask, initiate, upload, wait_for
from support.inside import segment_files
from support.sdk import rest_of
from support.server import Server, clean_environ, command, free_port, kill_all

MIB = 1024 * 1024
Make = Callable[..., Server]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Servers that are started by the test; whatever is left of them is killed at the end."""
    made: list[Server] = []

    def server(folder: str = "server", **settings: str) -> Server:
        made.append(Server(tmp_path / folder, {"sweep_interval": "0.2", "drain_timeout": "3", **settings}))
        return made[-1]

    yield server
    for each in made:
        if each.process is not None:
            each.kill()
            kill_all(living_pids(each.home))


def refused(server: Server, port: int) -> subprocess.CompletedProcess[str]:
    """A start that must end by itself, and what it said."""
    arguments = ["serve", "--home", str(server.home), "--port", str(port)]
    env = clean_environ(server.folder)
    return subprocess.run(command(*arguments), env=env, capture_output=True, text=True, timeout=120)


def keepers(server: Server) -> list[int]:
    """The processes that may write but do not listen."""
    return sorted(set(living_pids(server.home)) - set(server.workers()))


def test_a_second_server_on_a_home_refuses_and_names_the_first(make: Make) -> None:
    first = make().start()
    assert first.process
    second = refused(first, free_port())
    assert second.returncode == 1
    assert str(first.process.pid) in second.stderr
    assert "Traceback" not in second.stderr
    assert upload(first, "a.txt", b"a")[0] == 200


def test_a_second_server_on_a_port_refuses(make: Make) -> None:
    first, other = make("first").start(), make("other")
    other.folder.mkdir()
    other.key = other.new_key()
    second = refused(other, first.port)
    assert second.returncode == 2
    assert str(first.port) in second.stderr
    assert "Traceback" not in second.stderr
    assert living_pids(other.home) == []


def test_a_home_is_not_taken_while_a_worker_of_a_killed_server_lives(make: Make) -> None:
    first = make().start()
    wait_for(lambda: keepers(first), "the keeper is up")
    ledger = Ledger()
    assert ledger.upload(first, MIB)
    assert first.process
    left = living_pids(first.home)
    assert len(left) == 2
    for pid in left:
        os.kill(pid, signal.SIGSTOP)
    first.kill_parent()
    try:
        second = refused(first, free_port())
        assert second.returncode == 1
        assert str(first.process.pid) in second.stderr
        assert all(str(pid) in second.stderr for pid in left)
        assert "Traceback" not in second.stderr
    finally:
        for pid in left:
            os.kill(pid, signal.SIGCONT)
    wait_for(lambda: not any(map(psutil.pid_exists, left)), "the killed server's processes end by themselves")
    first.start()
    ledger.check(first)
    assert ledger.upload(first, MIB)


def test_a_worker_of_a_killed_server_ends_though_a_client_keeps_it_busy(make: Make) -> None:
    server, stop = make().start(), threading.Event()
    upload = InFlight(server, "/files/upload", "endless.bin", bytes(MIB))

    def dribble() -> None:
        with contextlib.suppress(OSError):
            while not stop.wait(0.1):
                upload.socket.sendall(b"x")

    client = threading.Thread(target=dribble)
    client.start()
    left = server.kill_parent()
    try:
        wait_for(lambda: not any(map(psutil.pid_exists, left)), "the killed server's processes end by themselves")
    finally:
        stop.set()
        client.join()
        upload.socket.close()
        kill_all(left)


@pytest.mark.parametrize("seconds", [0.2, 0.6, 1.0])
def test_a_server_that_is_killed_while_it_starts_leaves_no_process(make: Make, seconds: float) -> None:
    server = make()
    server.start(wait=False)
    assert server.process
    wait_for(lambda: len(server.pids()) > 2, "the first processes are started")
    time.sleep(seconds)
    left = server.kill_parent()
    try:
        wait_for(lambda: not any(map(psutil.pid_exists, left)), "its processes end by themselves")
    finally:
        kill_all(left)
    server.start()
    assert Ledger().upload(server, 1000)


def test_of_two_first_starts_at_once_one_serves_and_the_other_refuses(make: Make) -> None:
    first = make()
    first.folder.mkdir()
    both = [
        subprocess.Popen(
            command("serve", "--home", str(first.home), "--port", str(port), "--workers", "1", "--drain-timeout", "3"),
            env=clean_environ(first.folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for port in (first.port, free_port())
    ]  # fmt: skip
    try:
        wait_for(lambda: any(each.poll() is not None for each in both), "one of them refuses")
        (refusing,) = [each for each in both if each.poll() is not None]
        assert refusing.stderr and refusing.returncode == 1
        said = refusing.stderr.read()
        assert "Stop it first" in said
        assert "Traceback" not in said
        (serving,) = [each for each in both if each is not refusing]
        wait_for(lambda: living_pids(first.home), "the other serves")
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(60) == 0
    finally:
        for each in both:
            each.kill()
            each.communicate()


def test_keys_are_made_and_revoked_beside_a_running_server_and_count_at_once(make: Make) -> None:
    server = make().start()
    old, new = server.key, server.new_key()
    server.key = new
    assert upload(server, "a.txt", b"a")[0] == 200
    server.run("keys", "revoke", "--home", str(server.home), new.partition(":")[0])
    assert upload(server, "a.txt", b"a")[0] == 401
    server.key = old
    assert upload(server, "a.txt", b"a")[0] == 200


def test_a_dead_keeper_is_started_again_and_sweeps(make: Make) -> None:
    server = make().start()
    wait_for(lambda: keepers(server), "the keeper is up")
    (keeper,) = keepers(server)
    os.kill(keeper, signal.SIGKILL)
    wait_for(lambda: keepers(server) not in ([], [keeper]), "another keeper is up")
    status, path = upload(server, "a.txt", b"a" * 1000, X_Fal_Object_Lifecycle='{"expiration_duration_seconds": 1}')
    assert status == 200
    wait_for(lambda: not segment_files(server), "the new keeper sweeps")
    assert ask(server, "GET", path)[0] == 410


def test_a_dead_worker_is_started_again_and_requests_go_on(make: Make) -> None:
    server = make(workers="2").start()
    wait_for(lambda: len(server.workers()) == 2, "both workers are up")
    ledger = Ledger()
    assert ledger.upload(server, 1000)
    victim = server.workers()[0]
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: ledger.upload(server, 1000), "the other worker answers")
    wait_for(lambda: len(set(server.workers()) - {victim}) == 2, "there are two workers again")
    assert all(ledger.upload(server, 1000) for _ in range(20))
    ledger.check(server)


class InFlight:
    """An upload of which the first half was sent."""

    def __init__(self, server: Server, target: str, name: str, data: bytes) -> None:
        method = "PUT" if "?" in target else "POST"
        self.data = data
        self.socket = socket.create_connection(("127.0.0.1", server.port), 60)
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Key {server.key}\r\nX-Fal-File-Name: {name}\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        self.socket.sendall(head.encode() + data[: len(data) // 2])

    def finish(self) -> bytes:
        """Send the rest; the reply."""
        self.socket.sendall(self.data[len(self.data) // 2 :])
        return self.reply()

    def reply(self) -> bytes:
        """All that comes until the server closes the connection."""
        received = b""
        with self.socket, contextlib.suppress(OSError):
            while data := self.socket.recv(65536):
                received += data
        return received


def told_to_stop(server: Server) -> None:
    """With uploads under way: it takes no new connections."""
    assert server.process
    wait_for(lambda: segment_files(server), "uploads are under way")
    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: not server.workers(), "the server takes no new connections")


def test_a_stop_lets_uploads_finish_though_others_stand_still(make: Make) -> None:
    server = make(drain_timeout="90").start()
    assert server.process
    ledger = Ledger()
    quick = [InFlight(server, "/files/upload", *ledger.make(2 * MIB)) for _ in range(50)]
    stuck = [InFlight(server, "/files/upload", *ledger.make(2 * MIB)) for _ in range(50)]
    told_to_stop(server)
    for one in quick:
        assert one.finish().startswith(b"HTTP/1.1 200"), server.log()
    assert server.process.poll() is None
    for one in stuck:
        one.socket.close()
    assert server.process.wait(60) == 0  # sooner than its deadline: nothing is left to wait for
    server.start()
    ledger.check(server)
    assert len(ledger.read_back) == len(quick)


def test_a_stop_cuts_what_is_not_finished_at_its_deadline(make: Make) -> None:
    server = make(drain_timeout="1").start()
    assert server.process
    ledger = Ledger()
    stuck = [InFlight(server, "/files/upload", *ledger.make(2 * MIB)) for _ in range(20)]
    target, path = initiate(server, "begun.bin")
    begun = InFlight(server, target, "begun.bin", os.urandom(MIB))
    told_to_stop(server)
    assert server.process.wait(60) == 0
    assert not any(one.reply().startswith(b"HTTP/1.1 2") for one in [*stuck, begun])
    server.start()
    ledger.check(server)
    assert ledger.read_back == set()
    assert ask(server, "GET", path)[0] == 404
    assert ask(server, "PUT", target, begun.data)[0] == 200
    assert ask(server, "GET", path)[1] == begun.data


def test_a_stop_does_not_wait_for_readers_that_take_nothing(make: Make) -> None:
    server = make().start()
    assert server.process
    _, path = upload(server, "large.bin", os.urandom(48 * MIB))
    with ExitStack() as stack:
        for _ in range(3):
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", server.port))
            reader.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert reader.recv(100).startswith(b"HTTP/1.1 200")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(40) == 0  # sooner than a stalled connection is cut, by its own time limit
    assert living_pids(server.home) == []


def test_a_worker_without_file_handles_refuses_or_waits_and_recovers(make: Make) -> None:
    server = make().start()
    ledger = Ledger()
    assert ledger.upload(server, MIB)
    (worker,) = server.workers()
    before = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    few = rest_of(psutil.Process(worker).num_fds) + 20
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (few, before[1]))
    with ExitStack() as stack:
        for _ in range(60):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 60))
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        connection.settimeout(1)
        with contextlib.suppress(TimeoutError):
            assert connection.recv(100).startswith((b"HTTP/1.1 200", b"HTTP/1.1 503"))
    wait_for(lambda: ledger.upload(server, MIB), "uploads work again when the connections are closed")
    # One handle is left: enough for a connection, too few for a file.
    few = rest_of(psutil.Process(worker).num_fds) + 1  # it closes those connections in its own time
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (few, before[1]))
    assert upload(server, "none.bin", b"x")[0] == 503
    resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
    assert ledger.upload(server, MIB)
    assert server.workers() == [worker]
    ledger.check(server, again=True)
