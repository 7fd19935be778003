"""Observers of `entrepot.atomic`: record what reaches the disk, do it again elsewhere, make it fail."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

from entrepot.atomic import Kind, Op


class Recorder:
    """Keeps every operation in `ops`, in the order in which threads announced them."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self._lock = threading.Lock()

    def __call__(self, op: Op) -> None:
        with self._lock:
            self.ops.append(op)

    def kinds(self) -> list[Kind]:
        return [op.kind for op in self.ops]


class FailAt:
    """Makes the k-th operation (from 1) fail with `number`; only those of `kinds` count, by default all."""

    def __init__(self, k: int, number: int, *kinds: Kind) -> None:
        self._left = k
        self._number = number
        self._kinds = kinds or tuple(Kind)
        self._lock = threading.Lock()
        self.failed: Op | None = None

    def __call__(self, op: Op) -> None:
        with self._lock:
            self._left -= op.kind in self._kinds
            if op.kind not in self._kinds or self._left or self.failed:
                return
            self.failed = op
        raise OSError(self._number, os.strerror(self._number))


class Killed:
    """The process dies before its k-th operation (from 1): that and all that follow do not happen."""

    class Now(BaseException):
        pass

    def __init__(self, k: int) -> None:
        self._left = k
        self._lock = threading.Lock()

    def __call__(self, op: Op) -> None:
        with self._lock:
            self._left -= 1
            if self._left <= 0:
                raise Killed.Now(op.kind, op.path)


def short_writes(op: Op) -> int | None:
    """Lets every write take 1,000 bytes at most."""
    return 1000 if op.kind is Kind.WRITE else None


def replay(ops: Iterable[Op], old: Path, new: Path) -> None:
    """Do recorded operations under `old` again under `new`, which must be as `old` was before."""
    for op in ops:
        path, target = _moved(op.path, old, new), _moved(op.target, old, new)
        match op.kind:
            case Kind.CREATE:
                path.touch(0o600, exist_ok=False)
            case Kind.WRITE:
                with open(path, "r+b") as file:
                    file.seek(op.offset)
                    file.write(op.data)
            case Kind.TRUNCATE:
                os.truncate(path, op.offset)
            case Kind.SET_FACTS:
                os.setxattr(path, op.name, op.data)
            case Kind.SET_TIME:
                os.utime(path, ns=(op.offset, op.offset))
            case Kind.MAKE_DIR:
                path.mkdir(exist_ok=True)
            case Kind.UNLINK:
                path.unlink()
            case Kind.RMDIR:
                path.rmdir()
            case Kind.RENAME:
                path.rename(target)
            case Kind.LINK:
                target.hardlink_to(path)
            case Kind.SYNC | Kind.SYNC_DIR:
                pass


def _moved(path: str, old: Path, new: Path) -> Path:
    return new / os.path.relpath(path, old) if path else Path()
