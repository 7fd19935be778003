"""Where the client finds its server and key: variables first, then the profile file of the user.

ENTREPOT_URL, ENTREPOT_KEY, FAL_KEY; then ~/.config/entrepot/config.toml (or ENTREPOT_CONFIG)
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Mapping
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


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    if environ.get("ENTREPOT_CONFIG"):
        return Path(environ["ENTREPOT_CONFIG"])
    base = environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "entrepot" / "config.toml"


def load(environ: Mapping[str, str] = os.environ) -> Profile:
    """The profile to use. Raises ConfigurationError.

    The file's key goes only to the file's URL: another ENTREPOT_URL needs a key of its own.
    """
    saved = _saved(environ)
    url = (environ.get("ENTREPOT_URL") or (saved.url if saved else "")).rstrip("/")
    if not url:
        raise ConfigurationError(
            "No server is configured.",
            "Set ENTREPOT_URL and ENTREPOT_KEY, or start one on this machine: entrepot serve",
        )
    key = environ.get("ENTREPOT_KEY") or environ.get("FAL_KEY")
    if key:
        return Profile(url, Secret(key.strip()))
    if saved is None or saved.url != url:
        raise ConfigurationError(f"There is no key for {url}.", "Set ENTREPOT_KEY to a key of that server.")
    return saved


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


def _saved(environ: Mapping[str, str]) -> Profile | None:
    path = config_path(environ)
    content = _read(path)
    chosen = content.profiles.get(content.current)
    if not chosen:
        return None
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(f"{path} holds a key and can be read by others.", f"Run: chmod 600 {path}")
    try:
        return Profile(chosen["url"], Secret(chosen["key"]))
    except KeyError as error:
        raise ConfigurationError(f"{path}: the profile has no {error}.", "Correct or remove the file.") from None


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
