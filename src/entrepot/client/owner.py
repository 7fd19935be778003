"""Whose a file in a target folder is. Others may write there too, and plant what has a name of ours."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path


def is_private(fd: int, folder: str | Path) -> bool:
    """Whether an open file of a folder is one that we made for ourselves: a regular file of this user, that has no
    other name, and that nobody else may write to."""
    status = os.fstat(fd)
    alone = stat.S_ISREG(status.st_mode) and status.st_nlink <= 1 and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return alone and is_ours(status, folder)


def is_ours(status: os.stat_result, folder: str | Path) -> bool:
    """Whether this user owns it. What a file system of the network maps users to is told by a new file."""
    return sys.platform == "win32" or status.st_uid == os.geteuid() or status.st_uid == _uid_of_new_files(folder)


def _uid_of_new_files(folder: str | Path) -> int:
    """-1 where none can be made."""
    import tempfile  # takes long, and is seldom needed

    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_uid
    except OSError:
        return -1
