"""What a flow asks of its driver.

A flow is a generator: it yields commands, is sent their results, and returns what the whole comes to. It does no I/O
and knows no threads and no event loop, so one body of logic serves both worlds; `sync.py` and `aio.py` carry it out.
A command that fails is thrown into the flow as an `EntrepotError` or `OSError`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Body(Protocol):
    """Bytes to send. `chunks` begins anew on each call, so that a request can be repeated; it may block."""

    @property
    def size(self) -> int: ...

    def chunks(self) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Headers and URL may hold a credential: they are never shown. `silence` is for how many seconds
    the server may work on it without a byte, when that is longer than the client waits else."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Body | bytes = field(default=b"", repr=False)
    silence: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply, read whole. Header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request, once. Result: its Reply, whatever its status. Raises ConnectionFailed, TlsFailed."""

    request: Request


class Arriving(Protocol):
    """A reply whose body is on its way. Header names are lower case; `length` in bytes, None when not announced."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def length(self) -> int | None: ...

    def readinto(self, buffer: memoryview, /) -> int:
        """The next bytes at the front of `buffer`; 0 at the end. Raises what ends the sending of the request, also
        for a body that ends too soon."""
        ...


Take = Callable[[Arriving], None]


@dataclass(frozen=True, slots=True)
class Receive:
    """Send a request, once, and have `take` read the body of a success; it may block. Result: the Reply, whose body is
    that of a refusal. Raises as Send, and what `take` raises."""

    request: Request
    take: Take


@dataclass(frozen=True, slots=True)
class Sleep:
    """Do nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Call:
    """Do what may block: read and hash a file, keep state. Result: what `work` returns. In the asynchronous world
    `work` may be a coroutine function."""

    work: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Spawn:
    """Run a flow beside this one. Goes on when fewer than `limit` run; raises what one of them failed with."""

    flow: Flow[Any]
    limit: int


@dataclass(frozen=True, slots=True)
class Join:
    """Wait for all that was spawned. Result: their results in order of spawning. Raises what one failed with."""


@dataclass(frozen=True, slots=True)
class Alone:
    """Run a flow while no other of the same name runs in this client. Result: the flow's."""

    name: str
    flow: Flow[Any]


Command = Send | Receive | Sleep | Call | Spawn | Join | Alone
Flow = Generator[Command, Any, T]
