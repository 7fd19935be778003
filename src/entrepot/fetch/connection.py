"""One request and one reply over a socket of our own: no pool, nothing kept for a next time."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping

from entrepot.fetch.body import Short
from entrepot.fetch.call import Clock, Pace
from entrepot.fetch.head import Head, Malformed, parse
from entrepot.fetch.proxy import Proxy
from entrepot.fetch.urls import Target

_READ = 64 * 1024
_MAX_INTERIM = 8


class Connection:
    """A connected socket. Every operation has a time limit, and a body its least pace; OSError is raised as the system
    gave it. `proxy` is the one that a plain request is given to, if the socket leads there."""

    def __init__(self, connected: socket.socket, clock: Clock, pace: Pace, proxy: Proxy | None = None) -> None:
        self.socket = connected
        self.proxy = proxy
        self._clock = clock
        self._pace = pace
        self._seconds = -1.0  # what the socket's time limit is
        self._ahead = b""  # what came after the head, or with a line; read up to _at
        self._at = 0

    def close(self) -> None:
        self.socket.close()

    def send_request(self, method: str, target: Target, headers: Mapping[str, str]) -> None:
        """A proxy is told the whole URL (RFC 9112 section 3.2.2), and who asks."""
        if self.proxy:
            onward = {name: value for name, value in headers.items() if name != "proxy-authorization"}
            self._send(f"{method} {target.url} HTTP/1.1", onward | self.proxy.headers)
        else:
            self._send(f"{method} {target.resource} HTTP/1.1", headers)

    def ask_for_tunnel(self, target: Target) -> None:
        """Of the proxy (RFC 9110 section 9.3.6). What the reply's head is followed by is the host's own."""
        assert self.proxy
        self._send(f"CONNECT {target.place} HTTP/1.1", {"host": target.place, **self.proxy.headers})

    def _send(self, first: str, headers: Mapping[str, str]) -> None:
        lines = [first, *(f"{name}: {value}" for name, value in headers.items())]
        self._limit(self._clock.left())
        self.socket.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1"))

    def _limit(self, seconds: float) -> None:
        """Set the time limit of the next operation: a system call, so only where it changes."""
        if seconds != self._seconds:
            self.socket.settimeout(seconds)
            self._seconds = seconds

    @property
    def has_more(self) -> bool:
        """Whether something came behind the head."""
        return self._at < len(self._ahead)

    def receive_head(self, max_head: int, max_headers: int, seconds: float) -> Head:
        """The final head; interim ones (1xx) are passed over. All of it must come in `seconds`. Raises Malformed,
        Short."""
        end = time.monotonic() + seconds
        for _ in range(_MAX_INTERIM):
            head = parse(self._head_block(max_head, end), max_headers)
            if head.status >= 200:
                return head
        raise Malformed("it sends interim replies without end")

    def _head_block(self, max_head: int, end: float) -> bytes:
        block = self._ahead
        while (found := _end_of_head(block)) is None:
            if len(block) > max_head:
                raise Malformed(f"the head of its reply has more than {max_head} bytes")
            self._limit(self._clock.left(max(end - time.monotonic(), 0)))
            more = self.socket.recv(_READ)
            if not more:
                raise Short("it closed the connection without a reply" if not block else "the head of its reply ended")
            block += more
        if found[0] > max_head:
            raise Malformed(f"the head of its reply has more than {max_head} bytes")
        self._ahead = block[found[1] :]
        return block[: found[0]]

    def readinto(self, view: memoryview) -> int:
        """As body.Source."""
        if held := len(self._ahead) - self._at:
            taken = min(held, len(view))
            view[:taken] = self._ahead[self._at : self._at + taken]
            self._at += taken
            return taken
        return self._receive(view)

    def _receive(self, view: memoryview) -> int:
        self._limit(self._clock.left())
        begun = time.monotonic()
        try:
            got = self.socket.recv_into(view)
        except TimeoutError:
            self._clock.left()  # which tells better if the whole is over
            raise
        self._pace.add(got, time.monotonic() - begun)
        return got

    def line(self, limit: int) -> bytes:
        """As body.Source."""
        while (end := self._ahead.find(b"\n", self._at)) < 0:
            self._ahead, self._at = self._ahead[self._at :], 0
            if len(self._ahead) > limit:
                raise Malformed("its reply has a line without end")
            more = memoryview(bytearray(_READ))
            got = self._receive(more)
            if not got:
                raise Short("the connection ended inside the body")
            self._ahead += more[:got]
        line, self._at = self._ahead[self._at : end], end + 1
        return line.removesuffix(b"\r")


def _end_of_head(block: bytes) -> tuple[int, int] | None:
    """Where the head ends and where the body begins."""
    ends = [(at, at + len(mark)) for mark in (b"\r\n\r\n", b"\n\n") if (at := block.find(mark)) >= 0]
    return min(ends, default=None)
