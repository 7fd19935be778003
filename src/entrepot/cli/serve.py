"""`entrepot serve`: start a server."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from entrepot.cli import exits
from entrepot.cli.output import Unwritable
from entrepot.client import saved
from entrepot.client.errors import ConfigurationError
from entrepot.domain.keys import ApiKey, Secret

if TYPE_CHECKING:
    from entrepot.server.bootstrap import Start
    from entrepot.settings import Settings

_EPILOG = """Every flag has an environment variable (in brackets); flags win. ENTREPOT_SETTINGS names a TOML file with
the same names as keys. Sizes are in bytes and may end in K, M, G or T; times are in seconds. The first start makes
the home, an account and a key, and prints the key once.

example:
  entrepot serve --home /srv/media --host 0.0.0.0 \\
      --public-url https://media.example.com
"""


def add_to(commands: Any) -> None:
    sub = commands.add_parser("serve", help="start a server", epilog=_EPILOG, add_late=_add_flags)
    sub.set_defaults(run=run)


def _add_flags(sub: argparse.ArgumentParser) -> None:
    """A flag for each setting, only once they are needed: the settings load packages that no other command uses."""
    with exits.needing_server():
        from entrepot.settings import RENAMED, Settings, default_text, flag_name, variable_name

    for name, field in Settings.model_fields.items():
        default = default_text(name)
        text = f"{field.description}{f' (default: {default})' if default else ''} [{variable_name(name)}]"
        sub.add_argument(flag_name(name), metavar="V", help=text.replace("%", "%%"))
    sub.set_defaults(renamed={flag_name(old): flag_name(new) for old, new in RENAMED.items()})
    sub.add_argument(
        "--profile", metavar="NAME", help="save the first key under this name and make it the current profile"
    )


def run(args: argparse.Namespace) -> int:
    with exits.needing_server():
        from entrepot.home import HomeError
        from entrepot.server import parent
        from entrepot.settings import Settings, SettingsError
    try:
        settings = Settings.load({name: getattr(args, name) for name in Settings.model_fields})
        with exits.needing_server():  # some are loaded late
            parent.serve(settings, lambda start: announce(settings, start, args.profile))
    except SettingsError as error:
        raise exits.Failure(exits.USAGE, str(error)) from None
    except HomeError as error:
        raise exits.Failure(exits.FAILURE, str(error)) from None
    _say("Entrepot has stopped.")
    return exits.OK


def announce(settings: Settings, start: Start, profile: str | None = None) -> None:
    """Say where the server is; on the first start also the key, this once, and three lines to try."""
    url = _address(settings)
    _say(f"Entrepot serves {settings.home} on {url}")
    if settings.api_origin != url:
        _say(f"Links that it gives begin with {settings.api_origin}.")
    if start.first_key is None:
        if profile:
            _say(_no_first_key(url, profile))
        return _follow(settings.home, url)
    key = start.first_key.reveal()
    _say(f"\nYour key, shown this once:  {key}")  # before anything that can fail
    said, saved_here = _save(url, start.first_key, profile)
    own = "" if saved_here else f"ENTREPOT_URL={url} ENTREPOT_KEY={key} "
    lines = [
        said,
        "",
        "Try it from another terminal:",
        f"  curl -H 'Authorization: Key {key}' --data-binary 'hello' {url}/files/upload",
        f"  {own}{_command('entrepot')} upload picture.png",
        f"  {own}{_command('python')} -c \"import entrepot; print(entrepot.upload_file('picture.png'))\"",
        "",
        "Stop with Ctrl-C.",
    ]
    _say("\n".join(lines))


def _address(settings: Settings) -> str:
    """The origin that commands on this machine reach the server by: where it listens, unless its certificate is for
    another name. A public URL of fal's is never one: where names are not redirected, the key would go to fal."""
    if settings.tls_cert and settings.public_url and not saved.is_of_fal(settings.public_url):
        return settings.public_url
    return settings.listening_origin


def _say(text: str) -> None:
    """To standard output, else to standard error: a server starts on a full disk too, and its key is shown only now."""
    try:
        print(text, flush=True)
    except (Unwritable, BrokenPipeError):
        print(text, file=sys.stderr, flush=True)


def _save(url: str, key: ApiKey, name: str | None) -> tuple[str, bool]:
    """Save the first key as a profile when no other is current, or when asked to by a name. What to say, and whether
    it was saved; a service often has no folder for it."""
    try:
        entries = saved.entries()
        current = next((entry for entry in entries if entry.current), None)
        if current and not name:
            return _not_saved(url, current, [entry.name for entry in entries]), False
        path, name = saved.save(url, Secret(key.reveal()), name=name)
    except (OSError, ConfigurationError) as error:
        return (
            f"It could not be saved for this user's commands ({error}): set ENTREPOT_URL={url} and ENTREPOT_KEY.",
            False,
        )
    return f"It is saved for this user's commands in {path} (profile {name!r}).", True


def _not_saved(url: str, current: saved.Entry, names: list[str]) -> str:
    return (
        f"It is not saved: this user's commands go to {current.url} (profile {current.name!r}; saved are: "
        f"{', '.join(names)}).\nTo send them here, give the key to: {_command('entrepot')} login --url {url}"
    )


def _no_first_key(url: str, name: str) -> str:
    """Why --profile saves nothing at a home that has keys, which are known by their hashes alone."""
    login = f"{_command('entrepot')} login --url {shlex.quote(url)} --profile {shlex.quote(name)}"
    return f"Profile {name!r} is not saved: this home has its first key already. Give one of its keys to: {login}"


def _follow(home: Path, url: str) -> None:
    """Point the saved profiles of this home's keys, on this machine, to the address that it listens on now."""
    from entrepot.home import HomeError
    from entrepot.server import bootstrap

    try:
        keys = saved.keys_at(lambda known: known != url and _is_local(known))
        for name in bootstrap.keys_of(home, keys) if keys else ():
            saved.move(name, url)
            _say(f"Profile {name!r} points here now.")
    except (OSError, ConfigurationError, HomeError) as error:
        _say(f"The saved profiles could not be looked at ({error}).")


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _command(name: str) -> str:
    """The command as it can be typed: by its full path when it lives in a virtual environment that is not active."""
    return name if sys.prefix == sys.base_prefix else f"{sys.prefix}/bin/{name}"
