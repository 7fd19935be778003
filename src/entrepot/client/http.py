"""HTTP by httpcore2, with what uploads need besides: an early refusal ends the sending, time-outs count from the last
byte that moved, and what blocks can be ended from another thread."""

from __future__ import annotations

import os
import re
import select
import socket
import ssl
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, cast
from urllib.parse import unquote_to_bytes, urlsplit

import httpcore2

from entrepot.client.commands import Reply, Request, Take
from entrepot.client.errors import ConfigurationError, ConnectionFailed, EntrepotError, Stalled, TlsFailed
from entrepot.client.stop import Stop
from entrepot.domain.noproxy import is_exempt
from entrepot.domain.version import __version__

# A host that does not answer at all is given up sooner than one that is busy.
CONNECT_SECONDS = 10.0
# A listing of 10,000 parts takes 3 MB.
MAX_REPLY = 16 * 1024 * 1024
# Bytes between two looks whether a reply has come. One call must not encrypt so many that a slow line looks like a dead
# one.
_SLICE = 1024 * 1024
_TLS_SLICE = 128 * 1024
_IDLE_SECONDS = 20.0
_LONGEST_STALL = 1e6  # the system takes no time-out of more than 24 days
# 1xx: the reply proper is still to come (RFC 9110, 15.2).
_INTERIM = re.compile(rb"HTTP/1\.[01] 1\d\d ")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# The value of a header (RFC 9110, 5.5).
_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_SHOWN = 200  # characters of the library's message, which may quote the other side's
# What says nothing to people: numbers of the system's errors, and places in a library.
_INTERNAL = re.compile(r"\[(?:Errno -?\d+|SSL(?:: \w+)?)\] ?| ?\(_ssl\.c:\d+\)")
_START = "Check the server's URL (entrepot whoami shows it), and that the server runs: entrepot serve"
_PROXY = "Check HTTP_PROXY and HTTPS_PROXY, or name the server in NO_PROXY."
_TRUST = "Check the URL and the clock of this machine; name a private CA with SSL_CERT_FILE."


class Transport:
    """Connections, kept and shared by threads. Redirects are not followed: they would turn an upload into something
    else. Proxies are those of the environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY)."""

    def __init__(self, stall_seconds: float) -> None:
        """`stall_seconds`: how long no byte may move; no bound on a whole body."""
        connect, stall = min(CONNECT_SECONDS, stall_seconds), min(stall_seconds, _LONGEST_STALL)
        self._times = {"connect": connect, "read": stall, "write": stall}
        self._guard = threading.Lock()
        self._pools: dict[tuple[str, bool], httpcore2.ConnectionPool] = {}
        self._finalizer = weakref.finalize(self, _close_all, self._pools)

    def send(self, request: Request, stop: Stop, take: Take | None = None) -> Reply:
        """One request and its reply, whatever its status. `take` reads the body of a success in place of us. Raises
        ConnectionFailed, TlsFailed, Stopped, and what the body and `take` raise."""
        call = _Call()
        try:
            with (
                stop.waking(call.end),
                call,
                self._pool(request.url).stream(
                    request.method,
                    request.url,
                    headers=_headers(request),
                    content=request.body if isinstance(request.body, bytes) else _until(stop, request.body.chunks()),
                    extensions={"timeout": self._times | {"read": max(self._times["read"], request.silence)}},
                ) as response,
            ):
                if response.status == 407 and (proxy := _shown_proxy(request.url)):
                    raise ConfigurationError(f"The proxy {proxy} wants other credentials (407).", _PROXY)
                headers = _lower(response.headers)
                if take is None or not 200 <= response.status < 300:
                    return Reply(response.status, headers, _whole(response, request))
                take(_Arriving(response, headers, stop))
                return Reply(response.status, headers, b"")
        except _FAILURES as error:
            stop.check()
            raise _failure(error, request) from error

    def close(self) -> None:
        """Close all connections; the next request opens new ones."""
        with self._guard:
            _close_all(self._pools)

    def abandon(self) -> None:
        """Leave everything as it is: it belongs to the process that this one was forked from."""
        self._finalizer.detach()
        _abandoned.append(self)

    def _pool(self, url: str) -> httpcore2.ConnectionPool:
        name = _proxy(url), urlsplit(url).scheme == "https"
        with self._guard:
            if name not in self._pools:
                self._pools[name] = _new_pool(*name)
            return self._pools[name]


class _Arriving:
    """The body of a reply as `commands.Arriving`."""

    def __init__(self, response: httpcore2.Response, headers: dict[str, str], stop: Stop) -> None:
        self.status = response.status
        self.headers = headers
        self.length = int(length) if (length := headers.get("content-length", "")).isdecimal() else None
        self._chunks = response.iter_stream()
        self._stop = stop
        self._held = memoryview(b"")

    def readinto(self, buffer: memoryview, /) -> int:
        if not self._held:
            self._stop.check()
            self._held = memoryview(next(self._chunks, b""))
        count = min(len(buffer), len(self._held))
        buffer[:count] = self._held[:count]
        self._held = self._held[count:]
        return count


def _whole(response: httpcore2.Response, request: Request) -> bytes:
    received = bytearray()
    for chunk in response.iter_stream():
        received += chunk
        if len(received) > MAX_REPLY:
            raise EntrepotError(f"{_origin(request)} sends a reply of more than {MAX_REPLY} bytes.", _START)
    return bytes(received)


_abandoned: list[Transport] = []  # kept: to free it would close it


def _close_all(pools: dict[tuple[str, bool], httpcore2.ConnectionPool]) -> None:
    while pools:
        pools.popitem()[1].close()


class _Call:
    """One request in this thread: it knows the stream that it waits for, so that another thread can end it."""

    def __init__(self) -> None:
        self.stream: _Stream | None = None

    def end(self) -> None:
        if self.stream:
            self.stream.shutdown()

    def __enter__(self) -> None:
        self._before = getattr(_here, "call", None)  # a progress callback may upload something, too
        _here.call = self

    def __exit__(self, *_: object) -> None:
        _here.call = self._before


_here = threading.local()


class _Backend(httpcore2.SyncBackend):
    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        stream = super().connect_tcp(*args, **kwargs)
        stream.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Stream(stream)


class _Stream(httpcore2.NetworkStream):
    """A connection around the library's own."""

    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        self._inner = inner
        self._socket: socket.socket = inner.get_extra_info("socket")
        self._slice = _TLS_SLICE if isinstance(self._socket, ssl.SSLSocket) else _SLICE
        self._ahead = b""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._noted()
        if self._ahead:
            taken, self._ahead = self._ahead[:max_bytes], self._ahead[max_bytes:]
            return taken
        return self._inner.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._noted()
        view = memoryview(buffer)
        while view:
            if self._answered():
                # What follows is not wanted any more; on a WriteError the library reads the reply.
                raise httpcore2.WriteError("The server replied before the end of the body.")
            self._inner.write(cast(bytes, view[: self._slice]), timeout)
            view = view[self._slice :]

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        self._noted()
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def close(self) -> None:
        self._inner.close()

    def shutdown(self) -> None:
        """Wake whoever reads or writes here; to close alone would leave it waiting."""
        with suppress(OSError, ValueError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _answered(self) -> bool:
        """Whether a reply, or the end, has come. In TLS something else may come too, such as a session ticket."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if not poll.poll(0):
            return False
        self._socket.settimeout(0)
        try:
            self._ahead += (data := self._socket.recv(65536))
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            return True
        return not data or not _INTERIM.match(self._ahead) or len(self._ahead) > 65536

    def _noted(self) -> None:
        call: _Call | None = getattr(_here, "call", None)
        if call:
            call.stream = self


_FAILURES = (
    httpcore2.NetworkError,
    httpcore2.TimeoutException,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)


def _new_pool(proxy: str, tls: bool) -> httpcore2.ConnectionPool:
    """`proxy` is a URL, or empty for none. `create_default_context` honours SSL_CERT_FILE, and takes 20 ms to read all
    authorities, so it is left out where there is no TLS."""
    return httpcore2.ConnectionPool(
        ssl_context=ssl.create_default_context() if tls else None,
        proxy=_named(proxy) if proxy else None,
        max_connections=None,
        keepalive_expiry=_IDLE_SECONDS,
        network_backend=_Backend(),
    )


def _named(proxy: str) -> httpcore2.Proxy:
    """A proxy with the user and password that its URL names. Raises ConfigurationError, which does not quote it."""
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and proxy.isascii()
    except ValueError:
        usable = False
    if not usable:
        fix = "Correct HTTP_PROXY or HTTPS_PROXY, or name the server in NO_PROXY."
        raise ConfigurationError("The proxy of the environment is no http:// or https:// URL.", fix)
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if parts.username is None:
        return httpcore2.Proxy(place)
    return httpcore2.Proxy(place, auth=(unquote_to_bytes(parts.username), unquote_to_bytes(parts.password or "")))


def _proxy(url: str) -> str:
    """The proxy that the environment names for this URL; empty for none."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return ""
    from urllib.request import getproxies, proxy_bypass  # takes long, and is seldom needed

    parts, proxies = urlsplit(url), getproxies()
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if is_exempt(host, port, proxies.get("no", "")) or (sys.platform in ("darwin", "win32") and proxy_bypass(host)):
        return ""
    return proxies.get(parts.scheme, "")


def _shown_proxy(url: str) -> str:
    """The proxy of a URL without its credentials; empty for none."""
    return _proxy(url).rpartition("@")[2].rpartition("://")[2].partition("/")[0]


def _headers(request: Request) -> list[tuple[bytes, bytes]]:
    """With the length of the body: one whose end is not announced could end short unnoticed. Raises ConfigurationError,
    which quotes no value, for what cannot be sent."""
    size = len(request.body) if isinstance(request.body, bytes) else request.body.size
    fixed = {
        "host": urlsplit(request.url).netloc.rpartition("@")[2],
        "user-agent": f"entrepot/{__version__}",
        "accept-encoding": "identity",
        "content-length": str(size),
    }
    found = {**fixed, **request.headers}
    for name, value in found.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            fix = "Blanks at its ends, control characters, and letters beyond Latin-1 cannot be sent in a header."
            raise ConfigurationError(f"The value of the request header {name!r} cannot be sent.", fix)
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in found.items()]


def _lower(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def _until(stop: Stop, chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        stop.check()
        yield chunk


def _failure(error: Exception, request: Request) -> EntrepotError:
    """What the library raised, as ours."""
    place, proxy = _origin(request), _shown_proxy(request.url)
    if isinstance(error, httpcore2.UnsupportedProtocol | httpcore2.LocalProtocolError):
        return ConfigurationError(f"{place}: {error}.", "Check the server's URL.")
    if reason := _distrust(error):
        return TlsFailed(f"{place} cannot be trusted: {reason}.", _TRUST)
    why = _INTERNAL.sub("", str(error)).strip()[:_SHOWN]
    if isinstance(error, httpcore2.ConnectError | httpcore2.ConnectTimeout | httpcore2.ProxyError):
        why = why or "no answer"
        if proxy and isinstance(error, httpcore2.ProxyError):
            return ConnectionFailed(f"The proxy {proxy} lets no request through to {place}: {why}.", _PROXY)
        if proxy:
            return ConnectionFailed(f"The proxy {proxy} cannot be reached, on the way to {place}: {why}.", _PROXY)
        return ConnectionFailed(f"{place} cannot be reached: {why}.", _START)
    if proxy:
        place += f" (through the proxy {proxy})"
    if isinstance(error, httpcore2.TimeoutException):
        return Stalled(f"{place} stalled: no byte moved in time.", "Try again; for a slow line raise default_timeout.")
    return ConnectionFailed(
        f"The connection to {place} broke: {why.rstrip('.') or type(error).__name__}.", "Try again."
    )


def _distrust(error: BaseException | None) -> str:
    """Why a certificate, or the other side's TLS, is not accepted. A connection that was cut is not that."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message or str(error)
        if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            return "it does not speak TLS (is its URL http:// and not https://?)"
        error = error.__cause__ or error.__context__
    return ""


def _origin(request: Request) -> str:
    return "/".join(request.url.split("/", 3)[:3]).rpartition("@")[2]
