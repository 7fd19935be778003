"""`entrepot serve`: start a server."""

from __future__ import annotations

import argparse
import sys
from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING, Any

from entrepot.cli import exits
from entrepot.cli.output import Unwritable
from entrepot.client import saved
from entrepot.client.errors import ConfigurationError
from entrepot.domain.keys import ApiKey, Secret
from entrepot.settings import Settings, SettingsError, flag_name, parse_size, variable_name

if TYPE_CHECKING:
    from entrepot.server.founding import Start

_EPILOG = """Every flag has an environment variable (in brackets); flags win. ENTREPOT_SETTINGS names a TOML file with
the same names as keys. Sizes are in bytes and may end in K, M, G or T; times are in seconds. The first start makes
the home, an account and a key, and prints the key once.

example:
  entrepot serve --home /srv/media --host 0.0.0.0 \\
      --public-url https://media.example.com
"""


def add_to(commands: Any) -> None:
    sub = commands.add_parser(
        "serve", help="start a server", epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for item in fields(Settings):
        text = (item.metadata["help"] + _default(item)).replace("%", "%%")
        sub.add_argument(flag_name(item.name), metavar="V", help=f"{text} [{variable_name(item.name)}]")
    sub.set_defaults(run=run)


def _default(item: Field[Any]) -> str:
    """The default as one would write it; empty for what is found out or has none, which the help says in words."""
    value = item.default
    if value is MISSING or value in (None, ()):
        return ""
    for scale, letter in ((1024**4, "T"), (1024**3, "G"), (1024**2, "M")):
        if item.metadata["parse"] is parse_size and value % scale == 0:
            return f" (default: {value // scale}{letter})"
    return f" (default: {value})"


def run(args: argparse.Namespace) -> int:
    with exits.needing_server():
        from entrepot.home import HomeError
        from entrepot.server import parent
    try:
        settings = Settings.load({f.name: getattr(args, f.name) for f in fields(Settings)})
        with exits.needing_server():  # some are loaded late
            parent.serve(settings, lambda start: announce(settings, start))
    except SettingsError as error:
        raise exits.Failure(exits.USAGE, str(error)) from None
    except HomeError as error:
        raise exits.Failure(exits.FAILURE, str(error)) from None
    return exits.OK


def announce(settings: Settings, start: Start) -> None:
    """Say where the server is; on the first start also the key, this once, and three lines to try."""
    url = settings.api_origin
    _say(f"Entrepot serves {settings.home} on {url}")
    if start.first_key is None:
        return
    key = start.first_key.reveal()
    _say(f"\nYour key, shown this once:  {key}")  # before anything that can fail
    lines = [
        _save(url, start.first_key),
        "",
        "Try it from another terminal:",
        f"  curl -H 'Authorization: Key {key}' --data-binary 'hello' {url}/files/upload",
        f"  {_command('entrepot')} upload picture.png",
        f"  {_command('python')} -c \"import entrepot; print(entrepot.upload_file('picture.png'))\"",
        "",
        "Stop with Ctrl-C.",
    ]
    _say("\n".join(lines))


def _say(text: str) -> None:
    """To standard output, else to standard error: a server starts on a full disk too, and its key is shown only now."""
    try:
        print(text, flush=True)
    except (Unwritable, BrokenPipeError):
        print(text, file=sys.stderr, flush=True)


def _save(url: str, key: ApiKey) -> str:
    """Save the profile, and say where; a service often has no folder for it."""
    try:
        path, name = saved.save(url, Secret(key.reveal()))
    except (OSError, ConfigurationError) as error:
        return f"It could not be saved for this user's commands ({error}): set ENTREPOT_URL={url} and ENTREPOT_KEY."
    return f"It is saved for this user's commands in {path} (profile {name!r})."


def _command(name: str) -> str:
    """The command as it can be typed: by its full path when it lives in a virtual environment that is not active."""
    return name if sys.prefix == sys.base_prefix else f"{sys.prefix}/bin/{name}"
