"""`entrepot profiles`: the saved servers, and which of them is current."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import Any

from entrepot.cli import exits
from entrepot.client import saved
from entrepot.client.errors import ConfigurationError

_EPILOG = """The current one is marked with a star. ENTREPOT_PROFILE chooses another for one command.

examples:
  entrepot profiles
  entrepot profiles use work
"""


def add_to(commands: Any) -> None:
    sub = commands.add_parser(
        "profiles",
        help="list saved servers, choose the current one",
        epilog=_EPILOG,
    )
    sub.add_argument("--json", action="store_true", help="print one JSON object a profile")
    sub.set_defaults(run=run)
    verbs = sub.add_subparsers(dest="verb", metavar="VERB")
    use = verbs.add_parser("use", help="make a profile the current one", epilog="example: entrepot profiles use work")
    use.add_argument("name", metavar="NAME")
    use.set_defaults(run=run_use)


def run(args: argparse.Namespace) -> int:
    try:
        entries = saved.entries()
    except ConfigurationError as error:
        raise exits.failure(error) from None
    if not entries and not args.json:
        print("no profile is saved; save one: entrepot login", file=sys.stderr)
    for entry in entries:
        if args.json:
            print(json.dumps(dataclasses.asdict(entry)))
        else:
            columns = ["*" if entry.current else " ", entry.name, entry.url, entry.key_id]
            print("\t".join(map(exits.one_line, columns)))
    return exits.OK


def run_use(args: argparse.Namespace) -> int:
    try:
        saved.select(args.name)
    except saved.NoProfile as error:
        raise exits.Failure(exits.NOT_FOUND, error.message, error.fix) from None
    except ConfigurationError as error:
        raise exits.failure(error) from None
    except OSError as error:
        raise exits.Failure(exits.FAILURE, f"The profile file cannot be written: {error.strerror}.") from None
    return exits.OK
