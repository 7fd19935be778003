"""Where the client finds its servers and keys: variables first, then the profile file of the user.

ENTREPOT_URL (one or several), ENTREPOT_KEY, FAL_KEY or FAL_KEY_ID with FAL_KEY_SECRET; then ENTREPOT_PROFILE or the
current profile of ~/.config/entrepot/config.toml (or ENTREPOT_CONFIG).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from entrepot.client import saved
from entrepot.client.errors import ConfigurationError
from entrepot.domain.keys import Secret

_ARGUMENT = "an argument"


@dataclass(frozen=True, slots=True)
class Profile:
    """A server's origin, without trailing slash, and the key for it."""

    url: str
    key: Secret

    @property
    def key_id(self) -> str:
        """The public part of the key."""
        return saved.id_of(self.key.reveal())


@dataclass(frozen=True, slots=True)
class Found:
    """A server to upload to, and what told its URL and its key: `an argument`, a variable, or `profile NAME`."""

    target: Profile
    url_from: str
    key_from: str


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
    return tuple(each.target for each in found(key, url, profile, environ))


def load(environ: Mapping[str, str] = os.environ) -> Profile:
    """The first server to use. Raises ConfigurationError."""
    return targets(environ=environ)[0]


def found(
    key: str | None = None,
    url: str | Sequence[str] | None = None,
    profile: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[Found, ...]:
    """As `targets`, with where each was found."""
    file = _Lazy(environ)
    urls, url_from, chosen = _places(url, profile, file, environ)
    own, key_from = (key, _ARGUMENT) if key else ("", "") if profile else _key_of(environ)
    if own:
        return tuple(Found(Profile(each, Secret(own.strip())), url_from, key_from) for each in urls)
    if chosen:
        return (Found(file.named(chosen), url_from, url_from),)
    return tuple(Found(file.named(name), url_from, _of(name)) for name in map(file.name_at, urls))


def _places(
    url: str | Sequence[str] | None, profile: str | None, file: _Lazy, environ: Mapping[str, str]
) -> tuple[tuple[str, ...], str, str]:
    """The URLs, what told them, and the profile that they are of, if so."""
    if urls := _urls(url):
        return urls, _ARGUMENT, ""
    if not profile and (urls := _urls(environ.get("ENTREPOT_URL"))):
        return urls, "ENTREPOT_URL", ""
    name = profile or environ.get("ENTREPOT_PROFILE") or file.current()
    if not name:
        raise file.no_server()
    return (file.named(name).url,), _of(name), name


def _of(name: str) -> str:
    return f"profile {name}"


def _urls(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """One URL, several, or a text of several with blanks or commas between."""
    found = given.replace(",", " ").split() if isinstance(given, str) else given or ()
    return tuple(_checked(each) for each in found)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname and parts.hostname.encode("idna")) and parts.port != 0 and " " not in url
    except ValueError:
        usable = False
    else:
        usable = usable and parts.username is None and not parts.query and not parts.fragment
    if not usable or not url.startswith(("http://", "https://")) or not url.isascii() or not url.isprintable():
        # It is not quoted: it may be a key, by mistake, or hold a password.
        raise ConfigurationError(
            "The server's URL is not one that can be used.", "It must be like https://media.example.com"
        )
    return url.rstrip("/")


def key_variable(environ: Mapping[str, str]) -> str:
    """The variable that has the key to use; empty when none has."""
    return _key_of(environ)[1]


def _key_of(environ: Mapping[str, str]) -> tuple[str, str]:
    """A key of the environment, and the variable that has it."""
    for name in ("ENTREPOT_KEY", "FAL_KEY"):
        if environ.get(name):
            return environ[name], name
    pair = [environ.get("FAL_KEY_ID"), environ.get("FAL_KEY_SECRET")]
    return (":".join(map(str, pair)), "FAL_KEY_ID and FAL_KEY_SECRET") if all(pair) else ("", "")


class _Lazy:
    """The profile file, read when it is first needed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._content: saved.Content | None = None

    @property
    def _path(self) -> Path:
        return saved.config_path(self._environ)

    def named(self, name: str) -> Profile:
        """Raises NoProfile, ConfigurationError."""
        values = self._all().profiles.get(name)
        if values is None:
            raise saved.missing(name, self._all())
        return self._profile(values)

    def current(self) -> str:
        """The name of the current profile; empty when there is none."""
        return self._all().current

    def no_server(self) -> ConfigurationError:
        """What to say when nothing names a server: several profiles are saved and none was chosen, or there is none."""
        if self._all().profiles:
            return saved.missing("", self._all())
        return ConfigurationError(
            "No server is configured.",
            "Run entrepot login, set ENTREPOT_URL and ENTREPOT_KEY, or start one on this machine: entrepot serve",
        )

    def name_at(self, url: str) -> str:
        """The profile of a server: the current one when it is of it, else the first. Raises ConfigurationError."""
        names = [name for name, values in self._all().profiles.items() if str(values.get("url")).rstrip("/") == url]
        if not names:
            raise ConfigurationError(f"There is no key for {url}.", "Set ENTREPOT_KEY to a key of that server.")
        return self._all().current if self._all().current in names else names[0]

    def _profile(self, values: Mapping[str, Any]) -> Profile:
        if self._path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            fix = f"Run: chmod 600 {self._path}"
            raise ConfigurationError(f"{self._path} holds a key and can be read by others.", fix)
        url, key = values.get("url"), values.get("key")
        if not isinstance(url, str) or not isinstance(key, str):
            lacks = "url" if not isinstance(url, str) else "key"
            raise ConfigurationError(f"{self._path}: the profile has no {lacks!r}.", "Save it again: entrepot login")
        return Profile(_checked(url), Secret(key))

    def _all(self) -> saved.Content:
        if self._content is None:
            self._content = saved.read(self._path)
        return self._content
