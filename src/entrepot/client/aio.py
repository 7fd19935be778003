"""Carries flows out on an event loop. Requests and files are worked on in threads, which takes half of the processor
time of asynchronous sockets and keeps the server's early refusals (docs/performance.md)."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from entrepot.client.commands import Alone, Call, Command, Flow, Join, Receive, Send, Sleep, Spawn
from entrepot.client.crew import END_SECONDS
from entrepot.client.stop import Stop
from entrepot.client.sync import SyncDriver

T = TypeVar("T")


class AsyncDriver:
    """Runs flows on any event loop; cancelled at any await, it ends what it began and frees what it held."""

    def __init__(self, stall_seconds: float) -> None:
        self._threads = SyncDriver(stall_seconds)
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Lock]]
        self._locks = weakref.WeakKeyDictionary()

    async def run(self, flow: Flow[T]) -> T:
        """The result of a flow."""
        crew = _Crew(self.run)
        value: Any = None
        failed: Exception | None = None
        with contextlib.closing(flow):
            try:
                while True:
                    try:
                        command = flow.throw(failed) if failed else flow.send(value)
                    except StopIteration as end:
                        done: T = end.value
                        return done
                    value, failed = None, None
                    try:
                        value = await self._do(command, crew)
                    except Exception as error:
                        await crew.end()
                        failed = error
            finally:
                await crew.end()

    def close(self) -> None:
        """Close all connections."""
        self._threads.transport.close()

    async def _do(self, command: Command, crew: _Crew) -> Any:
        match command:
            case Send(request):
                return await _in_thread(lambda stop: self._threads.transport.send(request, stop))
            case Receive(request, take):
                return await _in_thread(lambda stop: self._threads.transport.send(request, stop, take))
            case Sleep(seconds):
                await asyncio.sleep(seconds)
            case Call(work) if inspect.iscoroutinefunction(getattr(work, "func", work)):
                return await work()
            case Call(work):
                return await _in_thread(lambda _: work())
            case Spawn(flow, limit):
                await crew.spawn(flow, limit)
            case Join():
                return await crew.join()
            case Alone(name, flow):
                locks = self._locks.setdefault(asyncio.get_running_loop(), {})
                async with locks.setdefault(name, asyncio.Lock()):
                    return await self.run(flow)


async def _in_thread(work: Callable[[Stop], T]) -> T:
    """The result of blocking work. When this is cancelled the work is told to stop, and waited for.

    A thread of its own, and a daemon: the loop's executor has few, and a program that ends would wait for it.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    stop = Stop()

    def tell(set_: Callable[[Any], None], value: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
            loop.call_soon_threadsafe(set_, value)

    def run() -> None:
        try:
            result = work(stop)
        except StopIteration as error:  # no future takes it
            tell(done.set_exception, RuntimeError(f"The upload's work raised {error!r}."))
        except BaseException as error:
            tell(done.set_exception, error)
        else:
            tell(done.set_result, result)

    threading.Thread(target=run, daemon=True).start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        stop.set()
        await _ended([done], END_SECONDS)
        if done.done():
            _let_go(done)
        else:  # it reads from a pipe, and hears nobody
            done.add_done_callback(_let_go)
        raise


def _let_go(done: asyncio.Future[Any]) -> None:
    """Close what nobody takes any more; an error is no surprise."""
    if not done.cancelled() and done.exception() is None and hasattr(done.result(), "close"):
        done.result().close()


async def _ended(futures: list[asyncio.Future[Any]], seconds: float | None = None) -> bool:
    """Wait for them, however often this is cancelled meanwhile; whether it was."""
    loop, cancelled = asyncio.get_running_loop(), False
    deadline = None if seconds is None else loop.time() + seconds
    while left := [each for each in futures if not each.done()]:
        rest = None if deadline is None else deadline - loop.time()
        if rest is not None and rest <= 0:
            break
        try:
            await asyncio.wait(left, timeout=rest)
        except asyncio.CancelledError:
            cancelled = True
    return cancelled


class _Crew:
    """The tasks that one flow spawned."""

    def __init__(self, run: Callable[[Flow[Any]], Any]) -> None:
        self._run = run
        self._tasks: list[asyncio.Task[Any]] = []

    async def spawn(self, flow: Flow[Any], limit: int) -> None:
        while len(busy := [task for task in self._tasks if not task.done()]) >= limit:
            await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)
        self._raise()
        self._tasks.append(asyncio.create_task(self._run(flow)))

    async def join(self) -> list[Any]:
        if self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        self._raise()
        tasks, self._tasks = self._tasks, []
        return [task.result() for task in tasks]

    async def end(self) -> None:
        """Cancel what still runs, and wait for it."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        cancelled = await _ended(list(tasks))
        for task in tasks:
            _let_go(task)
        if cancelled:
            raise asyncio.CancelledError

    def _raise(self) -> None:
        for task in self._tasks:
            if task.done() and (error := task.exception()) is not None:
                raise error
