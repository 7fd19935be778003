"""What a fetch may do: a value, made by whoever lets strangers choose URLs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from entrepot.domain.noproxy import is_exempt
from entrepot.fetch import addresses, urls
from entrepot.fetch.addresses import Network
from entrepot.fetch.call import Clock, Pace
from entrepot.fetch.errors import BlockedAddress, BlockedPath, BlockedPort, FetchError
from entrepot.fetch.proxy import Proxy
from entrepot.fetch.urls import Target

ALLOW_VARIABLE = "ENTREPOT_FETCH_ALLOW"
# The WHATWG fetch standard's list of ports of other protocols, and those of databases and control planes.
BLOCKED_PORTS = frozenset({
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
    110, 111, 113, 115, 117, 119, 123, 135, 137, 138, 139, 143, 161, 179, 389, 427, 445, 465, 512, 513, 514, 515,
    526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 623, 636, 873, 989, 990, 993, 995, 1433, 1521, 1719, 1720,
    1723, 2049, 2181, 2375, 2376, 2379, 2380, 3306, 3389, 3659, 4045, 4190, 4369, 5060, 5061, 5432, 5672, 5900, 5984,
    5985, 5986, 6000, 6379, 6443, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 9042, 9092, 9200, 9300, 10080,
    10250, 10255, 11211, 26379, 27017, 50000,
})  # fmt: skip


_NOT_PUBLIC = "Hostname resolves to a non-routable address"  # the words of fal's package (docs/protocol.md 7.2)


@dataclass(frozen=True, slots=True)
class Policy:
    """`allow` are networks that may be read although they are not public. `own_origins` are those of our own servers
    (`https://media.example.com`): only files are read there, even at private addresses, without the caller's headers
    and without redirects. `proxy` is asked for all that `proxy_for` does not exempt; `no_proxy` lists as NO_PROXY does.

    Sizes are in bytes, times in seconds. A whole body may take any time (`total_seconds` None) while at least
    `min_rate` bytes a second come, on average over `rate_seconds` of waiting: a bad telephone line does, a drip does
    not."""

    allow: tuple[Network, ...] = ()
    own_origins: frozenset[str] = frozenset()
    max_hops: int = 5
    max_bytes: int | None = None
    max_head: int = 64 * 1024
    max_headers: int = 200
    connect_seconds: float = 10.0
    stall_seconds: float = 30.0
    total_seconds: float | None = None
    min_rate: float = 1000.0
    rate_seconds: float = 60.0
    proxy: Proxy | None = None
    no_proxy: str = ""

    def clock(self) -> Clock:
        """The time of one fetch, from now on."""
        return Clock(self.stall_seconds, self.total_seconds)

    def pace(self) -> Pace:
        """The slowness that one connection may have."""
        return Pace(self.min_rate, self.rate_seconds)

    def is_own(self, target: Target) -> bool:
        return target.origin in self.own_origins

    def proxy_for(self, target: Target) -> Proxy | None:
        """The proxy that is asked for a URL, which resolves the name and guards what is behind it. None: the host is
        connected to from here, with all checks. So are our own servers, what is no public address (to be refused, or a
        neighbour), names that mean something inside a network alone (the proxy's `localhost` is not ours), and what
        `no_proxy` lists."""
        is_near = self.is_own(target) or addresses.is_inside(target.host)
        if is_near or is_exempt(target.host, target.port, self.no_proxy):
            return None
        return self.proxy

    def check_target(self, target: Target) -> None:
        """Raises BlockedPort, BlockedPath."""
        if self.is_own(target):
            if not urls.is_object(target):
                raise BlockedPath(target.shown, "this is no file of the server")
        elif target.port in BLOCKED_PORTS:
            raise BlockedPort(target.shown, f"port {target.port} is that of another protocol, or closed to downloads")

    def check_addresses(self, target: Target, found: Iterable[str]) -> list[str]:
        """The addresses to connect to, in order. Raises BlockedAddress when any of them is not allowed: who can put
        one address into an answer can put another there the next time."""
        wanted: list[str] = []
        for text in found:
            address = addresses.read(text)
            if address is None or not (self._is_open(address) or self.is_own(target)):
                raise BlockedAddress(target.shown, f"{_NOT_PUBLIC}: {target.host} has {text}")
            if str(address) not in wanted:
                wanted.append(str(address))
        return wanted

    def _is_open(self, address: addresses.Address) -> bool:
        return addresses.is_public(address) or addresses.is_within(address, self.allow)


def allowed_networks(environ: Mapping[str, str] = os.environ) -> tuple[Network, ...]:
    """What ENTREPOT_FETCH_ALLOW says. Raises FetchError when it cannot be read: half of a rule is no rule."""
    try:
        return addresses.read_networks(environ.get(ALLOW_VARIABLE, ""))
    except ValueError as error:
        raise FetchError(ALLOW_VARIABLE, f"{error}", "Write networks like 10.0.0.0/8,192.168.1.7") from None


def origins(servers: Iterable[str]) -> frozenset[str]:
    """The origins of URLs; what is no URL is left out."""
    found = set()
    for url in servers:
        try:
            found.add(urls.read(url).origin)
        except FetchError:
            continue
    return frozenset(found)
