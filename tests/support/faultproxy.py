"""A TCP proxy on the loopback that does to connections what networks do: cut, reset, stall, repeat.

    with FaultProxy(server.port, [Cut(DOWN, 1000), None, Stall(UP, 0, 2.0)]) as proxy:
        ...  # talk to proxy.port: the first connection is cut, the second left alone, the third stalls

A fault takes effect when `after` bytes were passed on in its direction; with `after=0`, when the first byte
comes, and that byte is not passed. So `Cut(DOWN, 0)` loses the whole answer to a request that the server has
carried out. The proxy knows nothing of HTTP or TLS. Each connection has one thread and a deadline.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType

SECONDS = 90.0
GRACE = 1.0  # how long the late bytes of a cut connection are still taken, and lost
TICK = 0.02
READ = 1 << 16


class Direction(Enum):
    UP = "client to server"
    DOWN = "server to client"


UP, DOWN = Direction.UP, Direction.DOWN


@dataclass(frozen=True)
class Cut:
    """End both sides with FIN."""

    direction: Direction
    after: int


@dataclass(frozen=True)
class Reset:
    """End both sides with RST. Bytes that were passed just before may be lost."""

    direction: Direction
    after: int


@dataclass(frozen=True)
class HalfClose:
    """Pass FIN in this direction and lose what still comes; the other direction goes on."""

    direction: Direction
    after: int


@dataclass(frozen=True)
class Stall:
    """For `seconds` pass nothing and read nothing, so that the sender feels it."""

    direction: Direction
    after: int
    seconds: float


@dataclass(frozen=True)
class Dribble:
    """From here on pass `step` bytes every `pause` seconds."""

    direction: Direction
    after: int
    step: int = 1
    pause: float = 0.05


@dataclass(frozen=True)
class Duplicate:
    """Pass the last `count` bytes once more."""

    direction: Direction
    after: int
    count: int


@dataclass(frozen=True)
class Replay:
    """When the connection has ended, say all that the client said to the server again, on a new connection.

    The answers are lost. This is how a request is delivered twice.
    """


Timed = Cut | Reset | HalfClose | Stall | Dribble | Duplicate
Fault = Timed | Replay
Faults = Fault | Sequence[Fault] | None
Plan = Sequence[Faults] | Callable[[int], Faults]


@dataclass
class Passage:
    """What became of one connection. A byte that was passed twice counts once."""

    number: int
    passed: dict[Direction, int] = field(default_factory=lambda: {UP: 0, DOWN: 0})
    met: list[Fault] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


class FaultProxy:
    """Passes connections on to a server, each with the faults that `plan` has for its number, from 0.

    Connections after the end of a plan that is a list are left alone. `passages` tells what happened.
    """

    port: int

    def __init__(
        self,
        server_port: int,
        plan: Plan = (),
        *,
        server_host: str = "127.0.0.1",
        seconds: float = SECONDS,
    ) -> None:
        self.passages: list[Passage] = []
        self._server = (server_host, server_port)
        self._plan = plan
        self._seconds = seconds
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> FaultProxy:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.settimeout(TICK)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(self._seconds)
        self._listener.close()

    def wait(self, count: int, seconds: float = SECONDS) -> list[Passage]:
        """The first `count` connections, once they have ended."""
        deadline = time.monotonic() + seconds
        while sum(passage.ended.is_set() for passage in self.passages[:count]) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{count} connections did not end: {self.passages}")
            time.sleep(TICK)
        return self.passages[:count]

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="fault-proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            passage = Passage(len(self.passages))
            self.passages.append(passage)
            self._start(self._pass, client, passage)

    def _pass(self, client: socket.socket, passage: Passage) -> None:
        try:
            faults = self._faults(passage.number)
            said = self._pass_between(client, faults, passage)
            for fault in faults:
                if isinstance(fault, Replay):
                    passage.met.append(fault)
                    self._say_again(said)
        except OSError:
            pass  # the server cannot be reached, or one side is gone: the client's connection has ended
        finally:
            client.close()
            passage.ended.set()

    def _faults(self, number: int) -> list[Fault]:
        if callable(self._plan):
            planned = self._plan(number)
        else:
            planned = self._plan[number] if number < len(self._plan) else None
        if planned is None:
            return []
        return list(planned) if isinstance(planned, Sequence) else [planned]

    def _pass_between(self, client: socket.socket, faults: list[Fault], passage: Passage) -> bytes:
        with socket.create_connection(self._server, self._seconds) as server:
            flow = _Flow(client, server, faults, passage)
            flow.run(self._stopping, time.monotonic() + self._seconds)
            client.close()
            return bytes(flow.said)

    def _say_again(self, said: bytes) -> None:
        with socket.create_connection(self._server, self._seconds) as server:
            reader = threading.Thread(target=_drain, args=(server, GRACE), daemon=True)
            reader.start()
            server.settimeout(self._seconds)
            server.sendall(said)
            reader.join(GRACE)


class _Ended(Exception):
    """Nothing more is passed on in either direction."""


class _Way:
    """One direction. At most one read is held between its two sockets."""

    def __init__(self, source: socket.socket, sink: socket.socket, faults: list[Timed]) -> None:
        self.source = source
        self.sink = sink
        self.faults = sorted(faults, key=lambda fault: fault.after)
        self.pending = b""
        self.passed = 0
        self.recent = b""
        self.not_before = 0.0
        self.step = READ
        self.pause = 0.0
        self.losing = False
        self.at_end = False
        self._remember = max((fault.count for fault in faults if isinstance(fault, Duplicate)), default=0)

    def reads(self, now: float) -> bool:
        return not self.at_end and not self.pending and now >= self.not_before

    def writes(self, now: float) -> bool:
        return bool(self.pending) and now >= self.not_before

    def due(self, now: float) -> bool:
        """Whether the next fault is met, without a further byte."""
        return bool(self.faults) and 0 < self.faults[0].after == self.passed and now >= self.not_before

    def due_at_first_byte(self) -> bool:
        return bool(self.faults) and self.faults[0].after == self.passed == 0

    def read(self) -> bytes:
        """What has come, but not beyond the next fault; b"" at the end."""
        room = self.faults[0].after - self.passed if self.faults and not self.losing else READ
        data = self.source.recv(min(READ, room))
        self.at_end = not data
        return data

    def write(self) -> None:
        sent = self.sink.send(self.pending[: self.step])
        if self._remember:
            self.recent = (self.recent + self.pending[:sent])[-self._remember :]
        self.pending = self.pending[sent:]
        self.passed += sent
        self.not_before = time.monotonic() + self.pause

    def repeat(self, count: int) -> None:
        self.pending = self.recent[-count:]
        self.passed -= len(self.pending)

    def end(self) -> None:
        """Pass the end of the stream on."""
        with contextlib.suppress(OSError):
            self.sink.shutdown(socket.SHUT_WR)


class _Flow:
    """Both directions of one connection."""

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        faults: list[Fault],
        passage: Passage,
    ) -> None:
        self.said = bytearray()  # by the client, if it is to be said again
        self._records = any(isinstance(fault, Replay) for fault in faults)
        self._sockets = (client, server)
        self._passage = passage
        timed = [fault for fault in faults if not isinstance(fault, Replay)]
        self._ways = {
            UP: _Way(client, server, [fault for fault in timed if fault.direction is UP]),
            DOWN: _Way(server, client, [fault for fault in timed if fault.direction is DOWN]),
        }
        for sock in self._sockets:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self, stopping: threading.Event, deadline: float) -> None:
        try:
            while not stopping.is_set() and time.monotonic() < deadline and self._open():
                self._turn(time.monotonic())
        except _Ended:
            pass
        except OSError:
            self._reset()  # one side was reset: so is the other

    def _open(self) -> bool:
        return not all(way.at_end for way in self._ways.values())

    def _turn(self, now: float) -> None:
        ready = self._poll(now)
        for direction, way in self._ways.items():
            with contextlib.suppress(BlockingIOError):
                if way.writes(now) and ready.get(way.sink.fileno(), 0) & ~select.POLLIN:
                    way.write()
                elif way.reads(now) and ready.get(way.source.fileno(), 0) & ~select.POLLOUT:
                    self._read(direction, way)
            self._passage.passed[direction] = way.passed
            while way.due(time.monotonic()):
                self._meet(way)

    def _poll(self, now: float) -> dict[int, int]:
        poller = select.poll()
        masks: dict[int, int] = {}
        for way in self._ways.values():
            if way.reads(now):
                masks[way.source.fileno()] = masks.get(way.source.fileno(), 0) | select.POLLIN
            if way.writes(now):
                masks[way.sink.fileno()] = masks.get(way.sink.fileno(), 0) | select.POLLOUT
        for handle, mask in masks.items():
            poller.register(handle, mask)
        return dict(poller.poll(TICK * 1000))

    def _read(self, direction: Direction, way: _Way) -> None:
        if way.due_at_first_byte() and way.source.recv(1, socket.MSG_PEEK):
            self._meet(way)
            return
        data = way.read()
        if not data:
            way.end()
        elif not way.losing:
            way.pending = data
            if self._records and direction is UP:
                self.said += data

    def _meet(self, way: _Way) -> None:
        """Carry out the next fault."""
        fault = way.faults.pop(0)
        self._passage.met.append(fault)
        match fault:
            case Cut():
                self._cut()
                raise _Ended
            case Reset():
                self._reset()
                raise _Ended
            case HalfClose():
                way.end()
                way.losing = True
                way.faults.clear()
            case Stall():
                way.not_before = time.monotonic() + fault.seconds
            case Dribble():
                way.step, way.pause = fault.step, fault.pause
            case Duplicate():
                way.repeat(fault.count)

    def _cut(self) -> None:
        """FIN to both. What they still say is taken and lost, or the kernel would make it a RST."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
        for sock in self._sockets:
            _drain(sock, GRACE / 2)

    def _reset(self) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()


def _drain(sock: socket.socket, seconds: float) -> None:
    """Read and lose, up to the end or for this long."""
    deadline = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            if not sock.recv(READ):
                return
