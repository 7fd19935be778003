"""What an upload command is about: files, folders, patterns and the standard input, one item for each upload."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from entrepot.cli import exits
from entrepot.cli.filters import EVERYTHING, Filter
from entrepot.cli.globs import expand, is_pattern
from entrepot.client.local import expanded

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Item:
    """One upload. `name` is what the server is told; `size` None while nobody knows it."""

    path: str
    name: str | None
    size: int | None

    @property
    def resumable(self) -> bool:
        """Whether the same command can go on with it."""
        return self.size is not None and self.path != STDIN


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be uploaded, in the order given, and what was asked for in vain. `empty` are folders without anything
    in them, named as `Item.name` is."""

    items: list[Item]
    failures: list[exits.Failure]
    empty: list[str] = field(default_factory=list)

    @property
    def size(self) -> int | None:
        """Bytes of all; None when there is one of unknown size."""
        sizes = [item.size for item in self.items]
        return None if None in sizes else sum(filter(None, sizes))


def make(paths: Sequence[str], name: str | None, say: Callable[[str], None]) -> Plan:
    """Find out what each path means. `say` hears of what is skipped. Raises Failure for a wrong use of options."""
    if paths.count(STDIN) > 1:
        raise exits.Failure(exits.USAGE, "The standard input can be uploaded once only.")
    plan = Plan([], [])
    for path in map(expanded, paths):
        try:
            failed = len(plan.failures)
            found = list(find(path, plan, say))
            if not found and failed == len(plan.failures):
                fix = "Name a folder with files in it."
                raise exits.Failure(exits.NOT_FOUND, f"{exits.one_line(path)}: The folder holds no file.", fix)
            plan.items.extend(found)
        except exits.Failure as failure:
            plan.failures.append(failure)
    if name is not None:
        if len(plan.items) != 1:
            raise exits.Failure(exits.USAGE, f"--name is for one file; here are {len(plan.items)}.")
        plan.items[0] = Item(plan.items[0].path, name, plan.items[0].size)
    return plan


def find(path: str, plan: Plan, say: Callable[[str], None], takes: Filter = EVERYTHING) -> Iterator[Item]:
    """The items that a path stands for. What of them fails is noted in the plan. Raises Failure."""
    if path == STDIN:
        yield Item(path, None, None)
        return
    if is_pattern(path) and not os.path.lexists(path):
        found = expand(path)
        if not found:
            raise exits.Failure(
                exits.NOT_FOUND, f"{exits.one_line(path)}: No file matches this pattern.", "Check it with --dry-run."
            )
        for each in found:
            # A file that is named so is neither the standard input nor the home folder.
            yield _item(os.path.join(".", each) if each[:1] in (STDIN, "~") else each, os.path.basename(each))
        return
    try:
        kind = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise _refused(path, error) from None
    if stat.S_ISDIR(kind):
        yield from _folder(path, plan, say, takes)
    else:
        yield _item(path, os.path.basename(path))


def _folder(top: str, plan: Plan, say: Callable[[str], None], takes: Filter) -> Iterator[Item]:
    """All files below, in order of their names. Links are not followed: they may lead anywhere, or in a circle."""
    failed: list[OSError] = []
    for folder, folders, names in os.walk(top, onerror=failed.append):
        if not folders and not names and folder != top:
            plan.empty.append(_below(top, folder))
        folders[:] = sorted(name for name in folders if takes.enters(_below(top, os.path.join(folder, name))))
        for name in [each for each in folders if os.path.islink(os.path.join(folder, each))]:
            say(f"skipped: {os.path.join(folder, name)} is a link to a folder")
        for name in sorted(names):
            path = os.path.join(folder, name)
            if not takes.takes(_below(top, path)):
                continue
            if (why := _skipped(path)) is not None:
                say(f"skipped: {path} {why}")
                continue
            yield _item(path, _below(top, path))
    plan.failures.extend(_refused(str(error.filename or top), error) for error in failed)


def _below(top: str, path: str) -> str:
    return os.path.relpath(path, top).replace(os.sep, "/")


def _skipped(path: str) -> str | None:
    try:
        kind = os.lstat(path).st_mode
    except OSError:
        return None  # its upload says what is wrong
    if stat.S_ISLNK(kind):
        return "is a link"
    return None if stat.S_ISREG(kind) else "is no regular file"


def _item(path: str, name: str) -> Item:
    try:
        found = os.stat(path)
        size = found.st_size if stat.S_ISREG(found.st_mode) else None
    except OSError:
        size = None
    # A name that is no UTF-8 cannot be said on HTTP.
    return Item(path, os.fsencode(name).decode("utf-8", "replace"), size)


def _refused(path: str, error: OSError | ValueError) -> exits.Failure:
    code = exits.NOT_FOUND if isinstance(error, FileNotFoundError) else exits.FAILURE
    reason = getattr(error, "strerror", None) or str(error)
    fix = "Check the path and who may read it."
    return exits.Failure(code, f"{exits.one_line(path)}: {reason}.", fix, ("code: source_unreadable",))
