"""Where the client finds its servers and keys: variables first, then the profile file of the user.

ENTREPOT_URL (one or several), ENTREPOT_KEY, FAL_KEY or FAL_KEY_ID with FAL_KEY_SECRET; then ENTREPOT_PROFILE or the
current profile of ~/.config/entrepot/config.toml (or ENTREPOT_CONFIG).
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from entrepot import atomic
from entrepot.client.errors import ConfigurationError
from entrepot.domain.keys import Secret

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Profile:
    """A server's origin, without trailing slash, and the key for it."""

    url: str
    key: Secret

    @property
    def key_id(self) -> str:
        """The public part of the key."""
        return self.key.reveal().partition(":")[0]


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    if environ.get("ENTREPOT_CONFIG"):
        return Path(environ["ENTREPOT_CONFIG"])
    base = environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "entrepot" / "config.toml"


def targets(
    key: str | None = None,
    url: str | Sequence[str] | None = None,
    profile: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[Profile, ...]:
    """The servers to upload to, in order, each with its key. Raises ConfigurationError.

    Arguments win over variables, and those over the file. The file's keys go only to their own servers: another URL
    needs a key of its own.
    """
    saved = _Lazy(environ)
    urls = _urls(url) or ((saved.named(profile).url,) if profile else _urls(environ.get("ENTREPOT_URL")))
    if not urls:
        name = environ.get("ENTREPOT_PROFILE")
        chosen = saved.named(name) if name else saved.current()
        if chosen is None:
            raise ConfigurationError(
                "No server is configured.",
                "Run entrepot login, set ENTREPOT_URL and ENTREPOT_KEY, or start one on this machine: entrepot serve",
            )
        urls = (chosen.url,)
    own = key or ("" if profile else _key_of(environ))
    if own:
        return tuple(Profile(each, Secret(own.strip())) for each in urls)
    return tuple(saved.at(each) for each in urls)


def load(environ: Mapping[str, str] = os.environ) -> Profile:
    """The first server to use. Raises ConfigurationError."""
    return targets(environ=environ)[0]


def _urls(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """One URL, several, or a text of several with blanks or commas between."""
    found = given.replace(",", " ").split() if isinstance(given, str) else given or ()
    return tuple(_checked(each) for each in found)


def _checked(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{url!r} is no URL of a server.", "It must be like https://media.example.com")
    return url.rstrip("/")


def _key_of(environ: Mapping[str, str]) -> str:
    pair = [environ.get("FAL_KEY_ID"), environ.get("FAL_KEY_SECRET")]
    return environ.get("ENTREPOT_KEY") or environ.get("FAL_KEY") or (":".join(map(str, pair)) if all(pair) else "")


def save(url: str, key: Secret, environ: Mapping[str, str] = os.environ) -> tuple[Path, str]:
    """Add a profile, make it the current one, and return the file (mode 0600) and the profile's name.

    Other servers' profiles stay: the first is called `default`, others by their host and port.
    """
    path = config_path(environ)
    content = _read(path)
    profiles = content.profiles
    name = next((n for n, p in profiles.items() if p.get("url") == url), None)
    name = name or (DEFAULT if not profiles else url.partition("://")[2])
    profiles[name] = {"url": url, "key": key.reveal()}
    lines = [f"current = {json.dumps(name)}"]
    for each, values in profiles.items():
        lines += ["", f"[profiles.{json.dumps(each)}]", *(f"{k} = {json.dumps(v)}" for k, v in values.items())]
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    atomic.write_file(path, ("\n".join(lines) + "\n").encode(), 0o600)
    return path, name


class _Lazy:
    """The profile file, read when it is first needed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._path = config_path(environ)
        self._content: _Content | None = None

    def named(self, name: str) -> Profile:
        """Raises ConfigurationError when there is none of that name."""
        values = self._all().profiles.get(name)
        if values is None:
            known = ", ".join(self._all().profiles) or "none"
            raise ConfigurationError(f"There is no profile {name!r}; saved are: {known}.", "Save it: entrepot login")
        return self._profile(values)

    def current(self) -> Profile | None:
        values = self._all().profiles.get(self._all().current)
        return self._profile(values) if values else None

    def at(self, url: str) -> Profile:
        """The profile of a server. Raises ConfigurationError."""
        for values in self._all().profiles.values():
            if values.get("url") == url:
                return self._profile(values)
        raise ConfigurationError(f"There is no key for {url}.", "Set ENTREPOT_KEY to a key of that server.")

    def _profile(self, values: Mapping[str, str]) -> Profile:
        if self._path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            fix = f"Run: chmod 600 {self._path}"
            raise ConfigurationError(f"{self._path} holds a key and can be read by others.", fix)
        try:
            return Profile(values["url"], Secret(values["key"]))
        except KeyError as error:
            fix = "Correct or remove the file."
            raise ConfigurationError(f"{self._path}: the profile has no {error}.", fix) from None

    def _all(self) -> _Content:
        if self._content is None:
            self._content = _read(self._path)
        return self._content


@dataclass(frozen=True, slots=True)
class _Content:
    current: str
    profiles: dict[str, dict[str, str]]


def _read(path: Path) -> _Content:
    try:
        values = tomllib.loads(path.read_text())
        return _Content(values.get("current", DEFAULT), values.get("profiles", {}))
    except FileNotFoundError:
        return _Content(DEFAULT, {})
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}", "Correct or remove the file.") from None
