"""A file made of runs of open files: cloned where the file system can, and checked before it has a name."""

from __future__ import annotations

from entrepot.domain.errors import Code, Problem
from entrepot.volume.entries import Conditions, Entry, SourceExtent
from entrepot.volume.paths import Path
from entrepot.volume.places import Places
from entrepot.volume.staging import Staged, Staging


class Adoption:
    """One such file: begin, append its runs in order, finish; and drop, whatever came. Its methods block and raise
    Problem and OSError."""

    def __init__(self, places: Places, staging: Staging, path: Path, when: Conditions) -> None:
        self._places = places
        self._staging = staging
        self._path = path
        self._when = when
        self._staged: Staged | None = None

    def begin(self, size: int) -> None:
        """Raise the Problem that a file of so many bytes would end with, before any is copied."""
        self._staging.admit(size, replaces=self._places.foresee(self._path, self._when).freed)
        self._staged = self._staging.create()

    def append(self, extent: SourceExtent) -> None:
        """Copy a run, and let it be checked as it lies here."""
        file = self._begun.file
        at = file.size
        file.copy(extent.fd, extent.start, extent.size)
        extent.check(file.fd, at)

    def finish(self, size: int, sha256: bytes | None) -> tuple[Entry, bool]:
        """Publish it."""
        staged = self._begun
        if staged.size != size:
            raise Problem(Code.SIZE_MISMATCH, f"The extents have {staged.size} bytes, {size} were named.")
        staged.seal(sha256)
        return self._staging.place(staged, self._path, self._when)

    def drop(self) -> None:
        """Remove what was not published. Repeatable."""
        if self._staged is not None:
            self._staged.drop()

    @property
    def _begun(self) -> Staged:
        assert self._staged is not None, "begin comes first"
        return self._staged
