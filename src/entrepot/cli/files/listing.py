"""`entrepot files ls`, `tree` and `du`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from entrepot.cli import exits, formats
from entrepot.cli.files.remote import Remote, opened
from entrepot.cli.files.showing import count, facts, heading, name_of, row
from entrepot.cli.globs import is_pattern
from entrepot.cli.screen import Screen
from entrepot.client.entries import ROOT, Entry, Usage

_KEYS: dict[str, Callable[[tuple[str, Entry]], Any]] = {
    "size": lambda one: -one[1].size,
    "time": lambda one: -(one[1].updated_at.timestamp() if one[1].updated_at else 0.0),
}
_BRANCH, _LAST, _DOWN, _GAP = "├── ", "└── ", "│   ", "    "
_ASCII = {"├── ": "|-- ", "└── ": "`-- ", "│   ": "|   ", "    ": "    "}


def ls(args: argparse.Namespace) -> int:
    with opened(args) as remote:
        texts = args.paths or ["/"]
        found: Iterator[tuple[str, Entry]] = (
            one for text in texts for one in _listed(remote, text, args, alone=len(texts) == 1)
        )
        if args.sort != "name":
            found = iter(sorted(found, key=_KEYS[args.sort]))
        if args.long and not args.json and sys.stdout.isatty():
            print(heading(exact=args.bytes))
        for name, entry in islice(found, args.limit):
            if args.json:
                print(json.dumps(facts(entry)))
            else:
                print(row(entry, name, exact=args.bytes) if args.long else name_of(entry, name))
    return exits.OK


def _listed(remote: Remote, text: str, args: argparse.Namespace, *, alone: bool) -> Iterator[tuple[str, Entry]]:
    """Names and entries; the names are paths where they are of more than one folder."""
    found = remote.resolve(text)
    if is_pattern(text) or (found[0].is_file and alone):
        for entry in found:
            yield entry.path, remote.files.stat(entry.path, checksum=True) if args.checksum and entry.is_file else entry
        return
    (top,) = found
    if top.is_file:
        yield top.path, top
    elif args.recursive:
        yield from ((path if alone else entry.path, entry) for path, entry in remote.below(top))
    else:
        yield from ((entry.name if alone else entry.path, entry) for entry in remote.files.scan(top.path))


def tree(args: argparse.Namespace) -> int:
    screen = Screen(quiet=args.quiet)
    with opened(args) as remote:
        for text in args.paths or ["/"]:
            for top in remote.resolve(text):
                found = [(path, entry) for path, entry in _below(remote, top) if _within(path, args.depth)]
                if args.json:
                    for _, entry in found:
                        print(json.dumps(facts(entry)))
                else:
                    print(name_of(top, top.path or ROOT))
                    for line in drawn(found):
                        print(line)
                files = [entry for _, entry in found if entry.is_file]
                size = formats.size(sum(entry.size for entry in files))
                screen.say(f"{count(len(found) - len(files), 'folder')}, {count(len(files), 'file')}, {size}")
    return exits.OK


def _below(remote: Remote, top: Entry) -> Iterable[tuple[str, Entry]]:
    return () if top.is_file else remote.below(top)


def _within(path: str, depth: int | None) -> bool:
    return depth is None or path.count("/") < depth


def drawn(found: Iterable[tuple[str, Entry]]) -> Iterator[str]:
    """The lines of a tree, by name within each folder."""
    children: dict[str, list[tuple[str, Entry]]] = {}
    for path, entry in found:
        children.setdefault(path.rpartition("/")[0], []).append((path, entry))
    plain = "utf" not in (sys.stdout.encoding or "").lower()

    def lines(folder: str, start: str) -> Iterator[str]:
        inside = sorted(children.get(folder, []))
        for number, (path, entry) in enumerate(inside, 1):
            last = number == len(inside)
            stem, below = (_LAST, _GAP) if last else (_BRANCH, _DOWN)
            yield start + (_ASCII[stem] if plain else stem) + name_of(entry, entry.name)
            yield from lines(path, start + (_ASCII[below] if plain else below))

    return lines("", "")


def du(args: argparse.Namespace) -> int:
    exact = args.bytes or not sys.stdout.isatty()
    with opened(args) as remote:
        for text in args.paths or ["/"]:
            for entry in remote.resolve(text):
                usage = Usage(entry.path, 1, 0, entry.size) if entry.is_file else remote.files.usage(entry.path)
                if args.json:
                    print(json.dumps(_usage_facts(usage)))
                else:
                    size = str(usage.size) if exact else f"{formats.size(usage.size):>10}"
                    print(f"{size}\t{count(usage.files, 'file')}\t{exits.one_line(entry.absolute)}")
                    _tell_of_quota(usage, args)
    return exits.OK


def _usage_facts(usage: Usage) -> dict[str, Any]:
    return {
        "path": usage.path,
        "files": usage.files,
        "folders": usage.folders,
        "size": usage.size,
        "quota": usage.quota,
        "free": usage.free,
    }


def _tell_of_quota(usage: Usage, args: argparse.Namespace) -> None:
    """How much room is left, once: with the whole."""
    if not usage.path and usage.free is not None:
        of = f" of {formats.size(usage.quota)}" if usage.quota else ""
        Screen(quiet=args.quiet).say(f"{formats.size(usage.free)}{of} free")
