"""What this machine remembers of uploads that are under way, so that the same command goes on after its death.

One small private file per upload, bound to the file's size and time, to the server, the key and the wish; which parts
are there, and with what bytes, is asked of the server. A lock keeps two processes from sharing an upload. Nothing rests
on it: parts are cited by their digests, so a state that is wrong costs time and never a wrong file.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entrepot import atomic
from entrepot.client.local import expanded
from entrepot.client.owner import is_private

_VERSION = 1
_STALE_SECONDS = 30 * 86_400.0


def folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where states are kept: ENTREPOT_STATE, else below XDG_STATE_HOME; None for a user who has no home."""
    if environ.get("ENTREPOT_STATE"):
        return Path(expanded(environ["ENTREPOT_STATE"]))
    try:
        base = Path(expanded(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"))
    except RuntimeError:
        return None
    return base / "entrepot" / "uploads"


class Claim:
    """The right to one state file, held by this process until `close`."""

    def __init__(self, path: Path, lock: int) -> None:
        self._path = path
        self._lock = lock
        _held.add(self)

    def load(self) -> dict[str, Any] | None:
        """What was saved; None when there is nothing that can be read, or when it may be another user's: it says where
        to send the bytes, and the token with them."""
        try:
            with self._path.open("rb") as file:
                if not is_private(file.fileno(), self._path.parent):
                    return None
                state = json.loads(file.read())
        except (OSError, ValueError, RecursionError):
            return None
        return state if isinstance(state, dict) and state.get("version") == _VERSION else None

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep a state, durable on return. On a full disk the upload works, and only cannot go on after its death."""
        with contextlib.suppress(OSError):
            atomic.write_file(self._path, json.dumps({"version": _VERSION, **state}).encode(), 0o600)

    def drop(self) -> None:
        """The upload is over. Repeatable."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    def close(self) -> None:
        """Let others have it. The lock file goes unless a state remains that it guards."""
        lock, self._lock = self._lock, -1
        if lock < 0:
            return
        with contextlib.suppress(OSError):
            if not self._path.exists():
                _lock_path(self._path).unlink()
        # To close is not enough: a child that was forked meanwhile may have the same lock open.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)

    def leave(self) -> None:
        """In a forked child: it is the parent's, and ends with the parent."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


_held: weakref.WeakSet[Claim] = weakref.WeakSet()


def _after_fork() -> None:
    for each in tuple(_held):
        each.leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def claim(place: Path, *what: str) -> Claim | None:
    """The state of the upload that `what` names; None when another process holds it, or no state can be kept here."""
    name = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]
    path = place / f"{name}.json"
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        _prune(place)
        lock = _locked(_lock_path(path))
    except OSError:
        return None  # a read-only home: the upload works, it only cannot go on after its death
    return None if lock is None else Claim(path, lock)


def _prune(place: Path) -> None:
    """Remove what was never taken up again: the server has long forgotten it."""
    for path in (*place.glob("*.json"), *place.glob("*.lock")):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - _STALE_SECONDS:
                path.unlink()


def _lock_path(path: Path) -> Path:
    return path.with_suffix(".lock")


def _locked(path: Path) -> int | None:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(fd, path):
                return fd
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # whoever held it before removed the file meanwhile


def _is_at(fd: int, path: Path) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
