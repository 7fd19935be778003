"""The two clients: wrk for many requests, a plain socket for one large body. Neither is to be the limit."""

from __future__ import annotations

import functools
import os
import re
import socket
import subprocess
import time
from pathlib import Path

from benchmarks.cases import Measured


def wrk(port: int, path: str, seconds: float, connections: int, script: Path | None = None) -> Measured:
    """Successful requests a second. Any other reply, or a broken connection, is an error."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s"]
    command += ["-s", str(script)] if script else []
    text = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True
    ).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    requests = re.search(r"(\d+) requests in", text)
    if rate is None or requests is None or "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"wrk had failures:\n{text}")
    return Measured(float(rate[1]), int(requests[1]))


@functools.cache
def body(size: int) -> int:
    """The descriptor of a file in memory of `size` random bytes, which repeat; it stays open for other cases."""
    fd = os.memfd_create("body")
    block = os.urandom(min(size, 10_000_000))
    for start in range(0, size, len(block)):
        os.write(fd, block[: size - start])
    return fd


def put(port: int, path: str, body_fd: int, size: int, start: int = 0, key: str = "") -> str:
    """One PUT of `size` bytes from an open file, by sendfile; returns when the reply is there, its ETag if it has
    one."""
    head = _head("PUT", port, path, key, f"Content-Length: {size}\r\n")
    with socket.create_connection(("127.0.0.1", port), 120) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(head.encode())
        connection.setblocking(True)
        offset, end = start, start + size
        while offset < end:
            offset += os.sendfile(connection.fileno(), body_fd, offset, end - offset)
        reply = connection.recv(65536)
    if not re.match(rb"HTTP/1\.1 20[014] ", reply):
        raise RuntimeError(f"PUT {path} was refused: {reply[:200]!r}")
    etag = re.search(rb'(?i)\r\netag: "?([^"\r]*)', reply)
    return etag[1].decode() if etag else ""


def get(port: int, path: str, key: str = "") -> int:
    """One GET; how many bytes the body had. They are received and dropped."""
    with socket.create_connection(("127.0.0.1", port), 120) as connection:
        connection.sendall(_head("GET", port, path, key).encode())
        head = connection.recv(65536)
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        status, _, begun = head.partition(b"\r\n\r\n")
        if not status.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"GET {path} was refused: {head[:200]!r}")
        room, received = bytearray(1 << 20), len(begun)
        while taken := connection.recv_into(room):
            received += taken
    return received


def _head(method: str, port: int, path: str, key: str, more: str = "") -> str:
    more += f"Authorization: Key {key}\r\n" if key else ""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{more}Connection: close\r\n\r\n"


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start
