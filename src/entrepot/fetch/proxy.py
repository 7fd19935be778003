"""The one proxy that may be used: an operator's, named on purpose. Those of HTTP_PROXY and its kin are not for URLs of
strangers. What NO_PROXY exempts is connected to from here, under all rules of the guard."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes, urlsplit

from entrepot.fetch.errors import FetchError

PROXY_VARIABLE = "ENTREPOT_FETCH_PROXY"
_DEFAULT_PORT = 80
_FIX = "Write it like http://proxy.example.com:3128"


@dataclass(frozen=True, slots=True)
class Proxy:
    """`credential` is the value of Proxy-Authorization, if it wants one; nobody else is shown it."""

    host: str
    port: int
    credential: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """What goes to the proxy and no further."""
        return {"proxy-authorization": self.credential} if self.credential else {}


def proxy_of(text: str) -> Proxy | None:
    """The proxy of a URL `http://[name:password@]host[:port]`; None for an empty one. Raises FetchError, which does not
    quote it."""
    if not text.strip():
        return None
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname or "", parts.port
        sound = parts.scheme == "http" and host.isascii() and parts.path in ("", "/") and not parts.query
    except ValueError:
        sound = False
    if not sound or not host or any(c <= " " for c in text.strip()):
        raise FetchError(PROXY_VARIABLE, "this is no URL of an HTTP proxy", _FIX)
    user, at, _ = parts.netloc.rpartition("@")
    return Proxy(host, _DEFAULT_PORT if port is None else port, _basic(user) if at else "")


def configured_proxy(environ: Mapping[str, str] = os.environ) -> Proxy | None:
    """What ENTREPOT_FETCH_PROXY says. Raises FetchError."""
    return proxy_of(environ.get(PROXY_VARIABLE, ""))


def exempted(environ: Mapping[str, str] = os.environ) -> str:
    """What NO_PROXY says; the lower-case name goes first, as elsewhere."""
    return environ.get("no_proxy") or environ.get("NO_PROXY", "")


def _basic(user: str) -> str:
    name, _, password = user.partition(":")
    pair = unquote_to_bytes(name) + b":" + unquote_to_bytes(password)
    return f"Basic {base64.b64encode(pair).decode()}"
