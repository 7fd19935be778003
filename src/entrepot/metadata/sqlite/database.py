"""The database in one SQLite file, or in memory: reads on the calling thread, writes on a thread of their own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import apsw

from entrepot.metadata.base import MetadataFailed, Row
from entrepot.metadata.sqlite.connect import DatabaseLocation, failure, require_sqlite
from entrepot.metadata.sqlite.lock import FileLock
from entrepot.metadata.sqlite.operations import OPERATIONS
from entrepot.metadata.sqlite.reader import Reader
from entrepot.metadata.sqlite.statements import SQL, changed
from entrepot.metadata.sqlite.writer import Writer

# Pages of 4 KiB in the log from which it is cut back instead of only being copied.
LONG_LOG = 4_096
# Milliseconds that cutting back the log waits for readers, because writers wait with it.
CUT_PATIENCE = 100


class SqliteDatabase:
    """A `metadata.base.Database` in SQLite.

    May be used from several threads and event loops; not across a fork.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        lock_path: Path | None = None,
        create: bool = False,
        store: str | None = None,
        checkpoints: bool = False,
        vfs: str | None = None,
    ) -> None:
        """Open the database; migrate it when it is older, and only with `create` make it when it is not there. Blocks.

        `path` None keeps it in memory. `lock_path` (by default beside the file) is what the writers of all
        processes queue on. With `checkpoints` this is the one process whose `checkpoint` does something.
        With `store` it must be the database of that home, else MetadataFailed.
        `vfs` names a registered SQLite VFS. Raises MetadataFull or MetadataFailed.
        """
        require_sqlite()
        self._location = DatabaseLocation(path, vfs, create)
        self._lock_path = lock_path or (path and path.with_name(path.name + "-lock"))
        self._checkpoints = checkpoints and path is not None
        try:
            # Held open, so that what is in memory outlives a writer that begins afresh.
            self._anchor = self._location.connect(write=True) if path is None else None
            self._writer = Writer(self._location.open_writer, FileLock(self._lock_path))
        except (apsw.Error, OSError) as error:
            raise failure(error) from error
        self._reader = Reader(lambda: self._location.connect(write=False))
        if store is not None:
            self._require(store)

    async def row(self, statement: str, *args: Any) -> Row | None:
        """See `Database.row`. Completes without suspending."""
        found = self._reader.rows(SQL[statement], args)
        return found[0] if found else None

    async def rows(self, statement: str, *args: Any) -> list[Row]:
        """See `Database.rows`. Completes without suspending."""
        return self._reader.rows(SQL[statement], args)

    def blocking_rows(self, statement: str, *args: Any) -> list[Row]:
        """See `Database.blocking_rows`."""
        return self._reader.rows(SQL[statement], args)

    async def write(self, operation: str, *args: Any) -> Any:
        """See `Database.write`. Runs in the writer's thread, in one commit with what else is queued."""
        function = OPERATIONS.get(operation)
        if function is None:
            return await self._writer.run(lambda db: changed(db, operation, *args))
        return await self._writer.run(lambda db: function(db, *args))

    async def checkpoint(self) -> None:
        """Fold the log into the main file; does nothing but in the one process that was opened with `checkpoints`."""
        if self._checkpoints:
            await asyncio.to_thread(self._fold)

    async def close(self) -> None:
        """Finish what is queued and free threads and handles."""
        # The writer's connection goes last: the last one folds the log, and one that only reads cannot.
        self._reader.close()
        await asyncio.to_thread(self._writer.close)
        if self._anchor is not None:
            self._anchor.close()

    def _require(self, store: str) -> None:
        """Refuse the database of another home: it knows no bytes of this one, so all of them would be orphans."""
        try:
            found = self._reader.rows(SQL["fact"], ("store",))
            if found != [(store,)]:
                theirs = f"the home {found[0][0]}" if found else "no home"
                raise MetadataFailed(f"{self._location.path} is the catalogue of {theirs}, not of the home {store}.")
        except MetadataFailed:
            self._reader.close()
            self._writer.close()
            raise

    def _fold(self) -> None:
        """Copy the log into the main file beside the writers; when it is long, stop them to cut it back."""
        try:
            db = self._location.connect(write=True)
            try:
                frames, _ = db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                if frames >= LONG_LOG:
                    self._cut(db)
            finally:
                db.close()
        except apsw.BusyError:
            pass  # another checkpoint is at work, or a reader is slow: the next call goes on
        except (apsw.Error, OSError) as error:
            raise failure(error) from error

    def _cut(self, db: apsw.Connection) -> None:
        """Under steady writes a log is never copied whole and would grow for ever. With the writers outside,
        only what came since the copy is left to do."""
        lock = FileLock(self._lock_path)
        db.set_busy_timeout(CUT_PATIENCE)
        try:
            with lock:
                db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            lock.close()
