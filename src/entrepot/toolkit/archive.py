"""Unpacks archives of strangers: ZIP, and tar with gzip, bzip2 or xz. The work is `archive/`'s; its errors are said
as those of the toolkit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import IO

from entrepot.archive import errors as plain
from entrepot.archive import unpacking
from entrepot.archive.entries import LIMITS, Limits
from entrepot.archive.unpacking import Extracted
from entrepot.client.local import expanded
from entrepot.toolkit.errors import ArchiveEncrypted, ArchiveError, ArchiveRefused, ArchiveTooLarge

__all__ = ["LIMITS", "Extracted", "Limits", "extract"]

_ERRORS: dict[type[plain.ArchiveError], type[ArchiveError]] = {
    plain.ArchiveRefused: ArchiveRefused,
    plain.ArchiveTooLarge: ArchiveTooLarge,
    plain.ArchiveEncrypted: ArchiveEncrypted,
}


def extract(
    file: str | os.PathLike[str] | IO[bytes],
    folder: str | os.PathLike[str],
    limits: Limits = LIMITS,
    encoding: str | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Extracted:
    """Unpack an archive (a path, or a binary file that can seek) into a folder that is there.

    All or nothing: when it fails, what was made is removed again. Nothing that was in the folder is written to.
    Links, devices, and names that lead elsewhere are refused, and so is what passes a limit; `encoding` is that of
    names that are not marked as UTF-8. Owners, times and modes are not restored: files are 0644, folders 0755, less
    the umask.

    Raises ArchiveError (ArchiveRefused, ArchiveTooLarge, ArchiveEncrypted), ValueError for an unknown encoding,
    OSError.
    """
    try:
        source = expanded(file) if isinstance(file, str | os.PathLike) else file
        return unpacking.extract(source, expanded(folder), limits, encoding, clock=clock)
    except plain.ArchiveError as error:
        raise _ERRORS.get(type(error), ArchiveError)(error.message, error.fix) from error
