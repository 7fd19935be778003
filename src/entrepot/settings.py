"""All settings, each declared once: name, type, default and meaning. The table below makes the flags of `serve`, the
`ENTREPOT_...` variables, the keys of the settings file and docs/settings.md.

Precedence: flag, variable, settings file, default.
"""

from __future__ import annotations

import ipaddress
import math
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from entrepot.domain.origins import parse_origin
from entrepot.domain.sizes import parse_size

_CENTURY = 100 * 366 * 86_400.0


class SettingsError(Exception):
    """A setting that cannot be used; the message names it, what is wrong and what to do."""


def data_home() -> Path:
    """Where a user's own server keeps its home: the XDG data folder."""
    return _path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "entrepot"


def parse_seconds(text: str) -> float:
    """Seconds, a finite number."""
    seconds = _number(text, "it must be a number of seconds")
    if seconds > _CENTURY:
        raise ValueError("it must be a number of seconds, at most a hundred years")
    return seconds


def _share(text: str) -> float:
    return _number(text, "it must be a number from 0 to 1")


def _number(text: str, otherwise: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(otherwise) from None
    if not math.isfinite(number):  # no bound holds against one that is none
        raise ValueError(otherwise)
    return number


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("it must be a whole number") from None


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(h.strip().lower() for h in text.split(",") if h.strip())


def _networks(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(each, strict=False)) for each in text.replace(",", " ").split())
    except ValueError as error:
        raise ValueError(f"{error}; it must be addresses and networks such as 10.0.0.0/8,192.168.1.7") from None


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text)).absolute()


def _log_format(text: str) -> str:
    if text not in ("auto", "json", "text"):
        raise ValueError("it must be auto, json or text")
    return text


def _default_workers() -> int:
    return max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


def _setting(parse: Callable[[str], Any], help: str, default: Any = None, **bounds: float) -> Any:
    metadata = {"parse": parse, "help": help, **bounds}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """The server's settings; sizes in bytes, times in seconds."""

    home: Path = _setting(
        _path, "folder that holds everything: catalogue, files, keys (default: ~/.local/share/entrepot)", data_home
    )
    volume: Path | None = _setting(
        _path, "folder of the volume, which programs mount as /data (default: data in the home)"
    )
    host: str = _setting(str, "address to listen on", "127.0.0.1")
    port: int = _setting(_whole, "port to listen on", 8000, low=1, high=65535)
    workers: int = _setting(
        _whole, "worker processes (default: one a core, at most 4)", _default_workers, low=1, high=64
    )
    public_url: str | None = _setting(
        parse_origin, "origin that clients use for the API, such as https://media.example.com (default: host and port)"
    )
    cdn_url: str | None = _setting(parse_origin, "origin of file URLs (default: the public URL)")
    accepted_hosts: tuple[str, ...] = _setting(
        _hosts,
        "further host names, by commas; when set, requests for any name but these and those of the URLs are refused",
        (),
    )
    tls_cert: Path | None = _setting(_path, "certificate chain (PEM); with it the server speaks https")
    tls_key: Path | None = _setting(_path, "private key of the certificate (PEM)")
    max_upload: int = _setting(parse_size, "largest single upload", 50 * 1024**3, low=1)
    reserve: int = _setting(parse_size, "free disk space below which uploads get 507", 256 * 1024**2, low=0)
    max_uploads: int = _setting(_whole, "bodies that a worker takes in at once; more wait, or get 429", 128, low=1)
    account_quota: int | None = _setting(parse_size, "bytes that an account may store (default: no bound)", low=0)
    volume_quota: int | None = _setting(parse_size, "bytes that the volume may hold (default: no bound)", low=0)
    volume_max_file: int = _setting(parse_size, "largest file of the volume", 1024**4, low=1)
    volume_page: int = _setting(
        _whole, "entries that a listing of the volume gives at once, at most; clients ask for 1000", 10_000, low=1000
    )
    import_max_size: int = _setting(parse_size, "largest file that is uploaded from a URL", 50 * 1024**3, low=1)
    import_timeout: float = _setting(parse_seconds, "longest time that an upload from a URL may take", 600, low=0.1)
    imports_per_account: int = _setting(
        _whole, "uploads from URLs that a worker does at once for one account; more wait, or get 429", 4, low=1, high=32
    )
    fetch_allow: tuple[str, ...] = _setting(
        _networks, "networks, by commas, that URLs may lead to although they are not public, such as 10.0.0.0/8", ()
    )
    upload_ttl: float = _setting(parse_seconds, "life of an unfinished upload and of its signed URL", 86_400, low=1)
    multipart_ttl: float = _setting(
        parse_seconds, "life of an unfinished multipart upload and of its signature", 604_800, low=1
    )
    max_open_uploads: int = _setting(_whole, "unfinished uploads that an account may have at once", 5000, low=1)
    token_ttl: float = _setting(parse_seconds, "life of a CDN token when the client asks for none", 86_400, low=3700)
    max_age: int = _setting(_whole, "longest time a cache may keep a public file", 31_536_000, low=0)
    stall_timeout: float = _setting(
        parse_seconds, "a connection on which no byte moves for so long is cut", 60, low=0.1
    )
    min_rate: int = _setting(
        parse_size, "bytes a second that a request's body must come with, on average (0: no bound)", 256, low=0
    )
    rate_grace: float = _setting(
        parse_seconds, "time in which a body may come slower, before it is cut with 408", 30, low=0.1
    )
    drain: int = _setting(_whole, "time that running requests get to finish after SIGTERM", 30, low=1)
    sweep_interval: float = _setting(parse_seconds, "how often what is over is removed from disk", 30, low=0.05)
    tombstone_ttl: float = _setting(
        parse_seconds, "how long the URL of an expired file says 410 before 404", 30 * 86_400, low=0
    )
    orphan_grace: float = _setting(
        parse_seconds, "how long bytes that no row names are kept before they are removed", 7 * 86_400, low=0
    )
    orphan_brake: float = _setting(
        _share, "share of all segments; when no row names more than that, none is removed", 0.5, low=0, high=1
    )
    trash_ttl: float = _setting(
        parse_seconds, "how long what was deleted from the volume can come back", 7 * 86_400, low=0
    )
    clock_guard: float = _setting(
        parse_seconds, "how long nothing is removed after the clock leapt ahead (0: no guard)", 3600, low=0
    )
    cache_size: int = _setting(
        parse_size, "memory of each worker for small files that are read often", 64 * 1024**2, low=0
    )
    reply_memory: int = _setting(
        parse_size,
        "memory of each worker for replies that their readers have not taken yet",
        128 * 1024**2,
        low=1024**2,
    )
    max_connections: int = _setting(_whole, "connections that a worker holds at once, idle ones too", 8192, low=16)
    log_format: str = _setting(
        _log_format, "json: log lines are JSON objects; text: lines to read; auto: text on a terminal", "auto"
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            _check_bounds(item.name, getattr(self, item.name), item.metadata)
        if (self.tls_cert is None) != (self.tls_key is None):
            raise SettingsError("tls_cert and tls_key go together: set both or none.")
        if _is_wildcard(self.host) and self.public_url is None:
            raise SettingsError(
                f"public_url is not set, and the address {self.host or '*'!r} is a wildcard: links would point nowhere."
                " Set --public-url (ENTREPOT_PUBLIC_URL) to the origin that clients use, like http://192.0.2.7:8000."
            )

    @property
    def api_origin(self) -> str:
        """The origin of the API. Links are made of settings only, never of a request's headers."""
        return self.public_url or self.listening_origin

    @property
    def listening_origin(self) -> str:
        """The origin of the address that is listened on, as a client on this machine names it."""
        host = self.host
        if _is_wildcard(host):
            host = "::1" if ":" in host else "127.0.0.1"
        host = f"[{host}]" if ":" in host else host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}"

    @property
    def volume_root(self) -> Path:
        return self.volume or self.home / "data"

    @property
    def cdn_origin(self) -> str:
        return self.cdn_url or self.api_origin

    @property
    def host_names(self) -> frozenset[str]:
        """The host names that are answered; empty when all are. Those of the URLs and of the address always count."""
        if not self.accepted_hosts:
            return frozenset()
        own = [urlsplit(origin).hostname or "" for origin in (self.api_origin, self.cdn_origin)]
        cdn = own[1]  # old toolkits put `upload.` before it
        return frozenset({*self.accepted_hosts, *own, f"upload.{cdn}", self.host, "localhost", "127.0.0.1", "[::1]"})

    @classmethod
    def load(cls, flags: Mapping[str, str | None], environ: Mapping[str, str] = os.environ) -> Settings:
        """Merge flags, variables and the file that `ENTREPOT_SETTINGS` names. Raises SettingsError."""
        file_values = _read_file(environ.get("ENTREPOT_SETTINGS"))
        values = {}
        for item in fields(cls):
            for source, text in (
                (flag_name(item.name), flags.get(item.name)),
                (variable_name(item.name), environ.get(variable_name(item.name))),
                (f"{item.name} in {environ.get('ENTREPOT_SETTINGS')}", file_values.get(item.name)),
            ):
                if text:
                    values[item.name] = _parse(source, text, item.metadata["parse"])
                    break
        return cls(**values)

    def to_environ(self) -> dict[str, str]:
        """The variables that make `load({}, ...)` in another process give equal settings."""
        return {
            variable_name(f.name): _text(getattr(self, f.name)) for f in fields(self) if _text(getattr(self, f.name))
        }


def _is_wildcard(host: str) -> bool:
    try:
        return not host or ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return host in ("0", "*")


def flag_name(name: str) -> str:
    return "--" + name.replace("_", "-")


def variable_name(name: str) -> str:
    return "ENTREPOT_" + name.upper()


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return "" if value is None else str(value)


def _parse(source: str, text: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise SettingsError(f"{source}: {text!r} cannot be used: {error}.") from None


def _check_bounds(name: str, value: Any, bounds: Mapping[str, Any]) -> None:
    low, high = bounds.get("low"), bounds.get("high")
    if value is not None and ((low is not None and value < low) or (high is not None and value > high)):
        raise SettingsError(
            f"{name} must be {f'at least {low}' if high is None else f'from {low} to {high}'}, not {value}."
        )


def _read_file(name: str | None) -> dict[str, str]:
    if not name:
        return {}
    try:
        values = tomllib.loads(_path(name).read_text())
    except (OSError, ValueError) as error:
        raise SettingsError(f"The settings file {name} cannot be read: {error}") from None
    unknown = values.keys() - {f.name for f in fields(Settings)}
    if unknown:
        raise SettingsError(
            f"The settings file {name} has unknown keys: {', '.join(sorted(unknown))}. "
            "Its keys are the flags of entrepot serve, written like public_url for --public-url."
        )
    return {key: ",".join(v) if isinstance(v, list) else str(v) for key, v in values.items()}
