"""`entrepot files download` and `cat`: files and folders off the volume."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from entrepot.cli import exits
from entrepot.cli.batch import Batch, Outcome
from entrepot.cli.files.remote import Remote, opened
from entrepot.cli.files.showing import Planned, for_each, show_plan, tell_same
from entrepot.cli.filters import Filter
from entrepot.cli.globs import is_pattern
from entrepot.cli.plan import Item
from entrepot.cli.screen import Screen
from entrepot.client.entries import Entry
from entrepot.client.errors import SourceError
from entrepot.client.partial import sweep
from entrepot.client.types import OnProgress

STDOUT = "-"


@dataclass(frozen=True, slots=True)
class Way:
    """A file on the volume and the path here that it goes to."""

    entry: Entry
    local: str


@dataclass(frozen=True, slots=True)
class Cargo:
    """What is to be downloaded where, the folders that are to be made, and what was asked for in vain."""

    ways: list[Way] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    failures: list[exits.Failure] = field(default_factory=list)


def download(args: argparse.Namespace) -> int:
    screen = Screen(quiet=args.quiet)
    remotes, destination = (args.paths[:-1], args.paths[-1]) if len(args.paths) > 1 else (args.paths, ".")
    with opened(args) as remote:
        if destination == STDOUT:
            return _pipe(remotes, remote, screen)
        cargo = load(remotes, destination, remote, Filter(tuple(args.include), tuple(args.exclude)))
        for failure in cargo.failures:
            screen.complain(failure)
        if args.dry_run:
            show_plan([_planned(way) for way in cargo.ways], as_json=args.json, end="nothing was brought")
            return exits.code_of_all(len(cargo.ways), cargo.failures)
        for folder in cargo.folders:
            _make(folder)
        failures = cargo.failures + (_bring(args, cargo.ways, remote, screen) if cargo.ways else [])
    total = len(cargo.ways) + len(cargo.failures)
    if failures and total > 1:
        print(f"{total - len(failures)} of {total} downloaded, {len(failures)} failed", file=sys.stderr)
    return exits.code_of_all(total - len(failures), failures)


def load(remotes: list[str], destination: str, remote: Remote, takes: Filter) -> Cargo:
    """Find out what goes where. Raises Failure for a wrong use."""
    cargo = Cargo()
    asked = len(remotes) > 1 or os.path.basename(destination) in ("", ".", "..")
    into = asked or os.path.isdir(destination)
    for text in remotes:
        try:
            found = remote.resolve(text)
        except exits.Failure as failure:
            cargo.failures.append(failure)
            continue
        for entry in found:
            several = len(found) > 1 or is_pattern(text)
            if entry.is_file:
                cargo.ways.append(Way(entry, os.path.join(destination, entry.name) if into or several else destination))
                continue
            # Where a folder goes is told by the words alone, not by what is there: so the same command goes on with it.
            own = entry.name if (asked or several) and not text.endswith("/") else ""
            _add_folder(cargo, remote, entry, os.path.join(destination, own) if own else destination, takes)
    _refuse_doubles(cargo)
    return cargo


def _add_folder(cargo: Cargo, remote: Remote, top: Entry, local: str, takes: Filter) -> None:
    """All below it; an empty folder is made, too, when no filter says what is meant."""
    if takes.takes_all:
        cargo.folders.append(local)
    for path, entry in remote.below(top):
        if entry.is_file and takes.takes(path):
            cargo.ways.append(Way(entry, os.path.join(local, *path.split("/"))))
        elif not entry.is_file and takes.takes_all:
            cargo.folders.append(os.path.join(local, *path.split("/")))


def _refuse_doubles(cargo: Cargo) -> None:
    """Two files for one path: one would be lost. Raises Failure."""
    seen: dict[str, Entry] = {}
    for way in cargo.ways:
        here = os.path.normpath(way.local)
        if here in seen and seen[here].path != way.entry.path:
            said = f"{seen[here].absolute} and {way.entry.absolute} would both become {here}."
            raise exits.Failure(exits.USAGE, exits.one_line(said), "Download them into different folders.")
        seen[here] = way.entry


def _planned(way: Way) -> Planned:
    told = {"path": way.entry.path, "file": way.local, "size": way.entry.size}
    return Planned(way.entry.size, f"{exits.one_line(way.entry.absolute)} -> {exits.one_line(way.local)}", told)


def _make(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        said = f"{exits.one_line(folder)}: {error.strerror}."
        raise exits.Failure(exits.FAILURE, said, "Check the path and its permissions.") from None


def _bring(args: argparse.Namespace, ways: list[Way], remote: Remote, screen: Screen) -> list[exits.Failure]:
    items = [Item(way.entry.absolute, way.local, way.entry.size) for way in ways]
    entries = {item: way.entry for item, way in zip(items, ways, strict=True)}

    same: list[str] = []
    for folder in {os.path.dirname(way.local) for way in ways}:
        sweep(Path(folder or "."))

    def bring(item: Item, progress: OnProgress) -> Outcome:
        entry, local = entries[item], item.name or ""
        found = remote.files.download(
            entry, local, overwrite=not args.no_overwrite, resume=not args.no_resume, progress=progress
        )
        if not found.fetched:
            same.append(local)
        told = {
            "path": entry.path,
            "file": local,
            "size": found.size,
            "digest": found.digest,
            "verified": found.verified,
            "fetched": found.fetched,
        }
        return Outcome(local, told, found.size)

    batch = Batch(items, bring, screen, as_json=args.json, resumes=not args.no_resume, done="downloaded")
    try:
        failures = batch.run()
    except KeyboardInterrupt:
        # At once: an orderly end would wait for threads that wait for the network.
        os._exit(exits.INTERRUPTED)
    tell_same(len(same), screen)
    return failures


def cat(args: argparse.Namespace) -> int:
    with opened(args) as remote:
        return _pipe(args.paths, remote, Screen(quiet=args.quiet))


def _pipe(texts: list[str], remote: Remote, screen: Screen) -> int:
    """The bytes of files, one after the other, to the standard output."""
    found = [entry for text in texts for entry in remote.resolve(text)]
    output = sys.stdout.buffer

    def write(entry: Entry) -> None:
        if not entry.is_file:
            raise SourceError("This is a folder.", "Name a file, or a pattern of files.")
        try:
            remote.files.stream(entry.path, output.write)
        finally:
            output.flush()

    return for_each(found, lambda entry: entry.absolute, write, screen)
