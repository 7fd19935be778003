"""`entrepot files upload`: files and folders onto the volume."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, field
from typing import Any

from entrepot.cli import exits, plan
from entrepot.cli.batch import Batch, Outcome
from entrepot.cli.files.remote import Remote, opened, parsed
from entrepot.cli.files.showing import Planned, facts, only_one, show_plan, tell_same
from entrepot.cli.filters import Filter
from entrepot.cli.plan import STDIN, Item, Plan
from entrepot.cli.screen import Screen
from entrepot.client.entries import ROOT
from entrepot.client.paths import join
from entrepot.client.types import OnProgress


@dataclass(frozen=True, slots=True)
class Way:
    """An item and the path on the volume that it goes to."""

    item: Item
    path: str


@dataclass(frozen=True, slots=True)
class Cargo:
    """What is to be uploaded where, the folders that are to be made, and what was asked for in vain."""

    ways: list[Way] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    failures: list[exits.Failure] = field(default_factory=list)


def upload(args: argparse.Namespace) -> int:
    screen = Screen(quiet=args.quiet)
    if len(args.paths) < 2:
        raise exits.Failure(exits.USAGE, "It needs a file here and a path on the volume.", "upload LOCAL REMOTE")
    *locals_, destination = args.paths
    with opened(args) as remote:
        cargo = load(locals_, destination, remote, Filter(tuple(args.include), tuple(args.exclude)), screen)
        for failure in cargo.failures:
            screen.complain(failure)
        only_one(args, len(cargo.ways))
        if args.dry_run:
            show_plan([_planned(way) for way in cargo.ways], as_json=args.json, end="nothing was sent")
            return exits.code_of_all(len(cargo.ways), cargo.failures)
        for folder in cargo.folders:
            remote.files.make_folder(folder)
        failures = cargo.failures + (_send(args, cargo.ways, remote, screen) if cargo.ways else [])
    total = len(cargo.ways) + len(cargo.failures)
    if failures and total > 1:
        print(f"{total - len(failures)} of {total} uploaded, {len(failures)} failed", file=sys.stderr)
    return exits.code_of_all(total - len(failures), failures)


def load(locals_: list[str], destination: str, remote: Remote, takes: Filter, screen: Screen) -> Cargo:
    """Find out what goes where. Raises Failure for a wrong use."""
    if locals_.count(STDIN) > 1:
        raise exits.Failure(exits.USAGE, "The standard input can be uploaded once only.")
    top = parsed(destination)
    asked = not top or destination.endswith("/") or len(locals_) > 1
    there = None if asked else remote.find(top)
    into = asked or (there is not None and not there.is_file)
    cargo = Cargo()
    for local in locals_:
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


def _add(cargo: Cargo, items: list[Item], folder: str) -> None:
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


def _refuse_doubles(cargo: Cargo) -> None:
    """Two files for one path: one would be lost. Raises Failure."""
    seen: dict[str, str] = {}
    for way in cargo.ways:
        if way.path in seen:
            said = f"{seen[way.path]} and {way.item.path} would both become {ROOT}/{way.path}."
            raise exits.Failure(exits.USAGE, exits.one_line(said), "Upload them to different folders.")
        seen[way.path] = way.item.path


def _planned(way: Way) -> Planned:
    told = {"file": way.item.path, "path": way.path, "size": way.item.size}
    line = f"{exits.one_line(way.item.path)} -> {exits.one_line(f'{ROOT}/{way.path}')}"
    return Planned(way.item.size, line, told)


def _send(args: argparse.Namespace, ways: list[Way], remote: Remote, screen: Screen) -> list[exits.Failure]:
    if any(way.item.path == STDIN for way in ways) and sys.stdin is not None and sys.stdin.isatty():
        screen.say("reading the standard input; Ctrl-D ends it")
    paths = {way.item: way.path for way in ways}
    sizes = {"part_size": args.part_size, "concurrency": args.concurrency}
    options: dict[str, Any] = {name: value for name, value in sizes.items() if value is not None}
    options |= {"overwrite": not args.no_overwrite, "if_match": args.if_match, "resume": not args.no_resume}
    options["skip_existing"] = not args.no_skip_existing

    same: list[str] = []

    def send(item: Item, progress: OnProgress) -> Outcome:
        entry = remote.files.upload(item.path, paths[item], progress=progress, **options)
        if not entry.sent:
            same.append(entry.path)
        told = {"file": item.path, **facts(entry), "sent": entry.sent}
        return Outcome(entry.absolute, told, entry.size)

    items = [way.item for way in ways]
    batch = Batch(items, send, screen, as_json=args.json, resumes=not args.no_resume)
    try:
        failures = batch.run()
    except KeyboardInterrupt:
        # At once: an orderly end would wait for threads that wait for the network.
        os._exit(exits.INTERRUPTED)
    tell_same(len(same), screen)
    return failures
