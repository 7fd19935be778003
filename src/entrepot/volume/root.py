"""The root of one volume: its folder, its mark, its lock, and the folder that is ours alone.

<root>/.entrepot/               0700, not addressable
    volume-<store id>           an empty folder: this is the volume of that home
    lock                        held for as long as a name is made or removed
    usage                       bytes that count for the quota
    staging/                    what is being written
    trash/<id>/                 what was deleted and can come back
    gone/                       what is being removed for good
    apps/                       files of apps, by hash
"""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Protocol

from entrepot.atomic import Folder, write_file
from entrepot.domain.acl import Principal
from entrepot.volume.paths import PRIVATE, Root

STAGING, TRASH, GONE, APPS, LOCK, USAGE, OWNER = "staging", "trash", "gone", "apps", "lock", "usage", "owner"
ITEM, INFO = "item", "info.json"
# How the names of staged folders begin that live within one request; others, of uploads in parts, live for days.
BRIEF = "brief-"
FOLDER_MODE, FILE_MODE = 0o755, 0o644  # other programs read the volume; who may write it is their user's business


class VolumeUnusable(Exception):
    """No server starts on this; the message says why and what to do."""


class KeyState(Protocol):
    """What a volume must know of API keys. The methods block."""

    def check(self, who: Principal) -> None:
        """Raise Problem when the key of `who` is not valid any more."""

    def live(self, account_id: str) -> Collection[str]:
        """The ids of the keys of an account that are not revoked."""


# Who the work of this task is done for; nobody for the keeper. Threads get it with the work (`threads.Threads`).
_caller: ContextVar[Principal | None] = ContextVar("caller", default=None)


class VolumeRootChanged(OSError):
    """The volume's path leads to another folder than was opened: a disk was unmounted, or mounted over it."""


def prepare(root: pathlib.Path, store: str, owner: str, *, known: bool) -> None:
    """Make the volume of a home for its owner, or finish what was cut short. Raises VolumeUnusable, OSError.

    A folder with files in it is taken as it is. With `known` the volume was made before: then its mark must be there.
    """
    mark = root / PRIVATE / _mark(store)
    if not mark.is_dir():
        _check_free(root, mark, known)
        with Folder.open(root.parent) as above:
            _ensure(above, root.name, FOLDER_MODE)
    with Folder.open(root) as folder:
        _ensure(folder, PRIVATE, 0o700)
        with folder.descend(PRIVATE) as private:
            _fill(private, owner)
            _ensure(private, mark.name, 0o700)  # the last one: it says that all is there


def _check_free(root: pathlib.Path, mark: pathlib.Path, known: bool) -> None:
    """Raise VolumeUnusable unless a volume may be made here."""
    if known:
        raise VolumeUnusable(
            f"The folder {root} does not hold the volume of this home. Is its disk mounted? "
            f"If you put the files there yourself, say so: mkdir -p {mark}"
        )
    if others := sorted((root / PRIVATE).glob(_mark("*"))):
        raise VolumeUnusable(
            f"The folder {root} is the volume of another home ({others[0].name}). "
            f"To make it the one of this home: mv {others[0]} {mark}"
        )
    if not root.parent.is_dir():
        raise VolumeUnusable(f"The volume {root} cannot be made: there is no folder {root.parent}. Make it first.")


def _fill(private: Folder, owner: str) -> None:
    for name in (STAGING, TRASH, GONE, APPS):
        _ensure(private, name, 0o700)
    with suppress(FileExistsError):
        private.create(LOCK).close()
    path = pathlib.Path(private.path) / OWNER
    if not path.exists() or path.read_text() != owner:
        write_file(path, owner.encode())


def _ensure(above: Folder, name: str, mode: int) -> None:
    with suppress(FileExistsError):
        above.make_dir(name, mode)
    above.sync()


def _mark(store: str) -> str:
    return f"volume-{store}"


class VolumeRoot:
    """What one process has open of a volume. All methods block and raise OSError.

    `by_hand` resolves paths without openat2, as on systems that have none. Without `keys` no key is asked about.
    """

    def __init__(self, root: pathlib.Path, store: str, *, by_hand: bool = False, keys: KeyState | None = None) -> None:
        self.keys = keys
        self._mark = f"{PRIVATE}/{_mark(store)}"
        folder = Folder.open(root)
        try:
            self.private = folder.descend(PRIVATE)
        except BaseException:
            folder.close()
            raise
        self.root = Root(folder, by_hand=by_hand)
        self.owner = _read(OWNER, self.private)
        self._identity = _identity(os.fstat(folder.fd))

    def check(self) -> None:
        """Raise VolumeRootChanged unless the root is still in its place and has the mark of this home."""
        folder = self.root.folder
        with suppress(FileNotFoundError, NotADirectoryError):
            os.stat(f"{folder.path}/{self._mark}")
            if _identity(os.stat(folder.path)) == self._identity:
                return
        raise VolumeRootChanged(
            errno.ESTALE, f"its folder was replaced or unmounted ({folder.path} has no {self._mark})"
        )

    def act_for(self, who: Principal) -> None:
        """What this task does from now on is done for `who`. Raises Problem when their key is not valid any more."""
        _caller.set(who)
        self.check_caller()

    def check_caller(self) -> None:
        """Raise Problem when the key that the work is done for was revoked since."""
        if self.keys is not None and (who := _caller.get()) is not None:
            self.keys.check(who)

    @contextmanager
    def locked(self, *, counting: bool = False) -> Iterator[None]:
        """Alone among all processes of ours. The root is checked first, and, unless bytes are only counted, whether the
        key that the work is done for is still valid: nothing gets a place by a revoked one, however long it took."""
        fd = os.open(LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.private.fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            self.check()
            if not counting:
                self.check_caller()
            yield
        finally:
            os.close(fd)

    def free(self) -> int:
        """Bytes that the disk has for us."""
        space = os.fstatvfs(self.root.folder.fd)
        return space.f_bavail * space.f_frsize

    def own(self, name: str) -> Folder:
        """Open one of our own folders; the caller closes it."""
        return self.private.descend(name)

    def close(self) -> None:
        self.private.close()
        self.root.folder.close()


def _read(name: str, folder: Folder) -> str:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.fd)
    with open(fd, "rb") as file:
        return file.read().decode()


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
