"""`entrepot files trash` and `undelete`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from entrepot.cli import exits, formats
from entrepot.cli.files.remote import opened, parsed
from entrepot.cli.files.showing import confirm, count, facts, for_each, stamp
from entrepot.cli.screen import Screen
from entrepot.client.entries import ROOT, Trashed

_LEAST_ID = 6  # characters of an id that stand for it
_SHORT_ID = 16  # they begin with the time


def trash(args: argparse.Namespace) -> int:
    with opened(args) as remote:
        known = remote.files.trash()
        found = [one for text in args.paths for one in _meant(text, known)] if args.paths else known
        if args.empty:
            return _empty(args, found, remote.files.drop)
        for one in found:
            print(json.dumps(_facts(one)) if args.json else _row(one, known))
    return exits.OK


def _empty(args: argparse.Namespace, found: list[Trashed], drop: Any) -> int:
    if not found:
        return exits.OK
    files = [one.size for one in found if one.is_file]
    folders = len(found) - len(files)
    # Of a folder the server does not know how much it holds.
    what = [f"{count(len(files), 'file')}, {formats.size(sum(files))}"] if files else []
    what += [f"{count(folders, 'folder')} with all in {'it' if folders == 1 else 'them'}"] if folders else []
    confirm(f"End {count(len(found), 'deleted path')} ({'; '.join(what)}) for good?", args.yes, "entrepot files trash")

    screen = Screen(quiet=args.quiet)

    def end(one: Trashed) -> None:
        drop(one.id)
        if args.json:
            screen.answer(json.dumps(_facts(one)))

    return for_each(found, lambda one: f"{ROOT}/{one.path}", end, screen)


def undelete(args: argparse.Namespace) -> int:
    if args.to is not None and len(args.paths) > 1:
        raise exits.Failure(exits.USAGE, f"--to is for one thing; here are {len(args.paths)}.")
    to = None if args.to is None else parsed(args.to)
    screen = Screen(quiet=args.quiet)
    with opened(args) as remote:
        known = remote.files.trash()
        # The last one that was deleted from a path is what is meant by it.
        chosen = [max(_meant(text, known), key=_when) for text in args.paths]

        def restore(one: Trashed) -> None:
            entry = remote.files.undelete(one.id, to)
            screen.answer(json.dumps(facts(entry)) if args.json else exits.one_line(entry.absolute))

        return for_each(chosen, lambda one: f"{ROOT}/{one.path}", restore, screen)


def _meant(text: str, known: list[Trashed]) -> list[Trashed]:
    """What an id, a path or the beginning of an id stands for. Raises Failure."""
    found = [one for one in known if one.id == text] or [one for one in known if one.path == parsed(text)]
    if not found and len(text) >= _LEAST_ID:
        found = [one for one in known if one.id.startswith(text)]
        if len(found) > 1:
            said = f"{exits.one_line(text)}: {len(found)} ids in the trash begin so."
            raise exits.Failure(exits.USAGE, said, "Give more of the id: entrepot files trash --json")
    if not found:
        said = f"{exits.one_line(text)}: Nothing of that path or id is in the trash."
        raise exits.Failure(exits.NOT_FOUND, said, "See what is: entrepot files trash")
    return found


def _when(one: Trashed) -> float:
    return one.deleted_at.timestamp() if one.deleted_at else 0.0


def short_id(trash_id: str, known: Sequence[Trashed]) -> str:
    """As much of an id as tells it from all others: a whole one does not fit into a line."""
    length = _SHORT_ID
    while any(one.id != trash_id and one.id.startswith(trash_id[:length]) for one in known):
        length += 1
    return trash_id[:length]


def _row(one: Trashed, known: Sequence[Trashed] = ()) -> str:
    name = exits.one_line(f"{ROOT}/{one.path}") + ("" if one.is_file else "/")
    if not sys.stdout.isatty():
        return "\t".join(
            [exits.one_line(one.id), stamp(one.deleted_at) or "-", str(one.size) if one.is_file else "-", name]
        )
    now = datetime.now(UTC)
    until = f"until {formats.moment(one.gone_at, now)}" if one.gone_at else ""
    trash_id = exits.one_line(short_id(one.id, known))
    return f"{trash_id}  {formats.size(one.size) if one.is_file else '-':>10}  {until}  {name}"


def _facts(one: Trashed) -> dict[str, Any]:
    return {
        "id": one.id,
        "path": one.path,
        "is_file": one.is_file,
        "size": one.size,
        "deleted_at": stamp(one.deleted_at),
        "gone_at": stamp(one.gone_at),
    }
