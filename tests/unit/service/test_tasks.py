"""Periodic tasks: none holds up another, whatever it has to do and however it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from entrepot.service import tasks
from entrepot.service.leases import LeaseLost, ProcessLeases, run_leased
from entrepot.service.tasks import BatchOutcome, PeriodicTask, run_all
from support.metadata import Catalogue

LEASE = 60.0


def leases_of(catalogue: Catalogue, holder: str = "p1", living: tuple[str, ...] = ("p1", "p2")) -> ProcessLeases:
    return ProcessLeases(catalogue.leases, holder, lambda: 0.0, LEASE, lambda: living)


async def nothing(limit: int) -> BatchOutcome:
    return BatchOutcome()


def play(*running: PeriodicTask, until: Callable[[], object]) -> None:
    """Run tasks until something holds."""

    async def play() -> None:
        catalogue = Catalogue()
        async with asyncio.timeout(60):
            group = asyncio.create_task(run_all(running, leases_of(catalogue), (OSError,)))
            while not until():
                assert not group.done()
                await asyncio.sleep(0)
            group.cancel()
            await asyncio.wait([group])
        await catalogue.close()

    asyncio.run(play())


def counted(seen: list[str], name: str, more: bool = False) -> Callable[[int], Coroutine[Any, Any, BatchOutcome]]:
    async def batch(limit: int) -> BatchOutcome:
        seen.append(name)
        return BatchOutcome(1, more)

    return batch


def test_an_endless_backlog_starves_no_other_task() -> None:
    seen: list[str] = []
    play(
        PeriodicTask("endless", 60.0, counted(seen, "endless", more=True)),
        PeriodicTask("short", 0.0, counted(seen, "short")),
        until=lambda: seen.count("short") >= 10,
    )
    assert seen.count("endless") >= 9


def test_a_task_that_waits_in_the_middle_of_a_batch_holds_up_no_other() -> None:
    seen: list[str] = []

    async def slow(limit: int) -> BatchOutcome:
        await asyncio.Event().wait()
        return BatchOutcome()

    play(PeriodicTask("slow", 0.0, slow), PeriodicTask("short", 0.0, counted(seen, "short")), until=lambda: seen[9:])


@pytest.mark.parametrize("error", [OSError("disk"), RuntimeError("a defect")])
def test_a_failing_task_backs_off_and_is_logged_and_the_others_go_on(
    error: Exception, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "SHORTEST_BACKOFF", 0.001)
    seen: list[str] = []
    failing = True

    async def fail(limit: int) -> BatchOutcome:
        seen.append("fail")
        if failing:
            raise error
        return BatchOutcome()

    task = PeriodicTask("first", 0.0, fail)
    play(task, PeriodicTask("other", 0.0, counted(seen, "other")), until=lambda: seen.count("fail") >= 4)
    assert seen.count("other") > seen.count("fail"), "the pauses grow"
    assert task.last_success is None
    assert "first failed and will be repeated (last success: never)" in caplog.text
    assert bool(caplog.records[0].exc_info) is isinstance(error, RuntimeError)
    failing = False
    play(task, until=lambda: task.last_success)


def test_a_backoff_doubles_up_to_its_bound_and_is_never_longer_than_it() -> None:
    for interval, expected in ((0.0, [0.1, 0.2, 0.4]), (8.0, [8.0, 16.0, 30.0]), (3600.0, [30.0, 30.0])):
        task = PeriodicTask("x", interval, nothing)
        assert [task._backoff(n + 1) for n in range(len(expected))] == expected
    assert PeriodicTask("x", 1.0, nothing)._backoff(10_000) == tasks.LONGEST_BACKOFF


def test_a_batch_gets_its_size_and_what_a_run_did_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    limits: list[int] = []

    async def batch(limit: int) -> BatchOutcome:
        limits.append(limit)
        return BatchOutcome(limit, more=len(limits) < 3)

    with caplog.at_level(logging.INFO):
        play(PeriodicTask("rows", 60.0, batch, 7, "rows forgotten"), until=lambda: caplog.messages)
    assert limits == [7, 7, 7]
    assert caplog.messages == ["rows: 21 rows forgotten"]


def test_a_task_that_runs_alone_runs_where_its_lease_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "LEASE_RETRY", 0.001)
    seen: list[str] = []

    async def until(count: Callable[[], bool]) -> None:
        while not count():
            await asyncio.sleep(0)

    async def play() -> None:
        catalogue = Catalogue()
        try:
            async with asyncio.timeout(60):
                one = PeriodicTask("x", 0.001, counted(seen, "one"), alone=True)
                first = asyncio.create_task(run_all([one], leases_of(catalogue), ()))
                await until(lambda: len(seen) > 3)
                leases = leases_of(catalogue, "p2", living=("p2",))
                two = PeriodicTask("x", 0.001, counted(seen, "two"), alone=True)
                second = asyncio.create_task(run_all([two], leases, ()))
                before = len(seen)
                await until(lambda: len(seen) > before + 3)
                assert set(seen) == {"one"}
                first.cancel()
                await leases.release_dead()
                await until(lambda: "two" in seen)
                second.cancel()
                await asyncio.wait([first, second])
        finally:
            await catalogue.close()

    asyncio.run(play())


def test_work_ends_when_its_lease_is_lost_and_has_freed_what_it_held() -> None:
    freed: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            freed.append("all")

    async def play() -> None:
        answers = [True, True, False]

        async def renew() -> bool:
            return answers.pop(0)

        with pytest.raises(LeaseLost):
            await run_leased(work(), renew, 0.001)
        assert freed == ["all"]

    asyncio.run(play())
