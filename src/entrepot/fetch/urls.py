"""A URL taken apart so that nothing in it can be read in two ways: pure (RFC 3986, RFC 9112 section 3.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urljoin, urlsplit

from entrepot.fetch import addresses
from entrepot.fetch.errors import BlockedScheme, InvalidUrl

MAX_URL = 16 * 1024
DEFAULT_PORTS = {"http": 80, "https": 443}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)")
# What may stand in path and query as it is; percent signs stay, what is encoded stays encoded.
_KEPT = "!#$%&'()*+,/:;=?@[]~-._"
# What a password looks like that has one of these marks: `https://name:pass/word@host`.
_ODD_PORT = re.compile(r"\A([A-Za-z][A-Za-z0-9+.-]*:[/\\]+)[^/\\:\[]*:(?![0-9]*(?:[/\\]|\Z))")
# Scheme, host and port of a redirect's URL, which may have neither.
_HOST_PART = re.compile(rb"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/\\?#]*")
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Target:
    """One hop's URL. `host` is lower-case ASCII, without brackets; `resource` is path and query as they are sent."""

    scheme: str
    host: str
    port: int
    resource: str

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        return self.place.removesuffix(f":{DEFAULT_PORTS[self.scheme]}")

    @property
    def place(self) -> str:
        """Host and port, always both."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return self.origin + self.resource

    @property
    def shown(self) -> str:
        return shown(self.url)


def shown(url: str) -> str:
    """The URL as it may be logged: no credentials, query, fragment or inline data, and nothing a terminal obeys."""
    scheme = _SCHEME.match(url)
    if scheme and scheme[0].lower() == "data":
        return "data:..."
    # Credentials first, and those of a URL that is misspelt too: a password may have any of the marks that end them.
    bare = re.sub(r"\A([A-Za-z][A-Za-z0-9+.-]*:(?=[/\\]))?([/\\]*)[^/\\?#]*@", r"\1\2", url)
    bare = re.sub(r"[?#].*", "", bare, flags=re.DOTALL)
    if "@" in url and (odd := _ODD_PORT.match(bare)):
        bare = f"{odd[1]}..."
    return legible(bare)


def legible(text: str) -> str:
    """A stranger's text as it may be shown: short, and nothing in it that a terminal obeys."""
    cut = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
    return "".join(c if c.isprintable() else "?" for c in cut)


def read(url: str) -> Target:
    """Raises InvalidUrl, and BlockedScheme for other schemes than http and https."""
    place = shown(url)
    if len(url) > MAX_URL:
        raise InvalidUrl(place, f"the URL has more than {MAX_URL} characters")
    if _CONTROL.search(url):
        raise InvalidUrl(place, "the URL has control characters, such as a line break")
    scheme = _SCHEME.match(url)
    if not scheme:
        raise InvalidUrl(place, "this is no complete URL")
    if scheme[0].lower() not in DEFAULT_PORTS:
        raise BlockedScheme(place, f"{scheme[0].lower()[:40]}: is not http: or https:")
    if not url.startswith("//", scheme.end() + 1):
        raise InvalidUrl(place, "this is no complete URL")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # whose text quotes the authority with all that is in it
        raise InvalidUrl(place, "the URL cannot be read: its host or port is none") from None
    if "@" in parts.netloc:
        fix = "Give credentials as a request header: Authorization."
        raise InvalidUrl(place, "the URL holds a user name or password", fix)
    port = DEFAULT_PORTS[parts.scheme] if port is None else port
    path = parts.path if parts.path.startswith("/") else f"/{parts.path}"
    resource = quote(f"{path}?{parts.query}" if parts.query else path, safe=_KEPT.replace("#", ""), errors="replace")
    return Target(parts.scheme, _host(host, "[" in parts.netloc, place), port, resource)


def follow(target: Target, location: str) -> Target:
    """Where a redirect leads (RFC 9110 section 10.2.2). `location` is the header as it came, one character a byte: what
    is not ASCII in it is percent-encoded as it is, and a host name is UTF-8. Raises InvalidUrl, BlockedScheme."""
    if re.search(r"[\x00-\x1f\x7f]", location):
        raise InvalidUrl(target.shown, "it redirects to a URL with control characters")
    try:
        raw = location.strip(" ").encode("latin-1")
        host = _HOST_PART.match(raw)
        at = host.end() if host else 0
        joined = urljoin(target.url, raw[:at].decode() + quote(raw[at:], safe=_KEPT))
    except ValueError:
        raise InvalidUrl(target.shown, "it redirects to what is no URL") from None
    return read(joined)


def is_object(target: Target) -> bool:
    """Whether it is the URL of a stored file, `/files/b/<8 hex>/<name>`, and can be nothing else (docs/protocol.md
    3)."""
    path = target.resource.partition("?")[0]
    if not re.fullmatch(r"/files/b/[0-9a-f]{8}/[^/\\]+", path):
        return False
    name = unquote(path.rpartition("/")[2], errors="replace")
    return name not in (".", "..") and not re.search(r"[/\\\x00-\x1f]", name)


def _host(host: str, bracketed: bool, place: str) -> str:
    """The host in ASCII: IDNA for other scripts. Raises InvalidUrl."""
    if bracketed:
        if addresses.read(host) is None:
            raise InvalidUrl(place, "what is in brackets is no IPv6 address, or names a network interface")
        return host
    try:
        name = host.rstrip(".") if host.isascii() else host.encode("idna").decode("ascii").rstrip(".")
    except UnicodeError:
        raise InvalidUrl(place, "the host name cannot be spelled in ASCII (IDNA)") from None
    if not _HOST.fullmatch(name.lower()) or not all(0 < len(label) < 64 for label in name.split(".")):
        raise InvalidUrl(place, "the URL has no sound host name")
    return name.lower()
