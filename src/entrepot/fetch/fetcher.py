"""The guarded fetch itself: hop by hop, check, resolve, check, connect, ask."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from entrepot.domain.version import __version__
from entrepot.fetch import urls
from entrepot.fetch.call import Call, Clock
from entrepot.fetch.errors import BadReply, BlockedPath, InvalidHeader, TooManyRedirects
from entrepot.fetch.network import Network, System
from entrepot.fetch.policy import Policy
from entrepot.fetch.reach import Reach, refused_by
from entrepot.fetch.response import Response, translated
from entrepot.fetch.urls import Target

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
# Codings that change the bytes: those of IANA's registry, and what servers send besides.
_CODINGS = frozenset({
    "aes128gcm", "br", "bzip2", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "lz4", "lzma", "pack200-gzip",
    "sdch", "snappy", "x-bzip2", "x-compress", "x-deflate", "x-gzip", "xz", "zstd",
})  # fmt: skip
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Fetcher:
    """Reads URLs under one policy. Thread-safe: it holds nothing but values. No proxy is used but the policy's own,
    whatever else the environment names."""

    def __init__(self, policy: Policy, network: Network | None = None) -> None:
        self.policy = policy
        self._network = network or System()
        self._reach = Reach(policy, self._network)

    def knowing(self, own_origins: frozenset[str]) -> Fetcher:
        """One that takes these for servers of our own too."""
        policy = replace(self.policy, own_origins=self.policy.own_origins | own_origins)
        return Fetcher(policy, self._network)

    def open(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        max_bytes: int | None = None,
        call: Call | None = None,
        credential: Mapping[str, str] | None = None,
    ) -> Response:
        """Ask for a URL, following redirects, and return the reply when its head has come, whatever its status.

        `max_bytes` bounds the body (without it that of the policy). `credential` are headers for a server of our own:
        they are sent when the URL itself is of one, never after a redirect. Raises FetchError.
        """
        if method not in METHODS:
            raise ValueError(f"{method} is not for strangers' URLs")
        call, target, sent = call or Call(), urls.read(url), _checked(headers or {}, url)
        clock, limit = self.policy.clock(), self.policy.max_bytes if max_bytes is None else max_bytes
        seen = {target}
        for hop in range(self.policy.max_hops + 1):
            if self.policy.is_own(target):
                sent = _harmless(sent) | (_checked(credential or {}, url) if hop == 0 else {})
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
        connection = self._reach.connect(target, clock, call)
        try:
            with translated(target.shown, call):
                fixed = {"host": target.authority, "accept-encoding": "identity", "connection": "close"}
                connection.send_request(method, target, {"user-agent": USER_AGENT, "accept": "*/*", **sent, **fixed})
                policy = self.policy
                head = connection.receive_head(policy.max_head, policy.max_headers, policy.stall_seconds)
            if connection.proxy and head.status == 407:
                raise refused_by(connection.proxy, target, head.status)
            return Response(method, target, head, connection, call, limit)
        except BaseException:
            call.drops(connection.socket)
            connection.close()
            raise


def _sound(response: Response) -> Response:
    """Refuse a coding that was not asked for: a small reply could become any number of bytes. Words that are no coding
    (`UTF-8`, `none`, `aws-chunked`) are passed over, as browsers do."""
    told = response.headers.get("content-encoding", "").lower()
    words = (each.partition(";")[0].strip() for each in told.split(","))
    coding = next((each for each in words if each in _CODINGS), None)
    if coding is not None:
        response.close()
        raise BadReply(response.url, f"the server sends it encoded ({coding}), which was not asked for")
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
