"""Errors of the operating system as errors of a storage."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from entrepot.storage.base import StorageFailed, StorageFull


@contextmanager
def translated() -> Iterator[None]:
    """Say an OSError of the disk as the storage's own error."""
    try:
        yield
    except OSError as error:
        raise _refusal(error) from error


def _refusal(error: OSError) -> StorageFull | StorageFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(error.strerror)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return StorageFailed("too many open files")
    return StorageFailed(error.strerror or str(error))
