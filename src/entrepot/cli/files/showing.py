"""How files of the volume are shown: to people, to programs, and before anything is done."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from entrepot.cli import exits, formats
from entrepot.cli.screen import Screen
from entrepot.client.entries import Entry
from entrepot.client.errors import EntrepotError

T = TypeVar("T")
# What to do where a file is in the way of a transfer.
KEPT = "Choose another name, or let it be replaced. For that leave out --no-overwrite."


def facts(entry: Entry) -> dict[str, Any]:
    """An entry as JSON."""
    return {
        "path": entry.path,
        "name": entry.name,
        "is_file": entry.is_file,
        "size": entry.size,
        "created_at": stamp(entry.created_at),
        "updated_at": stamp(entry.updated_at),
        "etag": entry.etag,
        "digest": entry.digest,
    }


def stamp(when: datetime | None) -> str | None:
    return when.isoformat(timespec="milliseconds") if when else None


def name_of(entry: Entry, name: str) -> str:
    """A name on a line of its own; a folder's ends with a slash."""
    return exits.one_line(name) + ("" if entry.is_file else "/")


def heading(*, exact: bool) -> str:
    """The line above rows that are for people."""
    return f"{'Type':<6}  {'Size':>{_width(exact)}}  {'Modified':>12}  Name"


def row(entry: Entry, name: str, *, exact: bool) -> str:
    """Type, size, time and name in columns for people; for programs that cut lines size, time and name, with tabs and
    exact numbers."""
    if not sys.stdout.isatty():
        size = str(entry.size) if entry.is_file else "-"
        return "\t".join([size, stamp(entry.updated_at) or "-", name_of(entry, name)])
    size = "-" if not entry.is_file else str(entry.size) if exact else formats.size(entry.size)
    when = formats.moment(entry.updated_at, datetime.now(UTC)) if entry.updated_at else "-"
    kind = "file" if entry.is_file else "folder"
    return f"{kind:<6}  {size:>{_width(exact)}}  {when:>12}  {name_of(entry, name)}"


def _width(exact: bool) -> int:
    return 14 if exact else 10


def count(number: int, what: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def only_one(args: argparse.Namespace, number: int) -> None:
    """A tag is that of one file. Raises Failure."""
    if args.if_match is not None and number != 1:
        raise exits.Failure(exits.USAGE, f"--if-match is for one file; here are {number}.")


def tell_same(number: int, screen: Screen) -> None:
    """Say of how many files no byte was moved."""
    if number:
        verb = "was" if number == 1 else "were"
        screen.say(f"{count(number, 'file')} {verb} there already with the same bytes")


class Planned(NamedTuple):
    """What would be done: bytes, a line and facts of it, and how many files it is: a folder stands for all in it."""

    size: int | None
    line: str
    told: dict[str, Any]
    files: int = 1


def show_plan(rows: Sequence[Planned], *, as_json: bool, end: str) -> None:
    """What would be done, then how many files and how much."""
    known, files = [row.size for row in rows], sum(row.files for row in rows)
    total = None if None in known else sum(filter(None, known))
    if as_json:
        print(json.dumps({"files": [row.told for row in rows], "count": files, "bytes": total}))
        return
    for row in rows:
        print(f"{'?' if row.size is None else formats.size(row.size):>10}  {row.line}")
    said = "of unknown size" if total is None else formats.size(total)
    print(f"{count(files, 'file')}, {said}; {end}")


def for_each(things: Iterable[T], about: Callable[[T], str], deed: Callable[[T], None], screen: Screen) -> int:
    """Do it to each; one that fails does not stop the others. The exit code."""
    failures: list[exits.Failure] = []
    done = 0
    for thing in things:
        try:
            deed(thing)
            done += 1
        except EntrepotError as error:
            failures.append(exits.failure(error, about(thing)))
            screen.complain(failures[-1])
        except exits.Failure as failure:
            failures.append(failure)
            screen.complain(failure)
    return exits.code_of_all(done, failures)


def confirm(question: str, yes: bool, look: str) -> None:
    """Ask a person; a script must have said yes. `look` tells how to see what it is about. Raises Failure when it is
    not wanted."""
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise exits.Failure(exits.USAGE, f"{question} Nobody can be asked.", f"Say --yes, or look first: {look}")
    print(f"{exits.one_line(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise exits.Failure(exits.FAILURE, "Nothing was done.")
