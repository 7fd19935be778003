"""Which IP addresses a stranger's URL may lead to: those that are reachable from everywhere, and no others.

The tables are our own and not `ipaddress.is_global`, whose answers change between Python releases. Sources: the IANA
special-purpose registries (RFC 6890, as of 2026) and the addresses of cloud metadata services.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import inet_aton

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_CLOSED_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carrier-grade NAT
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's platform service, reachable from its machines only
            "169.254.0.0/16",  # link-local, cloud metadata
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments, Oracle's metadata
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays, withdrawn
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
_OPEN_V6 = IPv6Network("2000::/3")  # all that was ever given out for global unicast
_CLOSED_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, Teredo and ORCHID among them
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: holds an IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")  # the well-known prefix: holds an IPv4 address
_INSIDE = (".localhost", ".localdomain", ".local", ".internal", ".home.arpa")
_ISATAP = (0x00005EFE, 0x02005EFE)  # the upper half of an interface id that holds an IPv4 address (RFC 5214)


def read(text: str) -> Address | None:
    """An address as a resolver gives it; None for anything else, a zone (`fe80::1%eth0`) included."""
    try:
        return plain(ip_address(text)) if "%" not in text else None
    except ValueError:
        return None


def plain(address: Address) -> Address:
    """An IPv4 address written as IPv6 (`::ffff:10.0.0.1`) as what it is."""
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def is_public(address: Address) -> bool:
    """Whether it is globally routable, and every IPv4 address inside it too."""
    address = plain(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    if (int(address) >> 32 & 0xFFFFFFFF) in _ISATAP and not is_public(IPv4Address(int(address) & 0xFFFFFFFF)):
        return False
    return address in _OPEN_V6 and not any(address in network for network in _CLOSED_V6)


def is_inside(host: str) -> bool:
    """Whether a host is an address that is not public, in any spelling that resolvers know, or a name that no public
    resolver answers for (RFC 6761, RFC 6762, RFC 8375; `internal` is reserved for the same)."""
    address = literal(host)
    if address is not None:
        return not is_public(address)
    return "." not in host or host.endswith(_INSIDE)


def literal(host: str) -> Address | None:
    """The address that a host is in a spelling that resolvers know; None for a name."""
    address = read(host)
    if address is None:
        with suppress(OSError):
            address = IPv4Address(inet_aton(host))  # 127.1, 0x7f.1, 2130706433
    return address


def read_networks(text: str) -> tuple[Network, ...]:
    """Addresses and networks, separated by commas or blanks. Raises ValueError naming the one that is none."""
    return tuple(ip_network(each, strict=False) for each in text.replace(",", " ").split())


def is_within(address: Address, networks: Sequence[Network]) -> bool:
    """Whether one of the networks has it."""
    return any(address.version == network.version and plain(address) in network for network in networks)
