"""HTTP/1.1 over a bare socket: exactly the given bytes go out, and what comes back is read strictly.

A reply is whole only if its framing says so: a body that ends early is `Truncated`, never a shorter body.
Every operation has a deadline, so that a silent server fails a test and does not hang it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import TracebackType
from typing import Self

SECONDS = 90.0
MAX_HEAD = 1 << 20
MAX_INTERIM = 16
READ = 1 << 16

Pair = tuple[bytes, bytes]


class Malformed(Exception):
    """What came is not HTTP/1.1, or its end cannot be told."""


class Truncated(Exception):
    """The connection ended inside a reply, or before one. `reply` has what came, None if the head was cut."""

    def __init__(self, reply: Reply | None, got: bytes) -> None:
        super().__init__(f"the {'body' if reply else 'head'} ended early, after {len(got)} bytes")
        self.reply = reply
        self.got = got


class Framing(Enum):
    """What tells where a body ends."""

    NONE = "no body"
    LENGTH = "content-length"
    CHUNKED = "chunked"
    CLOSE = "end of the connection"


@dataclass(frozen=True)
class Reply:
    """One answer. Headers are as they came: order, case, duplicates and bytes."""

    version: bytes
    status: int
    reason: bytes
    headers: list[Pair]
    framing: Framing = Framing.NONE
    body: bytes = b""
    trailers: list[Pair] = field(default_factory=list)

    def values(self, name: str) -> list[bytes]:
        """All values of a header, in order."""
        wanted = name.lower().encode()
        return [value for key, value in self.headers if key.lower() == wanted]

    def header(self, name: str) -> bytes | None:
        """The value of a header that may occur once at most."""
        found = self.values(name)
        if len(found) > 1:
            raise Malformed(f"{name} occurs {len(found)} times: {found}")
        return found[0] if found else None


def request(
    method: str,
    target: str | bytes,
    headers: Mapping[str, str | bytes] | Iterable[Pair] = (),
    body: bytes = b"",
    *,
    version: str = "HTTP/1.1",
) -> bytes:
    """The bytes of a request. Nothing is checked or escaped; a mapping without a Host gets one."""
    pairs = _pairs(headers) if isinstance(headers, Mapping) else list(headers)
    start = b"%s %s %s" % (method.encode(), _as_bytes(target), version.encode())
    lines = [start, *(b"%s: %s" % pair for pair in pairs)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    """One chunk of a chunked body. `chunk(b"")` is the last, and ends the body without trailers."""
    return b"%x%s\r\n%s\r\n" % (len(data), extension, data)


class Connection:
    """One TCP or TLS connection. Bytes that came and were not asked for yet stay for the next read."""

    def __init__(self, sock: socket.socket, seconds: float = SECONDS) -> None:
        self.socket = sock
        self.seconds = seconds
        self.broken = False  # the other side ended it with RST, or TLS without a farewell
        self._buffer = bytearray()

    @classmethod
    def open(
        cls,
        port: int,
        host: str = "127.0.0.1",
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "localhost",
        seconds: float = SECONDS,
        receive_buffer: int = 0,
    ) -> Self:
        """Connect. With a small `receive_buffer` the sender feels early that nobody reads."""
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(seconds)
            sock.connect((host, port))
            if tls is not None:
                sock = tls.wrap_socket(sock, server_hostname=server_name, suppress_ragged_eofs=False)
            return cls(sock, seconds)
        except BaseException:
            sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Sending

    def send(self, data: bytes) -> None:
        self.socket.settimeout(self.seconds)
        self.socket.sendall(data)

    def send_slowly(self, data: bytes, step: int, pause: float) -> None:
        """Send `step` bytes at a time. Each has the deadline of its own."""
        for start in range(0, len(data), step):
            self.send(data[start : start + step])
            time.sleep(pause)

    def send_until_refused(self, data: bytes, times: int, seconds: float) -> int:
        """Send `data` so many times, or until the other side ends it or reads nothing for `seconds`.

        Returns how much was sent whole; of the next piece a part may have gone out.
        """
        self.socket.settimeout(seconds)
        for count in range(times):
            try:
                self.socket.sendall(data)
            except OSError:
                return count * len(data)
        return times * len(data)

    def half_close(self) -> None:
        """Send FIN: nothing more will be said, replies can still be read. TLS cannot do this."""
        if isinstance(self.socket, ssl.SSLSocket):
            raise ValueError("TLS has no half-close that leaves the connection readable")
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End it with RST; what is under way in either direction is lost."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """End it with FIN, or with RST if something came that was never received; TLS without a farewell."""
        self.socket.close()

    # Receiving

    def receive(self, most: int = READ, *, seconds: float | None = None) -> bytes:
        """Some bytes, or b"" at the end of the connection, however it ended. TimeoutError if none come."""
        if self._buffer:
            return self._take(min(most, len(self._buffer)))
        return self._recv(most, time.monotonic() + (self.seconds if seconds is None else seconds))

    def receive_all(self, most: int = 1 << 30) -> bytes:
        """Everything up to the end of the connection, which must come within the deadline."""
        deadline = time.monotonic() + self.seconds
        while self._fill(deadline):
            if len(self._buffer) > most:
                raise Malformed(f"more than {most} bytes came")
        return self._take(len(self._buffer))

    def receive_slowly(self, step: int, pause: float, most: int) -> bytes:
        """Take `step` bytes at a time, until `most` came or the connection ends."""
        got = bytearray()
        while len(got) < most and (data := self.receive(min(step, most - len(got)))):
            got += data
            time.sleep(pause)
        return bytes(got)

    def ends_within(self, seconds: float) -> bool:
        """Whether the other side ends the connection in this time. What comes before that is kept."""
        deadline = time.monotonic() + seconds
        with contextlib.suppress(TimeoutError):
            while self._fill(deadline):
                pass
            return True
        return False

    # Replies

    def ask(self, data: bytes, method: str = "GET") -> Reply:
        """Send bytes and read the final reply. `method` is the request's: a reply to HEAD has no body."""
        self.send(data)
        return self.reply(method)

    def reply(self, method: str = "GET") -> Reply:
        """The next final reply; interim ones (1xx) are passed over."""
        for _ in range(MAX_INTERIM):
            got = self.next_reply(method)
            if got.status >= 200 or got.status == 101:
                return got
        raise Malformed(f"more than {MAX_INTERIM} interim replies")

    def next_reply(self, method: str = "GET") -> Reply:
        """The next reply, interim or final."""
        deadline = time.monotonic() + self.seconds
        head = self._head(deadline)
        head = replace(head, framing=_framing(head, method))
        body = bytearray()
        try:
            trailers = self._body(head, body, deadline)
        except _EndedEarly:
            raise Truncated(replace(head, body=bytes(body)), bytes(body)) from None
        return replace(head, body=bytes(body), trailers=trailers)

    def head(self) -> Reply:
        """The head of the next reply; its body is left to be received byte by byte."""
        return self._head(time.monotonic() + self.seconds)

    def _head(self, deadline: float) -> Reply:
        try:
            return _parse_head(self._up_to(b"\r\n\r\n", deadline))
        except _EndedEarly:
            raise Truncated(None, self._take(len(self._buffer))) from None

    def _body(self, head: Reply, body: bytearray, deadline: float) -> list[Pair]:
        """Read into `body`, so that it holds what came when this fails. Returns the trailers."""
        match head.framing:
            case Framing.LENGTH:
                self._read_into(body, int(head.values("content-length")[0]), deadline)
            case Framing.CHUNKED:
                return self._chunks(body, deadline)
            case Framing.CLOSE:
                while self._fill(deadline):
                    pass
                body += self._take(len(self._buffer))
                if self.broken:
                    raise _EndedEarly
            case Framing.NONE:
                pass
        return []

    def _chunks(self, body: bytearray, deadline: float) -> list[Pair]:
        while size := _chunk_size(self._up_to(b"\r\n", deadline)):
            self._read_into(body, size, deadline)
            if self._up_to(b"\r\n", deadline):
                raise Malformed("a chunk is longer than it said")
        trailers = []
        while line := self._up_to(b"\r\n", deadline):
            trailers.append(_parse_pair(line))
        return trailers

    def _read_into(self, body: bytearray, size: int, deadline: float) -> None:
        while size:
            if not self._buffer and not self._fill(deadline):
                raise _EndedEarly
            piece = self._take(min(size, len(self._buffer)))
            body += piece
            size -= len(piece)

    def _up_to(self, mark: bytes, deadline: float) -> bytes:
        """What comes before a mark, which is taken too."""
        searched = 0
        while (at := self._buffer.find(mark, searched)) < 0:
            searched = max(0, len(self._buffer) - len(mark) + 1)
            if len(self._buffer) > MAX_HEAD:
                raise Malformed(f"no {mark!r} within {MAX_HEAD} bytes")
            if not self._fill(deadline):
                raise _EndedEarly
        return self._take(at + len(mark))[:at]

    def _fill(self, deadline: float) -> bool:
        """Read once into the buffer; False at the end of the connection."""
        data = self._recv(READ, deadline)
        self._buffer += data
        return bool(data)

    def _recv(self, most: int, deadline: float) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("nothing came in time")
        self.socket.settimeout(left)
        try:
            return self.socket.recv(most)
        except (ConnectionResetError, ssl.SSLEOFError):
            self.broken = True
            return b""

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data


class _EndedEarly(Exception):
    """The connection ended where more had to come."""


def _parse_head(data: bytes) -> Reply:
    start, *lines = data.split(b"\r\n")
    version, _, rest = start.partition(b" ")
    status, _, reason = rest.partition(b" ")
    if not version.startswith(b"HTTP/1.") or len(status) != 3 or not status.isdigit():
        raise Malformed(f"not a status line: {start!r}")
    return Reply(version, int(status), reason, [_parse_pair(line) for line in lines])


def _parse_pair(line: bytes) -> Pair:
    name, colon, value = line.partition(b":")
    if not colon or not name or name != name.strip() or b"\n" in line or b"\r" in line:
        raise Malformed(f"not a header: {line!r}")
    return name, value.strip(b" \t")


def _framing(head: Reply, method: str) -> Framing:
    """RFC 9112, section 6.3."""
    lengths, codings = head.values("content-length"), head.values("transfer-encoding")
    if len(lengths) > 1 or (lengths and codings) or not all(value.isdigit() for value in lengths):
        raise Malformed(f"ambiguous framing: content-length {lengths}, transfer-encoding {codings}")
    if method == "HEAD" or head.status < 200 or head.status in (204, 304):
        return Framing.NONE
    if codings:
        if [value.lower() for value in codings] != [b"chunked"]:
            raise Malformed(f"unknown transfer-encoding: {codings}")
        return Framing.CHUNKED
    return Framing.LENGTH if lengths else Framing.CLOSE


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].rstrip(b" \t")
    if not digits or digits.strip(b"0123456789abcdefABCDEF"):
        raise Malformed(f"not a chunk size: {line!r}")
    return int(digits, 16)


def _pairs(headers: Mapping[str, str | bytes]) -> list[Pair]:
    named = [(name.encode(), _as_bytes(value)) for name, value in headers.items()]
    has_host = any(name.lower() == b"host" for name, _ in named)
    return named if has_host else [(b"Host", b"localhost"), *named]


def _as_bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
