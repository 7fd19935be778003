"""Walks through a whole tree, by handles, without following links."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from entrepot.atomic import Folder

# A handle is open for each level; what other programs nest deeper cannot be addressed anyway.
DEEPEST = 256
STEP = 1024  # entries between two moments at which others may stop the walk

T = TypeVar("T")
Steps = Generator[None, None, None]


@dataclass(slots=True)
class Sums:
    files: int = 0
    folders: int = 0
    size: int = 0


def measure(folder: Folder, sums: Sums, skip: str = "") -> Steps:
    """Add up what is in a folder and below, on its file system; `skip` is a name right in it."""
    device = os.fstat(folder.fd).st_dev
    for count, status in enumerate(_walk(folder, device, skip), 1):
        if stat.S_ISDIR(status.st_mode):
            sums.folders += 1
        elif stat.S_ISREG(status.st_mode):
            sums.files += 1
            sums.size += status.st_size
        if count % STEP == 0:
            yield


def _walk(folder: Folder, device: int, skip: str) -> Iterator[os.stat_result]:
    levels: list[tuple[Folder, Iterator[str]]] = []
    try:
        _enter(levels, folder.descend("."))  # a handle of our own: threads that share one share its place in the folder
        while levels:
            here, names = levels[-1]
            name = next(names, None)
            if name is None:
                levels.pop()[0].close()
                continue
            if name == skip and len(levels) == 1:
                continue
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                status = os.stat(name, dir_fd=here.fd, follow_symlinks=False)
                yield status
                if stat.S_ISDIR(status.st_mode) and status.st_dev == device and len(levels) < DEEPEST:
                    _enter(levels, here.descend(name))
    finally:
        for level, _ in levels:
            level.close()


def _enter(levels: list[tuple[Folder, Iterator[str]]], folder: Folder) -> None:
    """Go down into a folder, which is closed with the others whatever comes."""
    levels.append((folder, iter(())))
    levels[-1] = (folder, iter(os.listdir(folder.fd)))


def exhausted(steps: Generator[None, None, T]) -> T:
    """Take all steps at once; the result."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


def some(steps: Steps, seconds: float) -> bool:
    """Take steps for so long; True when there are more."""
    end = time.monotonic() + seconds
    return any(time.monotonic() >= end for _ in steps)
