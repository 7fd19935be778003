"""Patterns of files that the shell left to us: `*`, `?`, `[...]`, and `**` for any folders; of files here, or of a tree
that is elsewhere."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Sequence
from typing import Protocol

_MAGIC = frozenset("*?[")


class Tree(Protocol):
    """Files and folders by path; the empty path is where relative ones begin."""

    def names(self, folder: str) -> Sequence[str]:
        """What is in a folder; nothing in one that cannot be read."""
        ...

    def exists(self, path: str) -> bool: ...

    def is_folder(self, path: str) -> bool: ...

    def is_link(self, path: str) -> bool: ...


class _Here:
    """The files of this machine."""

    exists = staticmethod(os.path.lexists)
    is_folder = staticmethod(os.path.isdir)
    is_link = staticmethod(os.path.islink)

    def names(self, folder: str) -> Sequence[str]:
        try:
            return os.listdir(folder or ".")
        except OSError:
            return []


def is_pattern(path: str) -> bool:
    return not _MAGIC.isdisjoint(path)


def expand(pattern: str) -> list[str]:
    """The files of this machine that match, each once, in order of their names."""
    return [path for path in expand_in(_Here(), pattern) if os.path.isfile(path)]


def expand_in(tree: Tree, pattern: str) -> list[str]:
    """The files and folders that match, each once, in order of their names.

    As in a shell, what begins with a dot is found only by a pattern that does. `**` follows no links. A folder that
    cannot be read has no matches.
    """
    parts = [part for part in pattern.split("/") if part]
    if not parts or pattern.endswith("/"):
        return []
    return sorted(set(_matches(tree, "/" if pattern.startswith("/") else "", parts)))


def _matches(tree: Tree, folder: str, parts: list[str]) -> Iterator[str]:
    first, rest = parts[0], parts[1:]
    if first == "**":
        yield from _below(tree, folder, rest)
        return
    if is_pattern(first):
        found = [name for name in tree.names(folder) if fnmatch.fnmatchcase(name, first) and _shown(name, first)]
    else:
        found = [first] if tree.exists(os.path.join(folder, first)) else []
    for name in found:
        path = os.path.join(folder, name)
        if not rest:
            yield path
        elif tree.is_folder(path):
            yield from _matches(tree, path, rest)


def _below(tree: Tree, folder: str, rest: list[str]) -> Iterator[str]:
    """The matches of `rest` in a folder and in all below it."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        yield from _matches(tree, here, rest or ["*"])
        paths = [os.path.join(here, name) for name in tree.names(here) if _shown(name, "**")]
        waiting += [path for path in paths if tree.is_folder(path) and not tree.is_link(path)]


def _shown(name: str, pattern: str) -> bool:
    return pattern.startswith(".") or not name.startswith(".")
