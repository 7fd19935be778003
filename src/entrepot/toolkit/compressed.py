"""`CompressedFile`: an archive that unpacks itself when it is looked into.

Iterating lists what is at its top, `glob` what a pattern finds; both unpack it first, once, into a temporary folder.
The folder goes away with the object and all iterators over it, when unpacking fails, and when the program ends. Paths
do not keep it alive.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from entrepot.toolkit import contents
from entrepot.toolkit.archive import LIMITS, Limits, extract
from entrepot.toolkit.files import File
from entrepot.toolkit.models import PrivateAttr


class CompressedFile(File):
    """Represents an archive: ZIP, or tar with or without gzip, bzip2 or xz."""

    _folder: _Folder | None = PrivateAttr(None)

    def extract(self, encoding: str | None = None, limits: Limits = LIMITS) -> Path:
        """The folder with everything in it; downloaded and unpacked on the first call, whose arguments hold: the
        encoding of names that are not UTF-8, and how much may come out.

        Raises ArchiveError (ArchiveRefused, ArchiveTooLarge, ArchiveEncrypted), DownloadError.
        """
        return self._unpacked(encoding, limits).path

    async def extract_async(self, encoding: str | None = None, limits: Limits = LIMITS) -> Path:
        """As `extract`, in a thread."""
        return await asyncio.to_thread(self.extract, encoding, limits)

    @property
    def extract_dir(self) -> str | None:
        """Where it is unpacked; None before."""
        return str(self._folder.path) if self._folder else None

    def __iter__(self) -> Iterator[Path]:  # type: ignore[override]
        folder = self._unpacked()
        return _kept(folder, sorted(folder.path.iterdir()))

    def glob(self, pattern: str) -> Iterator[Path]:
        """Paths of the unpacked files and folders that a pattern of `pathlib` matches (`**/*.png`)."""
        folder = self._unpacked()
        return _kept(folder, folder.path.glob(pattern))

    def _unpacked(self, encoding: str | None = None, limits: Limits = LIMITS) -> _Folder:
        if self._folder is None:
            folder = _Folder()
            try:
                if self.file_data is not None:
                    extract(io.BytesIO(self.file_data), folder.path, limits, encoding)
                else:
                    with contents.temp_file(self.url, limits.size) as archive:
                        extract(archive, folder.path, limits, encoding)
            except BaseException:
                folder.remove()
                raise
            self._folder = folder
        return self._folder


class _Folder:
    """A temporary folder that goes away with this object, and at the end of the process that made it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="entrepot-"))
        self.remove = weakref.finalize(self, _remove, str(self.path), os.getpid())

    def __deepcopy__(self, memo: Any) -> Self:
        return self  # a copy of the file looks into the same folder

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()  # in another process it is unpacked again


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked child ends without taking its parent's files along
        shutil.rmtree(path, ignore_errors=True)


def _kept(folder: _Folder, paths: Iterable[Path]) -> Iterator[Path]:
    """The paths; their folder stays as long as this does."""
    yield from paths
    del folder
