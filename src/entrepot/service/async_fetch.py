"""A guarded fetch on an event loop: its sockets block, so each step of it is taken in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

from entrepot.domain.errors import Code, Problem
from entrepot.fetch import Call, Fetcher, FetchError, Response, shown
from entrepot.fetch.errors import BadStatus, Blocked, Cancelled, TooLarge

PIECE = 512 * 1024  # bytes that a step reads
T = TypeVar("T")


class AsyncFetch:
    """One fetch, which must be over in `seconds`. It reads on only when it is asked to, so a slow reader slows the
    sender down, and has one thread of `pool` at most."""

    def __init__(self, fetcher: Fetcher, pool: Executor, url: str, seconds: float) -> None:
        self._fetcher = fetcher
        self._pool = pool
        self._url = url
        self._seconds = seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._call = Call()
        self._response: Response | None = None
        self._step: asyncio.Future[Any] | None = None

    async def open(self, max_bytes: int) -> Response:
        """The reply, when it is a 200 of at most so many bytes. Raises Problem."""
        return await self._stepped(lambda: self._asked(max_bytes))

    async def pieces(self, response: Response) -> AsyncGenerator[bytes, None]:
        """The body of an opened reply to its end. Raises Problem."""
        while piece := await self._stepped(lambda: _filled(response)):
            yield piece

    def end(self, then: Callable[[], None]) -> None:
        """Let go, from whatever state: who waits for a packet is woken. `then` is called when nothing of it is left,
        which a name that is being looked up, or a host that is being called, can delay."""
        self._call.cancel()
        step = self._step
        if step is None or step.done():
            self._closed(then)
        else:
            step.add_done_callback(lambda _: self._closed(then))

    def _closed(self, then: Callable[[], None]) -> None:
        if self._step is not None and not self._step.cancelled():
            self._step.exception()  # which nobody waits for any more
        if self._response is not None:
            self._response.close()
        then()

    def _asked(self, max_bytes: int) -> Response:
        # Kept here and not by who waits: nobody may be waiting any more when the reply comes.
        self._response = response = self._fetcher.open(self._url, max_bytes=max_bytes, call=self._call)
        response.expect(200)
        response.check_size()
        return response

    async def _stepped(self, work: Callable[[], T]) -> T:
        if self._call.cancelled:
            raise _stopping()
        self._step = step = asyncio.wrap_future(self._pool.submit(work))
        try:
            async with asyncio.timeout_at(self._deadline) as limit:
                return await asyncio.shield(step)
        except Cancelled:
            raise _stopping() from None
        except FetchError as error:
            raise problem_of(error) from error
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"{shown(self._url)}: it was not whole after {self._seconds:g} seconds, the limit"
            raise Problem(Code.FETCH_FAILED, message) from None


def problem_of(error: FetchError) -> Problem:
    """A failed fetch as what is wrong with the request that wished for it: never a fault of this server."""
    code = Code.FETCH_FAILED
    if isinstance(error, Blocked):
        code = Code.BLOCKED_ADDRESS
    elif isinstance(error, TooLarge):
        code = Code.TOO_LARGE
    fix = error.fix
    if isinstance(error, BadStatus) and "headers" in fix:  # which the caller cannot choose here
        fix = "Give a URL that can be read without credentials, such as a signed one."
    return Problem(code, str(error), fix=fix)


def _stopping() -> Problem:
    return Problem(Code.UNAVAILABLE, "The server is stopping.", fix="Send the request again when it is back.")


def _filled(response: Response) -> bytes:
    """As many bytes as one step may read, fewer only at the end of the body."""
    buffer = memoryview(bytearray(PIECE))
    size = 0
    while size < PIECE and (got := response.readinto(buffer[size:])):
        size += got
    return bytes(buffer[:size])
