"""Which files of a folder are meant, by patterns of their paths below it: pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Filter:
    """`include` empty: all. What a pattern says of a folder it says of all below. A pattern without a slash is one of
    names at any depth, another begins at the top; `**` stands for any folders."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def takes(self, path: str) -> bool:
        """Whether a file is meant."""
        return not _met(path, self.exclude) and (not self.include or _met(path, self.include))

    def enters(self, path: str) -> bool:
        """Whether a file below this folder may be meant."""
        return not _met(path, self.exclude)

    @property
    def takes_all(self) -> bool:
        return not self.include and not self.exclude


EVERYTHING = Filter()


def _met(path: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern matches the path or a folder above it."""
    parts = path.split("/")
    return any(_matches(parts[:depth], pattern) for pattern in patterns for depth in range(1, len(parts) + 1))


def _matches(parts: Sequence[str], pattern: str) -> bool:
    wanted = [part for part in pattern.split("/") if part]
    if len(wanted) == 1 and not pattern.startswith("/"):
        return fnmatch.fnmatchcase(parts[-1], wanted[0])
    return _same(parts, wanted)


def _same(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_same(parts[count:], wanted[1:]) for count in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], wanted[0]) and _same(parts[1:], wanted[1:])
