"""The home: one folder that holds a server's catalogue, files, secret and locks.

    home.json          format, store id; written last, so it marks a home that is complete
    signing.secret     0600, 64 hex digits; tokens and signatures are made with it
    catalogue.db       the SQLite catalogue (and its -wal and -shm)
    catalogue.lock     writers of all processes take turns by it
    blobs/<incarnation>/<bucket>/<number>   the bytes
    blobs/.store-<store id>                 an empty folder: these are the bytes of this home
    serve.lock         held by the one `serve`, names its pid
    home.lock          held shared by every process that has the home open
    run/<incarnation>  held by the process that writes blobs under that name, names its pid

Locks are kernel locks on open files: they end with their process, however it ends. What a lock file says is only for
messages.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from entrepot import atomic

FORMAT = 1
SECRET_VARIABLE = "ENTREPOT_SIGNING_SECRET"

# What a folder may hold before `home.json` is in it. The volume may have been put at its place first.
_LOST_AND_FOUND = "lost+found"
_FOLDERS = {"blobs", "data", "run", _LOST_AND_FOUND}
_FILES = {
    "signing.secret", "serve.lock", "home.lock", "catalogue.lock",
    "catalogue.db", "catalogue.db-journal", "catalogue.db-shm", "catalogue.db-wal",
}  # fmt: skip
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")  # of `atomic`
_NAMING = "--home DIR, or ENTREPOT_HOME."


class HomeError(Exception):
    """The home cannot be used; the message says why and what to do."""


class HomeMissing(HomeError):
    """There is no home."""


class Lock:
    """An advisory lock on a file, held until `release` or the end of the process. Not inherited by child processes."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def take(cls, path: Path, *, shared: bool = False, wait: float = 0.0) -> Lock | None:
        """Take the lock, trying for `wait` seconds; None when another process holds it."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                if _is_same_file(fd, path):
                    return cls(path, fd)
                os.close(fd)  # somebody removed the file while we opened it: its lock keeps nobody out
                return cls.take(path, shared=shared, wait=wait)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(fd)
                    return None
                time.sleep(0.05)

    def say(self, text: str) -> None:
        """Write who holds the lock, for other processes' messages. No promise rests on it."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text.encode(), 0)

    def share(self) -> None:
        """Turn an exclusive lock into a shared one. Not atomic: callers hold another lock meanwhile."""
        fcntl.flock(self._fd, fcntl.LOCK_SH)

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@dataclass(frozen=True, slots=True)
class Home:
    """A complete home. `store` is the 8 hex digits in its object URLs."""

    root: Path
    store: str

    @property
    def catalogue(self) -> Path:
        return self.root / "catalogue.db"

    @property
    def catalogue_lock(self) -> Path:
        return self.root / "catalogue.lock"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @classmethod
    def exists(cls, root: Path) -> bool:
        """Whether a complete home is there, of whatever format."""
        return (root / "home.json").exists()

    @classmethod
    def open(cls, root: Path) -> Home:
        """Open what `prepare` and `complete` made. Raises HomeError when there is no home, or a newer one."""
        try:
            facts = json.loads((root / "home.json").read_text())
        except FileNotFoundError:
            raise HomeMissing(f"There is no home at {root}.") from None
        except (OSError, ValueError) as error:
            raise HomeError(f"The home at {root} cannot be read: {error}") from None
        if not isinstance(facts, dict) or not isinstance(facts.get("store"), str):
            raise HomeError(f"{root / 'home.json'} is not a file of Entrepot. Name another home: {_NAMING}")
        if facts.get("format") != FORMAT:
            raise HomeError(
                f"The home at {root} has format {facts.get('format')}; this version reads {FORMAT}. Upgrade."
            )
        return cls(root, facts["store"])

    @classmethod
    def prepare(cls, root: Path, expected: Iterable[Path] = ()) -> None:
        """Make the folders and the secret of a new home, or finish making one that was cut short.

        Raises HomeError, before anything is written, for a folder that holds something else. `expected` are paths that
        may be in the folder before the first start: the volume, and files that the settings name.
        """
        if cls.exists(root):
            cls.open(root)
        else:
            _refuse_foreign(root, expected)
            _ensure_above(root.absolute())
            _ensure_folder(root)
            _ensure_folder(root / "blobs")
        _ensure_folder(root / "run")
        if not (root / "signing.secret").exists():
            with contextlib.suppress(FileExistsError):  # another first start was faster, and one will refuse
                atomic.create_file(root / "signing.secret", secrets.token_hex(32).encode(), 0o600)

    @classmethod
    def new_store(cls, root: Path) -> str:
        """A store id for a new home. HomeError when the files of another one are there, but not its catalogue: a new
        one would not know them, and the keeper would take them for waste."""
        if any((root / "blobs").glob(".store-*")) and not (root / "catalogue.db").exists():
            raise HomeError(cls(root, "").missing_catalogue)
        return secrets.token_hex(4)

    @classmethod
    def complete(cls, root: Path, store: str) -> Home:
        """Write the mark of a complete home; the last step of making one."""
        home = cls(root, store)
        _ensure_folder(home._mark)
        facts = {"format": FORMAT, "store": home.store, "created_at": time.time()}
        atomic.write_file(root / "home.json", json.dumps(facts).encode(), 0o600)
        return home

    @property
    def _mark(self) -> Path:
        return self.blobs / f".store-{self.store}"

    @property
    def missing_catalogue(self) -> str:
        """What to say when the catalogue is not there."""
        return (
            f"catalogue.db of the home at {self.root} is missing: restore it from a backup. "
            f"The files under {self.blobs} are still there."
        )

    def check_catalogue(self) -> None:
        """Raise HomeError when the catalogue is not there: only a first start makes one."""
        if not self.catalogue.exists():
            raise HomeError(self.missing_catalogue)

    def check_blobs(self) -> None:
        """Raise HomeError unless the blobs folder is the one of this home: while its disk is not mounted, another one
        has its place, and what is written there would be hidden later."""
        if not self._mark.is_dir():
            raise HomeError(
                f"The folder {self.blobs} does not hold the files of this home. Is its disk mounted? "
                f"If you put the files there yourself, say so: mkdir {self._mark}"
            )

    def lock_shared(self) -> Lock:
        """Hold the home open; every process that reads or writes it does so for life."""
        lock = Lock.take(self.root / "home.lock", shared=True, wait=5.0)
        if lock is None:
            raise HomeError(f"The home at {self.root} is being taken over by another server. Try again in a moment.")
        return lock

    def signing_secret(self) -> bytes:
        """The secret of ENTREPOT_SIGNING_SECRET, else of the home's file. HomeError when weak or readable by others."""
        text = os.environ.get(SECRET_VARIABLE)
        if text is not None:
            return _strong(text, SECRET_VARIABLE)
        path = self.root / "signing.secret"
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise HomeError(f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}). Run: chmod 600 {path}")
        return _strong(path.read_text(), str(path))


def _refuse_foreign(root: Path, expected: Iterable[Path]) -> None:
    """Raise HomeError when a folder that is no complete home holds what no interrupted first start left there."""
    if root.is_symlink() and not root.exists():
        raise HomeError(f"The home {root} is a link to a folder that does not exist.")
    if not root.exists():
        return
    if not root.is_dir():
        raise HomeError(f"The home {root} is not a folder. Name another one: {_NAMING}")
    inside = {path.relative_to(root).parts[0] for path in expected if root in path.parents}
    names = os.listdir(root)
    foreign = [name for name in names if name not in inside and not _is_own(root, name)]
    if "catalogue.db" not in names:
        foreign += _foreign_blobs(root)
    if foreign:
        shown = ", ".join(repr(name) for name in sorted(foreign)[:3])
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise HomeError(
            f"The folder {root} is not a home, and it is not empty: it holds {shown}{more}. "
            f"Name an empty folder, or one that does not exist yet: {_NAMING}"
        )


def _is_own(root: Path, name: str) -> bool:
    """Whether an entry is one that a first start makes before `home.json`, or that may be there before it."""
    return (name in _FOLDERS and (root / name).is_dir()) or name in _FILES or bool(_TEMPORARY.fullmatch(name))


def _foreign_blobs(root: Path) -> list[str]:
    """Entries of `blobs`, which a home without a catalogue never wrote. With the mark of another home among them the
    catalogue is what is missing, and `Home.new_store` says so."""
    names = os.listdir(root / "blobs") if (root / "blobs").is_dir() else []
    if any(name.startswith(".store-") for name in names):
        return []
    return [f"blobs/{name}" for name in names if name != _LOST_AND_FOUND]


def _ensure_above(root: Path) -> None:
    """Make the folders above a new home where missing, and their names durable: acknowledged bytes go with the lowest
    one that is lost. Those that a start cut short may have made are synced too."""
    for folder in reversed(root.parents[:-1]):
        if not folder.exists() or os.access(folder.parent, os.R_OK | os.W_OK):
            _ensure_folder(folder)


def _ensure_folder(path: Path) -> None:
    with atomic.Folder.open(path.parent) as parent:
        with contextlib.suppress(FileExistsError):
            parent.make_dir(path.name, 0o700)
        parent.sync()


def _strong(text: str, source: str) -> bytes:
    try:
        secret = bytes.fromhex(text.strip())
    except ValueError:
        secret = b""
    if len(secret) < 32 or len(set(secret)) < 8:
        raise HomeError(
            f"{source} is empty, too short or not random: it must be 64 hex digits. Try: openssl rand -hex 32"
        )
    return secret


class Incarnation:
    """One process's right to write blobs under its own name; the name is never used again."""

    def __init__(self, home: Home) -> None:
        lock = None
        while lock is None:  # the keeper may look at a new file just when we take it
            self.id = secrets.token_hex(8)
            lock = Lock.take(home.root / "run" / self.id)
        lock.say(str(os.getpid()))
        # Durable before the first blob: what has no file here is never taken for the work of an ended process.
        with atomic.Folder.open(home.root / "run") as run:
            run.sync()
        self._lock = lock

    def end(self) -> None:
        self._lock.release()


def ended_incarnations(home: Home) -> list[str]:
    """The names of all processes that are no more: only their unknown keys can be orphans.

    A name without a lock file is not among them: bytes may stay too long, but are never taken from a living process.
    """
    run = home.root / "run"
    return [name for name in sorted(os.listdir(run)) if not _is_held(run / name)]


def living_incarnations(home: Home) -> list[str]:
    """The names of all processes that are alive."""
    run = home.root / "run"
    return [name for name in os.listdir(run) if _is_held(run / name)]


def living_pids(root: Path) -> list[int]:
    """The pids of processes that have the home open and may write, as their lock files name them."""
    run = root / "run"
    names = sorted(os.listdir(run)) if run.is_dir() else []
    return [
        int(text) for name in names if _is_held(run / name) and (text := (run / name).read_text().strip()).isdigit()
    ]


def forget_incarnations(home: Home) -> None:
    """Remove the empty folders of ended incarnations, and the lock files of those that have no folder left."""
    with atomic.Folder.open(home.root / "run") as run:
        for name in sorted(os.listdir(run.fd)):
            lock = Lock.take(home.root / "run" / name)
            if lock is not None:
                if _remove_empty(home.blobs, name):
                    run.unlink(name)
                lock.release()


def _remove_empty(blobs: Path, name: str) -> bool:
    """Remove a folder and those in it as far as they are empty; True when it is gone."""
    with contextlib.suppress(OSError), atomic.Folder.open(blobs) as root:
        with root.descend(name) as folder:
            for bucket in os.listdir(folder.fd):
                folder.rmdir(bucket)
        root.rmdir(name)
    return not (blobs / name).exists()


def _is_same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _is_held(path: Path) -> bool:
    if not path.exists():
        return False
    lock = Lock.take(path)
    if lock is None:
        return True
    lock.release()
    return False


class ServeLock:
    """What makes `serve` the only server of a home: its own lock for life, and the home's for the time of the start."""

    def __init__(self, root: Path) -> None:
        serve = Lock.take(root / "serve.lock")
        if serve is None:
            raise HomeError(
                f"The home at {root} is already served by process {_said(root / 'serve.lock')}. Stop it first."
            )
        whole = Lock.take(root / "home.lock", wait=5.0)
        if whole is None:
            raise HomeError(_leftover(root))
        serve.say(str(os.getpid()))
        self._serve, self._home = serve, whole

    def share(self) -> None:
        """Let the workers in: from now on the home's lock is shared. `serve.lock` keeps other servers out."""
        self._home.share()

    def release(self) -> None:
        self._home.release()
        self._serve.release()


def _said(path: Path) -> str:
    return path.read_text().strip() or "unknown"


def _leftover(root: Path) -> str:
    pids = ", ".join(map(str, living_pids(root))) or "unknown"
    return (
        f"The server of the home at {root} (process {_said(root / 'serve.lock')}) is gone, but processes that it "
        f"started, or other commands, still use the home: {pids}. Wait until they end, or stop them."
    )
