"""The two things that a fetch asks of the system: the addresses of a name, and a connection to one address.

A test replaces both: a stub resolver with public-looking answers, and connections that end on the loopback.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Protocol


class Network(Protocol):
    def resolve(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a host, best first. Raises OSError."""

    def connect(self, address: str, port: int, seconds: float) -> socket.socket:
        """A connection to exactly this address. Raises OSError."""


class System:
    """The operating system's resolver and sockets. Names are looked up once for each hop."""

    def resolve(self, host: str, port: int) -> Sequence[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(place[0]) for *_, place in found))

    def connect(self, address: str, port: int, seconds: float) -> socket.socket:
        return socket.create_connection((address, port), seconds)
