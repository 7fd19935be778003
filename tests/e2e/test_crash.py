"""A real server killed in the middle of its work (docs/threats.md H01): at each step of a publish, and at any
moment."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from random import Random

import pytest

from support.crashing import COMMITTED, FAILPOINTS, Ledger, wait_for_clean_disk
from support.promises import live_paths
from support.server import Server

ROUNDS = int(os.environ.get("ENTREPOT_CRASH_ROUNDS", "8"))
MIB = 1024 * 1024

# Each step of the commit protocol, in order. The folders are made by the first upload of a process; the body is
# written in pieces of one MiB.
FIRST_UPLOAD = ["make_dir:1", "sync_dir:1", "make_dir:2", "sync_dir:2"]
ANY_UPLOAD = [
    "create:1", "write:1", "write:3", "set_facts:1", "sync:1", "sync_dir:1", "db_write:1", "db_write:4", "db_sync:1",
    "reply:1",
]  # fmt: skip


@pytest.fixture
def server(tmp_path: Path):
    server = Server(tmp_path, {"sweep_interval": "0.2", "drain_timeout": "5"})
    yield server
    if server.process is not None:
        server.kill()


@pytest.mark.timeout(900)
def test_a_kill_at_each_step_of_a_publish_loses_nothing_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    ledger, armed = Ledger(), tmp_path / "armed"
    for failpoint in FIRST_UPLOAD + ANY_UPLOAD:
        server.environ = {
            "PYTHONPATH": str(FAILPOINTS),
            "ENTREPOT_TEST_KILL": failpoint,
            "ENTREPOT_TEST_ARMED": str(armed),
        }
        server.start()
        ledger.check(server)
        if failpoint in ANY_UPLOAD:
            assert ledger.upload(server, 1000)
        armed.touch()
        (worker,) = server.workers()
        assert not ledger.upload(server, 3 * MIB), f"{failpoint} was not met"
        armed.unlink()
        assert worker not in server.workers(), f"{failpoint} did not kill the worker"
        server.kill()
        unasked = set(live_paths(server.home / "catalogue.db")) - ledger.acknowledged.keys() - ledger.read_back
        assert not unasked or (failpoint in COMMITTED and len(unasked) == 1), failpoint
    _end_clean(server, ledger)


def _end_clean(server: Server, ledger: Ledger) -> None:
    """After a clean stop and start, everything is there and the disk holds no more."""
    server.environ = {}
    server.start()
    assert server.stop() == 0
    server.start()
    wait_for_clean_disk(server)
    ledger.check(server, again=True)
    assert server.stop() == 0


@pytest.mark.timeout(300 + 40 * ROUNDS)
def test_kills_at_random_moments_lose_nothing_and_leave_nothing(server: Server) -> None:
    ledger, chance = Ledger(), Random(11)
    rounds = 0
    while rounds < ROUNDS or len(ledger.acknowledged) <= ROUNDS:  # a slow machine takes more
        rounds += 1
        server.start()
        ledger.check(server)
        stop = threading.Event()
        clients = [threading.Thread(target=_keep_uploading, args=(server, ledger, stop, i)) for i in range(4)]
        for client in clients:
            client.start()
        stop.wait(chance.uniform(0.02, 0.6))
        server.kill()
        stop.set()
        for client in clients:
            client.join()
    _end_clean(server, ledger)


def _keep_uploading(server: Server, ledger: Ledger, stop: threading.Event, seed: int) -> None:
    chance = Random(seed)
    while not stop.is_set():
        size = chance.choice([0, 10, 5000, 300_000, 2 * MIB])
        if not ledger.upload(server, size, Connection="close"):
            return
