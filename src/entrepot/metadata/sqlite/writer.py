"""The writer thread of a process, with group commit.

It takes all that is queued, makes one transaction of it, and answers when the commit is durable. While one group is
synced the next one gathers, so a hundred callers share a few syncs. A job that raises undoes its group, and then each
job runs in a transaction of its own; so expected outcomes are values, and only faults are raised.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

import apsw

from entrepot.metadata.base import MetadataFailed
from entrepot.metadata.sqlite.connect import failure
from entrepot.metadata.sqlite.lock import FileLock

T = TypeVar("T")

# Enough to hide a sync, few enough that the lock comes round to the other processes.
MAX_GROUP = 256

# What makes the group's transaction worthless, whichever job met it.
_FATAL = (
    apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.CorruptError, apsw.NotADBError,
    apsw.BusyError, apsw.LockedError, apsw.NoMemError, apsw.ConnectionClosedError,
)  # fmt: skip


@dataclass(slots=True, eq=False)
class _Job:
    work: Callable[[apsw.Connection], Any]
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def answer(self) -> None:
        """Runs in the loop of the future. A caller that was cancelled hears nothing."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Writer:
    """Runs jobs on a connection of its own. `run` may be called from any event loop of any thread."""

    def __init__(self, connect: Callable[[], apsw.Connection], lock: FileLock) -> None:
        """`connect` is called with the lock held, now and after each failure. Raises what it raises."""
        self._connect = connect
        self._lock = lock
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        try:
            with lock:
                self._db: apsw.Connection | None = connect()
        except BaseException:
            lock.close()
            raise
        self._thread = threading.Thread(target=self._serve, name="entrepot-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run a job in the writer thread; when this returns, its work is durable.

        Raises what the job raised (its work alone is undone; others of its group ran twice, so a job depends on
        nothing but the database), or MetadataFull or MetadataFailed (that of the
        whole group is). A caller that is cancelled meanwhile cannot know whether its job was committed.
        """
        job = _Job(work, asyncio.get_running_loop().create_future())
        with self._gate:
            if self._closed:
                raise MetadataFailed("The catalogue is closed.")
            self._queue.put(job)
        return cast(T, await job.future)

    def close(self) -> None:
        """Finish what is queued, then end the thread. Blocks; repeatable."""
        with self._gate:
            if not self._closed:
                self._queue.put(None)
            self._closed = True
        self._thread.join()

    def _serve(self) -> None:
        while group := self._take():
            self._write(group)
            _answer(group)
        self._disconnect()
        self._lock.close()

    def _take(self) -> list[_Job]:
        """Wait for a job and take those behind it; nothing when the end of the queue is reached."""
        group: list[_Job] = []
        try:
            job = self._queue.get()
            while job is not None:
                group.append(job)
                if len(group) == MAX_GROUP:
                    return group
                job = self._queue.get_nowait()
        except Empty:
            return group
        if group:
            self._queue.put(None)  # the end was behind these: meet it again after them
        return group

    def _write(self, group: Sequence[_Job]) -> None:
        """Run and commit a group, or fail it as a whole. Never raises: the thread must live."""
        try:
            with self._lock:
                self._db = self._db or self._connect()
                is_done = _transact(self._db, group)
        except Exception as error:
            # A failed sync says nothing of what is on the disk: begin afresh and leave it to the callers.
            self._disconnect()
            for job in group:
                job.error = failure(error)
            return
        if not is_done:
            for job in group:
                self._write([job])

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        with suppress(apsw.Error):  # it is gone either way, and what was acknowledged is in the log
            if db is not None:
                db.close()


def _transact(db: apsw.Connection, group: Sequence[_Job]) -> bool:
    """Run and commit a group; False, with nothing done, when one of several raised. Raises what is no job's fault."""
    db.execute("BEGIN IMMEDIATE")
    try:
        for job in group:
            job.result = job.work(db)
    except _FATAL:
        raise
    except Exception as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        if len(group) == 1:
            group[0].error = failure(error) if isinstance(error, apsw.Error) else error
        return len(group) == 1
    db.execute("COMMIT")
    return True


def _answer(group: Sequence[_Job]) -> None:
    """Wake each loop once, however many of its callers are in the group."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in group:
        by_loop.setdefault(job.future.get_loop(), []).append(job)
    for loop, jobs in by_loop.items():
        with suppress(RuntimeError):  # that loop was closed: nobody is waiting any more
            loop.call_soon_threadsafe(_answer_here, jobs)


def _answer_here(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        job.answer()
