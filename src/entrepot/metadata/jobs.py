"""Jobs on record: queued, claimed under a lease, ended once."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from entrepot.domain.jobs import Job, JobState
from entrepot.metadata import rows
from entrepot.metadata.base import Database, Row

_STATES = {state.value: state for state in JobState}


def lease_name(job_id: str) -> str:
    """The name of the lease of a running job."""
    return f"job {job_id}"


class JobRecords:
    """The jobs of a database.

    A run is fenced by its number: the writes of a run take the job's `attempts` and do nothing once another run has
    begun, or the job has ended.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def submit(self, job: Job, limit: int) -> bool:
        """Add a queued job. False, and nothing is added, when its account has `limit` unfinished ones."""
        return bool(
            await self._database.write(
                "add_job",
                job.id, job.account_id, job.key_id, job.kind, _text(job.payload), _text(job.target), job.waiter,
                job.created_at, limit,
            )
        )  # fmt: skip

    async def get(self, job_id: str) -> Job | None:
        """The job of this id."""
        row = await self._database.row("job", job_id)
        return None if row is None else job_of(row)

    async def list(self, account_id: str, limit: int, before: str | None = None) -> Sequence[Job]:
        """The jobs of an account, newest first; those that are older than the job `before`."""
        return [job_of(row) for row in await self._database.rows("list_jobs", account_id, before, limit)]

    async def is_any_due(self, now: float) -> bool:
        """Whether a claim may find something. One indexed read."""
        return await self._database.row("any_due_job", now) is not None

    async def claim(
        self, holder: str, now: float, seconds: float, *, limit: int, per_account: int, max_attempts: int, error: str
    ) -> Sequence[Job]:
        """Take up to `limit` queued jobs for a process, each under a lease of so many seconds.

        An account has `per_account` running jobs at most, over all processes; a key of it that has none may have one
        more. Accounts with the fewest running jobs come first, then keys with the fewest, then the oldest job. First a
        running job whose lease is over is queued again, or has failed with `error` (the JSON of a `Problem`) when it
        was run `max_attempts` times.
        """
        claimed = await self._database.write(
            "claim_jobs", holder, now, seconds, limit, per_account, max_attempts, error
        )
        return [job_of(row) for row in claimed]

    async def is_running(self, job_id: str, attempt: int) -> bool:
        """Whether this run of a job may go on."""
        return await self._database.row("running_job", job_id, attempt) is not None

    async def note_progress(self, job_id: str, attempt: int, done: int, total: int | None, now: float) -> bool:
        """Set how far a run is. False when it may not go on."""
        return bool(await self._database.write("note_job_progress", job_id, attempt, done, total, now))

    async def save_checkpoint(self, job_id: str, attempt: int, checkpoint: Mapping[str, Any], now: float) -> bool:
        """Leave something for the next run. False when this one may not go on."""
        return bool(await self._database.write("save_job_checkpoint", job_id, attempt, _text(checkpoint), now))

    async def end(
        self,
        job_id: str,
        attempt: int,
        state: JobState,
        now: float,
        *,
        result: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
        done: int | None = None,
        total: int | None = None,
    ) -> bool:
        """End a run and its job, whose payload goes; `done` and `total` are its last progress.

        A run that was cancelled may still say that it is done. False, and nothing is written, when another run has
        begun or the job has ended.
        """
        return bool(
            await self._database.write(
                "end_job", job_id, attempt, state.value, now, _text(result), _text(error), done, total
            )
        )

    async def retry(self, job_id: str, attempt: int, not_before: float, now: float) -> bool:
        """Queue a job again after a run that failed. False for a run that may not go on."""
        return bool(await self._database.write("retry_job", job_id, attempt, not_before, now))

    async def cancel(self, job_id: str, now: float) -> bool:
        """End a queued job; a running one, as soon as its run has noticed, or its lease is over: `is_running` is False
        from now on. False when it has ended, or was cancelled before."""
        return bool(await self._database.write("cancel_job", job_id, now))

    async def waiters(self) -> Collection[str]:
        """The processes that wait for unfinished jobs."""
        return [waiter for (waiter,) in await self._database.rows("job_waiters")]

    async def cancel_of_waiters(self, waiters: Collection[str], now: float) -> int:
        """Cancel the unfinished jobs that these processes wait for; how many."""
        return int(await self._database.write("cancel_jobs_of_waiters", rows.array(waiters), now))

    async def forget(self, before: float, limit: int) -> int:
        """Remove up to `limit` jobs that ended before this time; how many."""
        return int(await self._database.write("forget_jobs", before, limit))


def job_of(row: Row) -> Job:
    """The job of a row, in the order of columns of sql/jobs.sql."""
    (
        job_id, account_id, key_id, kind, created_at, updated_at, payload, target, waiter, state, not_before,
        attempts, checkpoint, done, total, result, error,
    ) = row  # fmt: skip
    return Job(
        job_id, account_id, key_id, kind, created_at, updated_at, _value(payload), _value(target) or {}, waiter,
        _STATES[state], not_before, attempts, _value(checkpoint), done, total, _value(result), _value(error),
    )  # fmt: skip


def _text(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, separators=(",", ":"))


def _value(text: str | None) -> dict[str, Any] | None:
    return None if text is None else json.loads(text)
