"""Volumes of tests lie in memory where they can: they are synced some thousand times."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


def _is_good(folder: str) -> bool:
    """Whether this has extended attributes, as the disks that we know have."""
    with suppress(OSError, AttributeError):
        os.setxattr(folder, "user.entrepot.probe", b"1")
        return True
    return False


@pytest.fixture(scope="session")
def quick_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with ExitStack() as stack:
        if os.access(MEMORY, os.W_OK):
            folder = stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY, prefix="entrepot-tests-"))
            if _is_good(folder):
                yield Path(folder)
                return
        yield tmp_path_factory.mktemp("volumes")


@pytest.fixture
def tmp_path(quick_folder: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=quick_folder))
