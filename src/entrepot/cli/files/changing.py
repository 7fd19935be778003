"""`entrepot files mv`, `cp`, `rm` and `mkdir`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass

from entrepot.cli import exits, formats
from entrepot.cli.files.remote import Remote, opened, parsed, place_for
from entrepot.cli.files.showing import Planned, confirm, count, facts, for_each, only_one, show_plan
from entrepot.cli.files.trash import short_id
from entrepot.cli.screen import Screen
from entrepot.client.entries import ROOT, Entry


@dataclass(frozen=True, slots=True)
class Step:
    """Something that gets another path, or a copy there."""

    entry: Entry
    path: str

    @property
    def line(self) -> str:
        return f"{exits.one_line(self.entry.absolute)} -> {exits.one_line(f'{ROOT}/{self.path}')}"


def mv(args: argparse.Namespace) -> int:
    def deed(remote: Remote, step: Step) -> Entry:
        return remote.files.rename(step.entry.path, step.path, overwrite=args.overwrite)

    return _moved(args, deed, "moved")


def cp(args: argparse.Namespace) -> int:
    def deed(remote: Remote, step: Step) -> Entry:
        return remote.files.copy(step.entry.path, step.path, overwrite=args.overwrite)

    return _moved(args, deed, "copied")


def _moved(args: argparse.Namespace, deed: Callable[[Remote, Step], Entry], done: str) -> int:
    if len(args.paths) < 2:
        raise exits.Failure(exits.USAGE, "It needs a source and a destination.", f"{args.verb} SOURCE DESTINATION")
    screen = Screen(quiet=args.quiet)
    with opened(args) as remote:
        steps = _steps(args, remote)
        if args.dry_run:
            show_plan(
                [_planned(remote, step.entry, step.line, to=step.path) for step in steps],
                as_json=args.json,
                end=f"nothing was {done}",
            )
            return exits.OK

        def do(step: Step) -> None:
            known = {"is_file": step.entry.is_file, "overwrite": args.overwrite}
            with remote.taking(step.path, step.entry.absolute, **known):
                entry = deed(remote, step)
            if args.json:
                screen.answer(json.dumps(facts(entry)))
            else:
                screen.say(f"{done} {step.entry.absolute} -> {ROOT}/{step.path}")

        return for_each(steps, lambda step: step.entry.absolute, do, screen)


def _steps(args: argparse.Namespace, remote: Remote) -> list[Step]:
    """What goes where. Raises Failure before anything is done."""
    *sources, destination = args.paths
    entries = _not_the_whole([entry for text in sources for entry in remote.resolve(text)])
    if getattr(args, "recursive", True) is False and (folders := [each for each in entries if not each.is_file]):
        raise _is_folder(folders[0], "cp")
    path = parsed(destination)
    there = remote.find(path)
    into = destination.endswith("/") or not path or (there is not None and not there.is_file)
    if len(entries) > 1 and not into:
        said = f"{exits.one_line(destination)}: {count(len(entries), 'thing')} cannot have one name."
        raise exits.Failure(exits.USAGE, said, "Name a folder that is there, or one with a slash at its end.")
    return [Step(entry, place_for(destination, there, entry.name)) for entry in entries]


def rm(args: argparse.Namespace) -> int:
    screen = Screen(quiet=args.quiet)
    with opened(args) as remote:
        entries = _topmost(_not_the_whole([entry for text in args.paths for entry in remote.resolve(text)]))
        if not args.recursive and (folders := [each for each in entries if not each.is_file]):
            raise _is_folder(folders[0], "rm")
        only_one(args, len(entries))
        if args.dry_run:
            rows = [_planned(remote, entry, exits.one_line(entry.absolute)) for entry in entries]
            show_plan(rows, as_json=args.json, end="nothing was deleted")
            return exits.OK
        if _is_much(args, entries):
            confirm(_question(args, entries, [_size(remote, entry) for entry in entries]), args.yes, "--dry-run")

        def delete(entry: Entry) -> None:
            trash_id = remote.files.delete(
                entry.path, recursive=args.recursive, permanent=args.permanent, if_match=args.if_match
            )
            if args.json:
                screen.answer(json.dumps({"path": entry.path, "trash_id": trash_id}))
            elif trash_id:
                put_back = f"entrepot files undelete {short_id(trash_id, ())}"
                screen.say(f"{entry.absolute} is in the trash; put it back: {put_back}")

        return for_each(entries, lambda entry: entry.absolute, delete, screen)


def _is_much(args: argparse.Namespace, entries: list[Entry]) -> bool:
    """Whether a person is to be asked: for more than one file, and for what does not come back."""
    return args.permanent or len(entries) > 1 or not entries[0].is_file


def _planned(remote: Remote, entry: Entry, line: str, **to: str) -> Planned:
    files, size = _size(remote, entry)
    return Planned(size, line, {"path": entry.path, **to, "size": size, "files": files}, files)


def _size(remote: Remote, entry: Entry) -> tuple[int, int]:
    """Files and bytes."""
    if entry.is_file:
        return 1, entry.size
    usage = remote.files.usage(entry.path)
    return usage.files, usage.size


def _question(args: argparse.Namespace, entries: list[Entry], sizes: list[tuple[int, int]]) -> str:
    what = entries[0].absolute if len(entries) == 1 else count(len(entries), "path")
    files, size = sum(files for files, _ in sizes), sum(size for _, size in sizes)
    how = "for good" if args.permanent else "into the trash"
    return f"Delete {what} ({count(files, 'file')}, {formats.size(size)}) {how}?"


def _topmost(entries: list[Entry]) -> list[Entry]:
    """Each once, and none that goes with a folder above it."""
    found: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda each: each.path.split("/")):
        above = entry.path.split("/")
        if not any("/".join(above[:depth]) in found for depth in range(1, len(above) + 1)):
            found[entry.path] = entry
    return list(found.values())


def _not_the_whole(entries: list[Entry]) -> list[Entry]:
    if any(not entry.path for entry in entries):
        raise exits.Failure(exits.USAGE, "That would be the whole volume.", "Name what is in it: entrepot files ls")
    return entries


def _is_folder(entry: Entry, verb: str) -> exits.Failure:
    said = f"{exits.one_line(entry.absolute)} is a folder."
    return exits.Failure(exits.USAGE, said, f"With all that is in it: entrepot files {verb} -r")


def mkdir(args: argparse.Namespace) -> int:
    screen = Screen(quiet=args.quiet)

    def make(path: str) -> None:
        remote.files.make_folder(path)
        screen.say(f"made {ROOT}/{path}/")

    with opened(args) as remote:
        paths = [parsed(text) for text in args.paths]
        return for_each([path for path in paths if path], lambda path: f"{ROOT}/{path}", make, screen)
