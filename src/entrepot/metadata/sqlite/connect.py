"""Opening the database file: the SQLite version, connections, migrations, and errors."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from entrepot.metadata.base import MetadataFailed, MetadataFull
from entrepot.metadata.queries import migrations

# Below it, several connections on one write-ahead log can corrupt the file (the WAL-reset bug).
OLDEST_SQLITE = (3, 51, 3)
# "Entr", so that `file` and we can tell a catalogue from any other SQLite file.
APPLICATION_ID = 0x456E7472
# Milliseconds. Rarely needed: writers queue on a file lock, and readers of a write-ahead log do not wait.
BUSY_TIMEOUT = 5_000
CACHE_KIB = 32 * 1024

_READ = apsw.SQLITE_OPEN_READONLY
_WRITE = apsw.SQLITE_OPEN_READWRITE


def require_sqlite(version: str | None = None) -> None:
    """Raise MetadataFailed unless SQLite is at least `OLDEST_SQLITE`."""
    version = version or apsw.sqlite_lib_version()
    if tuple(int(number) for number in version.split(".")[:3]) < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise MetadataFailed(f"SQLite {version} can corrupt a catalogue: apsw must bring {needed} or newer.")


def failure(error: BaseException) -> MetadataFull | MetadataFailed:
    """The MetadataFull or MetadataFailed for what SQLite or the system raised."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or isinstance(error, MetadataFull | apsw.FullError):
        return MetadataFull(f"The disk of the catalogue is full: {error}")
    if isinstance(error, MetadataFailed):
        return MetadataFailed(str(error))
    return MetadataFailed(f"The catalogue failed: {error}")


@dataclass(frozen=True, slots=True)
class DatabaseLocation:
    """The location of a database: a file, or memory under a name that the connections of one instance share.

    Only with `create` is a file that is missing made: an empty catalogue in the place of a lost one would tell the
    keeper that nobody owns the bytes. Memory is always made."""

    path: Path | None
    vfs: str | None = None
    create: bool = False
    name: str = field(default_factory=lambda: f"/entrepot-{secrets.token_hex(8)}")

    def connect(self, *, write: bool) -> apsw.Connection:
        """Open a connection with all pragmas but those that write. Raises apsw.Error."""
        flags = _WRITE if write else _READ
        if write and self._may_create:
            flags |= apsw.SQLITE_OPEN_CREATE
        if self.path is None:
            db = apsw.Connection(self.name, flags=flags, vfs="memdb")
        else:
            db = apsw.Connection(os.fspath(self.path), flags=flags, vfs=self.vfs)
        db.set_busy_timeout(BUSY_TIMEOUT)
        # Without it SQLite plans a join anew for every value that is bound: 17 us for a read that takes 4.5.
        db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        db.execute(f"PRAGMA cache_size=-{CACHE_KIB}; PRAGMA temp_store=MEMORY")
        return db

    def open_writer(self) -> apsw.Connection:
        """Open or migrate the catalogue, make it where that is allowed. The caller holds the write lock.

        Raises apsw.Error, OSError and MetadataFailed."""
        if self.path is not None and not self.create and not self.path.exists():
            raise MetadataFailed(f"{self.path} is missing.")
        db = self.connect(write=True)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    @property
    def _may_create(self) -> bool:
        return self.create or self.path is None

    def _prepare(self, db: apsw.Connection) -> None:
        steps = migrations("sqlite")
        version = schema_version(db, len(steps))
        if version == 0 and not self._may_create:
            raise MetadataFailed(f"{self.path} is empty.")
        if self.path is not None:
            # Checkpoints are made by `SqliteDatabase.checkpoint` only, never in the middle of a commit.
            db.execute("PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=FULL")
            if db.execute("PRAGMA journal_mode=WAL").get != "wal":
                raise MetadataFailed(f"{self.path} must be on a local file system: it got no write-ahead log.")
            # SQLite syncs the folder for its logs but not for a new main file.
            sync_folder(self.path.parent)
        migrate(db, version, steps)
        db.execute("PRAGMA foreign_keys=ON")


def schema_version(db: apsw.Connection, newest: int) -> int:
    """The version of this file, 0 when it is empty. Raises MetadataFailed when it is not ours or too new."""
    application = db.execute("PRAGMA application_id").get
    version: int = db.execute("PRAGMA user_version").get
    empty = db.execute("SELECT count(*) FROM sqlite_schema").get == 0
    if application != APPLICATION_ID and not (application == 0 and version == 0 and empty):
        raise MetadataFailed(f"{db.filename} is a database of another program.")
    if version > newest:
        raise MetadataFailed(
            f"{db.filename} has schema {version}, this Entrepot knows up to {newest}: run the newer Entrepot."
        )
    return version


def migrate(db: apsw.Connection, version: int, steps: Sequence[str]) -> None:
    """Run the steps after `version` in one transaction.

    Foreign keys are still off, so that a step may rebuild a table; they are checked at the end."""
    if version == len(steps):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for step in steps[version:]:
            db.execute(step)
        if broken := db.execute("PRAGMA foreign_key_check").fetchall():
            raise MetadataFailed(f"The catalogue refers to rows that are missing: {broken[:3]}")
        db.execute(f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={len(steps)}; COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; Windows, which cannot open folders, needs no such call."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
