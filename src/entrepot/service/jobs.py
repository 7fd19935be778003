"""Jobs as their owners see them: submit, wait, list, cancel. `job_pool` runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem
from entrepot.domain.jobs import MAX_UNFINISHED, Job, JobState
from entrepot.domain.names import new_timed_id
from entrepot.metadata.jobs import JobRecords
from entrepot.service.access import Clock, require_account

# Seconds between two looks at a job that is waited for: short at first, for a small file takes some ms.
FIRST_POLL = 0.005
LONGEST_POLL = 0.1
MAX_QUEUE_SECONDS = 60.0  # that a job which is waited for may stay in the queue
RETRY_SECONDS = 30


class Jobs:
    """The jobs of accounts. `process` is the name of this process among those of the server."""

    def __init__(self, records: JobRecords, clock: Clock, random: Callable[[int], bytes], process: str) -> None:
        self._records = records
        self._clock = clock
        self._random = random
        self._process = process
        self._closing = asyncio.Event()

    async def submit(
        self, who: Principal, kind: str, payload: Mapping[str, Any], target: Mapping[str, Any], *, waits: bool = False
    ) -> Job:
        """Queue a job. With `waits` it is cancelled when this process ends before it does. Raises
        Problem(RATE_LIMITED) when the account has too many."""
        account_id, key_id = require_account(who)
        now = self._clock()
        waiter = self._process if waits else None
        job = Job(new_timed_id(now, self._random), account_id, key_id, kind, now, now, payload, target, waiter)
        if not await self._records.submit(job, MAX_UNFINISHED):
            message = f"This account has {MAX_UNFINISHED} unfinished jobs, which is the most."
            raise Problem(Code.RATE_LIMITED, message, retry_after=RETRY_SECONDS)
        return job

    async def result(
        self, who: Principal, kind: str, payload: Mapping[str, Any], target: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Submit a job and wait for its result. It is cancelled when the caller is.

        Raises Problem: that of the job; RATE_LIMITED when its turn did not come in time, UNAVAILABLE when this process
        is stopping, CONFLICT when somebody cancelled it.
        """
        job = await self.submit(who, kind, payload, target, waits=True)
        try:
            ended = await self._ended(job)
        except BaseException:
            await asyncio.shield(self._records.cancel(job.id, self._clock()))
            raise
        if ended.error is not None:
            raise Problem.from_dict(ended.error)
        if ended.state is not JobState.DONE:
            raise Problem(Code.CONFLICT, "This job was cancelled.", fix="Send the request again.")
        return ended.result or {}

    async def get(self, who: Principal, job_id: str) -> Job:
        """A job of the caller's account. Raises Problem(NOT_FOUND)."""
        account_id, _ = require_account(who)
        job = await self._records.get(job_id)
        if job is None or job.account_id != account_id:
            raise Problem(Code.NOT_FOUND, "This account has no such job.", fix="List the jobs with GET /v1/jobs.")
        return job

    async def list(self, who: Principal, limit: int, before: str | None = None) -> Sequence[Job]:
        """The jobs of the caller's account, newest first; those older than the job `before`."""
        account_id, _ = require_account(who)
        return await self._records.list(account_id, limit, before)

    async def cancel(self, who: Principal, job_id: str) -> Job:
        """End a job before it has ended by itself; one that has stays as it is. Raises Problem(NOT_FOUND)."""
        job = await self.get(who, job_id)
        await self._records.cancel(job.id, self._clock())
        return await self.get(who, job_id)

    def close(self) -> None:
        """End all waits: the process is stopping."""
        self._closing.set()

    async def _ended(self, job: Job) -> Job:
        pause, begun = FIRST_POLL, asyncio.get_running_loop().time()
        while True:
            if await self._is_closing_within(pause):
                raise Problem(
                    Code.UNAVAILABLE, "The server is stopping.", fix="Send the request again when it is back."
                )
            pause = min(LONGEST_POLL, pause * 1.1)
            now = await self._records.get(job.id)
            if now is None or now.state.is_end:
                return now or job
            waited = asyncio.get_running_loop().time() - begun
            if now.state is JobState.QUEUED and waited >= MAX_QUEUE_SECONDS:
                message = "This job did not get its turn: the account has as many under way as it may, or the server."
                raise Problem(Code.RATE_LIMITED, message, retry_after=RETRY_SECONDS)

    async def _is_closing_within(self, seconds: float) -> bool:
        if self._closing.is_set():
            return True
        await asyncio.sleep(seconds)
        return self._closing.is_set()
