"""What the ASGI server leaves to the operating system: a port of our own, certificates that work, and
an end for stalled connections."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import resource
import socket
import ssl
import stat
import struct
import termios
from collections.abc import Collection, Iterator
from pathlib import Path

from entrepot.settings import SettingsError

_WANTED_FILES = 65_536
_OWN_FILES = 160  # catalogue, threads, sockets of the worker itself
_LOOKS = 200
_LOOK_SECONDS = 0.05


def check_port(host: str, port: int) -> None:
    """Refuse a port that is taken: the workers share theirs by SO_REUSEPORT, which two servers could do unnoticed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            flag = "--port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "--host"
            raise SettingsError(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another {flag}.") from None


def check_certificate(chain: Path, key: Path) -> None:
    """Refuse TLS files that cannot be used, before anything is started. A key under a passphrase is one of them."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, password="")
    except OSError as error:
        raise SettingsError(
            f"tls_cert {chain} and tls_key {key} cannot be used: {error.strerror or error}. "
            "Both must be PEM files that belong together, the key without a passphrase."
        ) from None


def raise_file_limit() -> None:
    """Take as many file handles as the system grants without being asked: the usual 1024 are few for a server."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def possible_connections(wanted: int) -> int:
    """Connections that a worker can hold when each may need two handles: more wait, and none fails for want of one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, (soft - _OWN_FILES) // 2))


async def end_stalled_connections(seconds: float) -> None:
    """Let the kernel end connections whose peer has taken nothing for so long.

    A reply that nobody reads can be given up by the app, but its connection would stay, with its buffers and its place
    among the connections of the worker. The option is set on the listening socket, which the server opens after
    start-up, and accepted connections inherit it. Only Linux has it.
    """
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None or not os.path.isdir("/proc/self/fd"):
        return
    for _ in range(_LOOKS):
        if _set_on_listeners(option, max(1, int(seconds * 1000))):
            return
        await asyncio.sleep(_LOOK_SECONDS)


def _set_on_listeners(option: int, value: int) -> bool:
    found = False
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), _copy(int(name)) as copy:
            if copy.type == socket.SOCK_STREAM and copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                copy.setsockopt(socket.IPPROTO_TCP, option, value)
                found = True
    return found


def _copy(fd: int) -> socket.socket:
    """A second handle of a socket; OSError for anything else, which must not be left open by the attempt."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    return socket.socket(fileno=os.dup(fd))


_TAKEN = struct.Struct("=120xQ")  # `tcpi_bytes_acked` of Linux's `struct tcp_info`


def sockets_of(peers: Collection[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
    """Of each of this process's connections to these clients that is there: bytes that wait in the kernel, and bytes
    that the client has ever taken."""
    found = {}
    for peer, connection in _connections(peers):
        with contextlib.suppress(OSError):
            waiting = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TAKEN.size)
            found[peer] = (waiting, _TAKEN.unpack(info)[0])
    return found


def end_connections(peers: Collection[tuple[str, int]]) -> None:
    """End the connections to these clients at once; what was still to be sent is thrown away."""
    for _, connection in _connections(peers):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.shutdown(socket.SHUT_RDWR)


def _connections(peers: Collection[tuple[str, int]]) -> Iterator[tuple[tuple[str, int], socket.socket]]:
    """Second handles of this process's connections to these clients, each open until the next is asked for."""
    for name in os.listdir("/proc/self/fd") if peers else ():
        # An error is of a handle that is none of a connection, or was closed meanwhile.
        with contextlib.suppress(OSError), _copy(int(name)) as connection:
            if connection.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            host, port = connection.getpeername()[:2]
            peer = (host.partition("%")[0], port)  # without the interface of a local address
            if peer in peers:
                yield peer, connection


# Linux only, as is what they read.
KNOWS_SOCKETS = os.path.isdir("/proc/self/fd") and hasattr(socket, "TCP_INFO")
