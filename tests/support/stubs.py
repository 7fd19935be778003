"""A small HTTP server on the loopback that says whatever a test wants, also what no honest server says.

with Stub(lambda asked: fair(asked) if asked.method == "PUT" else said(500)) as stub:
    ...  # talk to stub.url; stub.asked has every request that came whole
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

TICK = 0.02
SECONDS = 90.0


@dataclass(frozen=True)
class Asked:
    """One request. Header names are lower case."""

    stub: Stub
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


Answer = Callable[[Asked], bytes | None]


class Stub:
    """Each connection has a thread. `answer` gives the bytes of the reply; None ends the connection without one."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.kept: dict[str, bytes] = {}
        self.stopping = threading.Event()
        self._answer = answer
        self._tls = tls
        self._threads: list[threading.Thread] = []
        self._here = threading.local()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.settimeout(TICK)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"

    def said(self, method: str, end: str) -> list[Asked]:
        """The requests of a method whose path ends so."""
        return [each for each in self.asked if each.method == method and each.path.endswith(end)]

    def say(self, data: bytes) -> None:
        """Send bytes now, from inside an answer."""
        self._here.connection.sendall(data)

    def __enter__(self) -> Stub:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join(SECONDS)
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="stub", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                connection.settimeout(SECONDS)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                while (asked := self._read(connection)) is not None:
                    self.asked.append(asked)
                    self._here.connection = connection
                    reply = self._answer(asked)
                    if reply is None:
                        return
                    connection.sendall(reply)
                    if b"connection: close" in reply:
                        return

    def _read(self, connection: socket.socket) -> Asked | None:
        data = bytearray()
        while b"\r\n\r\n" not in data:
            if not self._more(connection, data):
                return None
        head, _, rest = bytes(data).partition(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = bytearray(rest)
        while len(body) < int(headers.get("content-length", 0)):
            if not self._more(connection, body):
                return None
        method, target, _ = start.split(" ")
        return Asked(self, method, target, headers, bytes(body))

    def _more(self, connection: socket.socket, data: bytearray) -> bool:
        """Some bytes; False at the end of the connection or of the test."""
        connection.settimeout(TICK)
        try:
            while not self.stopping.is_set():
                with contextlib.suppress(TimeoutError, ssl.SSLWantReadError):
                    got = connection.recv(1 << 16)
                    data += got
                    return bool(got)
            return False
        finally:
            connection.settimeout(SECONDS)


def said(status: int, body: bytes | str | dict[str, Any] | list[Any] = b"", **headers: str) -> bytes:
    """The bytes of a reply."""
    if isinstance(body, dict | list):
        headers = {"content_type": "application/json", **headers}
        body = json.dumps(body).encode()
    raw = body.encode() if isinstance(body, str) else body
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(raw)}\r\n{''.join(lines)}\r\n".encode() + raw


def token(base_url: str, **more: Any) -> dict[str, Any]:
    """What an honest server says to who wants a token."""
    day = {"created_at": "2026-01-01T00:00:00+00:00", "expires_at": "2026-01-02T00:00:00+00:00"}
    return {"token": "stub-token-9f3c", "token_type": "Bearer", "base_url": base_url, **day, **more}


def fair(asked: Asked) -> bytes:
    """What an honest server says. Parts are kept in `stub.kept` under their number."""
    url, stub = asked.stub.url, asked.stub
    file = f"{url}/files/b/0000/file.bin"
    match asked.method, asked.path.rpartition("/")[2]:
        case "POST", "token":
            return said(200, token(url))
        case "POST", "initiate":
            return said(200, {"file_url": file, "upload_url": f"{file}?signature=stub-signature-77"})
        case "POST", "initiate-multipart":
            return said(200, {"file_url": file, "upload_url": f"{file}/multipart/u1?signature=stub-signature-77"})
        case "POST", "upload":
            return said(200, {"access_url": file, "uploaded": True})
        case "POST", "multipart":
            return said(200, {"access_url": file, "uploadId": "u1"})
        case "POST", "complete":
            return said(200, {"access_url": file, "size": sum(map(len, stub.kept.values()))})
        case "PUT", number if number.isdigit():
            stub.kept[number] = asked.body
            etag = hashlib.sha256(asked.body).hexdigest()
            return said(200, {"partNumber": int(number), "etag": etag}, etag=f'"{etag}"')
        case "PUT", _:
            return said(200)
        case "GET", _:
            parts = [
                {"partNumber": int(n), "size": len(b), "digest": f"sha256:{hashlib.sha256(b).hexdigest()}"}
                for n, b in stub.kept.items()
            ]
            return said(200, {"state": "open", "parts": parts})
        case "DELETE", _:
            return said(204)
    return said(404, {"detail": "Not Found"})
