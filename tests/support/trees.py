"""What lies below a folder in which a server makes and removes things meanwhile: what goes is no error (`Path.rglob`
stumbles over it), and is not told of."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


def all_below(folder: Path) -> set[Path]:
    """Files and folders."""
    return {Path(above, name) for above, folders, files in os.walk(folder) for name in [*folders, *files]}


def files_below(folder: Path) -> dict[Path, int]:
    """Files, with their sizes."""
    found = {}
    for path in all_below(folder):
        with contextlib.suppress(OSError):
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                found[path] = status.st_size
    return found
