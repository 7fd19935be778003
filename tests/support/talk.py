"""Plain HTTP with a test server: what is asked goes out as it is spelled, and nothing follows a redirect."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from support import rawhttp
from support.server import Server

Value = str | bytes
SECONDS = 90.0


@dataclass(frozen=True)
class Reply:
    """A whole answer. Header names are lower case; `pairs` has every header as it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    pairs: list[tuple[str, str]] = field(default_factory=list)

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Talk:
    """Requests to one server, each on a connection of its own. A full URL is asked of this server whatever its host
    says, as a name that resolves to it would be."""

    server: Server
    tls: ssl.SSLContext | None = None

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, Value] | None = None,
        body: bytes | Iterable[bytes] | None = None,
    ) -> Reply:
        parts = urlsplit(target)
        if parts.scheme:
            target = target[len(f"{parts.scheme}://{parts.netloc}") :] or "/"
        connection = self._connect()
        try:
            chunked = body is not None and not isinstance(body, bytes)
            connection.request(method, target, body, dict(headers or {}), encode_chunked=chunked)
            got = connection.getresponse()
            pairs = [(name.lower(), value) for name, value in got.getheaders()]
            return Reply(got.status, dict(pairs), got.read(), pairs)
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=SECONDS)
        return http.client.HTTPSConnection("127.0.0.1", self.server.port, timeout=SECONDS, context=self.tls)

    def get(self, target: str, **headers: Value) -> Reply:
        return self.ask("GET", target, named(headers))

    def head(self, target: str, **headers: Value) -> Reply:
        return self.ask("HEAD", target, named(headers))

    def put(self, target: str, body: bytes, **headers: Value) -> Reply:
        return self.ask("PUT", target, named(headers), body)

    @property
    def key(self) -> dict[str, str]:
        """The header of the server's first key."""
        return {"authorization": f"Key {self.server.key}"}

    def post(self, target: str, body: bytes = b"", **headers: Value) -> Reply:
        """POST with the server's key, unless `authorization` says otherwise."""
        return self.ask("POST", target, {**self.key, **named(headers)}, body)

    def post_json(self, target: str, value: Any, **headers: Value) -> Reply:
        return self.post(target, json.dumps(value).encode(), content_type="application/json", **headers)

    def upload(self, data: bytes, **headers: Value) -> str:
        """Store bytes and return their URL: `upload(b"...", content_type="image/png", x_fal_file_name="a.png")`."""
        reply = self.post("/files/upload", data, **headers)
        assert reply.status == 200, (reply.status, reply.body)
        return str(reply.json()["access_url"])

    def initiate(self, name: str = "cat.png", content_type: str = "image/png", **headers: Value) -> dict[str, str]:
        wish = {"file_name": name, "content_type": content_type}
        reply = self.post_json("/storage/upload/initiate", wish, **headers)
        assert reply.status == 200, (reply.status, reply.body)
        return dict(reply.json())

    def token(self, **headers: Value) -> str:
        """`Bearer <CDN token>`."""
        reply = self.post("/storage/auth/token?storage_type=fal-cdn-v3", b"{}", **headers)
        assert reply.status == 200, (reply.status, reply.body)
        return f"Bearer {reply.json()['token']}"


class Line(rawhttp.Connection):
    """One TCP connection to a server, byte by byte, with short words for what most tests say and hear."""

    def send_head(self, method: str, target: str, **headers: Value) -> None:
        self.send(rawhttp.request(method, target, named(headers)))

    def send_chunk(self, data: bytes) -> None:
        self.send(rawhttp.chunk(data))

    def receive_exactly(self, size: int) -> bytes:
        """So many bytes, or fewer at the end of the connection."""
        data = b""
        while len(data) < size and (more := self._received(size - len(data))):
            data += more
        return data

    def rest(self) -> bytes:
        """All until the end of the connection, however it came."""
        return b"".join(iter(lambda: self._received(1 << 20), b""))

    def answer(self, method: str = "GET") -> Reply:
        """The next whole answer, after any interim ones."""
        got = self.reply(method)
        pairs = [(name.decode().lower(), value.decode("latin-1")) for name, value in got.headers]
        return Reply(got.status, dict(pairs), got.body, pairs)

    def _received(self, most: int) -> bytes:
        try:
            return self.receive(most)
        except ConnectionResetError:
            return b""


def line(server: Server, receive_buffer: int = 0) -> Line:
    """A connection, closed at the end of its `with` block."""
    return Line.open(server.port, seconds=SECONDS, receive_buffer=receive_buffer)


def named(headers: Mapping[str, Value]) -> dict[str, Value]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def eventually(holds: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Wait until something is true, and return it; fail when it never is."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.02)
    return found
