"""A real server killed at each step of a part and of the end of a multipart upload (docs/threats.md H01)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.crashing import COMMITTED, CUT, FAILPOINTS, wait_for_clean_disk
from support.parts import Upload, alike, begin
from support.server import Server
from support.talk import Reply, Talk

MIB = 1024 * 1024
OLD, NEW, TAIL = b"old" * MIB, b"new" * MIB, b"tail" * 1000
# Each step of the commit protocol, in order; the body is written in pieces of one MiB.
OF_A_PART = [
    "create:1", "write:1", "write:3", "set_facts:1", "sync:1", "sync_dir:1", "db_write:1", "db_write:4", "db_sync:1",
    "reply:1",
]  # fmt: skip
OF_THE_END = ["db_write:1", "db_write:4", "db_sync:1", "reply:1"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server", {"sweep_interval": "0.2", "drain_timeout": "5"})
    yield server
    if server.process is not None:
        server.kill()


def crash_at(server: Server, failpoint: str, armed: Path, act: Callable[[Upload], Reply]) -> Upload:
    """Make an upload of two parts and act on it, on a server that dies at this step of the act: no answer comes, the
    worker is gone, and then the whole machine crashes."""
    upload = begin(Talk(server))
    upload.part(1, OLD)
    upload.part(2, TAIL)
    (worker,) = server.workers()
    armed.touch()
    try:
        reply = act(upload)
    except CUT:
        pass
    else:
        raise AssertionError(f"{failpoint} was not met: {reply.status} {reply.body!r}")
    armed.unlink()
    assert worker not in server.workers()
    server.kill()
    return upload


def deadly(failpoint: str, armed: Path) -> dict[str, str]:
    """The environment of a server that dies at this step, once it is armed."""
    return {
        "PYTHONPATH": str(FAILPOINTS),
        "ENTREPOT_TEST_KILL": failpoint,
        "ENTREPOT_TEST_ARMED": str(armed),
    }


def crashes(
    server: Server, folder: Path, failpoints: list[str], act: Callable[[Upload], Reply]
) -> Iterator[tuple[str, Upload]]:
    """One crash for each step; what it left is looked at on the server that meets the next one."""
    armed = folder / "armed"
    server.environ = deadly(failpoints[0], armed)
    server.start()
    for failpoint, following in zip(failpoints, [*failpoints[1:], ""], strict=True):
        upload = crash_at(server, failpoint, armed, act)
        server.environ = deadly(following, armed) if following else {}
        server.start()
        yield failpoint, upload


@pytest.mark.timeout(900)
def test_h01_a_kill_at_each_step_of_a_part_keeps_what_was_acknowledged(server: Server, tmp_path: Path) -> None:
    acknowledged = [(1, len(OLD)), (2, len(TAIL))]
    with_new = [(1, len(OLD)), (1, len(NEW)), (2, len(TAIL))]
    done = []
    for failpoint, upload in crashes(server, tmp_path, OF_A_PART, lambda upload: upload.put(1, NEW)):
        held = [(part["partNumber"], part["size"]) for part in upload.listing().json()["parts"]]
        assert held == acknowledged or (failpoint in COMMITTED and held == with_new), failpoint
        again = upload.part(1, NEW)
        cited = {part["partNumber"]: part for part in upload.listing().json()["parts"]}
        upload.finished([again, cited[2]])
        done.append(upload)
    wait_for_clean_disk(server)
    for upload in done:
        assert Talk(server).get(upload.url).body == NEW + TAIL


@pytest.mark.timeout(900)
def test_h01_a_kill_at_each_step_of_the_end_publishes_all_or_nothing(server: Server, tmp_path: Path) -> None:
    done = []
    for failpoint, upload in crashes(server, tmp_path, OF_THE_END, lambda upload: upload.finish(by_null())):
        state = upload.listing().json()["state"]
        assert state == "open" or (failpoint in COMMITTED and state == "published"), failpoint
        assert Talk(server).get(upload.url).status == (200 if state == "published" else 404)
        told = upload.finished(by_null())
        assert told["size"] == len(OLD + TAIL)
        assert alike(told, upload.finished(by_null()))
        done.append(upload)
    wait_for_clean_disk(server)
    for upload in done:
        assert Talk(server).get(upload.url).body == OLD + TAIL


def by_null() -> list[dict[str, object]]:
    """The last attempt at each part."""
    return [{"partNumber": 1, "etag": None}, {"partNumber": 2, "etag": None}]
