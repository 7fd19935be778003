"""Unpacks archives of strangers: ZIP, and tar with gzip, bzip2 or xz."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from entrepot.archive import tararchive, ziparchive
from entrepot.archive.entries import LIMITS, Budget, Entry, Limits, Tree
from entrepot.archive.errors import COMPRESSIONS, single_file, unreadable
from entrepot.atomic import Folder
from entrepot.domain.sniffing import HEAD_SIZE, sniff

__all__ = ["LIMITS", "Extracted", "Limits", "check_encoding", "extract"]


@dataclass(frozen=True, slots=True)
class Extracted:
    """What came out: how many files and new folders, and the bytes of the unpacked archive."""

    entries: int
    size: int


def extract(
    file: str | os.PathLike[str] | IO[bytes],
    folder: str | os.PathLike[str] | Folder,
    limits: Limits = LIMITS,
    encoding: str | None = None,
    *,
    only_zip: bool = False,
    masked: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Extracted:
    """Unpack an archive (a path, or a binary file that can seek) into a folder that is there; with `only_zip` no tar.

    All or nothing: when it fails, what was made is removed again. Nothing that was in the folder is written to.
    Links, devices, and names that lead elsewhere are refused, and so is what passes a limit; `encoding` is that of
    names that are not marked as UTF-8. Owners, times and modes are not restored: files are 0644, folders 0755, less
    the umask when `masked`.

    Raises ArchiveError (ArchiveRefused, ArchiveTooLarge, ArchiveEncrypted), ValueError for an unknown encoding,
    OSError.
    """
    if encoding is not None:
        check_encoding(encoding)
    with ExitStack() as stack:
        source = stack.enter_context(open(file, "rb")) if isinstance(file, str | os.PathLike) else file
        size = source.seek(0, os.SEEK_END)
        budget = Budget(limits, size, clock)
        root = folder if isinstance(folder, Folder) else stack.enter_context(Folder.open(Path(folder)))
        tree = stack.enter_context(Tree(root, budget, masked=masked))
        source.seek(0)
        head = source.read(HEAD_SIZE)
        source.seek(0)
        try:
            for entry in _entries(source, head, size, encoding, budget, only_zip):
                tree.add(entry)
        except BaseException:
            tree.undo()
            raise
        return Extracted(tree.count, budget.size)


def _entries(
    source: IO[bytes], head: bytes, size: int, encoding: str | None, budget: Budget, only_zip: bool
) -> Iterator[Entry]:
    kind = sniff(head)
    is_tar = tararchive.is_header(head[: tararchive.BLOCK])
    if only_zip or not (is_tar or kind in COMPRESSIONS):
        directory = ziparchive.find_directory(source, size)
        if directory is not None:
            return ziparchive.read(source, directory, encoding, budget)
    if kind in COMPRESSIONS and not tararchive.is_packed_tar(source, kind, budget):
        raise single_file(kind)
    if only_zip or not (is_tar or kind in COMPRESSIONS):
        raise unreadable("application/x-tar" if is_tar else kind, only_zip=only_zip)
    return tararchive.read(tararchive.opened(source, kind, budget), encoding, budget)


def check_encoding(encoding: str) -> None:
    """Raise ValueError for what is no encoding of text that is known."""
    try:
        b"ab".decode(encoding, "replace")
    except (LookupError, ValueError):
        raise ValueError(f"{encoding[:80]!r} is no encoding of text that is known") from None
