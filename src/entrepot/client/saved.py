"""The profile file of the user: servers with their keys, and which of them is current.

~/.config/entrepot/config.toml, or ENTREPOT_CONFIG; mode 0600. What others wrote into it is kept. The only saved
profile is the current one; of several it is the one that was chosen last: `login`, `profiles use`, `serve --profile`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from entrepot import atomic
from entrepot.client import toml
from entrepot.client.errors import ConfigurationError
from entrepot.client.local import expanded
from entrepot.domain.keys import Secret

DEFAULT = "default"
_FAL_DOMAINS = ("fal.ai", "fal.dev", "fal.media", "fal.run", "falrun.com")


class NoProfile(ConfigurationError):
    """No profile of that name is saved."""

    code = "no_profile"


def is_of_fal(url: str) -> bool:
    """Whether the host of a URL is one of fal's own. A server that stands in for fal is known by such names, and its
    keys are nothing that fal should be sent."""
    host = urlsplit(url).hostname or ""
    return any(host == domain or host.endswith(f".{domain}") for domain in _FAL_DOMAINS)


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Raises ConfigurationError for a user who has no home."""
    if environ.get("ENTREPOT_CONFIG"):
        return Path(expanded(environ["ENTREPOT_CONFIG"]))
    base = environ.get("XDG_CONFIG_HOME")
    try:
        return (Path(expanded(base)) if base else Path.home() / ".config") / "entrepot" / "config.toml"
    except RuntimeError:
        fix = "Set ENTREPOT_URL and ENTREPOT_KEY, or ENTREPOT_CONFIG."
        raise ConfigurationError("This user has no home for a configuration.", fix) from None


@dataclass(frozen=True, slots=True)
class Content:
    """The file; `profiles` is a part of `values`, `current` the name of one of them, or empty."""

    current: str
    profiles: dict[str, dict[str, Any]]
    values: dict[str, Any]


def read(path: Path) -> Content:
    """Empty when there is no file. Raises ConfigurationError, which never quotes what is in it."""
    fix = "Correct or remove the file."
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        values = {}
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.", fix) from None
    except ValueError as error:
        raise ConfigurationError(f"{path} is no TOML: {error}.", fix) from None
    profiles = values.setdefault("profiles", {})
    if not isinstance(profiles, dict) or not all(isinstance(each, dict) for each in profiles.values()):
        raise ConfigurationError(f"{path}: each profile must be a table such as [profiles.{DEFAULT}].", fix)
    named = str(values.get("current", DEFAULT))
    return Content(_current(named, profiles), profiles, values)


def _current(named: str, profiles: Mapping[str, Any]) -> str:
    """The profile that is used when none is named: the chosen one, else the only one; empty when there is none."""
    return named if named in profiles else next(iter(profiles)) if len(profiles) == 1 else ""


def save(
    url: str, key: Secret, environ: Mapping[str, str] = os.environ, *, name: str | None = None
) -> tuple[Path, str]:
    """Add a profile, make it the current one, and return the file (mode 0600) and the profile's name.

    Other profiles stay. Without a `name` it is the one of this server, else `default` when it is the first, else the
    server's host and port. Raises ConfigurationError, OSError.
    """
    path = config_path(environ)
    os.makedirs(_place(path).parent, 0o700, exist_ok=True)
    with _alone(path):
        content = read(path)
        profiles = content.profiles
        name = name or next((n for n, p in profiles.items() if p.get("url") == url), None)
        name = name or _new_name(url, profiles)
        profiles[name] = {**profiles.get(name, {}), "url": url, "key": key.reveal()}
        _write(path, content, name)
    return path, name


def _new_name(url: str, taken: Mapping[str, Any]) -> str:
    place = url.partition("://")[2]
    return DEFAULT if not taken else url if place in taken else place


def move(name: str, url: str, environ: Mapping[str, str] = os.environ) -> None:
    """Give a profile another URL; its key stays. Raises NoProfile, ConfigurationError, OSError."""
    path = config_path(environ)
    with _alone(path):
        content = read(path)
        if name not in content.profiles:
            raise missing(name, content)
        content.profiles[name]["url"] = url
        _write(path, content, content.current)


def remove(name: str | None = None, environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Forget a profile, by default the current one; its name and URL. Of several that are left none is current if it
    was.

    Raises NoProfile, ConfigurationError, OSError.
    """
    path = config_path(environ)
    with _alone(path):
        content = read(path)
        name = name or environ.get("ENTREPOT_PROFILE") or content.current
        if name not in content.profiles:
            raise missing(name, content)
        url = str(content.profiles.pop(name).get("url", ""))
        _write(path, content, _current("" if name == content.current else content.current, content.profiles))
    return name, url


def select(name: str, environ: Mapping[str, str] = os.environ) -> None:
    """Make a profile the current one. Raises NoProfile, ConfigurationError, OSError."""
    path = config_path(environ)
    with _alone(path):
        content = read(path)
        if name not in content.profiles:
            raise missing(name, content)
        _write(path, content, name)


@dataclass(frozen=True, slots=True)
class Entry:
    """A saved profile, without its secret."""

    name: str
    url: str
    key_id: str
    current: bool


def keys_at(urls: Callable[[str], bool], environ: Mapping[str, str] = os.environ) -> dict[str, Secret]:
    """The keys of the profiles, by their names, whose URL is one of these. Raises ConfigurationError."""
    profiles = read(config_path(environ)).profiles.items()
    return {n: Secret(str(p["key"])) for n, p in profiles if "key" in p and urls(str(p.get("url", "")))}


def entries(environ: Mapping[str, str] = os.environ) -> list[Entry]:
    """All saved profiles. Raises ConfigurationError."""
    content = read(config_path(environ))
    current = environ.get("ENTREPOT_PROFILE") or content.current
    return [
        Entry(name, str(values.get("url", "")), id_of(str(values.get("key", ""))), name == current)
        for name, values in content.profiles.items()
    ]


def _write(path: Path, content: Content, current: str) -> None:
    """Replace the file in one step, with all that it had."""
    atomic.write_file(_place(path), toml.dumps({**content.values, "current": current}).encode(), 0o600)


def _place(path: Path) -> Path:
    """Where the file itself is: a link to somewhere else stays one."""
    return Path(os.path.realpath(path))


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """From reading to writing nobody else changes the file. The lock lies beside it, for it is replaced itself; where
    there is no folder there is nothing to change. Raises OSError."""
    place = _place(path)
    if not place.parent.is_dir():
        yield
        return
    lock = os.open(place.with_name(f".{place.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def missing(name: str, content: Content) -> NoProfile:
    known = ", ".join(content.profiles) or "none"
    if name or not content.profiles:
        lack = f"There is no profile {name!r}" if name else "No profile is current"
        return NoProfile(f"{lack}; saved are: {known}.", "Save it: entrepot login")
    return NoProfile(f"No profile is current; saved are: {known}.", "Choose one: entrepot profiles use NAME")


def id_of(key: str) -> str:
    """The part before the colon; nothing of a key that has none, for all of it may be secret."""
    known, colon, _ = key.partition(":")
    return known if colon else ""
