"""Disk work in threads, beside the event loop.

A job once given to a thread is always awaited to its end, even by a cancelled task: only then its effects
are known and can be undone, and its handles are free.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, ParamSpec, TypeVar

from entrepot.storage.base import StorageFailed, StorageFull

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """A fixed number of threads, all started at once: a full system refuses to start us, not a request."""

    def __init__(self, number: int) -> None:
        self._pool = ThreadPoolExecutor(number, thread_name_prefix="storage")
        all_running = threading.Barrier(number + 1)
        for _ in range(number):
            self._pool.submit(all_running.wait)
        all_running.wait()
        # Of their own, so that work which waits for work beside it never waits for itself.
        self._second = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="storage-hash")

    def beside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Give `work` that needs no disk to another thread, for a job that waits for it."""
        return self._second.submit(work, *args, **kwargs)

    def start(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Give `work` to a thread. Its OSError becomes StorageFull or StorageFailed."""

        def job() -> T:
            with translated():
                return work(*args, **kwargs)

        return asyncio.wrap_future(self._pool.submit(job))

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Start `work` and wait for its result."""
        return await finished(self.start(work, *args, **kwargs))

    def end(self) -> None:
        """Let the threads finish what they have; blocks until they did."""
        self._pool.shutdown()
        self._second.shutdown()


async def finished(job: asyncio.Future[T]) -> T:
    """The result of `job`. A cancellation is passed on only when the job has ended."""
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        await ended(job)
        raise


async def ended(job: asyncio.Future[Any]) -> None:
    """Wait for the end of `job`, whatever comes, and drop its result: something else is on its way up."""
    while not job.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([job])
    if not job.cancelled():
        job.exception()  # so that nobody misses it


@contextmanager
def translated() -> Iterator[None]:
    """Say an OSError of the disk as the storage's own error."""
    try:
        yield
    except OSError as error:
        raise _refusal(error) from error


def _refusal(error: OSError) -> StorageFull | StorageFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(error.strerror)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return StorageFailed("too many open files")
    return StorageFailed(error.strerror or str(error))
