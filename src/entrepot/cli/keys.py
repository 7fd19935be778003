"""`entrepot keys`: make, list and revoke API keys of a home on this machine, with or without a running server."""

from __future__ import annotations

import argparse
import json
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from entrepot.cli import exits, helptext
from entrepot.cli.output import READER_LEFT, Unwritable
from entrepot.cli.screen import Screen

if TYPE_CHECKING:
    from entrepot.service.accounts import Accounts
    from entrepot.settings import Settings

_EPILOG = """A key is shown once, when it is made; only its hash is stored. Revoking one also ends every token and
upload URL that was made with it, and its unfinished uploads.

examples:
  entrepot keys create --home /srv/media --name laptop
  entrepot keys list --json
  entrepot keys revoke 5f1c...
"""


def add_to(commands: Any) -> None:
    sub = commands.add_parser(
        "keys",
        help="make, list and revoke API keys",
        epilog=_EPILOG,
    )
    verbs = sub.add_subparsers(dest="verb", metavar="VERB")
    sub.set_defaults(run=lambda _: helptext.show_help(sub))
    create = _verb(verbs, "create", "make a key and print it once", _create, "--name laptop --json")
    create.add_argument("--name", default="", help="what it is for")
    create.add_argument("--init", action="store_true", help="make the home first if it does not exist")
    _verb(verbs, "list", "list keys, without their secrets", _list, "--home /srv/media")
    revoke = _verb(verbs, "revoke", "end a key for ever", _revoke, "--home /srv/media 5f1c...")
    revoke.add_argument("key_id", metavar="KEY_ID", help="the part before the colon")


def _verb(
    verbs: Any, name: str, help: str, deed: Callable[..., Awaitable[None]], example: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=help, epilog=f"example: entrepot keys {name} {example}"
    )
    parser.add_argument("--home", metavar="DIR", help="the server's home [ENTREPOT_HOME]")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run, deed=deed, init=False)
    return parser


def run(args: argparse.Namespace) -> int:
    async def act(settings: Settings) -> None:
        with exits.needing_server():
            from entrepot.server import bootstrap

        named = settings.named_paths
        async with bootstrap.open_accounts(settings.home, init=args.init, expected=named) as accounts:
            await args.deed(args, accounts)

    return on_home(args, act)


def on_home(args: argparse.Namespace, act: Callable[[Settings], Coroutine[Any, Any, None]]) -> int:
    """Run `act` with the settings, which name the home. Raises Failure for what keeps it from being used."""
    import asyncio  # here and not above: it is a third of what `--help` loads

    from entrepot.domain.errors import Problem

    with exits.needing_server():
        from entrepot.home import HomeError, HomeMissing
        from entrepot.settings import Settings, SettingsError

    try:
        asyncio.run(act(Settings.load({"home": args.home, "volume": getattr(args, "volume", None)})))
    except HomeMissing as error:
        fix = "Name the one that the server was started with: --home DIR, or ENTREPOT_HOME"
        if args.verb == "create":
            fix += "; or make one here: --init"
        raise exits.Failure(exits.NOT_FOUND, str(error), fix) from None
    except HomeError as error:
        raise exits.Failure(exits.FAILURE, str(error)) from None
    except SettingsError as error:
        raise exits.Failure(exits.USAGE, str(error)) from None
    except Problem as problem:
        raise exits.Failure(exits.NOT_FOUND, problem.message, problem.fix) from None
    return exits.OK


async def _create(args: argparse.Namespace, accounts: Accounts) -> None:
    key = await accounts.create_key(args.name)
    text = json.dumps({"key": key.reveal(), "id": key.id, "name": args.name}) if args.json else key.reveal()
    try:
        print(text, flush=True)
    except (Unwritable, BrokenPipeError) as error:
        await accounts.revoke_key(key.id)
        failure = error if isinstance(error, Unwritable) else Unwritable(READER_LEFT)
        raise exits.Failure(failure.code, f"{failure.message} The key, which nobody has seen, was revoked.") from None


async def _list(args: argparse.Namespace, accounts: Accounts) -> None:
    for key, nickname in await accounts.list_keys():
        facts = {
            "id": key.id,
            "name": key.name,
            "account": nickname,
            "created_at": timestamp(key.created_at),
            "revoked_at": timestamp(key.revoked_at),
        }
        if args.json:
            print(json.dumps(facts))
        else:
            columns = [key.id, nickname, facts["created_at"] or "", _state(key.revoked_at), key.name]
            print("\t".join(map(exits.printable, columns)))


async def _revoke(args: argparse.Namespace, accounts: Accounts) -> None:
    key_id = args.key_id.partition(":")[0]
    await accounts.revoke_key(key_id)
    Screen(quiet=False).answer(json.dumps({"id": key_id, "revoked": True}) if args.json else f"revoked {key_id}")


def _state(revoked_at: float | None) -> str:
    return "active" if revoked_at is None else "revoked"


def timestamp(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
