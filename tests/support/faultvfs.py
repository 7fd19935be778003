"""A SQLite VFS over the system's own that counts writes and syncs and fails the chosen ones."""

from __future__ import annotations

import secrets
from types import TracebackType
from typing import Any

import apsw


class Faults(apsw.VFS):
    """`with Faults() as faults: Catalogue(path, vfs=faults.name)`.

    `arm(k, error)` lets the k-th write, sync or truncation from now (1 is the next) raise `error`, and with `lasting`
    all after it, until `disarm()`. What is refused is not done. Used by several threads; counts are exact, because
    the GIL is held in here.
    """

    def __init__(self) -> None:
        self.name = f"faults-{secrets.token_hex(4)}"
        self.operations = 0
        self.syncs = 0
        self.failed = 0
        self._first: int | None = None
        self._lasting = False
        self._error: type[apsw.Error] = apsw.IOError
        super().__init__(self.name, "")

    def arm(self, operation: int, error: type[apsw.Error], *, lasting: bool = False) -> None:
        self._first, self._error, self._lasting = self.operations + operation, error, lasting

    def disarm(self) -> None:
        self._first = None

    def meet(self) -> None:
        """Called before each operation."""
        self.operations += 1
        first = self._first
        if first is not None and (self.operations == first or (self._lasting and self.operations > first)):
            self.failed += 1
            raise self._error("injected")

    def xOpen(self, name: Any, flags: list[int]) -> FaultFile:
        return FaultFile(self, name, flags)

    def __enter__(self) -> Faults:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.unregister()


class FaultFile(apsw.VFSFile):
    def __init__(self, faults: Faults, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._faults = faults

    def xWrite(self, data: Any, offset: int) -> None:
        self._faults.meet()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._faults.syncs += 1
        self._faults.meet()
        super().xSync(flags)

    def xTruncate(self, newsize: int) -> None:
        self._faults.meet()
        super().xTruncate(newsize)
