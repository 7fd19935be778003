"""Memory for replies that clients have not taken yet: bounded for a whole worker, not for each connection (I9).

The ASGI server tells only that it has a piece, not when the client took it, and may hold several pieces of each reply.
So each reply with bytes is counted with the most that can be held for it, from before it is read until its connection
is known to have taken it: it asked for something else, it ended, or its socket has nothing to send. When the memory
gets scarce pieces get smaller; when there is none a reply waits, and connections that take next to nothing are ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from entrepot.domain.errors import Code, Problem

COUNTED = 16 * 1024  # replies of fewer bytes are not counted
LEAST_RATE = 16 * 1024  # bytes a second that a connection takes at least, else it is ended when others wait
LOOK_SECONDS = 0.2  # between two looks at the sockets; more when one takes long

Peer = Any  # what tells connections apart: address and port of the client
KIB = 1024


class SendRate(NamedTuple):
    """How a reply goes out: `read` bytes at a time (0: as they come), sent in pieces of `piece` (0: as they are read).

    `held` is the most that is then in memory for a client that takes nothing: four pieces in the ASGI server's queue,
    in the buffer of the connection as many as make 400 KiB or sixteen, one that waits and what was read.
    """

    read: int
    piece: int
    held: int


FULL = SendRate(0, 0, 4096 * KIB)
REDUCED = SendRate(64 * KIB, 0, 896 * KIB)
SLOW = SendRate(64 * KIB, 8 * KIB, 256 * KIB)
# TLS: the buffer of a connection is bounded by its bytes alone.
SLOW_TLS = SLOW._replace(held=512 * KIB)
# So many pieces after a change to a slower pace nothing larger is left in the server.
SETTLED = 24


@dataclass(eq=False, slots=True)
class Hold:
    """What is counted for a connection. `length` is that of the reply; `size` includes `before`, what the reply before
    may still hold."""

    peer: Peer
    length: int
    pace: SendRate
    size: int
    before: int
    slow: SendRate
    since: float = 0.0
    taken: int = -1
    lags: bool = False
    done: int = 0  # looks since the reply was handed over whole; 0: it is not


@dataclass(eq=False, slots=True)
class _Waiting:
    hold: Hold
    admitted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class ReplyMemory:
    """`limit` in bytes for one process. `look` tells of the connections to some peers how many bytes wait in the kernel
    and how many the client has ever taken, `end` ends them; both run in a thread. Without them (where the system cannot
    tell) a reply counts until it is handed over. A connection is judged after `grace` seconds; a reply waits for at
    most `patience`."""

    def __init__(
        self,
        limit: int,
        patience: float = 60.0,
        grace: float = 5.0,
        look: Callable[[Collection[Peer]], Mapping[Peer, tuple[int, int]]] | None = None,
        end: Callable[[Collection[Peer]], None] | None = None,
    ) -> None:
        self._limit = limit
        self._patience = patience
        self._grace = grace
        self._look = look
        self._end = end
        self._holds: dict[Peer, Hold] = {}
        self._waiting: tuple[deque[_Waiting], deque[_Waiting]] = (deque(), deque())  # short replies, and others
        self._watch: asyncio.Task[None] | None = None
        self.total = 0

    def enter(self, peer: Peer, length: int, *, tls: bool = False) -> Hold | None:
        """Count a reply of so many bytes that begins now; None when it has to wait (see `wait`)."""
        slow = SLOW_TLS if tls else SLOW
        hold = self._counted(peer, length, self._pace(slow), slow)
        if self._queue(hold) or not self._fits(hold):
            return None
        self._admit(hold)
        if self.total > self._limit // 4:
            self._watch_sockets()
        return hold

    async def wait(self, peer: Peer, length: int, *, tls: bool = False) -> Hold:
        """As `enter`, when there is room. Raises Problem(UNAVAILABLE) when there is none for too long."""
        slow = SLOW_TLS if tls else SLOW
        waiting = _Waiting(self._counted(peer, length, slow, slow))
        queue = self._queue(waiting.hold)
        queue.append(waiting)
        self._watch_sockets()
        try:
            await asyncio.wait([waiting.admitted], timeout=self._patience)
        except asyncio.CancelledError:
            if waiting.admitted.done():
                self._forget(waiting.hold)
            raise
        finally:
            if not waiting.admitted.done():
                queue.remove(waiting)
                self._admit_waiting()
        if not waiting.admitted.done():
            message = "The server's memory is taken up by replies that their readers do not take."
            raise Problem(Code.UNAVAILABLE, message, fix="Send the request again after a moment.", retry_after=5)
        return waiting.hold

    def slower(self, hold: Hold) -> None:
        """The client is slow: small pieces from now on. See `settled`."""
        hold.pace = hold.slow

    def settled(self, hold: Hold) -> None:
        """`SETTLED` pieces were sent since: nothing larger is left of the reply."""
        hold.before = 0
        self._resize(hold, min(hold.size, hold.slow.held))

    def faster(self, hold: Hold) -> None:
        """The client is quick: as much as there is memory for."""
        pace = self._pace(hold.slow, hold.size)
        if pace.held > hold.pace.held:
            hold.pace = pace
            self._resize(hold, max(hold.size, pace.held))

    def handed_over(self, hold: Hold, whole: bool = True) -> None:
        """The reply is out of our hands; without `whole` its connection ends."""
        if self._look is None or not whole:
            self._forget(hold)
        else:
            hold.done = 1

    def _pace(self, slow: SendRate, counted: int = 0) -> SendRate:
        """The fastest pace that leaves memory to others; `counted` is what there is of the reply already."""
        others = self.total - counted
        if others + FULL.held <= self._limit // 2:
            return FULL
        return REDUCED if others + REDUCED.held <= self._limit * 3 // 4 else slow

    def _counted(self, peer: Peer, length: int, pace: SendRate, slow: SendRate) -> Hold:
        """The reply before on this connection may be in the server's buffer still, but none before that."""
        last = self._holds.get(peer)
        before = last.size - last.before if last is not None else 0
        own = min(length, pace.held)
        return Hold(peer, length, pace, own + before, before, slow)

    def _queue(self, hold: Hold) -> deque[_Waiting]:
        return self._waiting[hold.length > SLOW.held]

    def _fits(self, hold: Hold) -> bool:
        """A fifth of the memory is for short replies: they do not wait behind downloads that nobody reads."""
        limit = self._limit if hold.length <= SLOW.held else self._limit * 4 // 5
        last = self._holds.get(hold.peer)
        others = self.total - (last.size if last is not None else 0)
        return not others or others + hold.size <= limit

    def _admit(self, hold: Hold) -> None:
        last = self._holds.pop(hold.peer, None)
        self.total += hold.size - (last.size if last is not None else 0)
        self._holds[hold.peer] = hold

    def _admit_waiting(self) -> None:
        for queue in self._waiting:
            while queue and self._fits(queue[0].hold):
                first = queue.popleft()
                self._admit(first.hold)
                first.admitted.set_result(None)

    def _resize(self, hold: Hold, size: int) -> None:
        if self._holds.get(hold.peer) is hold:
            self.total += size - hold.size
            hold.size = size
            self._admit_waiting()

    def _forget(self, hold: Hold) -> None:
        if self._holds.get(hold.peer) is hold:
            del self._holds[hold.peer]
            self.total -= hold.size
            self._admit_waiting()

    def _watch_sockets(self) -> None:
        if self._look is not None and (self._watch is None or self._watch.done()):
            self._watch = asyncio.ensure_future(self._watching())

    async def _watching(self) -> None:
        """Look at the sockets as long as memory is scarce."""
        loop = asyncio.get_running_loop()
        while any(self._waiting) or self.total > self._limit // 4:
            begun = loop.time()
            with contextlib.suppress(OSError):  # no file handle is left, say
                await self._look_once()
            await asyncio.sleep(min(max(LOOK_SECONDS, 10 * (loop.time() - begun)), 5 * LOOK_SECONDS))

    async def _look_once(self) -> None:
        assert self._look is not None
        holds = list(self._holds.values())
        for hold in holds:
            hold.done += bool(hold.done)
        sockets = await asyncio.to_thread(self._look, {hold.peer for hold in holds})
        now = asyncio.get_running_loop().time()
        for hold in holds:
            unsent, taken = sockets.get(hold.peer, (0, -1))
            # What was handed over a moment ago may not have come to the kernel yet: hence the second look.
            if hold.done and (taken < 0 or (hold.done > 2 and not unsent)):
                self._forget(hold)
            elif taken >= 0:
                self._judge(hold, unsent, taken, now)
        if any(self._waiting) and self._end is not None:
            lagging = [hold for hold in holds if hold.lags and self._holds.get(hold.peer) is hold]
            await asyncio.to_thread(self._end, {hold.peer for hold in lagging})
            for hold in lagging:
                self._forget(hold)

    def _judge(self, hold: Hold, unsent: int, taken: int, now: float) -> None:
        if hold.taken < 0:
            hold.taken, hold.since = taken, now
        elif now - hold.since >= self._grace:
            hold.lags = unsent > 0 and taken - hold.taken < LEAST_RATE * (now - hold.since)
            hold.taken, hold.since = taken, now
