"""The pool that runs jobs, in the keeper process."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from entrepot.domain.errors import Code, Problem, as_problem
from entrepot.domain.jobs import MAX_ATTEMPTS, Job, JobState
from entrepot.metadata.jobs import JobRecords, lease_name
from entrepot.service.access import Clock
from entrepot.service.leases import LeaseLost, ProcessLeases, run_leased
from entrepot.service.tasks import BatchOutcome

log = logging.getLogger("entrepot.jobs")

CHECK_SECONDS = 0.05  # between two looks whether a running job was cancelled
# Between two looks for jobs: while some came in the last `BUSY_SECONDS`, and else.
BUSY_POLL, IDLE_POLL, BUSY_SECONDS = 0.01, 0.05, 60.0
PROGRESS_SECONDS = 1.0  # between two notes of how far it is
KEPT_SECONDS = 86_400.0  # an ended job stays on record
_LOST = Problem(Code.UNAVAILABLE, f"The server ended {MAX_ATTEMPTS} times while this job ran.")


class JobRun:
    """One run of a job, as its handler sees it. The handler counts `done` and sets `total`, in bytes."""

    def __init__(self, job: Job, records: JobRecords, leases: ProcessLeases, clock: Clock) -> None:
        self.job = job
        self.done = 0
        self.total: int | None = None
        self._records = records
        self._leases = leases
        self._clock = clock
        self._noted = (0, job.total)
        self._noted_at = clock()

    @property
    def payload(self) -> Mapping[str, Any]:
        return self.job.payload or {}

    async def save_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Leave something for the next run. Raises LeaseLost when this run may not go on, so that what a handler does
        after it is done by one run only."""
        if not await self._records.save_checkpoint(self.job.id, self.job.attempts, checkpoint, self._clock()):
            raise LeaseLost

    async def renew(self) -> bool:
        """Keep the lease, and note the progress from time to time. False when the run may not go on."""
        if not await self._records.is_running(self.job.id, self.job.attempts):
            return False
        now, progress = self._clock(), (self.done, self.total)
        if progress != self._noted and abs(now - self._noted_at) >= PROGRESS_SECONDS:
            self._noted, self._noted_at = progress, now
            return await self.note_progress() and await self._leases.hold(lease_name(self.job.id))
        return await self._leases.hold(lease_name(self.job.id))

    async def note_progress(self) -> bool:
        """Write down how far the run is. False when it may not go on."""
        return await self._records.note_progress(self.job.id, self.job.attempts, self.done, self.total, self._clock())


Handler = Callable[[JobRun], Awaitable[Mapping[str, Any]]]


class JobPool:
    """Runs up to `size` jobs at once, each by the handler of its kind.

    `failures` gives the code of what the stores raise. A job that failed because the server could not work
    (`unavailable`) is repeated, at most `MAX_ATTEMPTS` times in all; `living` names the processes that are alive.
    """

    def __init__(
        self,
        records: JobRecords,
        leases: ProcessLeases,
        handlers: Mapping[str, Handler],
        clock: Clock,
        failures: Mapping[type[Exception], Code],
        living: Callable[[], Collection[str]],
        *,
        size: int,
        per_account: int,
    ) -> None:
        self._records = records
        self._leases = leases
        self._handlers = handlers
        self._clock = clock
        self._failures = failures
        self._living = living
        self._size = size
        self._per_account = per_account
        self._running: set[asyncio.Task[None]] = set()
        self._claimed_at = float("-inf")

    def pause(self) -> float:
        """Seconds until the next look for jobs."""
        return BUSY_POLL if abs(self._clock() - self._claimed_at) < BUSY_SECONDS else IDLE_POLL

    async def start_due(self, _: int) -> BatchOutcome:
        """Claim jobs for which there is room, and start them."""
        room, now = self._size - len(self._running), self._clock()
        if room <= 0 or not await self._records.is_any_due(now):
            return BatchOutcome()
        claimed = await self._records.claim(
            self._leases.holder, now, self._leases.seconds,
            limit=room, per_account=self._per_account, max_attempts=MAX_ATTEMPTS, error=json.dumps(_LOST.as_dict()),
        )  # fmt: skip
        if claimed:
            self._claimed_at = now
        for job in claimed:
            task = asyncio.create_task(self._run(job), name=f"job {job.id}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return BatchOutcome(len(claimed))

    async def end_abandoned(self, _: int) -> BatchOutcome:
        """Cancel jobs whose waiting process is gone, and let go of the leases of processes that are."""
        await self._leases.release_dead()
        waiters = set(await self._records.waiters())
        dead = waiters - set(self._living()) if waiters else waiters
        return BatchOutcome(await self._records.cancel_of_waiters(dead, self._clock()) if dead else 0)

    async def forget_ended(self, limit: int) -> BatchOutcome:
        """Forget jobs that ended long ago."""
        done = await self._records.forget(self._clock() - KEPT_SECONDS, limit)
        return BatchOutcome(done, more=done > 0)

    async def close(self) -> None:
        """End what runs; it is run again by the next process."""
        running = set(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    async def _run(self, job: Job) -> None:
        run = JobRun(job, self._records, self._leases, self._clock)
        try:
            result = await run_leased(self._handled(run), run.renew, CHECK_SECONDS)
            await self._records.end(
                job.id, job.attempts, JobState.DONE, self._clock(), result=result, done=run.done, total=run.total
            )
        except LeaseLost:
            # Refused when it is not cancelled, but another process's now.
            await self._records.end(job.id, job.attempts, JobState.CANCELLED, self._clock())
        except Exception as error:
            await self._fail(job, self._problem(job, error))

    async def _handled(self, run: JobRun) -> Mapping[str, Any]:
        return await self._handlers[run.job.kind](run)

    async def _fail(self, job: Job, problem: Problem) -> None:
        now = self._clock()
        if problem.code is Code.UNAVAILABLE and job.attempts < MAX_ATTEMPTS:
            await self._records.retry(job.id, job.attempts, now + 2.0 ** (job.attempts - 1), now)
        else:
            await self._records.end(job.id, job.attempts, JobState.FAILED, now, error=problem.as_dict())

    def _problem(self, job: Job, error: Exception) -> Problem:
        problem = as_problem(error, self._failures)
        if problem is None:
            log.error("job=%s attempt=%d met a defect", job.id, job.attempts, exc_info=error)
            return Problem(Code.INTERNAL, "The server failed to do this job.")
        if problem is not error:
            log.error("job=%s attempt=%d: %s: %s", job.id, job.attempts, type(error).__name__, error)
        return problem
