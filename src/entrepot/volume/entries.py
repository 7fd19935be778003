"""Entries of a volume, and conditions of a write: pure values."""

from __future__ import annotations

import hashlib
import os
import stat
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

_YEAR_1, _YEAR_9999 = -62_135_596_800.0, 253_402_300_799.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a folder. `path` is relative to the volume (`models/a.bin`), empty for the volume itself.

    Times are epoch seconds. `etag`, with quotes, changes whenever the bytes do; a folder has none. The digests
    are those that are known to be right, as raw bytes.
    """

    path: str
    is_file: bool
    size: int
    created_at: float
    updated_at: float
    etag: str = ""
    sha256: bytes | None = None
    md5: bytes | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class Page(NamedTuple):
    """Entries by name, bytewise. With the cursor the next page is asked for; None: that was the last."""

    entries: list[Entry]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must hold at the place of a write. `if_match`: one of these ETags, with quotes, or with `*` any file.
    `if_none_match`: nothing is there."""

    if_match: frozenset[str] | None = None
    if_none_match: bool = False


ALWAYS = Conditions()


@dataclass(frozen=True, slots=True)
class Trashed:
    """What was deleted and can come back until `purge_at`. `path` is where it was."""

    id: str
    path: str
    is_file: bool
    size: int
    deleted_at: float
    purge_at: float


class TrashPage(NamedTuple):
    """The newest first."""

    entries: list[Trashed]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a folder holds, itself not counted: `size` in bytes, as the files say. `quota` is that of the whole volume,
    None for no bound; `free` is what can still be stored, by the quota and by the disk."""

    path: str
    files: int
    folders: int
    size: int
    quota: int | None
    free: int


class SourceExtent(Protocol):
    """A run of bytes of an open file. `check` is called, in a thread, with the handle of another file and the place
    there to which they were copied; it raises when these are not the bytes that were meant."""

    @property
    def fd(self) -> int: ...

    @property
    def start(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def check(self) -> Callable[[int, int], None]: ...


def etag_of(status: os.stat_result) -> str:
    """The ETag of a file: what changes with every write and every replacement."""
    facts = f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
    return f'"{urlsafe_b64encode(hashlib.sha256(facts.encode()).digest()[:16]).decode().rstrip("=")}"'


def entry_of(path: str, status: os.stat_result, sha256: bytes | None = None, md5: bytes | None = None) -> Entry:
    """The entry of what has this status. Where the system does not tell when it was made, that is the first of its
    known times: never later than its last change."""
    updated = _time(status.st_mtime)
    created = min(_time(getattr(status, "st_birthtime", status.st_ctime)), updated)
    if stat.S_ISDIR(status.st_mode):
        return Entry(path, False, 0, created, updated)
    return Entry(path, True, status.st_size, created, updated, etag_of(status), sha256, md5)


def _time(seconds: float) -> float:
    """Within the years 1 to 9999, as calendars want it: programs may set any time."""
    return min(max(seconds, _YEAR_1), _YEAR_9999)
