"""Disk work in threads, beside the event loop.

A job once given to a thread is always awaited to its end, even by a cancelled task: only then its effects
are known and can be undone, and its handles are free.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from contextvars import copy_context
from typing import Any, Generic, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")
# Within it an OSError of the disk becomes the error of the package that owns the threads.
Translated = Callable[[], AbstractContextManager[None]]

# A batch goes to a thread at this size, or at as many pieces as one writev takes, for a body that dribbles in.
BATCH_SIZE = 1024 * 1024
BATCH_PIECES = 1024
# What may wait for its sync while the next batches stream in.
SETTLING_LIMIT = 3


class Threads:
    """A fixed number of threads, all started at once: a full system refuses to start us, not a request."""

    def __init__(self, number: int, translated: Translated, name: str = "storage") -> None:
        self._translated = translated
        self._pool = ThreadPoolExecutor(number, thread_name_prefix=name)
        all_running = threading.Barrier(number + 1)
        for _ in range(number):
            self._pool.submit(all_running.wait)
        all_running.wait()
        # Of their own, so that work which waits for work beside it never waits for itself.
        self._second = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix=f"{name}-hash")

    def beside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Give `work` that needs no disk to another thread, for a job that waits for it."""
        return self._second.submit(work, *args, **kwargs)

    def start(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Give `work` to a thread, with the context variables of the caller. Its OSError is translated."""

        def job() -> T:
            with self._translated():
                return work(*args, **kwargs)

        return asyncio.wrap_future(self._pool.submit(copy_context().run, job))

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Start `work` and wait for its result."""
        return await finished(self.start(work, *args, **kwargs))

    async def stepped(self, work: Generator[None, None, T]) -> T:
        """Run a generator to its end, each step in a thread, and return its result. Between two steps a cancellation
        ends it: the generator is closed, in a thread too."""
        try:
            while True:
                over, result = await self.run(_step, work)
                if over:
                    return cast(T, result)
        except BaseException:
            await ended(self.start(work.close))
            raise

    def end(self) -> None:
        """Let the threads finish what they have; blocks until they did."""
        self._pool.shutdown()
        self._second.shutdown()

    async def close(self) -> None:
        """`end`, while the event loop goes on."""
        await asyncio.to_thread(self.end)


def _step(work: Generator[None, None, T]) -> tuple[bool, T | None]:
    try:
        next(work)
    except StopIteration as stop:
        return True, stop.value
    return False, None


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


class Intake(Generic[T]):
    """Carries one stream to the disk: one batch is written while the next one is gathered.

    `write` takes a batch and returns what can be settled (synced) meanwhile, beside the next writes; `finish` takes the
    last pieces and gives the result; `drop` removes all that was made. Only one of them runs at a time.
    """

    def __init__(
        self,
        threads: Threads,
        write: Callable[[list[bytes]], Sequence[Callable[[], None]]],
        finish: Callable[[list[bytes]], T],
        drop: Callable[[], None],
    ) -> None:
        self._threads = threads
        self._write = write
        self._finish = finish
        self._drop = drop
        self._batch: asyncio.Future[Sequence[Callable[[], None]]] | None = None
        self._settling: deque[asyncio.Future[None]] = deque()

    async def take(self, stream: AsyncIterator[bytes]) -> T:
        """Read the stream to its end; all is settled then. On any exception or cancellation it is dropped."""
        try:
            return await self._take(stream)
        except BaseException:
            await self._undo()
            raise

    async def follow(self, works: Iterable[Callable[[], Sequence[Callable[[], None]]]]) -> T:
        """As `take`, with other works in the place of writes, one after another."""
        try:
            for work in works:
                await self._written()
                self._batch = self._threads.start(work)
            return await self._settled([])
        except BaseException:
            await self._undo()
            raise

    async def _take(self, stream: AsyncIterator[bytes]) -> T:
        pieces: list[bytes] = []
        size = 0
        async for piece in stream:
            pieces.append(piece)
            size += len(piece)
            if size >= BATCH_SIZE or len(pieces) >= BATCH_PIECES:
                await self._written()
                self._batch = self._threads.start(self._write, pieces)
                pieces, size = [], 0
        return await self._settled(pieces)

    async def _settled(self, pieces: list[bytes]) -> T:
        """Finish, and wait until all is settled."""
        await self._written()
        result = await self._threads.run(self._finish, pieces)
        for settling in self._settling:
            await finished(settling)
        return result

    async def _written(self) -> None:
        """Wait for the batch under way, and start to settle what it filled."""
        if self._batch is not None:
            for settle in await finished(self._batch):
                self._settling.append(self._threads.start(settle))
            self._batch = None
        while len(self._settling) > SETTLING_LIMIT:
            await finished(self._settling[0])
            self._settling.popleft()

    async def _undo(self) -> None:
        """After the last job has ended. A cancellation does not stop this."""
        jobs = [*self._settling, self._batch] if self._batch else self._settling
        await ended(asyncio.gather(*jobs, return_exceptions=True))
        await ended(self._threads.start(self._drop))
