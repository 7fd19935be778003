"""`entrepot uploads`: list and abort unfinished uploads of a home on this machine, with or without a running server."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from entrepot.cli import exits, formats, helptext, keys

if TYPE_CHECKING:
    from entrepot.server.open_uploads import UnfinishedUploads
    from entrepot.settings import Settings

_EPILOG = """An unfinished upload was begun and neither completed nor aborted; the server ends it when its time is over.
Revoking a key ends all that it began.

examples:
  entrepot uploads list --home /srv/media
  entrepot uploads abort 2kXq...
  entrepot uploads list --json | jq -r 'select(.key_id == "5f1c...").id' |
    xargs entrepot uploads abort
"""


def add_to(commands: Any) -> None:
    sub = commands.add_parser(
        "uploads",
        help="list and abort unfinished uploads",
        epilog=_EPILOG,
    )
    verbs = sub.add_subparsers(dest="verb", metavar="VERB")
    sub.set_defaults(run=lambda _: helptext.show_help(sub))
    _verb(verbs, "list", "list unfinished uploads, oldest first", "--home /srv/media --json", _list)
    abort = _verb(verbs, "abort", "end unfinished uploads and free their bytes", "2kXq... 7b0d...", _abort)
    abort.add_argument("paths", metavar="ID", nargs="+", help="as listed")


def _verb(verbs: Any, name: str, help: str, example: str, act: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=help, epilog=f"example: entrepot uploads {name} {example}"
    )
    parser.add_argument("--home", metavar="DIR", help="the server's home [ENTREPOT_HOME]")
    parser.add_argument("--volume", metavar="DIR", help="the folder of its volume [ENTREPOT_VOLUME]")
    parser.add_argument("--json", action="store_true", help="print one JSON object an upload")
    parser.set_defaults(run=run, act=act)
    return parser


def run(args: argparse.Namespace) -> int:
    async def act(settings: Settings) -> None:
        with exits.needing_server():
            from entrepot.server.open_uploads import open_unfinished

        async with open_unfinished(settings) as uploads:
            await args.act(args, uploads)

    return keys.on_home(args, act)


async def _list(args: argparse.Namespace, uploads: UnfinishedUploads) -> None:
    for each in await uploads.list():
        times = {"created_at": keys.timestamp(each.created_at), "expires_at": keys.timestamp(each.expires_at)}
        if args.json:
            print(json.dumps({**asdict(each), **times}))
        else:
            columns = [each.id, each.key_id, *map(str, times.values()), formats.size(each.size), each.place]
            print("\t".join(map(exits.printable, columns)))


async def _abort(args: argparse.Namespace, uploads: UnfinishedUploads) -> None:
    for upload_id in args.paths:
        await uploads.abort(upload_id)
        print(json.dumps({"id": upload_id, "aborted": True}) if args.json else f"aborted {upload_id}")
