"""Jobs: the contract of their records with two connections, for every database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from entrepot.domain.accounts import Account
from entrepot.domain.jobs import Job, JobState
from support.metadata import Catalogue

Test = Callable[[Catalogue, Catalogue], Awaitable[None]]
Play = Callable[[Test], None]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    async def run(test: Test) -> None:
        one = Catalogue(tmp_path / "catalogue.db", create=True)
        other = Catalogue(tmp_path / "catalogue.db")
        try:
            for name in "abc":
                await one.accounts.add(Account(name, f"nick-{name}", 1.0))
            await test(one, other)
        finally:
            await one.close()
            await other.close()

    return lambda test: asyncio.run(run(test))


def a_job(job_id: str, account: str = "a", key: str | None = None, **more: Any) -> Job:
    payload = {"url": "https://example.com/?signature=secret"}
    return Job(job_id, account, key or f"key-{account}", "kind", 10.0, 10.0, payload, {"path": "x"}, **more)


async def claim(
    store: Catalogue, holder: str = "w1", now: float = 100.0, limit: int = 1, each: int = 100
) -> Sequence[Job]:
    return await store.jobs.claim(
        holder, now, 15.0, limit=limit, per_account=each, max_attempts=3, error='{"code":"lost"}'
    )


async def submit(store: Catalogue, *jobs: Job) -> None:
    for job in jobs:
        assert await store.jobs.submit(job, 1000)


def test_a_job_is_claimed_once_whoever_asks_at_the_same_time(play: Play) -> None:
    async def test(one: Catalogue, other: Catalogue) -> None:
        await submit(one, *(a_job(f"j{n}") for n in range(20)))
        claims = await asyncio.gather(*(claim((one, other)[n % 2], f"w{n}", limit=3) for n in range(8)))
        claimed = [job.id for jobs in claims for job in jobs]
        assert sorted(claimed) == sorted(f"j{n}" for n in range(20))

    play(test)


def test_a_finished_job_keeps_its_result_and_loses_its_secrets(play: Play) -> None:
    async def test(one: Catalogue, other: Catalogue) -> None:
        await submit(one, a_job("j"))
        (job,) = await claim(one)
        assert job.payload and (job.state, job.attempts) == (JobState.RUNNING, 1)
        assert await one.jobs.note_progress("j", 1, 5, 9, 101.0)
        assert await other.jobs.end("j", 1, JobState.DONE, 102.0, result={"path": "x"})
        ended = await one.jobs.get("j")
        assert ended and (ended.state, ended.result, ended.payload) == (JobState.DONE, {"path": "x"}, None)
        assert (ended.done, ended.total, ended.target, ended.updated_at) == (5, 9, {"path": "x"}, 102.0)
        assert not await one.jobs.end("j", 1, JobState.FAILED, 103.0)
        assert not await one.jobs.cancel("j", 103.0)
        assert await one.leases.holders() == []

    play(test)


def test_a_job_whose_worker_is_gone_is_claimed_again_and_the_late_result_refused(play: Play) -> None:
    async def test(one: Catalogue, other: Catalogue) -> None:
        await submit(one, a_job("j"))
        await claim(one, "w1", 100.0)
        assert not await other.jobs.is_any_due(114.0)
        assert await claim(other, "w2", 114.0) == []
        assert await other.jobs.is_any_due(115.0)
        (again,) = await claim(other, "w2", 115.0)
        assert again.attempts == 2
        assert not await one.jobs.is_running("j", 1)
        assert not await one.jobs.note_progress("j", 1, 1, None, 116.0)
        assert not await one.jobs.save_checkpoint("j", 1, {}, 116.0)
        assert not await one.jobs.retry("j", 1, 0.0, 116.0)
        assert not await one.jobs.end("j", 1, JobState.DONE, 116.0)
        assert await other.jobs.end("j", 2, JobState.DONE, 117.0)

    play(test)


def test_a_renewed_lease_keeps_others_out_and_that_of_an_ended_process_does_not(play: Play) -> None:
    async def test(one: Catalogue, other: Catalogue) -> None:
        await submit(one, a_job("j"))
        await claim(one, "w1", 100.0)
        assert await one.leases.take("job j", "w1", 110.0, 15.0)
        assert await claim(other, "w2", 120.0) == []
        await other.leases.release_all_of(["w0"])
        assert await claim(other, "w2", 120.0) == []
        assert await other.leases.holders() == ["w1"]
        await other.leases.release_all_of(["w1"])
        assert [job.attempts for job in await claim(other, "w2", 120.0)] == [2]

    play(test)


def test_a_job_that_ends_its_worker_each_time_fails_after_its_last_attempt(play: Play) -> None:
    async def test(one: Catalogue, other: Catalogue) -> None:
        await submit(one, a_job("j"))
        for attempt in (1, 2, 3):
            (job,) = await claim(one, now=100.0 * attempt)
            assert job.attempts == attempt
        assert await claim(other, now=1000.0) == []
        failed = await other.jobs.get("j")
        assert failed and (failed.state, failed.error, failed.payload) == (JobState.FAILED, {"code": "lost"}, None)

    play(test)


def test_a_failed_run_is_repeated_when_its_time_has_come(play: Play) -> None:
    async def test(one: Catalogue, other: Catalogue) -> None:
        await submit(one, a_job("j"))
        await claim(one)
        assert await one.jobs.save_checkpoint("j", 1, {"sha256": "00"}, 101.0)
        assert await one.jobs.retry("j", 1, 110.0, 101.0)
        assert await claim(other, now=109.0) == []
        (job,) = await claim(other, now=110.0)
        assert (job.attempts, job.checkpoint) == (2, {"sha256": "00"})

    play(test)


def test_claims_are_fair_between_accounts_and_keys_and_oldest_first_within_one(play: Play) -> None:
    async def test(one: Catalogue, other: Catalogue) -> None:
        await submit(one, *(a_job(f"a{n}") for n in range(6)), a_job("a-other", "a", "key-2"), a_job("b0", "b"))
        await submit(other, a_job("c0", "c"), a_job("b1", "b"))
        order = [job.id for _ in range(10) for job in await claim(other, limit=1)]
        assert order == ["a0", "b0", "c0", "a-other", "b1", "a1", "a2", "a3", "a4", "a5"]

    play(test)


def test_an_account_is_bounded_over_all_processes_but_each_key_has_one(play: Play) -> None:
    async def test(one: Catalogue, other: Catalogue) -> None:
        await submit(one, *(a_job(f"a{n}") for n in range(5)), a_job("o0", "a", "key-2"), a_job("o1", "a", "key-2"))
        claimed = [*await claim(one, "w1", limit=2, each=2), *await claim(other, "w2", limit=9, each=2)]
        assert {job.id for job in claimed} == {"a0", "o0"}
        await one.jobs.end("a0", 1, JobState.DONE, 101.0)
        assert [job.id for job in await claim(other, limit=9, each=2)] == ["a1"]
        await submit(one, a_job("n0", "a", "key-3"))
        assert [job.id for job in await claim(other, limit=9, each=2)] == ["n0"], "a key without one may have it"

    play(test)


def test_an_account_has_a_bounded_number_of_unfinished_jobs(play: Play) -> None:
    async def test(one: Catalogue, other: Catalogue) -> None:
        added = await asyncio.gather(*((one, other)[n % 2].jobs.submit(a_job(f"j{n}"), 7) for n in range(20)))
        assert sum(added) == 7
        assert await one.jobs.submit(a_job("b", "b"), 7)
        (job,) = await claim(one)
        assert not await one.jobs.submit(a_job("more"), 7)
        await one.jobs.cancel(job.id, 101.0)
        await one.jobs.end(job.id, 1, JobState.CANCELLED, 102.0)
        assert await one.jobs.submit(a_job("more"), 7)

    play(test)


def test_a_cancelled_job_is_never_run_and_a_running_one_is_stopped(play: Play) -> None:
    async def test(one: Catalogue, other: Catalogue) -> None:
        await submit(one, a_job("queued"), a_job("running", "b"))
        assert await one.jobs.cancel("queued", 50.0)
        assert [job.id for job in await claim(one, limit=2)] == ["running"]
        assert await other.jobs.cancel("running", 101.0)
        assert not await other.jobs.cancel("running", 101.0)
        assert not await one.jobs.is_running("running", 1)
        assert not await one.jobs.save_checkpoint("running", 1, {}, 101.0)
        assert not await one.jobs.retry("running", 1, 101.0, 101.0)
        running = await one.jobs.get("running")
        assert running and running.state is JobState.RUNNING, "it counts until its run has freed what it held"
        assert await one.jobs.end("running", 1, JobState.CANCELLED, 102.0)
        assert not await one.jobs.end("running", 1, JobState.DONE, 103.0)
        for job_id in ("queued", "running"):
            job = await one.jobs.get(job_id)
            assert job and (job.state, job.payload) == (JobState.CANCELLED, None)
        assert await claim(other, now=1000.0, limit=2) == []

    play(test)


@pytest.mark.parametrize("ended", [JobState.DONE, None])
def test_a_cancelled_run_may_be_done_already_and_is_cancelled_when_its_worker_is_gone(
    play: Play, ended: JobState | None
) -> None:
    async def test(one: Catalogue, other: Catalogue) -> None:
        await submit(one, a_job("j"))
        await claim(one)
        assert await other.jobs.cancel("j", 101.0)
        if ended:
            assert await one.jobs.end("j", 1, ended, 102.0)
        assert await claim(other, now=1000.0) == []
        job = await one.jobs.get("j")
        assert job and (job.state, job.payload) == (ended or JobState.CANCELLED, None)

    play(test)


def test_jobs_that_nobody_waits_for_any_more_are_cancelled(play: Play) -> None:
    async def test(one: Catalogue, other: Catalogue) -> None:
        await submit(one, a_job("j1", waiter="p1"), a_job("j2", waiter="p2"), a_job("j3"))
        assert sorted(await other.jobs.waiters()) == ["p1", "p2"]
        assert await other.jobs.cancel_of_waiters(["p1", "p9"], 50.0) == 1
        assert [job.id for job in await claim(one, limit=9)] == ["j2", "j3"]

    play(test)


def test_jobs_are_listed_newest_first_and_forgotten_when_they_ended_long_ago(play: Play) -> None:
    async def test(one: Catalogue, other: Catalogue) -> None:
        await submit(one, *(a_job(f"j{n}") for n in range(5)), a_job("b", "b"))
        assert [job.id for job in await other.jobs.list("a", 2)] == ["j4", "j3"]
        assert [job.id for job in await other.jobs.list("a", 9, "j3")] == ["j2", "j1", "j0"]
        assert await other.jobs.list("a", 9, "b") == [], "the job of another account says nothing"
        for n in range(3):
            await one.jobs.cancel(f"j{n}", 200.0 + n)
        assert await one.jobs.forget(202.0, 1) == 1
        assert await one.jobs.forget(202.0, 9) == 1
        assert [job.id for job in await one.jobs.list("a", 9)] == ["j4", "j3", "j2"]

    play(test)
