"""Disk work in threads: its errors are said otherwise, and no cancellation leaves a job to itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from entrepot.threads import BATCH_PIECES, BATCH_SIZE, Intake, Threads


class Said(Exception):
    pass


@contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Said(str(error)) from error


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads(4, translated)
    yield threads
    threads.end()


class Steps:
    """A generator of three steps that says what became of it."""

    def __init__(self) -> None:
        self.steps = 0
        self.ended = ""
        self.at_second = threading.Event()
        self.go_on = threading.Event()

    def run(self) -> Generator[None, None, str]:
        try:
            for self.steps in range(1, 4):
                if self.steps == 2:
                    self.at_second.set()
                    self.go_on.wait(60)
                yield
            self.ended = "finished"
            return "result"
        except GeneratorExit:
            self.ended = "closed"
            raise


def test_a_generator_is_run_to_its_end_in_threads(threads):
    steps = Steps()
    steps.go_on.set()
    assert asyncio.run(threads.stepped(steps.run())) == "result"
    assert (steps.steps, steps.ended) == (3, "finished")


def test_a_cancellation_ends_a_generator_between_two_steps(threads):
    async def test() -> None:
        task = asyncio.create_task(threads.stepped(steps.run()))
        await asyncio.to_thread(steps.at_second.wait, 60)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()  # the step is waited for
        steps.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (steps.steps, steps.ended) == (2, "closed")

    steps = Steps()
    asyncio.run(test())


def test_what_a_step_raises_is_raised_translated(threads):
    def failing() -> Generator[None, None, None]:
        yield
        raise OSError(5, "no disk")

    with pytest.raises(Said, match="no disk"):
        asyncio.run(threads.stepped(failing()))


class Sink:
    """What an intake does, and where it fails."""

    def __init__(self, fail_at: str = "") -> None:
        self.batches: list[bytes] = []
        self.settled: list[int] = []
        self.dropped = False
        self.fail_at = fail_at

    def _maybe(self, point: str) -> None:
        if point == self.fail_at:
            raise OSError(5, point)

    def write(self, pieces: list[bytes]) -> list[Callable[[], None]]:
        self._maybe(f"write {len(self.batches)}")
        self.batches.append(b"".join(pieces))
        return [partial(self.settle, len(self.batches))]

    def settle(self, number: int) -> None:
        self._maybe(f"settle {number}")
        self.settled.append(number)

    def finish(self, pieces: list[bytes]) -> int:
        self._maybe("finish")
        self.batches.append(b"".join(pieces))
        return sum(map(len, self.batches))

    def drop(self) -> None:
        self.dropped = True


async def pieces(size: int, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(size)


def take(threads: Threads, sink: Sink, stream: AsyncIterator[bytes]) -> int:
    async def run() -> int:
        return await Intake(threads, sink.write, sink.finish, sink.drop).take(stream)

    return asyncio.run(run())


@pytest.mark.parametrize("size, count, batches", [(0, 0, 1), (1, 1, 1), (BATCH_SIZE, 3, 4), (1, BATCH_PIECES + 1, 2)])
def test_a_stream_is_taken_in_batches_and_all_is_settled_at_the_end(threads, size, count, batches):
    sink = Sink()
    assert take(threads, sink, pieces(size, count)) == size * count
    assert len(sink.batches) == batches
    assert sorted(sink.settled) == list(range(1, batches))
    assert not sink.dropped


@pytest.mark.parametrize("point", ["write 0", "write 2", "settle 1", "settle 3", "finish"])
def test_whatever_fails_all_is_dropped(threads, point):
    sink = Sink(point)
    with pytest.raises(Said, match=point):
        take(threads, sink, pieces(BATCH_SIZE, 3))
    assert sink.dropped


def test_a_stream_that_fails_or_is_cut_drops_all(threads):
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(BATCH_SIZE)
        raise ConnectionError

    async def cut() -> None:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield bytes(BATCH_SIZE)
                started.set()

        started = asyncio.Event()
        task = asyncio.create_task(Intake(threads, sink.write, sink.finish, sink.drop).take(endless()))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    sink = Sink()
    with pytest.raises(ConnectionError):
        take(threads, sink, broken())
    assert sink.dropped
    sink = Sink()
    asyncio.run(cut())
    assert sink.dropped
