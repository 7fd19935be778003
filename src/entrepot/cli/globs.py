"""Patterns of files that the shell left to us: `*`, `?`, `[...]`, and `**` for any folders."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator

_MAGIC = frozenset("*?[")


def is_pattern(path: str) -> bool:
    return not _MAGIC.isdisjoint(path)


def expand(pattern: str) -> list[str]:
    """The files that match, each once, in order of their names.

    As in a shell, what begins with a dot is found only by a pattern that does. `**` follows no links. A folder that
    cannot be read has no matches.
    """
    parts = [part for part in pattern.split("/") if part]
    if not parts or pattern.endswith("/"):
        return []
    top = "/" if pattern.startswith("/") else ""
    return sorted({path for path in _matches(top, parts) if os.path.isfile(path)})


def _matches(folder: str, parts: list[str]) -> Iterator[str]:
    first, rest = parts[0], parts[1:]
    if first == "**":
        yield from _below(folder, rest)
        return
    if is_pattern(first):
        found = [name for name in _names(folder) if fnmatch.fnmatchcase(name, first) and _shown(name, first)]
    else:
        found = [first] if os.path.lexists(os.path.join(folder, first)) else []
    for name in found:
        path = os.path.join(folder, name)
        if not rest:
            yield path
        elif os.path.isdir(path):
            yield from _matches(path, rest)


def _below(folder: str, rest: list[str]) -> Iterator[str]:
    """The matches of `rest` in a folder and in all below it."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        yield from _matches(here, rest or ["*"])
        paths = [os.path.join(here, name) for name in _names(here) if _shown(name, "**")]
        waiting += [path for path in paths if os.path.isdir(path) and not os.path.islink(path)]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder or ".")
    except OSError:
        return []


def _shown(name: str, pattern: str) -> bool:
    return pattern.startswith(".") or not name.startswith(".")
