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
        description="folder that holds everything: catalogue, files, keys (default: ~/.local/share/entrepot)",
    )
    volume: _Path | None = Field(
        default=None, description="folder of the volume, which programs mount as /data (default: data in the home)"
    )
    host: _Text = Field(default="127.0.0.1", description="address to listen on")
    port: _Whole = Field(default=8000, ge=1, le=65535, description="port to listen on")
    workers: _Whole = Field(
        default_factory=_default_workers, ge=1, le=64, description="worker processes (default: one a core, at most 4)"
    )
    public_url: _Origin | None = Field(
        default=None,
        description="origin that clients use for the API, such as https://media.example.com (default: host and port)",
    )
    cdn_url: _Origin | None = Field(default=None, description="origin of file URLs (default: the public URL)")
    accepted_hosts: _Hosts = Field(
        default=(),
        description="further host names, by commas; "
        "when set, requests for any name but these and those of the URLs are refused",
    )
    tls_cert: _Path | None = Field(default=None, description="certificate chain (PEM); with it the server speaks https")
    tls_key: _Path | None = Field(default=None, description="private key of the certificate (PEM)")
    max_upload: _Size = Field(default=50 * 1024**3, ge=1, description="largest single upload")
    reserve: _Size = Field(default=256 * 1024**2, ge=0, description="free disk space below which uploads get 507")
    max_uploads: _Whole = Field(
        default=128, ge=1, description="bodies that a worker takes in at once; more wait, or get 429"
    )
    account_quota: _Quota | None = Field(
        default=None, description="bytes that an account may store (default: no bound)"
    )
    volume_quota: _Quota | None = Field(default=None, description="bytes that the volume may hold (default: no bound)")
    volume_max_file: _Size = Field(default=1024**4, ge=1, description="largest file of the volume")
    volume_page: _Whole = Field(
        default=10_000,
        ge=1000,
        description="entries that a listing of the volume gives at once, at most; clients ask for 1000",
    )
    import_max_size: _Size = Field(default=50 * 1024**3, ge=1, description="largest file that is uploaded from a URL")
    import_timeout: _Seconds = Field(default=600, ge=0.1, description="longest time that an upload from a URL may take")
    imports_per_account: _Whole = Field(
        default=4,
        ge=1,
        le=32,
        description="uploads from URLs that a worker does at once for one account; more wait, or get 429",
    )
    fetch_allow: _Networks = Field(
        default=(),
        description="networks, by commas, that URLs may lead to although they are not public, such as 10.0.0.0/8",
    )
    upload_ttl: _Seconds = Field(default=86_400, ge=1, description="life of an unfinished upload and of its signed URL")
    multipart_ttl: _Seconds = Field(
        default=604_800, ge=1, description="life of an unfinished multipart upload and of its signature"
    )
    max_open_uploads: _Whole = Field(
        default=5000, ge=1, description="unfinished uploads that an account may have at once"
    )
    token_ttl: _Seconds = Field(
        default=86_400, ge=3700, description="life of a CDN token when the client asks for none"
    )
    max_age: _Whole = Field(default=31_536_000, ge=0, description="longest time a cache may keep a public file")
    stall_timeout: _Seconds = Field(
        default=60, ge=0.1, description="a connection on which no byte moves for so long is cut"
    )
    min_rate: _Size = Field(
        default=256, ge=0, description="bytes a second that a request's body must come with, on average (0: no bound)"
    )
    rate_grace: _Seconds = Field(
        default=30, ge=0.1, description="time in which a body may come slower, before it is cut with 408"
    )
    drain: _Whole = Field(default=30, ge=1, description="time that running requests get to finish after SIGTERM")
    sweep_interval: _Seconds = Field(default=30, ge=0.05, description="how often what is over is removed from disk")
    tombstone_ttl: _Seconds = Field(
        default=30 * 86_400, ge=0, description="how long the URL of an expired file says 410 before 404"
    )
    orphan_grace: _Seconds = Field(
        default=7 * 86_400, ge=0, description="how long bytes that no row names are kept before they are removed"
    )
    orphan_brake: _Share = Field(
        default=0.5, description="share of all segments; when no row names more than that, none is removed"
    )
    trash_ttl: _Seconds = Field(
        default=7 * 86_400, ge=0, description="how long what was deleted from the volume can come back"
    )
    clock_guard: _Seconds = Field(
        default=3600, ge=0, description="how long nothing is removed after the clock leapt ahead (0: no guard)"
    )
    cache_size: _Size = Field(
        default=64 * 1024**2, ge=0, description="memory of each worker for small files that are read often"
    )
    reply_memory: _Size = Field(
        default=128 * 1024**2,
        ge=1024**2,
        description="memory of each worker for replies that their readers have not taken yet",
    )
    max_connections: _Whole = Field(
        default=8192, ge=16, description="connections that a worker holds at once, idle ones too"
    )
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="json: log lines are JSON objects; text: lines to read; auto: text on a terminal"
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
    unknown = values.keys() - Settings.model_fields.keys()
    if unknown:
        raise SettingsError(
            f"The settings file {name} has unknown keys: {', '.join(sorted(unknown))}. "
            "Its keys are the flags of entrepot serve, written like public_url for --public-url."
        )
    return values
