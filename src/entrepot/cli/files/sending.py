"""`entrepot files upload`: files and folders onto the volume."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from functools import partial
from typing import Any

from entrepot.cli import exits, plan
from entrepot.cli.batch import Outcome
from entrepot.cli.files.cargo import Cargo, Carrier
from entrepot.cli.files.remote import Remote, opened, parsed
from entrepot.cli.files.showing import KEPT, Planned, facts, only_one
from entrepot.cli.files.unzipping import unzip
from entrepot.cli.filters import Filter
from entrepot.cli.plan import STDIN, Item, Plan
from entrepot.cli.screen import Screen
from entrepot.client.entries import ROOT
from entrepot.client.errors import ServerError
from entrepot.client.local import expanded
from entrepot.client.paths import join
from entrepot.client.types import OnProgress


@dataclass(frozen=True, slots=True)
class Way:
    """An item and the path on the volume that it goes to."""

    item: Item
    path: str

    def planned(self) -> Planned:
        told = {"file": self.item.path, "path": self.path, "size": self.item.size}
        line = f"{exits.one_line(self.item.path)} -> {exits.one_line(f'{ROOT}/{self.path}')}"
        return Planned(self.item.size, line, told)


def upload(args: argparse.Namespace) -> int:
    if args.unzip:
        return unzip(args)
    if args.encoding is not None:
        raise exits.Failure(exits.USAGE, "--encoding is of names in an archive.", "Say --unzip too.")
    screen = Screen(quiet=args.quiet)
    if len(args.paths) < 2:
        raise exits.Failure(exits.USAGE, "It needs a file here and a path on the volume.", "upload LOCAL REMOTE")
    *locals_, destination = args.paths
    with opened(args, screen.waits) as remote:
        cargo = load(locals_, destination, remote, Filter(tuple(args.include), tuple(args.exclude)), screen)
        only_one(args, len(cargo.ways) + len(cargo.failures))
        by_hand = sys.stdin is not None and sys.stdin.isatty()
        if by_hand and not args.dry_run and any(way.item.path == STDIN for way in cargo.ways):
            screen.say("reading the standard input; Ctrl-D ends it")
        send = partial(_send, remote, _options(args))
        return Carrier(remote.files.make_folder, send, "uploaded").carry(cargo, args, screen)


def load(locals_: list[str], destination: str, remote: Remote, takes: Filter, screen: Screen) -> Cargo[Way]:
    """Find out what goes where. Raises Failure for a wrong use."""
    if locals_.count(STDIN) > 1:
        raise exits.Failure(exits.USAGE, "The standard input can be uploaded once only.")
    top = parsed(destination)
    asked = not top or destination.endswith("/") or len(locals_) > 1
    there = None if asked else remote.find(top)
    into = asked or (there is not None and not there.is_file)
    cargo: Cargo[Way] = Cargo()
    for local in map(expanded, locals_):
        found = Plan([], cargo.failures)
        try:
            items = list(plan.find(local, found, screen.say, takes))
        except exits.Failure as failure:
            cargo.failures.append(failure)
            continue
        is_folder = local != STDIN and os.path.isdir(local)
        if local == STDIN and into:
            raise exits.Failure(exits.USAGE, "The standard input has no name.", "Name a file on the volume for it.")
        if is_folder:
            # Where a folder goes is told by the words alone, not by what is there: so the same command goes on with it.
            own = os.path.basename(os.path.abspath(local)) if asked and not local.endswith("/") else ""
            _add(cargo, items, join(top, _name(own)))
            cargo.folders.extend(_empty(found, items, join(top, _name(own)), takes))
        elif into or len(items) > 1:
            _add(cargo, items, top)
        else:
            cargo.ways.extend(Way(item, top) for item in items)
    _refuse_doubles(cargo)
    return cargo


def _add(cargo: Cargo[Way], items: list[Item], folder: str) -> None:
    for item in items:
        try:
            cargo.ways.append(Way(item, join(folder, _name(item.name or "", item.path))))
        except exits.Failure as failure:
            cargo.failures.append(failure)


def _name(name: str, path: str = "") -> str:
    """A name that the volume can have. Raises Failure."""
    try:
        (path or name).encode()
    except UnicodeEncodeError:
        said = exits.one_line(os.fsencode(path or name).decode("utf-8", "backslashreplace"))
        raise exits.Failure(exits.FAILURE, f"{said}: The name is no UTF-8.", "Rename it: the volume's are.") from None
    return name


def _empty(found: Plan, items: list[Item], folder: str, takes: Filter) -> list[str]:
    """Folders that no file makes. With filters an empty one is not what is meant."""
    if not takes.takes_all:
        return []
    made = [join(folder, _name(each)) for each in found.empty]
    return made if items or made else [folder] if folder else []


def _refuse_doubles(cargo: Cargo[Way]) -> None:
    """Two files for one path: one would be lost. Raises Failure."""
    seen: dict[str, str] = {}
    for way in cargo.ways:
        if way.path in seen:
            said = f"{seen[way.path]} and {way.item.path} would both become {ROOT}/{way.path}."
            raise exits.Failure(exits.USAGE, exits.one_line(said), "Upload them to different folders.")
        seen[way.path] = way.item.path


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """What the client is told, the same for all files."""
    sizes = {"part_size": args.part_size, "concurrency": args.concurrency}
    return {
        **{name: value for name, value in sizes.items() if value is not None},
        "overwrite": not args.no_overwrite,
        "if_match": args.if_match,
        "resume": not args.no_resume,
        "skip_existing": not args.no_skip_existing,
    }


def _send(remote: Remote, options: dict[str, Any], way: Way, progress: OnProgress) -> tuple[Outcome, bool]:
    try:
        entry = remote.files.upload(way.item.path, way.path, progress=progress, **options)
    except ServerError as error:
        if error.status_code != 412 or options["overwrite"]:
            raise
        raise exits.failure(error, way.item.path, KEPT) from None
    return Outcome(entry.absolute, {"file": way.item.path, **facts(entry), "sent": entry.sent}, entry.size), entry.sent
