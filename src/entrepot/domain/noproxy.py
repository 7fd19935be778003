"""Which servers NO_PROXY exempts from a proxy: pure."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address, ip_network

_ENTRY = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>[0-9]{1,5}))?")


def is_exempt(host: str, port: int, listed: str) -> bool:
    """Whether a list such as `localhost,.example.com,10.0.0.0/8,[::1]:8080` has this host: a name with all below it, an
    address, a network, or `*`. An entry with a port means that port alone."""
    name = host.strip("[]").lower().rstrip(".")
    return any(_has(entry, name, port) for entry in listed.lower().replace(",", " ").split())


def _has(entry: str, name: str, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry or (entry.count(":") > 1 and not entry.startswith("[")):  # a network, or a bare IPv6 address
        return _within(entry.replace("[", "").replace("]", ""), name)
    found = _ENTRY.fullmatch(entry)
    if found is None or (found["port"] and int(found["port"]) != port):
        return False
    wanted = found["host"].strip("[]")
    if _within(wanted, name):
        return True
    bare = wanted.removeprefix("*").strip(".")
    return bool(bare) and (name == bare or name.endswith(f".{bare}"))


def _within(network: str, name: str) -> bool:
    """Whether both are addresses, and the one is of the other."""
    try:
        address = ip_address(name.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return address in ip_network(network, strict=False)
    except ValueError:
        return False
