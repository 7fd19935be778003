"""`entrepot files download` and `cat`: files and folders off the volume."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from entrepot.cli import exits
from entrepot.cli.batch import Outcome
from entrepot.cli.files.cargo import Cargo, Carrier
from entrepot.cli.files.remote import Remote, opened
from entrepot.cli.files.showing import KEPT, Planned, for_each
from entrepot.cli.filters import Filter
from entrepot.cli.globs import is_pattern
from entrepot.cli.plan import Item
from entrepot.cli.screen import Screen
from entrepot.client.entries import Entry
from entrepot.client.errors import SourceError, TargetExists
from entrepot.client.local import expanded
from entrepot.client.partial import sweep
from entrepot.client.types import OnProgress

STDOUT = "-"


@dataclass(frozen=True, slots=True)
class Way:
    """A file on the volume and the path here that it goes to."""

    entry: Entry
    local: str

    @property
    def item(self) -> Item:
        return Item(self.entry.absolute, self.local, self.entry.size)

    def planned(self) -> Planned:
        told = {"path": self.entry.path, "file": self.local, "size": self.entry.size}
        return Planned(self.entry.size, f"{exits.one_line(self.entry.absolute)} -> {exits.one_line(self.local)}", told)


def download(args: argparse.Namespace) -> int:
    screen = Screen(quiet=args.quiet)
    remotes, destination = (args.paths[:-1], args.paths[-1]) if len(args.paths) > 1 else (args.paths, ".")
    with opened(args, screen.waits) as remote:
        if destination == STDOUT:
            return _pipe(remotes, remote, screen)
        cargo = load(remotes, expanded(destination), remote, Filter(tuple(args.include), tuple(args.exclude)))
        if not args.dry_run:
            for folder in {os.path.dirname(way.local) for way in cargo.ways}:
                sweep(Path(folder or "."))
        return Carrier(_make, partial(_bring, args, remote), "downloaded").carry(cargo, args, screen)


def load(remotes: list[str], destination: str, remote: Remote, takes: Filter) -> Cargo[Way]:
    """Find out what goes where. Raises Failure for a wrong use."""
    cargo: Cargo[Way] = Cargo()
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


def _add_folder(cargo: Cargo[Way], remote: Remote, top: Entry, local: str, takes: Filter) -> None:
    """All below it; an empty folder is made, too, when no filter says what is meant."""
    if takes.takes_all:
        cargo.folders.append(local)
    for path, entry in remote.below(top):
        if entry.is_file and takes.takes(path):
            cargo.ways.append(Way(entry, os.path.join(local, *path.split("/"))))
        elif not entry.is_file and takes.takes_all:
            cargo.folders.append(os.path.join(local, *path.split("/")))


def _refuse_doubles(cargo: Cargo[Way]) -> None:
    """Two files for one path: one would be lost. Raises Failure."""
    seen: dict[str, Entry] = {}
    for way in cargo.ways:
        here = os.path.normpath(way.local)
        if here in seen and seen[here].path != way.entry.path:
            said = f"{seen[here].absolute} and {way.entry.absolute} would both become {here}."
            raise exits.Failure(exits.USAGE, exits.one_line(said), "Download them into different folders.")
        seen[here] = way.entry


def _make(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        said = f"{exits.one_line(folder)}: {error.strerror}."
        raise exits.Failure(exits.FAILURE, said, "Check the path and its permissions.") from None


def _bring(args: argparse.Namespace, remote: Remote, way: Way, progress: OnProgress) -> tuple[Outcome, bool]:
    try:
        found = remote.files.download(
            way.entry, way.local, overwrite=not args.no_overwrite, resume=not args.no_resume, progress=progress
        )
    except TargetExists as error:
        fix = KEPT
        raise exits.failure(error, way.entry.absolute, fix) from None
    told = {
        "path": way.entry.path,
        "file": way.local,
        "size": found.size,
        "digest": found.digest,
        "verified": found.verified,
        "fetched": found.fetched,
    }
    return Outcome(way.local, told, found.size), found.fetched


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
