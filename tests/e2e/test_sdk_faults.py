"""Uploads over lines that break: whatever happens on the way, the file is whole, or there is none."""

from __future__ import annotations

import hashlib
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.client.types import FileUrl, Progress
from support.faultproxy import DOWN, UP, Cut, Duplicate, Faults, Replay, Reset
from support.sdk import (
    PART,
    REPOSITORIES,
    STUBBORN,
    WORLDS,
    Line,
    Sdk,
    a_file,
    fetched,
    lined,
    objects_named,
    part_numbers,
    rest_of,
    uploads_named,
)
from support.server import kill_all

PARTS = 5
SIZE = PARTS * PART - 1234
SEED = int(os.environ.get("ENTREPOT_TEST_SEED", "20261124"))

everywhere = pytest.mark.parametrize(
    ("world", "repository"), [(world, each) for world in WORLDS for each in REPOSITORIES]
)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with lined(tmp_path_factory.mktemp("line")) as shared:
        yield shared


@pytest.fixture(autouse=True)
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENTREPOT_STATE", str(tmp_path / "states"))
    return tmp_path / "states"


def faulted(line: Line, world: str, path: Path, *faults: Faults, parts: bool = True, **options: object) -> FileUrl:
    """Upload a file over a line with these faults, by a client that begins from nothing."""
    line.plan(*faults)
    sdk = Sdk(world, line.url, line.server.key)
    try:
        if parts:
            return sdk.in_parts(path, **options)
        return sdk.upload_file(path, fallback_repository=[], **options)
    finally:
        sdk.close()
        line.plan()


def is_whole(line: Line, url: FileUrl, data: bytes) -> bool:
    return fetched(line.server, url) == data and url.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"


def is_one(line: Line, name: str) -> bool:
    """Whether the server has one file of this name, and nothing under way that would become another."""
    return objects_named(line.server, name) == 1


@everywhere
def test_a_connection_that_ends_at_any_part_costs_no_byte_of_the_file(line, world, repository, tmp_path):
    for number in range(PARTS + 1):
        kind = (Cut, Reset)[number % 2]
        path = tmp_path / f"edge-{world}-{repository}-{number}.bin"
        data = a_file(path, SIZE, number)
        # Each in the head of the next part or in the last bytes of this one.
        faults = [kind(UP, 900 + number * (PART + 450)), (Reset, Cut)[number % 2](UP, number * PART + 10)]
        url = faulted(line, world, path, *faults, repository=repository, concurrency=1)
        assert is_whole(line, url, data), number
        assert is_one(line, path.name), number


@everywhere
def test_connections_that_end_at_random_bytes_in_both_directions_cost_no_byte_of_the_file(
    line, world, repository, tmp_path
):
    for seed in range(SEED, SEED + 6):
        print(f"ENTREPOT_TEST_SEED={seed}")
        chance = random.Random(seed)
        path = tmp_path / f"random-{world}-{repository}-{seed}.bin"
        data = a_file(path, SIZE, seed)
        faults: list[Faults] = []
        for _ in range(chance.randrange(1, 8)):
            kind = chance.choice((Cut, Reset))
            faults.append(
                kind(UP, chance.randrange(SIZE)) if chance.random() < 0.6 else kind(DOWN, chance.randrange(2500))
            )
        url = faulted(line, world, path, *faults, repository=repository)
        assert is_whole(line, url, data), seed
        assert is_one(line, path.name), seed


@everywhere
def test_a_file_in_one_request_survives_the_same(line, world, repository, tmp_path):
    for seed in range(SEED, SEED + 8):
        print(f"ENTREPOT_TEST_SEED={seed}")
        chance = random.Random(seed)
        path = tmp_path / f"single-{world}-{repository}-{seed}.bin"
        data = a_file(path, SIZE, seed)
        faults: list[Faults] = []
        for _ in range(chance.randrange(1, 6)):
            kind = chance.choice((Cut, Reset))
            faults.append(
                kind(UP, chance.randrange(SIZE)) if chance.random() < 0.5 else kind(DOWN, chance.randrange(1500))
            )
        url = faulted(line, world, path, *faults, parts=False, repository=repository)
        assert is_whole(line, url, data), seed
        assert is_one(line, path.name), seed


@pytest.mark.parametrize("repository", REPOSITORIES)
@pytest.mark.parametrize("parts", [True, False])
def test_the_loss_of_any_reply_makes_no_second_file(line, repository, parts, tmp_path):
    """A25: what was done and not heard of is found done."""
    path = tmp_path / f"measured-{repository}-{parts}.bin"
    a_file(path, SIZE)
    faulted(line, "sync", path, parts=parts, repository=repository, concurrency=1)
    told = line.proxy.wait(len(line.proxy.passages))[-1].passed[DOWN]
    for after in sorted({*range(0, told, told // 10), told - 1}):
        path = tmp_path / f"lost-{repository}-{parts}-{after}.bin"
        data = a_file(path, SIZE, after)
        url = faulted(line, "sync", path, Cut(DOWN, after), parts=parts, repository=repository, concurrency=1)
        assert is_whole(line, url, data), after
        assert is_one(line, path.name), after
        assert len([each for each in uploads_named(line.server, path.name) if each == "published"]) == int(parts)


@everywhere
def test_four_replies_lost_in_a_row_are_outlasted(line, world, repository, tmp_path):
    path = tmp_path / f"row-{world}-{repository}.bin"
    data = a_file(path, SIZE)
    url = faulted(line, world, path, *[Cut(DOWN, 0)] * 4, repository=repository, concurrency=1)
    assert is_whole(line, url, data)
    assert is_one(line, path.name)


@pytest.mark.parametrize("repository", REPOSITORIES)
@pytest.mark.parametrize("parts", [True, False])
def test_requests_that_are_delivered_twice_make_one_file(line, repository, parts, tmp_path):
    path = tmp_path / f"twice-{repository}-{parts}.bin"
    data = a_file(path, SIZE)
    url = faulted(line, "sync", path, *[Replay()] * 6, parts=parts, repository=repository)
    line.proxy.wait(len(line.proxy.passages))  # by then all was said again
    assert is_whole(line, url, data)
    assert is_one(line, path.name)


@pytest.mark.parametrize("repository", REPOSITORIES)
@pytest.mark.parametrize("parts", [True, False])
def test_bytes_that_are_garbled_on_the_way_never_become_a_file(line, repository, parts, tmp_path):
    path = tmp_path / f"garbled-{repository}-{parts}.bin"
    data = a_file(path, SIZE)
    faults = [Duplicate(UP, 9000 + 7000 * n, 100 + n) for n in range(5)]
    url = faulted(line, "sync", path, *faults, parts=parts, repository=repository)
    assert is_whole(line, url, data)
    assert is_one(line, path.name)


def test_only_what_was_lost_is_sent_again(line, tmp_path):
    """A cut in the middle of a part costs that part, not those before."""
    path = tmp_path / "once.bin"
    a_file(path, SIZE)
    faulted(line, "sync", path, Cut(UP, 3 * PART), concurrency=1)
    assert rest_of(lambda: len(part_numbers(line.server, path.name))) == PARTS
    assert sorted(part_numbers(line.server, path.name)) == list(range(1, PARTS + 1))


@pytest.mark.parametrize("repository", REPOSITORIES)
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_a_server_that_is_restarted_in_the_middle_is_outlasted(world, repository, how, tmp_path):
    with lined(tmp_path / "line", drain_timeout="1") as line:
        path = tmp_path / "restarted.bin"
        data = a_file(path, SIZE)
        restarts: list[int] = []

        def restart(progress: Progress) -> None:
            if progress.safe >= 2 * PART and not restarts:
                restarts.append(progress.safe)
                if how is signal.SIGKILL:
                    line.server.kill()
                else:
                    line.server.stop()
                line.server.start()

        sdk = Sdk(world, line.url, line.server.key, policy=STUBBORN)
        url = sdk.in_parts(path, repository=repository, progress=restart)
        sdk.close()
        assert restarts
        assert is_whole(line, url, data)
        assert is_one(line, path.name)
        assert uploads_named(line.server, path.name) == ["published"]


def test_a_worker_that_dies_under_a_single_request_costs_nothing(tmp_path):
    with lined(tmp_path / "line") as line:
        path = tmp_path / "worker.bin"
        data = a_file(path, 4 * 1024 * 1024)
        killed: list[int] = []

        def kill(progress: Progress) -> None:
            if progress.phase.value == "sending" and progress.done > 1024 * 1024 and not killed:
                killed.extend(line.server.workers())
                kill_all(killed)

        sdk = Sdk("sync", line.url, line.server.key, policy=STUBBORN)
        url = sdk.upload_file(path, progress=kill, fallback_repository=[])
        sdk.close()
        assert killed
        assert is_whole(line, url, data)
        assert is_one(line, path.name)
