"""Carries flows out on an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import httpx2

from entrepot.client import http
from entrepot.client.commands import Alone, Body, Call, Command, Flow, Join, Reply, Request, Send, Sleep, Spawn

T = TypeVar("T")


class AsyncDriver:
    """Runs flows. Connections belong to the event loop that opened them: without `hold` they are closed when nothing
    runs any more, so that programs may use one loop after another."""

    def __init__(self, stall_seconds: float) -> None:
        self._settings = http.settings(stall_seconds)
        self._loops: dict[asyncio.AbstractEventLoop, _Loop] = {}

    async def run(self, flow: Flow[T]) -> T:
        """The result of a flow. Cancelled at any await, it ends what it spawned and frees what it held."""
        here = self.hold()
        try:
            return await here.run(flow)
        finally:
            await self.release()

    def hold(self) -> _Loop:
        """Keep the connections of this loop until `release`."""
        loop = asyncio.get_running_loop()
        here = self._loops.setdefault(loop, _Loop(self._settings))
        here.holders += 1
        return here

    async def release(self) -> None:
        """The other half of `hold`."""
        loop = asyncio.get_running_loop()
        here = self._loops[loop]
        here.holders -= 1
        if not here.holders:
            del self._loops[loop]
            await here.client.aclose()


class _Loop:
    """What belongs to one event loop."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.client = httpx2.AsyncClient(**settings)
        self.holders = 0
        self._locks: dict[str, asyncio.Lock] = {}

    async def run(self, flow: Flow[T]) -> T:
        crew = _Crew(self)
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

    async def _do(self, command: Command, crew: _Crew) -> Any:
        match command:
            case Send(request):
                return await self._send(request)
            case Sleep(seconds):
                return await asyncio.sleep(seconds)
            case Call(work):
                return await _called(work)
            case Spawn(flow, limit):
                return await crew.spawn(flow, limit)
            case Join():
                return await crew.join()
            case Alone(name, flow):
                async with self._locks.setdefault(name, asyncio.Lock()):
                    return await self.run(flow)

    async def _send(self, request: Request) -> Reply:
        body, received = request.body, bytearray()
        content = body if isinstance(body, bytes) else _pieces(body)
        try:
            async with self.client.stream(
                request.method, request.url, headers=http.headers_of(request), content=content
            ) as response:
                async for chunk in response.aiter_raw():
                    http.take(received, chunk, request)
                return http.reply_of(response.status_code, response.headers, received)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise http.failure(error, request) from error


class _Crew:
    """The tasks that one flow spawned."""

    def __init__(self, loop: _Loop) -> None:
        self._loop = loop
        self._tasks: list[asyncio.Task[Any]] = []

    async def spawn(self, flow: Flow[Any], limit: int) -> None:
        while len(busy := [task for task in self._tasks if not task.done()]) >= limit:
            await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)
        self._raise()
        self._tasks.append(asyncio.create_task(self._loop.run(flow)))

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
        await asyncio.gather(*tasks, return_exceptions=True)

    def _raise(self) -> None:
        for task in self._tasks:
            if task.done() and (error := task.exception()) is not None:
                raise error


async def _called(work: Any) -> Any:
    """Blocking work in a thread; a coroutine function here."""
    return await (work() if inspect.iscoroutinefunction(getattr(work, "func", work)) else asyncio.to_thread(work))


async def _pieces(body: Body) -> AsyncIterator[bytes]:
    """Read in a thread what is sent here."""
    chunks = body.chunks()
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
