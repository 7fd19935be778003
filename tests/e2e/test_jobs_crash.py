"""Imports whose processes are killed: the job is run again, its file is there once, and nobody is left waiting."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.inside import rows
from support.internet import Reply, Request, Site
from support.server import Server
from support.talk import Talk, eventually

MIB = 1024 * 1024
DATA = bytes(range(256)) * (4 * MIB // 256)


class Slow:
    """A site that sends half of the file and waits for `gate` the first time, and then the whole of it."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked = 0
        self.site = Site(self._answer)

    def _answer(self, request: Request) -> Reply:
        self.asked += 1
        return Reply(DATA, cut=len(DATA) // 2, pause=self.gate) if self.asked == 1 else Reply(DATA)

    def close(self) -> None:
        self.gate.set()
        self.site.close()


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    yield slow
    slow.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), {"fetch_allow": "127.0.0.1", "drain_timeout": "1"}).start()
    yield server
    server.kill()


def keeper(server: Server) -> int:
    """The process that runs the jobs."""
    found = rows(server, "SELECT l.holder FROM leases l JOIN jobs j ON l.name = 'job ' || j.id")
    return int((server.home / "run" / found[0][0]).read_text())


def job(server: Server) -> dict[str, Any]:
    names = ("state", "attempts", "payload", "error")
    (row,) = rows(server, f"SELECT {', '.join(names)} FROM jobs ORDER BY nr DESC LIMIT 1")
    return dict(zip(names, row, strict=True))


@pytest.mark.parametrize(
    ("path", "more"), [("/files/file/url/a", {}), ("/v1/assets/uploads", {"type": "image"})], ids=["volume", "cdn"]
)
def test_a_job_whose_keeper_is_killed_is_run_again_and_the_client_gets_its_file(
    server: Server, slow: Slow, path: str, more: dict[str, str]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        url = f"{slow.site.url}/x.bin?signature=secret"
        waiting = pool.submit(Talk(server).post_json, path, {"url": url, **more})
        eventually(lambda: slow.asked == 1 and job(server)["state"] == "running")
        os.kill(keeper(server), signal.SIGKILL)
        reply = waiting.result()
    assert reply.status == 200, reply.body
    assert slow.asked == 2
    assert job(server) == {"state": "done", "attempts": 2, "payload": None, "error": None}
    if not more:
        assert (server.home / "data" / "a").read_bytes() == DATA
    else:
        url = reply.json()["asset"]["url"]
        assert Talk(server).get(url[url.index("/files/") :]).body == DATA
        assert len(rows(server, "SELECT 1 FROM objects WHERE name = 'x.bin'")) == 1


def test_a_job_that_a_killed_server_waited_for_is_cancelled(server: Server, slow: Slow) -> None:
    with ThreadPoolExecutor(1) as pool:
        broken = pool.submit(Talk(server).post_json, "/files/file/url/lost", {"url": f"{slow.site.url}/x"})
        eventually(lambda: slow.asked == 1 and job(server)["state"] == "running")
        server.kill()
        assert broken.exception() is not None or broken.result().status != 200
    server.start()
    eventually(lambda: job(server)["state"] == "cancelled")
    assert slow.asked == 1
    assert not (server.home / "data" / "lost").exists()
