"""What a volume holds, as users see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from entrepot.client.errors import EntrepotError
from entrepot.client.replies import NOT_OURS, moment

# How a path of the volume begins for programs and for the stock commands.
ROOT = "/data"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder. `path` begins at the volume: `models/a.bin`; it is empty for the volume itself.

    `etag` (with quotes) is for conditional writes, `digest` is `sha256:<hex>`; both are None where they are not known,
    as for folders. `size` is in bytes, 0 for a folder.
    """

    path: str
    is_file: bool
    size: int
    created_at: datetime | None = None
    updated_at: datetime | None = None
    etag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """The last component of the path."""
        return self.path.rpartition("/")[2]

    @property
    def absolute(self) -> str:
        """The path below /data, as programs on a runner and fal's commands spell it."""
        return f"{ROOT}/{self.path}" if self.path else ROOT


@dataclass(frozen=True, slots=True)
class Uploaded(Entry):
    """A file that was uploaded; `sent` is False when it was there already with the same bytes."""

    sent: bool = True


@dataclass(frozen=True, slots=True)
class Usage:
    """What a folder holds, all below it included: numbers, and bytes. `quota` is None when there is none, `free` are
    the bytes that may still be stored."""

    path: str
    files: int
    folders: int
    size: int
    quota: int | None = None
    free: int | None = None


@dataclass(frozen=True, slots=True)
class Trashed:
    """Something that was deleted, and can be put back until `gone_at`. `path` is where it was."""

    id: str
    path: str
    is_file: bool
    size: int
    deleted_at: datetime | None = None
    gone_at: datetime | None = None


def entry_of(row: Mapping[str, object]) -> Entry:
    """An entry of a reply. Raises EntrepotError."""
    known, is_file = _path(row), row.get("is_file")
    if not isinstance(is_file, bool):
        raise EntrepotError("The server's reply has no 'is_file'.", NOT_OURS)
    sha256 = row.get("checksum_sha256")
    return Entry(
        known,
        is_file,
        _number(row, "size"),
        moment(row.get("created_time")),
        moment(row.get("updated_time")),
        str(row["etag"]) if row.get("etag") else None,
        f"sha256:{sha256}" if sha256 else None,
    )


def usage_of(row: Mapping[str, object]) -> Usage:
    """The usage of a reply. Raises EntrepotError."""
    files, folders, size = (_number(row, field) for field in ("files", "folders", "size"))
    return Usage(_path(row), files, folders, size, _known(row, "quota"), _known(row, "free"))


def trashed_of(row: Mapping[str, object]) -> Trashed:
    """An entry of the trash. Raises EntrepotError."""
    facts: dict[str, Any] = {"deleted_at": moment(row.get("deleted_at")), "gone_at": moment(row.get("purge_at"))}
    return Trashed(str(row.get("id")), _path(row), row.get("is_file") is True, _number(row, "size"), **facts)


def _path(row: Mapping[str, object]) -> str:
    """A path that stays below the volume whatever a server says: it may become one on this machine."""
    path = row.get("path")
    if not isinstance(path, str):
        raise EntrepotError("The server's reply has no 'path'.", NOT_OURS)
    parts = path.split("/") if path else []
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise EntrepotError("The server's reply has a path that leads out of the volume.", NOT_OURS)
    return path


def _number(row: Mapping[str, object], field: str) -> int:
    value = _known(row, field)
    if value is None:
        raise EntrepotError(f"The server's reply has no {field!r}.", NOT_OURS)
    return value


def _known(row: Mapping[str, object], field: str) -> int | None:
    value = row.get(field)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
