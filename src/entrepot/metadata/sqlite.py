"""Metadata in one SQLite file, or in memory: reads on the calling thread, writes through one more."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import apsw

from entrepot.domain.accounts import Account, KeyRecord
from entrepot.domain.objects import Blob, Object, Segment
from entrepot.domain.uploads import Finish, Part, Upload
from entrepot.metadata import queries, rows, writes
from entrepot.metadata.base import Condemned, MetadataFailed
from entrepot.metadata.connect import Place, failure, require_sqlite
from entrepot.metadata.lock import FileLock
from entrepot.metadata.reader import Reader
from entrepot.metadata.writer import Writer

SQL = queries.load()
_OBJECT, _KEY, _SEGMENTS_FROM = SQL["object"], SQL["key"], SQL["segments_from"]

# Pages of 4 KiB in the log from which it is cut back instead of only being copied.
LONG_LOG = 4_096
# Milliseconds that cutting back the log waits for readers, because writers wait with it.
CUT_PATIENCE = 100


class SqliteMetadata:
    """The contract is `metadata.base.Metadata`. Reads complete without suspending.

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
        """Open the catalogue; migrate it when it is older, and only with `create` make it when it is not there. Blocks.

        `path` None keeps it in memory. `lock_path` (by default beside the file) is what the writers of all
        processes queue on. With `checkpoints` this is the one process whose `checkpoint` does something.
        With `store` it must be the catalogue of that home, else MetadataFailed.
        `vfs` names a registered SQLite VFS. Raises MetadataFull or MetadataFailed.
        """
        require_sqlite()
        self._place = Place(path, vfs, create)
        self._lock_path = lock_path or (path and path.with_name(path.name + "-lock"))
        self._checkpoints = checkpoints and path is not None
        try:
            # Held open, so that what is in memory outlives a writer that begins afresh.
            self._anchor = self._place.connect(write=True) if path is None else None
            self._writer = Writer(self._place.open_writer, FileLock(self._lock_path))
        except (apsw.Error, OSError) as error:
            raise failure(error) from error
        self._reader = Reader(lambda: self._place.connect(write=False))
        if store is not None:
            self._require(store)

    # Accounts and keys
    async def add_account(self, account: Account) -> None:
        await self._writer.run(lambda db: writes.add_account(db, account))

    async def account(self, account_id: str) -> Account | None:
        row = self._reader.row(SQL["account"], account_id)
        return None if row is None else rows.account_of(row)

    async def usage(self, account_id: str) -> int:
        row = self._reader.row(SQL["usage"], account_id)
        return int(row[0]) if row else 0

    async def account_ids(self, users: Collection[str]) -> Mapping[str, str]:
        return dict(self._reader.rows(SQL["account_ids"], rows.array(users)))

    async def list_accounts(self) -> Sequence[Account]:
        return [rows.account_of(row) for row in self._reader.rows(SQL["list_accounts"])]

    async def add_key(self, key: KeyRecord) -> None:
        await self._writer.run(lambda db: writes.add_key(db, key))

    async def key(self, key_id: str) -> KeyRecord | None:
        row = self._reader.row(_KEY, key_id)
        return None if row is None else rows.key_of(row)

    async def list_keys(self) -> Sequence[KeyRecord]:
        return [rows.key_of(row) for row in self._reader.rows(SQL["list_keys"])]

    async def revoke_key(self, key_id: str, at: float) -> bool:
        return await self._writer.run(lambda db: writes.revoke_key(db, key_id, at))

    def is_ended_key(self, key_id: str, now: float) -> bool:
        return self._reader.row(SQL["ended_key"], key_id, now) is not None

    def live_keys(self, account_id: str) -> Collection[str]:
        return [key_id for (key_id,) in self._reader.rows(SQL["live_keys"], account_id)]

    # Uploads and parts
    async def begin_upload(self, upload: Upload, limit: int | None) -> Upload | None:
        return await self._writer.run(lambda db: writes.begin_upload(db, upload, limit))

    async def upload(self, upload_id: str) -> Upload | None:
        row = self._reader.row(SQL["upload"], upload_id)
        return None if row is None else rows.upload_of(row)

    async def upload_of(self, object_id: str) -> Upload | None:
        row = self._reader.row(SQL["upload_of"], object_id)
        return None if row is None else rows.upload_of(row)

    async def open_uploads(self) -> Sequence[Upload]:
        return [rows.upload_of(row) for row in self._reader.rows(SQL["list_open_uploads"])]

    async def upload_with_key(self, account_id: str, idempotency_key: str) -> Upload | None:
        row = self._reader.row(SQL["same_upload"], account_id, idempotency_key)
        return None if row is None else rows.upload_of(row)

    async def abort_upload(self, upload_id: str) -> bool:
        return await self._writer.run(lambda db: writes.abort_upload(db, upload_id))

    async def abort_revoked_uploads(self, limit: int) -> int:
        return await self._writer.run(lambda db: writes.abort_revoked_uploads(db, limit))

    async def add_part(self, part: Part, blob: Blob, key_id: str | None = None) -> Part | None:
        return await self._writer.run(lambda db: writes.add_part(db, part, blob, key_id))

    async def list_parts(self, upload_id: str) -> Sequence[Part]:
        return [rows.part_of(row) for row in self._reader.rows(SQL["list_parts"], upload_id)]

    async def segments_of_parts(self, upload_id: str) -> Mapping[str, tuple[Segment, ...]]:
        found: dict[str, list[Segment]] = {}
        held = self._reader.rows(SQL["segments_of_parts"], upload_id)
        for blob_id, _, key, size in sorted(held, key=lambda row: row[:2]):
            found.setdefault(blob_id, []).append(Segment(key, size, b""))
        return {blob_id: tuple(segments) for blob_id, segments in found.items()}

    async def growing_uploads(self) -> Mapping[str, int]:
        found = self._reader.rows(SQL["growing_uploads"])
        return {upload_id: newest for upload_id, newest in found if newest is not None}

    async def note_digest(self, upload_id: str, fingerprint: bytes, sha256: bytes) -> None:
        await self._writer.run(lambda db: writes.note_digest(db, upload_id, fingerprint, sha256))

    async def whole_digest(self, upload_id: str, fingerprint: bytes) -> bytes | None:
        row = self._reader.row(SQL["whole_digest"], upload_id, fingerprint)
        return row[0] if row else None

    async def publish(
        self,
        obj: Object,
        blob: Blob,
        upload_id: str | None = None,
        key_id: str | None = None,
        finish: Finish | None = None,
    ) -> Object | None:
        return await self._writer.run(lambda db: writes.publish(db, obj, blob, upload_id, key_id, finish))

    # Objects and blobs
    async def object(self, object_id: str) -> Object | None:
        row = self._reader.row(_OBJECT, object_id)
        return None if row is None else rows.object_of(row)

    async def segments(self, blob_id: str) -> tuple[Segment, ...]:
        return tuple(map(rows.segment_of, self._reader.rows(SQL["segments"], blob_id)))

    async def segments_from(self, blob_id: str, start: int, limit: int) -> Sequence[tuple[int, Segment]]:
        found = self._reader.rows(_SEGMENTS_FROM, blob_id, start, limit)
        return [(row[0], rows.segment_of(row[1:])) for row in found]

    async def blocks(self, key: str) -> bytes | None:
        row = self._reader.row(SQL["blocks"], key)
        return row[0] if row else None

    async def held_blob(self, account_id: str, sha256: bytes, size: int, now: float) -> str | None:
        row = self._reader.row(SQL["held_blob"], account_id, sha256, size, now)
        return row[0] if row else None

    async def undigested(self, limit: int) -> Sequence[str]:
        return [blob_id for (blob_id,) in self._reader.rows(SQL["undigested"], limit)]

    async def set_digest(self, blob_id: str, sha256: bytes) -> None:
        await self._writer.run(lambda db: writes.set_digest(db, blob_id, sha256))

    # The keeper's work
    async def expire_objects(self, now: float, limit: int) -> int:
        return await self._writer.run(lambda db: writes.expire_objects(db, now, limit))

    async def expire_uploads(self, now: float, limit: int) -> int:
        return await self._writer.run(lambda db: writes.expire_uploads(db, now, limit))

    async def condemn_blobs(self, limit: int) -> Sequence[Condemned]:
        return await self._writer.run(lambda db: writes.condemn_blobs(db, limit))

    async def forget_blob(self, blob_id: str) -> None:
        await self._writer.run(lambda db: writes.forget_blob(db, blob_id))

    async def forget_ended(self, before: float, limit: int) -> int:
        return await self._writer.run(lambda db: writes.forget_ended(db, before, limit))

    async def known_keys(self, keys: Collection[str]) -> set[str]:
        return {key for (key,) in self._reader.rows(SQL["known_keys"], rows.array(keys))}

    async def note_orphans(self, keys: Collection[str], now: float) -> None:
        await self._writer.run(lambda db: writes.note_orphans(db, keys, now))

    async def due_orphans(self, looked_at: float, before: float, limit: int) -> Sequence[str]:
        return [key for (key,) in self._reader.rows(SQL["due_orphans"], looked_at, before, limit)]

    async def forget_orphans(self, keys: Collection[str]) -> None:
        await self._writer.run(lambda db: writes.forget_orphans(db, keys))

    async def forget_other_orphans(self, looked_at: float, limit: int) -> int:
        return await self._writer.run(lambda db: writes.forget_other_orphans(db, looked_at, limit))

    async def fact(self, name: str) -> str | None:
        row = self._reader.row(SQL["fact"], name)
        return row[0] if row else None

    async def set_fact(self, name: str, value: str) -> None:
        await self._writer.run(lambda db: writes.set_fact(db, name, value))

    async def take_lease(self, name: str, holder: str, now: float, seconds: float) -> bool:
        return await self._writer.run(lambda db: writes.take_lease(db, name, holder, now, seconds))

    # The whole
    async def check(self) -> None:
        self._reader.rows(SQL["check"])

    async def checkpoint(self) -> None:
        if self._checkpoints:
            await asyncio.to_thread(self._fold)

    async def close(self) -> None:
        # The writer's connection goes last: the last one folds the log, and one that only reads cannot.
        self._reader.close()
        await asyncio.to_thread(self._writer.close)
        if self._anchor is not None:
            self._anchor.close()

    def _require(self, store: str) -> None:
        """Refuse the catalogue of another home: to it all bytes of this one are unknown."""
        try:
            row = self._reader.row(SQL["fact"], "store")
            if row is None or row[0] != store:
                theirs = "no home" if row is None else f"the home {row[0]}"
                raise MetadataFailed(f"{self._place.path} is the catalogue of {theirs}, not of the home {store}.")
        except MetadataFailed:
            self._reader.close()
            self._writer.close()
            raise

    def _fold(self) -> None:
        """Copy the log into the main file beside the writers; when it is long, stop them to cut it back."""
        try:
            db = self._place.connect(write=True)
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
