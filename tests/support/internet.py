"""An internet on the loopback: names with public-looking addresses, and servers that misbehave on purpose.

    with Internet() as net:
        net.host("files.example.com", ["93.184.216.34"], handler)
        Fetcher(Policy(), net).open("http://files.example.com/x")

The stub resolver answers with the addresses that were given; a connection to one of them goes to the loopback server
behind it. Every lookup, connection and byte sent is on record.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from entrepot.fetch import Fetcher
from entrepot.fetch.response import Response

SECONDS = 90.0
PUBLIC = "93.184.216.34"
OTHER = "151.101.1.69"


@dataclass
class Request:
    """What a client sent; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Reply:
    """What a server sends: `head` lines and a body, cut after `cut` bytes of it. `raw` instead of all that. Behind
    its first KiB a body that drips comes byte by byte, each after so many seconds."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    raw: bytes | None = None
    length: bool = True
    drip: float = 0.0
    pause: threading.Event | None = None  # after the cut the connection stays open until it is set

    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} x", *(f"{name}: {value}" for name, value in self.headers.items())]
        lines.append("Connection: close")  # else a client may send its next request as the connection goes
        if self.length and "content-length" not in {name.lower() for name in self.headers}:
            lines.append(f"Content-Length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


Handler = Callable[[Request], Reply]


class Site:
    """A server on a free port of the loopback; `requests` and `sent` (body bytes) are counted."""

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        self.handler = handler
        self.tls = tls
        self.requests: list[Request] = []
        self.sent = 0
        self._guard = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, method: str) -> int:
        return sum(request.method == method for request in self.requests)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(SECONDS)
        with contextlib.suppress(OSError), connection:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection:
                request = _read(connection)
                if request is None:
                    return
                with self._guard:
                    self.requests.append(request)
                self._answer(connection, request, self.handler(request))

    def _answer(self, connection: socket.socket, request: Request, reply: Reply) -> None:
        if reply.raw is not None:
            connection.sendall(reply.raw)
        else:
            connection.sendall(reply.head())
            if request.method != "HEAD":
                body = memoryview(reply.body)[: reply.cut]
                start = 0
                while start < len(body):
                    piece = body[start : start + (65536 if not reply.drip else 1 if start else 1024)]
                    time.sleep(reply.drip)
                    with self._guard:  # before a client can have it: who has the last byte finds all counted
                        self.sent += len(piece)
                    connection.sendall(piece)
                    start += len(piece)
        if reply.pause:
            reply.pause.wait(SECONDS)


def _read(connection: socket.socket) -> Request | None:
    block = b""
    while b"\r\n\r\n" not in block:
        more = connection.recv(65536)
        if not more:
            return None
        block += more
    first, *lines = block.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    return Request(method, path, {name.lower(): value.strip() for name, _, value in pairs})


class Internet:
    """Names, their addresses, and what answers there. Serves as the `network` of a Fetcher."""

    def __init__(self) -> None:
        self.names: dict[str, list[Sequence[str]]] = {}
        self.sites: dict[tuple[str, int], Site] = {}
        self.lookups: list[str] = []
        self.connections: list[tuple[str, int]] = []

    def host(
        self,
        name: str,
        addresses: Sequence[str],
        handler: Handler | None = None,
        port: int = 80,
        tls: ssl.SSLContext | None = None,
    ) -> Site | None:
        """A name with these addresses. Called again for a name, it tells the next lookup's answer."""
        self.names.setdefault(name, []).append(addresses)
        if handler is None:
            return None
        site = Site(handler, tls)
        for address in addresses:
            self.sites[address, port] = site
        return site

    def serve(self, handler: Handler, name: str = "files.example.com", address: str = PUBLIC) -> Site:
        """A public host that this handler answers for."""
        site = self.host(name, [address], handler)
        assert site
        return site

    def resolve(self, host: str, port: int) -> Sequence[str]:
        self.lookups.append(host)
        answers = self.names.get(host)
        if answers is None:
            with contextlib.suppress(OSError):
                return [str(socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)[0][4][0])]
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def connect(self, address: str, port: int, seconds: float) -> socket.socket:
        self.connections.append((address, port))
        site = self.sites.get((address, port))
        if site is None:
            raise ConnectionRefusedError(111, "Connection refused")
        return socket.create_connection(("127.0.0.1", site.port), seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for site in set(self.sites.values()):
            site.close()


def body_of(response: Response) -> bytes:
    """All bytes of a reply."""
    return b"".join(bytes(chunk) for chunk in response.chunks())


def fetched(fetcher: Fetcher, url: str, max_bytes: int = 100) -> bytes:
    """The body of a 200."""
    with fetcher.open(url, max_bytes=max_bytes) as response:
        response.expect(200)
        return body_of(response)
