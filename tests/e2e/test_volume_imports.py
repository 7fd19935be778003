"""Uploads from URLs that end early: the client goes, the server is killed, the server is told to stop."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.internet import Reply, Request, Site
from support.server import Server
from support.talk import Line, Talk, eventually, line
from support.trees import files_below

MIB = 1024 * 1024
DATA = bytes(range(256)) * (4 * MIB // 256)


class Slow:
    """A server that sends half of a file and then waits for `gate`; what is below /fast comes whole."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.site = Site(self._answer)

    def _answer(self, request: Request) -> Reply:
        return Reply(DATA) if request.path == "/fast" else Reply(DATA, cut=len(DATA) // 2, pause=self.gate)

    def close(self) -> None:
        self.gate.set()
        self.site.close()


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    yield slow
    slow.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = {"fetch_allow": "127.0.0.1", "concurrent_imports_per_account": "1", "drain_timeout": "1"}
    server = Server(tmp_path_factory.mktemp("server"), flags)
    yield server
    server.kill()


@pytest.fixture
def server(home: Server) -> Server:
    """Running, however the test before left it."""
    return home if home.process is not None and home.process.poll() is None else home.start()


def staged(server: Server) -> list[Path]:
    return list(files_below(server.home / "data" / ".entrepot" / "staging"))


def calls(server: Server, site: Site) -> int:
    """Connections of the keeper and the workers to a site."""
    assert server.process
    processes = psutil.Process(server.process.pid).children(recursive=True)
    found = [c for process in processes for c in process.net_connections("tcp")]
    return sum(bool(c.raddr) and c.raddr.port == site.port for c in found)


def ask(client: Line, server: Server, url: str, path: str = "a") -> None:
    body = json.dumps({"url": url}).encode()
    client.send_head(
        "POST", f"/files/file/url/{path}", authorization=f"Key {server.key}", content_length=str(len(body))
    )
    client.send(body)


def fetched(server: Server, url: str) -> bytes:
    reply = Talk(server).post_json("/files/file/url/a", {"url": url})
    assert reply.status == 200, reply.body
    return Talk(server).get("/v1/serverless/files/file/a", authorization=f"Key {server.key}").body


def test_a_client_that_hangs_up_ends_the_fetch_and_nothing_of_it_stays(server: Server, slow: Slow) -> None:
    for _ in range(2):
        with line(server) as client:
            ask(client, server, f"{slow.site.url}/slow")
            eventually(lambda: staged(server))
        eventually(lambda: not staged(server) and not calls(server, slow.site))
    assert fetched(server, f"{slow.site.url}/fast") == DATA


def test_f09_a_server_that_is_killed_in_the_middle_lists_no_half_and_sweeps_what_it_staged(
    server: Server, slow: Slow
) -> None:
    with line(server) as client:
        ask(client, server, f"{slow.site.url}/slow", "b")
        (half,) = eventually(lambda: staged(server))
        server.kill()
    os.utime(half, (1e9, 1e9))  # long ago: a file that was just staged might be another process's
    server.start()
    key = f"Key {server.key}"
    listed = Talk(server).get("/v1/serverless/files/list", authorization=key).json()
    assert [each["name"] for each in listed if each["name"] != "a"] == []
    assert Talk(server).get("/v1/serverless/files/file/b", authorization=key).status == 404
    assert fetched(server, f"{slow.site.url}/fast") == DATA
    eventually(lambda: not half.exists())


def test_a_server_that_is_told_to_stop_does_not_wait_for_a_slow_one(server: Server, slow: Slow) -> None:
    with line(server) as client:
        ask(client, server, f"{slow.site.url}/slow", "c")
        eventually(lambda: staged(server))
        server.stop()
        assert not client.receive_exactly(12).startswith(b"HTTP/1.1 200")
    assert not (server.home / "data" / "c").exists()
