"""Permanent removal: out of sight by one rename first, then name by name, whatever the size and depth."""

from __future__ import annotations

import logging
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from entrepot.atomic import Folder
from entrepot.volume.places import there
from entrepot.volume.quota import Quota
from entrepot.volume.root import GONE, VolumeRoot
from entrepot.volume.walking import STEP, Steps, exhausted

log = logging.getLogger("entrepot.volume")


class Gone:
    """The folder of what is being removed. What a crash leaves in it the next sweep finds. The methods block."""

    def __init__(self, ground: VolumeRoot, quota: Quota) -> None:
        self._ground = ground
        self._quota = quota

    def folder(self) -> Folder:
        """Open it; the caller closes it."""
        return self._ground.own(GONE)

    def take(self, folder: Folder, name: str) -> str:
        """Take a file or folder out of sight; returns its name here. Durable when `folder` is synced."""
        new = secrets.token_hex(16)
        with self.folder() as gone:
            folder.move(name, gone, new)
        return new

    def clear(self, name: str) -> None:
        """Remove at once what the quota never counted."""
        exhausted(self.clearing(name, counted=False))

    def clearing(self, name: str, *, counted: bool = True) -> Steps:
        """Remove it in steps; what cannot be removed stays for the sweep."""
        with self.folder() as gone:
            freed = [0]
            try:
                yield from _remove(gone, name, freed)
            except OSError as error:
                log.error("a deleted file or folder could not be removed from the disk yet: %s", error)
            finally:
                with suppress(OSError):
                    self._quota.charge(-freed[0] if counted else 0)

    def sweep(self) -> Steps:
        """Remove all that is here."""
        with self.folder() as gone:
            names = os.listdir(gone.fd)
        for name in names:
            yield from self.clearing(name)


def _remove(gone: Folder, name: str, freed: list[int]) -> Steps:
    """Folders are moved up here before they are emptied, so that depth costs neither handles nor recursion. The same
    may be done by another process at the same time. What cannot be removed keeps nothing else; the first failure is
    raised at the end."""
    waiting, failures, count = [name], list[OSError](), 0
    while waiting:
        name = waiting.pop()
        with _noted(failures):
            status = there(gone, name)
            if status is None:
                continue
            if not stat.S_ISDIR(status.st_mode):
                _unlink(gone, name, status, freed)
                continue
            with gone.descend(name) as folder:
                for inner in os.listdir(folder.fd):
                    with _noted(failures):
                        _take_out(folder, inner, gone, waiting, freed)
                    count += 1
                    if count % STEP == 0:
                        yield
            with suppress(FileNotFoundError):
                gone.rmdir(name)
    if failures:
        raise failures[0]


@contextmanager
def _noted(failures: list[OSError]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not failures:
            failures.append(error)


def _take_out(folder: Folder, name: str, gone: Folder, waiting: list[str], freed: list[int]) -> None:
    status = there(folder, name)
    if status is None:
        return
    if not stat.S_ISDIR(status.st_mode):
        return _unlink(folder, name, status, freed)
    new = secrets.token_hex(16)
    with suppress(FileNotFoundError):
        folder.move(name, gone, new)
        waiting.append(new)


def _unlink(folder: Folder, name: str, status: os.stat_result, freed: list[int]) -> None:
    with suppress(FileNotFoundError):
        folder.unlink(name)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            freed[0] += status.st_size
