"""The trash: what was deleted lies in `trash/<id>/item`, beside `info.json` with its path and the time of deletion.

A deletion is one rename, whatever is deleted; so is an undo.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from math import isfinite
from typing import Any

from entrepot.atomic import Folder
from entrepot.domain.errors import Code, Problem
from entrepot.volume.entries import ALWAYS, Conditions, Entry, Trashed, TrashPage, entry_of
from entrepot.volume.files import Files
from entrepot.volume.paths import Path, check_tree, parse
from entrepot.volume.places import Places, check_conditions, is_the_root, there
from entrepot.volume.refusals import FAILING, FULL, changing, conflict, missing, renaming, taken, wrong_cursor
from entrepot.volume.removal import Gone
from entrepot.volume.root import INFO, ITEM, TRASH, VolumeRoot
from entrepot.volume.walking import Steps

log = logging.getLogger("entrepot.volume")

# A folder of the trash without an item: a deletion under way, or one that a crash cut short, when it is older.
UNDER_WAY = 3600.0
_FOR_GOOD = "Delete it for good (permanent), or empty the trash: that needs no room."
_ID = re.compile(r"[0-9a-f]{44}")


class Trash:
    """Deletes and puts back. The methods block and raise Problem and OSError. `ttl` is in seconds."""

    def __init__(
        self, ground: VolumeRoot, places: Places, files: Files, gone: Gone, clock: Callable[[], float], ttl: float
    ) -> None:
        self._ground = ground
        self._places = places
        self._files = files
        self._gone = gone
        self._clock = clock
        self._ttl = ttl

    def delete(self, path: Path, *, recursive: bool, when: Conditions) -> Trashed:
        """Move what is at `path` to the trash."""
        with changing(path):
            folder = self._ground.root.open_folder(path.parent)
        with folder:
            status = self._present(folder, path, recursive, when)
        trashed = self._described(path, status)
        self._ground.check()
        try:
            with self._ground.own(TRASH) as trash, _made(trash, trashed) as place:
                self._move(path, recursive, when, place, ITEM)
        except OSError as error:
            if error.errno in FULL:
                raise Problem(
                    Code.INSUFFICIENT_STORAGE, "The volume's disk has no room for the trash.", fix=_FOR_GOOD
                ) from None
            raise
        return trashed

    def remove(self, path: Path, *, recursive: bool, when: Conditions) -> Steps:
        """Remove what is at `path` for good: it is gone at once, its bytes step by step."""
        name = secrets.token_hex(16)
        with self._gone.folder() as gone:
            self._move(path, recursive, when, gone, name)
        yield from self._gone.clearing(name)

    def _move(self, path: Path, recursive: bool, when: Conditions, target: Folder, name: str) -> None:
        """Take it away under the lock, and make that durable. A folder's place is not free for others before."""
        with ExitStack() as held, ExitStack() as lock:
            lock.enter_context(self._ground.locked())
            with changing(path):
                folder = held.enter_context(self._ground.root.open_folder(path.parent))
            status = self._present(folder, path, recursive, when)
            with renaming(path):
                folder.move(path.name, target, name)
            if not stat.S_ISDIR(status.st_mode):
                lock.close()
            target.sync()
            folder.sync()

    def _present(self, folder: Folder, path: Path, recursive: bool, when: Conditions) -> os.stat_result:
        """What is there, if it may be deleted."""
        if not path.parts:
            raise is_the_root()
        status = there(folder, path.name)
        if status is None:
            raise missing(path)
        if when != ALWAYS:
            check_conditions(path, self._places.target(folder, path).status, when)
        if not recursive and stat.S_ISDIR(status.st_mode):
            with folder.descend(path.name) as inner:
                if os.listdir(inner.fd):
                    raise conflict(f"{path} is a folder with something in it.")
        return status

    def _described(self, path: Path, status: os.stat_result) -> Trashed:
        """Ids begin with the time, so that names in the order of the alphabet are in that of the deletions."""
        now = self._clock()
        trash_id = f"{int(now * 1000) & (1 << 48) - 1:012x}{secrets.token_hex(16)}"
        entry = entry_of(str(path), status)
        return Trashed(trash_id, entry.path, entry.is_file, entry.size, now, now + self._ttl)

    def page(self, limit: int | None, cursor: str | None) -> TrashPage:
        """What can come back, the newest first."""
        if cursor and not _ID.fullmatch(cursor):
            raise wrong_cursor()
        with self._ground.own(TRASH) as trash:
            names = (name for name in os.listdir(trash.fd) if _ID.fullmatch(name) and (not cursor or name < cursor))
            ordered = sorted(names, reverse=True)
            found = (trashed for name in ordered if (trashed := self._read(trash, name)) is not None)
            entries = list(islice(found, limit))
            more = next(found, None) is not None
        return TrashPage(entries, entries[-1].id if more else None)

    def _read(self, trash: Folder, trash_id: str) -> Trashed | None:
        """What is known of one; None when nothing is to be put back there."""
        try:
            with trash.descend(trash_id) as place:
                status = there(place, ITEM)
                info = _info(place)
        except OSError as error:
            if error.errno in FAILING:
                raise
            return None
        if status is None or info is None:
            return None
        is_file = not stat.S_ISDIR(status.st_mode)
        deleted_at = float(info["deleted_at"])
        size = status.st_size if is_file else 0
        return Trashed(trash_id, info["path"], is_file, size, deleted_at, deleted_at + self._ttl)

    def restore(self, trash_id: str, destination: Path | None) -> Entry:
        """Put it back, where it was or at `destination`."""
        with self._ground.own(TRASH) as trash, self._ground.locked():
            trashed = self._one(trash, trash_id)
            path = destination if destination is not None else parse(trashed.path, legacy=False)
            with trash.descend(trash_id) as place:
                if not trashed.is_file:
                    check_tree(place, ITEM, Path(tuple(trashed.path.split("/"))), path)
                entry = self._put_back(place, path)
                _forget(trash, trash_id, place)
                return entry

    def _put_back(self, place: Folder, path: Path) -> Entry:
        with self._places.parent(path) as folder:
            if there(folder, path.name) is not None:
                raise taken(path)
            with renaming(path):
                place.move(ITEM, folder, path.name, replace=False)
            folder.sync()
            place.sync()
            return self._files.moved(folder, path)

    def drop(self, trash_id: str) -> Steps:
        """Remove one for good."""
        with self._ground.own(TRASH) as trash, self._ground.locked():
            self._one(trash, trash_id)
            name = self._take(trash, trash_id)
        yield from self._gone.clearing(name)

    def sweep(self, now: float) -> Steps:
        """Remove for good what was here long enough, and what crashes left."""
        with self._ground.own(TRASH) as trash:
            for name in os.listdir(trash.fd):
                try:
                    yield from self._swept(trash, name, now)
                except FileNotFoundError:
                    pass  # it came back meanwhile
                except OSError as error:
                    log.error("what is in the trash as %s cannot be swept: %s", name, error)

    def _swept(self, trash: Folder, name: str, now: float) -> Steps:
        if self._is_over(trash, name, now):
            with self._ground.locked():
                gone = self._take(trash, name)
            yield from self._gone.clearing(gone)

    def _take(self, trash: Folder, name: str) -> str:
        """Take an item out of the trash for good, under the lock; returns its name among what is gone."""
        gone = secrets.token_hex(16)
        with suppress(FileNotFoundError), trash.descend(name) as place:
            if there(place, ITEM) is not None:
                gone = self._gone.take(place, ITEM)
            place.sync()
            _forget(trash, name, place)
        return gone

    def _is_over(self, trash: Folder, name: str, now: float) -> bool:
        trashed = self._read(trash, name)
        if trashed is not None:
            return trashed.purge_at <= now
        with trash.descend(name) as place:
            # What nothing is known of is kept as long as all else; without it the deletion was cut short.
            kept = UNDER_WAY if there(place, ITEM) is None else max(self._ttl, UNDER_WAY)
            return os.fstat(place.fd).st_mtime + kept <= now

    def _one(self, trash: Folder, trash_id: str) -> Trashed:
        trashed = self._read(trash, trash_id) if _ID.fullmatch(trash_id) else None
        if trashed is None:
            raise Problem(
                Code.NOT_FOUND, f"The trash has nothing with the id {trash_id[:80]}.", fix="List the trash to see it."
            )
        return trashed


@contextmanager
def _made(trash: Folder, trashed: Trashed) -> Iterator[Folder]:
    """The place of one in the trash, with what is to be known of it; it goes again when the block fails before."""
    trash.make_dir(trashed.id)
    try:
        with trash.descend(trashed.id) as place:
            _write(place, {"path": trashed.path, "deleted_at": trashed.deleted_at, "is_file": trashed.is_file})
            place.sync()
            trash.sync()
            yield place
    except BaseException:
        with suppress(OSError), trash.descend(trashed.id) as place:
            if there(place, ITEM) is None:
                _forget(trash, trashed.id, place)
        raise


def _forget(trash: Folder, name: str, place: Folder) -> None:
    """Remove what is left of a place without an item; what stays a sweep finds."""
    with suppress(OSError):
        with suppress(FileNotFoundError):
            place.unlink(INFO)
        trash.rmdir(name)


def _write(place: Folder, info: dict[str, Any]) -> None:
    file = place.create(INFO)
    try:
        file.write([json.dumps(info).encode()])
        file.sync()
    finally:
        file.close()


def _info(place: Folder) -> dict[str, Any] | None:
    fd = os.open(INFO, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.fd)
    with open(fd, "rb") as file:
        try:
            info: dict[str, Any] = json.load(file)
            is_whole = isinstance(info["path"], str) and isfinite(float(info["deleted_at"]))
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
            return None
    return info if is_whole else None
