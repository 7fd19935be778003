"""The server's settings, each declared once: name, type, default, bounds and help. Flags of `serve`, `ENTREPOT_...`
variables and keys of the settings file follow from the declarations, and docs/settings.md is checked against them.

Precedence: flag, variable, settings file, default. Empty values are ignored.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError, PydanticUndefined
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from entrepot.domain.origins import parse_origin
from entrepot.domain.sizes import format_size, parse_size

FILE_VARIABLE = "ENTREPOT_SETTINGS"
# Names that settings had: an error says the new one.
RENAMED = {
    "max_upload": "max_upload_size",
    "reserve": "min_free_space",
    "max_uploads": "max_concurrent_bodies",
    "volume_max_file": "volume_max_file_size",
    "volume_page": "volume_max_page_entries",
    "imports_per_account": "concurrent_imports_per_account",
    "max_open_uploads": "max_unfinished_uploads",
    "max_age": "cache_control_max_age",
    "min_rate": "min_body_rate",
    "rate_grace": "body_rate_grace",
    "drain": "drain_timeout",
    "orphan_brake": "max_orphan_share",
    "clock_guard": "clock_jump_pause",
}
_CENTURY = 100 * 366 * 86_400.0
_HOST = re.compile(r"([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_KEY = re.compile(r"[0-9a-f]{32}:[0-9a-f]{64}")


class SettingsError(Exception):
    """A setting that cannot be used; the message names it, what is wrong and what to do."""


def data_home() -> Path:
    """The default home of a user's own server: `entrepot` in the XDG data folder."""
    return _path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "entrepot"


def _whole(value: Any) -> int:
    if isinstance(value, str | int) and not isinstance(value, bool):
        try:
            return int(value)
        except ValueError:
            pass
    raise ValueError("it must be a whole number")


def _size(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else parse_size(str(value))


def _number(value: Any, otherwise: str) -> float:
    """A finite number: no bound holds against NaN. Raises ValueError with the text `otherwise`."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(otherwise)
    return number


def _seconds(value: Any) -> float:
    seconds = _number(value, "it must be a number of seconds")
    if seconds > _CENTURY:
        raise ValueError("it must be a number of seconds, at most a hundred years")
    return seconds


def _share(value: Any) -> float:
    return _number(value, "it must be a number from 0 to 1")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("it must be text, in quotes")
    return value


def _origin(value: Any) -> str:
    return parse_origin(_text(value))


def _path(value: Any) -> Path:
    return Path(os.path.expanduser(value if isinstance(value, Path) else _text(value))).absolute()


def _items(value: Any) -> list[str]:
    """The entries of a list, or of a text with commas between them."""
    entries = value.split(",") if isinstance(value, str) else value
    if not isinstance(entries, list | tuple):
        raise ValueError("it must be a list, or text with commas between the entries")
    return [text for entry in entries if (text := _text(entry).strip())]


def _hosts(value: Any) -> tuple[str, ...]:
    hosts = tuple(entry.lower() for entry in _items(value))
    if not all(_HOST.fullmatch(host) for host in hosts):
        raise ValueError("it must be host names with commas between them, such as media.example.com")
    return hosts


def _networks(value: Any) -> tuple[str, ...]:
    entries = [part for entry in _items(value) for part in entry.split()]
    try:
        return tuple(str(ipaddress.ip_network(entry, strict=False)) for entry in entries)
    except ValueError:
        raise ValueError("it must be addresses and networks such as 10.0.0.0/8,192.168.1.7") from None


def _default_workers() -> int:
    return max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


_IS_SIZE = BeforeValidator(_size)
_Whole = Annotated[int, BeforeValidator(_whole)]
_Size = Annotated[int, _IS_SIZE]
_Quota = Annotated[int, _IS_SIZE, Field(ge=0)]
_Seconds = Annotated[float, BeforeValidator(_seconds)]
_Share = Annotated[float, BeforeValidator(_share), Field(ge=0, le=1)]
_Text = Annotated[str, BeforeValidator(_text)]
_Origin = Annotated[str, BeforeValidator(_origin)]
_Path = Annotated[Path, BeforeValidator(_path)]
_Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_hosts)]
_Networks = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_networks)]


class Settings(BaseSettings):
    """The server's settings; sizes in bytes, times in seconds. Made by `load`, or directly from values alone."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="ENTREPOT_", env_ignore_empty=True, validate_default=False
    )

    home: _Path = Field(
        default_factory=data_home,
        description="folder of the server's data: catalogue, files, secrets (default: ~/.local/share/entrepot)",
    )
    volume: _Path | None = Field(
        default=None, description="folder of the volume, which apps mount as /data (default: data in the home)"
    )
    host: _Text = Field(default="127.0.0.1", description="address to listen on")
    port: _Whole = Field(default=8000, ge=1, le=65535, description="port to listen on")
    workers: _Whole = Field(
        default_factory=_default_workers, ge=1, le=64, description="worker processes (default: one per core, at most 4)"
    )
    public_url: _Origin | None = Field(
        default=None,
        description="origin of the API as clients see it, such as https://media.example.com (default: host and port)",
    )
    cdn_url: _Origin | None = Field(default=None, description="origin of file URLs (default: the public URL)")
    accepted_hosts: _Hosts = Field(
        default=(),
        description="further host names to answer, separated by commas; "
        "when set, requests for any name but these and those of the URLs get 421",
    )
    tls_cert: _Path | None = Field(default=None, description="certificate chain (PEM file); turns on https")
    tls_key: _Path | None = Field(default=None, description="private key of the certificate (PEM file)")
    max_upload_size: _Size = Field(
        default=50 * 1024**3, ge=1, description="largest upload in one request, and largest part"
    )
    min_free_space: _Size = Field(
        default=256 * 1024**2, ge=0, description="free disk space below which uploads get 507"
    )
    max_concurrent_bodies: _Whole = Field(
        default=128, ge=1, description="request bodies that a worker receives at once; more wait or get 429"
    )
    account_quota: _Quota | None = Field(
        default=None, description="bytes that an account may store (default: no limit)"
    )
    volume_quota: _Quota | None = Field(default=None, description="bytes that the volume may hold (default: no limit)")
    volume_max_file_size: _Size = Field(default=1024**4, ge=1, description="largest file on the volume")
    volume_max_page_entries: _Whole = Field(
        default=10_000, ge=1000, description="most entries in one page of a volume listing; at least 1000"
    )
    import_max_size: _Size = Field(default=50 * 1024**3, ge=1, description="largest file to import from a URL")
    import_timeout: _Seconds = Field(default=600, ge=0.1, description="longest time an import from a URL may take")
    concurrent_imports_per_account: _Whole = Field(
        default=4,
        ge=1,
        le=32,
        description="imports from URLs that the server runs at once for one account; more wait or get 429",
    )
    fetch_allow: _Networks = Field(
        default=(),
        description="private addresses and networks that imports may read, separated by commas, such as 10.0.0.0/8",
    )
    upload_ttl: _Seconds = Field(
        default=86_400, ge=1, description="lifetime of an unfinished upload and of its signed URL"
    )
    multipart_ttl: _Seconds = Field(
        default=604_800, ge=1, description="lifetime of an unfinished multipart upload and of its signature"
    )
    max_unfinished_uploads: _Whole = Field(
        default=5000, ge=1, description="unfinished uploads that an account may have on the CDN, and on the volume"
    )
    token_ttl: _Seconds = Field(
        default=86_400, ge=3700, description="lifetime of a CDN token when the client asks for none"
    )
    cache_control_max_age: _Whole = Field(
        default=31_536_000, ge=0, description="longest time that HTTP caches may keep a public file"
    )
    stall_timeout: _Seconds = Field(
        default=60, ge=0.1, description="close a connection on which no byte moves for this long"
    )
    min_body_rate: _Size = Field(
        default=256, ge=0, description="bytes per second that a request body must average; slower ones get 408 (0: off)"
    )
    body_rate_grace: _Seconds = Field(
        default=30, ge=0.1, description="how long a request body may be slower than the minimum rate"
    )
    drain_timeout: _Whole = Field(default=30, ge=1, description="how long to wait for running requests after SIGTERM")
    sweep_interval: _Seconds = Field(default=30, ge=0.05, description="how often to delete expired data from disk")
    tombstone_ttl: _Seconds = Field(
        default=30 * 86_400, ge=0, description="how long the URL of an expired file answers 410 before 404"
    )
    orphan_grace: _Seconds = Field(
        default=7 * 86_400, ge=0, description="how long to keep orphaned segments before deleting them"
    )
    max_orphan_share: _Share = Field(
        default=0.5, description="delete no orphaned segments when they are more than this share of all segments"
    )
    trash_ttl: _Seconds = Field(
        default=7 * 86_400, ge=0, description="how long files deleted from the volume can be restored"
    )
    clock_jump_pause: _Seconds = Field(
        default=3600, ge=0, description="how long to pause deletions after a forward clock jump (0: off)"
    )
    cache_size: _Size = Field(
        default=64 * 1024**2, ge=0, description="memory per worker for small files that are read often"
    )
    reply_memory: _Size = Field(
        default=128 * 1024**2,
        ge=1024**2,
        description="memory per worker for replies that clients have not read yet",
    )
    max_connections: _Whole = Field(default=8192, ge=16, description="open connections per worker, idle ones included")
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="form of log lines: json, text, or auto (text on a terminal, else json)"
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The arguments alone: `load` reads the other sources, to name in an error where a value came from."""
        return (init_settings,)

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        for given, missing in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
            if getattr(self, given) and not getattr(self, missing):
                raise _missing(given, missing, "A certificate and its key go together.")
        if _is_wildcard(self.host) and self.public_url is None:
            raise _missing(
                "host",
                "public_url",
                f"The address {self.host or '*'!r} is a wildcard, and links to it would lead nowhere. "
                "Set the public URL to the origin that clients use, like http://192.0.2.7:8000.",
            )
        return self

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
    def named_paths(self) -> list[Path]:
        """What the settings name beside the home: the volume, TLS files and the settings file."""
        file = os.environ.get(FILE_VARIABLE)
        named = [self.volume_root, self.tls_cert, self.tls_key, _path(file) if file else None]
        return [path for path in named if path]

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
    def load(cls, flags: Mapping[str, str | None]) -> Settings:
        """Merge flags, variables and the file that ENTREPOT_SETTINGS names. Raises SettingsError."""
        file = os.environ.get(FILE_VARIABLE, "")
        _refuse_old_variables()
        sources: list[tuple[Callable[[str], str], Mapping[str, Any]]] = [
            (lambda name: f"{name} in {file}", _read_file(file) if file else {}),
            (variable_name, EnvSettingsSource(cls)()),
            (flag_name, flags),
        ]
        values: dict[str, Any] = {}
        given: dict[str, str] = {}
        for spelled, source in sources:
            for name, value in source.items():
                if value not in (None, ""):
                    values[name], given[name] = value, spelled(name)
        try:
            return cls(**values)
        except ValidationError as error:
            problems = [_sentence(each, values, given) for each in error.errors()]
        raise SettingsError("\n".join(problems))


def _missing(given: str, missing: str, reason: str) -> PydanticCustomError:
    """The error of a setting that another one needs."""
    context = {"given": given, "missing": missing, "reason": reason}
    return PydanticCustomError("missing_companion", "{given} needs {missing}. {reason}", context)


def _sentence(error: Any, values: Mapping[str, Any], given: Mapping[str, str]) -> str:
    """What pydantic found wrong, in plain words: the setting as it was given, its value, and what it must be."""
    context = error.get("ctx", {})
    if error["type"] == "missing_companion":
        name, missing = context["given"], context["missing"]
        return (
            f"{given.get(name, flag_name(name))} needs {flag_name(missing)} ({variable_name(missing)}), "
            f"which is not set. {context['reason']}"
        )
    name = error["loc"][0]
    match error["type"]:
        case "greater_than_equal":
            wanted = f"it must be at least {_spelled(name, context['ge'])}"
        case "less_than_equal":
            wanted = f"it must be at most {_spelled(name, context['le'])}"
        case "literal_error":
            wanted = f"it must be {context['expected'].replace(chr(39), '')}"
        case _:
            wanted = str(context["error"])
    return f"{given[name]}: {_repeatable(values[name])} cannot be used: {wanted}."


def _repeatable(value: Any) -> str:
    """A value as an error message repeats it; not when it may hold a password or a key."""
    text = str(value)
    if not isinstance(value, str | int | float) or "@" in text or _KEY.search(text):
        return "its value"
    return repr(text)


def _is_wildcard(host: str) -> bool:
    try:
        return not host or ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return host in ("0", "*")


def flag_name(name: str) -> str:
    """The flag of `entrepot serve` for a setting."""
    return "--" + name.replace("_", "-")


def variable_name(name: str) -> str:
    """The environment variable for a setting."""
    return "ENTREPOT_" + name.upper()


def default_text(name: str) -> str:
    """The default of a setting as one would write it; empty when there is none, or when it depends on the machine."""
    default = Settings.model_fields[name].default
    return "" if default in (PydanticUndefined, None, ()) else _spelled(name, default)


def _spelled(name: str, value: Any) -> str:
    return format_size(value) if _IS_SIZE in Settings.model_fields[name].metadata else f"{value}"


def _refuse_old_variables() -> None:
    old = [name for name in RENAMED if os.environ.get(variable_name(name))]
    if old:
        raise SettingsError(
            "\n".join(f"{variable_name(o)} is now {variable_name(RENAMED[o])}: rename it." for o in old)
        )


def _read_file(name: str) -> dict[str, Any]:
    path = _path(name)
    try:
        with path.open("rb"):  # a source passes over a file that is not there
            values = TomlConfigSettingsSource(Settings, path)()
    except UnicodeDecodeError:
        raise SettingsError(f"The settings file {name} cannot be read: it is not UTF-8 text.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"The settings file {name} cannot be read: {reason}.") from None
    old = [key for key in values if key in RENAMED]
    if old:
        raise SettingsError("\n".join(f"{key} in {name} is now {RENAMED[key]}: rename it." for key in old))
    unknown = values.keys() - Settings.model_fields.keys()
    if unknown:
        raise SettingsError(
            f"The settings file {name} has unknown keys: {', '.join(sorted(unknown))}. "
            "Its keys are the flags of entrepot serve, written like public_url for --public-url."
        )
    return values
