"""The guarded fetch itself: hop by hop, check, resolve, check, connect, ask."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from os import environ
from typing import TYPE_CHECKING

from entrepot.domain.version import __version__
from entrepot.fetch import urls
from entrepot.fetch.call import Call, Clock
from entrepot.fetch.connection import Connection
from entrepot.fetch.errors import (
    BadReply,
    BlockedPath,
    ConnectionFailed,
    InvalidHeader,
    Stalled,
    TlsFailed,
    TooManyRedirects,
)
from entrepot.fetch.network import Network, System
from entrepot.fetch.policy import Policy
from entrepot.fetch.response import Response, translated
from entrepot.fetch.urls import Target

if TYPE_CHECKING:
    import ssl

USER_AGENT = f"Mozilla/5.0 (compatible; entrepot/{__version__})"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
METHODS = frozenset({"GET", "HEAD"})
# What another origin may see of the caller's headers; all else may be a secret, whatever its name.
_HARMLESS = frozenset({
    "accept", "accept-language", "cache-control", "if-match", "if-none-match", "if-range", "range", "user-agent",
})  # fmt: skip
# These are ours to say, or make one request look like two.
_NOT_THE_CALLERS = frozenset({
    "connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip
_MAX_ADDRESSES = 6  # that are tried of one resolution; each may take the time of a connect
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Fetcher:
    """Reads URLs under one policy. Thread-safe: it holds nothing but values. No proxy is used, whatever the
    environment names: it would resolve the name once more, elsewhere."""

    def __init__(self, policy: Policy, network: Network | None = None) -> None:
        self.policy = policy
        self._network = network or System()

    def open(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        max_bytes: int | None = None,
        call: Call | None = None,
    ) -> Response:
        """Ask for a URL, following redirects, and return the reply when its head has come, whatever its status.

        `max_bytes` bounds the body (without it that of the policy). Raises FetchError.
        """
        if method not in METHODS:
            raise ValueError(f"{method} is not for strangers' URLs")
        call, target, sent = call or Call(), urls.read(url), _checked(headers or {}, url)
        clock = Clock(self.policy.stall_seconds, self.policy.total_seconds)
        limit = self.policy.max_bytes if max_bytes is None else max_bytes
        seen = {target}
        for _ in range(self.policy.max_hops + 1):
            if self.policy.is_own(target):
                sent = _harmless(sent)
            response = self._hop(method, target, sent, limit, clock, call)
            location = response.headers.get("location")
            if response.status not in REDIRECTS or location is None:
                return _sound(response)
            response.close()
            sent, target = self._next(target, location, sent)
            if target in seen:
                raise TooManyRedirects(target.shown, "the redirects go round in a circle")
            seen.add(target)
        raise TooManyRedirects(urls.shown(url), f"it redirects more than {self.policy.max_hops} times")

    def read(
        self, url: str, headers: Mapping[str, str] | None = None, *, max_bytes: int, types: tuple[str, ...] = ()
    ) -> bytes:
        """The body of a 200 in memory; `types` are beginnings of the media types that will do. Raises FetchError."""
        with self.open(url, headers, max_bytes=max_bytes) as response:
            response.expect(200)
            if types:
                response.expect_type(*types)
            return response.read()

    def _next(self, target: Target, location: str, sent: dict[str, str]) -> tuple[dict[str, str], Target]:
        if self.policy.is_own(target):
            raise BlockedPath(target.shown, "our own server redirects, which is not followed")
        there = urls.follow(target, location)
        return (sent if there.origin == target.origin else _harmless(sent)), there

    def _hop(
        self, method: str, target: Target, sent: Mapping[str, str], limit: int | None, clock: Clock, call: Call
    ) -> Response:
        """One request to one address. Raises FetchError."""
        call.check(target.shown)
        connection = self._connect(target, clock, call)
        try:
            with translated(target.shown, call):
                fixed = {"host": target.authority, "accept-encoding": "identity", "connection": "close"}
                connection.send_request(method, target, {"user-agent": USER_AGENT, "accept": "*/*", **sent, **fixed})
                policy = self.policy
                head = connection.receive_head(policy.max_head, policy.max_headers, policy.stall_seconds)
            return Response(method, target, head, connection, call, limit)
        except BaseException:
            call.drops(connection.socket)
            connection.close()
            raise

    def _connect(self, target: Target, clock: Clock, call: Call) -> Connection:
        """A connection to one of the addresses of this resolution, none other. Raises Blocked, ConnectionFailed."""
        self.policy.check_target(target)
        try:
            found = self._network.resolve(target.host, target.port)
        except (OSError, UnicodeError) as error:
            raise ConnectionFailed(target.shown, f"the host {target.host} is not known: {error}") from error
        wanted = self.policy.check_addresses(target, found)
        failure: OSError | None = None
        for address in wanted[:_MAX_ADDRESSES]:
            call.check(target.shown)
            try:
                plain = self._network.connect(address, target.port, clock.left(self.policy.connect_seconds))
            except OSError as error:
                failure = error
                continue
            return self._secured(plain, target, clock, call)
        kind = Stalled if isinstance(failure, TimeoutError) else ConnectionFailed
        raise kind(target.shown, f"{target.host} cannot be reached: {failure or 'it has no address'}") from failure

    def _secured(self, plain: socket.socket, target: Target, clock: Clock, call: Call) -> Connection:
        with _closed_on_failure(plain):
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            call.holds(plain, target.shown)
            if target.scheme == "http":
                return Connection(plain, clock)
            with translated(target.shown, call), _trusted(target):
                plain.settimeout(clock.left(self.policy.connect_seconds))
                secure = trust().wrap_socket(
                    plain, server_hostname=target.host, suppress_ragged_eofs=False
                )  # an end without goodbye may be an attacker's cut
            call.drops(plain)
            with _closed_on_failure(secure):
                call.holds(secure, target.shown)
                return Connection(secure, clock)


def trust() -> ssl.SSLContext:
    """Whom TLS believes: the system's CAs, or SSL_CERT_FILE and SSL_CERT_DIR. Made once, it takes 20 ms."""
    return _trust(environ.get("SSL_CERT_FILE", ""), environ.get("SSL_CERT_DIR", ""))


@lru_cache(maxsize=4)
def _trust(*_places: str) -> ssl.SSLContext:
    import ssl  # takes long, and plain http does without

    return ssl.create_default_context()


@contextmanager
def _trusted(target: Target) -> Iterator[None]:
    import ssl

    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise TlsFailed(target.shown, f"{target.host} cannot be trusted: {error.verify_message or error}") from error
    except ssl.SSLEOFError:
        raise
    except ssl.SSLError as error:
        raise TlsFailed(target.shown, f"{target.host} does not speak TLS that is safe: {error.reason}") from error


@contextmanager
def _closed_on_failure(connected: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connected.close()
        raise


def _sound(response: Response) -> Response:
    """Refuse a coding that was not asked for: a small reply could become any number of bytes."""
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        response.close()
        raise BadReply(
            response.url, f"the server sends it encoded ({urls.legible(coding)[:40]}), which was not asked for"
        )
    return response


def _checked(headers: Mapping[str, str], url: str) -> dict[str, str]:
    """The caller's headers with lower-case names. Raises InvalidHeader, InvalidUrl."""
    place = urls.shown(url)
    found = {name.lower(): value for name, value in headers.items()}
    for name, value in found.items():
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise InvalidHeader(place, f"the request header {name[:40]!r} has characters that no header may have")
        if name in _NOT_THE_CALLERS:
            raise InvalidHeader(place, f"the request header {name!r} is not the caller's to set")
    found.pop("accept-encoding", None)
    return found


def _harmless(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name in _HARMLESS}
