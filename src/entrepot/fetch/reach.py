"""From a URL to a connection with whoever may answer for it: check, resolve, check, connect, TLS."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from os import environ
from typing import TYPE_CHECKING

from entrepot.fetch.call import Call, Clock
from entrepot.fetch.connection import Connection
from entrepot.fetch.errors import ConnectionFailed, ProxyFailed, Stalled, TlsFailed
from entrepot.fetch.network import Network
from entrepot.fetch.policy import Policy
from entrepot.fetch.proxy import Proxy
from entrepot.fetch.response import translated
from entrepot.fetch.urls import Target

if TYPE_CHECKING:
    import ssl

_MAX_ADDRESSES = 6  # that are tried of one resolution; each may take the time of a connect


class Reach:
    """Connects under one policy. The connection is held by the call, until `call.drops`."""

    def __init__(self, policy: Policy, network: Network) -> None:
        self._policy = policy
        self._network = network

    def connect(self, target: Target, clock: Clock, call: Call) -> Connection:
        """Raises Blocked, ConnectionFailed, TlsFailed, ProxyFailed, Cancelled."""
        self._policy.check_target(target)
        proxy = self._policy.proxy_for(target)
        if proxy:
            return self._through(proxy, target, clock, call)
        try:
            found = self._network.resolve(target.host, target.port)
        except (OSError, UnicodeError) as error:
            raise ConnectionFailed(target.shown, f"the host {target.host} is not known: {error}") from error
        wanted = self._policy.check_addresses(target, found)
        try:
            plain = self._first_of(wanted, target.port, clock, lambda: call.check(target.shown))
        except OSError as error:
            kind = Stalled if isinstance(error, TimeoutError) else ConnectionFailed
            raise kind(target.shown, f"{target.host} cannot be reached: {error}") from error
        with _closed_on_failure(plain):
            call.holds(plain, target.shown)
            if target.scheme == "http":
                return Connection(plain, clock, self._policy.pace())
            return self._secured(plain, target, clock, call)

    def _through(self, proxy: Proxy, target: Target, clock: Clock, call: Call) -> Connection:
        """By the proxy, which resolves the name: plain requests are its to forward, TLS goes through a tunnel and ends
        at the host itself."""
        try:
            found = self._network.resolve(proxy.host, proxy.port)
            plain = self._first_of(found, proxy.port, clock, lambda: call.check(target.shown))
        except (OSError, UnicodeError) as error:
            raise ProxyFailed(target.shown, f"the proxy {proxy.shown} cannot be reached: {error}") from error
        with _closed_on_failure(plain):
            call.holds(plain, target.shown)
            connection = Connection(plain, clock, self._policy.pace(), proxy)
            if target.scheme == "http":
                return connection
            with translated(target.shown, call):
                connection.ask_for_tunnel(target)
                policy = self._policy
                head = connection.receive_head(policy.max_head, policy.max_headers, policy.stall_seconds)
            if not 200 <= head.status < 300 or connection.has_more:
                raise refused_by(proxy, target, head.status)
            return self._secured(plain, target, clock, call)

    def _first_of(self, addresses: Sequence[str], port: int, clock: Clock, check: Callable[[], None]) -> socket.socket:
        """A connection to the first address that answers. Raises OSError."""
        failure = OSError("it has no address")
        for address in addresses[:_MAX_ADDRESSES]:
            check()
            try:
                plain = self._network.connect(address, port, clock.left(self._policy.connect_seconds))
            except OSError as error:
                failure = error
                continue
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return plain
        raise failure

    def _secured(self, plain: socket.socket, target: Target, clock: Clock, call: Call) -> Connection:
        with translated(target.shown, call), _trusted(target):
            plain.settimeout(clock.left(self._policy.connect_seconds))
            secure = trust().wrap_socket(
                plain, server_hostname=target.host, suppress_ragged_eofs=False
            )  # an end without goodbye may be an attacker's cut
        call.drops(plain)
        with _closed_on_failure(secure):
            call.holds(secure, target.shown)
            return Connection(secure, clock, self._policy.pace())


def refused_by(proxy: Proxy, target: Target, status: int) -> ProxyFailed:
    why = "it wants other credentials" if status == 407 else "it does not let this through"
    return ProxyFailed(target.shown, f"the proxy {proxy.shown} answered {status}: {why}")


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
