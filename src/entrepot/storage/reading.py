"""Reading without making the event loop wait for a disk: the one place that knows what the system offers."""

from __future__ import annotations

import errno
import os
import threading

from entrepot.storage.base import CHUNK_SIZE

_RWF_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)  # Linux only
_NOT_NOW = frozenset({errno.EAGAIN, errno.ENOTSUP, errno.EOPNOTSUPP})
_buffers = threading.local()


def read_now(fd: int, size: int, offset: int) -> bytes | None:
    """`size` bytes (at most `CHUNK_SIZE`) at `offset`, or None unless the page cache has them all.

    None also where the file ends before, and on systems and file systems that cannot tell.
    """
    if _RWF_NOWAIT is None:
        return None
    scratch = _scratch()[:size]
    try:
        found = os.preadv(fd, [scratch], offset, _RWF_NOWAIT)
    except OSError as error:
        if error.errno not in _NOT_NOW:
            raise
        return None
    return bytes(scratch) if found == size else None


def read_waiting(fd: int, size: int, offset: int) -> bytes:
    """`size` bytes at `offset`, waiting for the disk; fewer only where the file ends."""
    data = os.pread(fd, size, offset)
    while len(data) < size and (more := os.pread(fd, size - len(data), offset + len(data))):
        data += more
    return data


def _scratch() -> memoryview:
    """This thread's buffer of one chunk: to read into it and copy is faster than a new buffer each time."""
    if not hasattr(_buffers, "chunk"):
        _buffers.chunk = memoryview(bytearray(CHUNK_SIZE))
    chunk: memoryview = _buffers.chunk
    return chunk
