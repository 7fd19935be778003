"""The writes, each a function of the connection: they run in the writer thread, each in a savepoint."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import apsw

from entrepot.domain.accounts import Account, KeyRecord
from entrepot.domain.objects import Blob, Object, Segment
from entrepot.domain.uploads import Finish, Part, Upload, UploadState, may_begin
from entrepot.metadata import queries, rows
from entrepot.metadata.base import MAX_ATTEMPTS, Condemned, Conflict, KeyEnded

SQL = queries.load()

# Uploads expire in one transaction until so many of their parts went: others write between two (hostile.md H08).
PARTS_AT_ONCE = 10_000

_TAKEN = {apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY}


def add_account(db: apsw.Connection, account: Account) -> None:
    with _unique(f"The account id {account.id} or nickname {account.nickname!r} is taken."):
        db.execute(SQL["add_account"], rows.account_row(account))


def add_key(db: apsw.Connection, key: KeyRecord) -> None:
    with _unique(f"The key id {key.id} is taken."):
        db.execute(SQL["add_key"], rows.key_row(key))


def revoke_key(db: apsw.Connection, key_id: str, at: float) -> bool:
    return _changed(db, "revoke_key", key_id, at) == 1


def take_lease(db: apsw.Connection, name: str, holder: str, now: float, seconds: float) -> bool:
    return _changed(db, "take_lease", name, holder, now, seconds) == 1


def set_fact(db: apsw.Connection, name: str, value: str) -> None:
    _changed(db, "set_fact", name, value)


def note_orphans(db: apsw.Connection, keys: Collection[str], now: float) -> None:
    _changed(db, "note_orphans", rows.array(keys), now)


def forget_orphans(db: apsw.Connection, keys: Collection[str]) -> None:
    _changed(db, "forget_orphans", rows.array(keys))


def forget_other_orphans(db: apsw.Connection, looked_at: float, limit: int) -> int:
    return _changed(db, "forget_other_orphans", looked_at, limit)


def begin_upload(db: apsw.Connection, upload: Upload, limit: int | None) -> Upload | None:
    _check_key(db, upload.draft.key_id, upload.created_at)
    # A key that is NULL equals nothing.
    for row in _fetch(db, "same_upload", upload.draft.account_id, upload.idempotency_key):
        same = rows.upload_of(row)
        if same.state is not UploadState.OPEN or same.expires_at > upload.created_at:
            return same
        abort_upload(db, same.id)
    if limit is not None and not _may_begin(db, upload, limit):
        return None
    with _unique(f"The upload id {upload.id} or its object id is taken."):
        db.execute(SQL["add_upload"], rows.upload_row(upload))
    return upload


def _may_begin(db: apsw.Connection, upload: Upload, limit: int) -> bool:
    account_id, key_id = upload.draft.account_id, upload.draft.key_id
    ((count,),) = _fetch(db, "open_uploads", account_id)
    if 2 * count < limit:  # this half is anybody's
        return True
    held: dict[str, int] = dict(_fetch(db, "open_uploads_by_key", account_id))
    others = {other for (other,) in _fetch(db, "live_keys", account_id)} - {key_id}
    return may_begin(limit, held, key_id, others)


def abort_upload(db: apsw.Connection, upload_id: str) -> bool:
    if not _changed(db, "abort_upload", upload_id):
        return False
    _forget_parts(db, [upload_id])
    return True


def expire_uploads(db: apsw.Connection, now: float, limit: int) -> int:
    return _abort_some(db, limit, "expire_uploads", now, 1)


def abort_revoked_uploads(db: apsw.Connection, limit: int) -> int:
    return _abort_some(db, limit, "abort_revoked_upload")


def _abort_some(db: apsw.Connection, limit: int, name: str, *args: Any) -> int:
    """Abort uploads by a statement that takes one at a time; how many they were."""
    ended = parts = 0
    while ended < limit and parts < PARTS_AT_ONCE and (found := _fetch(db, name, *args)):
        ended += 1
        parts += len(_forget_parts(db, [upload_id for (upload_id,) in found]))
    return ended


def add_part(db: apsw.Connection, part: Part, blob: Blob, key_id: str | None) -> Part | None:
    _check_key(db, key_id, part.received_at)
    if _state_of(db, part.upload_id)[0] is not UploadState.OPEN:
        return None
    nr = _add_blob(db, blob, None)
    _changed(db, "replace_part", part.upload_id, part.number, part.etag)
    db.execute(SQL["add_part"], rows.part_row(part, nr))
    _changed(db, "drop_old_attempts", part.upload_id, part.number, MAX_ATTEMPTS)
    return part


def note_digest(db: apsw.Connection, upload_id: str, fingerprint: bytes, sha256: bytes) -> None:
    _changed(db, "note_digest", upload_id, fingerprint, sha256)


def set_digest(db: apsw.Connection, blob_id: str, sha256: bytes) -> None:
    _changed(db, "set_digest", blob_id, sha256)


def publish(
    db: apsw.Connection, obj: Object, blob: Blob, upload_id: str | None, key_id: str | None, finish: Finish | None
) -> Object | None:
    _check_key(db, key_id, obj.published_at)
    if upload_id is None:
        _add_object(db, obj, blob, None)
        return obj
    state, object_id = _state_of(db, upload_id)
    if state is UploadState.PUBLISHED:
        found = _fetch(db, "object", object_id)
        return rows.object_of(found[0]) if found else None
    if state is not UploadState.OPEN:
        return None
    if object_id != obj.id:
        raise Conflict(f"The upload {upload_id} is to become the object {object_id}, not {obj.id}.")
    _add_object(db, obj, blob, upload_id)
    arguments = (finish.fingerprint, finish.sha256) if finish else (None, None)
    _changed(db, "end_upload", upload_id, obj.published_at, *arguments)
    _changed(db, "forget_empty_blobs", rows.array(_forget_parts(db, [upload_id])))
    return obj


def expire_objects(db: apsw.Connection, now: float, limit: int) -> int:
    return _changed(db, "expire_objects", now, limit)


def condemn_blobs(db: apsw.Connection, limit: int) -> Sequence[Condemned]:
    """Look at loose blobs until `limit` are condemned or none is left: once at each per letting go."""
    while limit > 0 and (states := _fetch(db, "settle_blobs", limit)):
        limit -= states.count(("dying",))
    keys: dict[str, list[str]] = {}
    for blob_id, key in _fetch(db, "dying_blobs"):
        keys.setdefault(blob_id, []).extend([] if key is None else [key])
    return [Condemned(blob_id, tuple(each)) for blob_id, each in keys.items()]


def forget_blob(db: apsw.Connection, blob_id: str) -> None:
    _changed(db, "forget_blob", blob_id)


def forget_ended(db: apsw.Connection, before: float, limit: int) -> int:
    uploads = _changed(db, "forget_uploads", before, limit)
    return uploads + _changed(db, "forget_objects", before, limit - uploads)


def _check_key(db: apsw.Connection, key_id: str | None, now: float) -> None:
    """Raise KeyEnded for a key that is no longer valid. In the transaction of what is done with it: what was made after
    a revocation was acknowledged was not made with that key. Keys are never removed, so one without a row is not
    asked about."""
    if key_id is not None and _fetch(db, "ended_key", key_id, now):
        raise KeyEnded(f"The key {key_id} was revoked.")


def _add_object(db: apsw.Connection, obj: Object, blob: Blob, upload_id: str | None) -> None:
    nr = _link_blob(db, blob) or _add_blob(db, blob, upload_id)
    with _unique(f"The object {obj.id} exists already."):
        db.execute(SQL["add_object"], rows.object_row(obj, nr))


def _link_blob(db: apsw.Connection, blob: Blob) -> int | None:
    """The number of a blob that exists, None when it does not. Raises Conflict when it is dying."""
    found = _fetch(db, "blob", blob.id)
    if not found:
        return None
    nr, state = found[0]
    if state == "dying":
        raise Conflict(f"The blob {blob.id} is being deleted.")
    return int(nr)


def _add_blob(db: apsw.Connection, blob: Blob, upload_id: str | None) -> int:
    """Insert a blob and its segments; those that parts of this upload hold are moved to it."""
    if sum(segment.size for segment in blob.segments) != blob.size:
        # A link to what was forgotten meanwhile: without its bytes it must not exist.
        raise Conflict(f"The blob {blob.id} does not exist, and its segments do not make its size.")
    with _unique(f"The blob {blob.id} exists already."):
        ((nr,),) = _fetch(db, "add_blob", blob.id, blob.size, blob.sha256)
    starts = accumulate((segment.size for segment in blob.segments), initial=0)
    places = [(segment.key, start, segment.size) for segment, start in zip(blob.segments, starts, strict=False)]
    moved = {key for (key,) in _fetch(db, "move_segments", nr, json.dumps(places), upload_id)} if upload_id else set()
    for segment, (key, start, _) in zip(blob.segments, places, strict=True):
        if key in moved:
            moved.remove(key)  # named twice it is no second segment
        else:
            _hold(db, int(nr), start, segment)
    return int(nr)


def _hold(db: apsw.Connection, nr: int, start: int, segment: Segment) -> None:
    """Insert a segment that no part held."""
    message = f"The segment {segment.key} belongs to another blob, or was forgotten."
    if not segment.blocks:
        raise Conflict(message)
    with _unique(message):
        ((checksums,),) = _fetch(db, "add_checksums", segment.size, segment.blocks)
        db.execute(SQL["add_segment"], (nr, start, segment.key, segment.size, checksums))


def _forget_parts(db: apsw.Connection, upload_ids: Sequence[str]) -> list[int]:
    """Remove the rows of parts, which lets go of their blobs; returns the numbers of those."""
    return [nr for (nr,) in _fetch(db, "forget_parts", rows.array(upload_ids))]


def _state_of(db: apsw.Connection, upload_id: str) -> tuple[UploadState | None, str]:
    found = _fetch(db, "upload_state", upload_id)
    return (UploadState(found[0][0]), found[0][1]) if found else (None, "")


def _fetch(db: apsw.Connection, name: str, *args: Any) -> list[rows.Row]:
    return db.execute(SQL[name], args).fetchall()


def _changed(db: apsw.Connection, name: str, *args: Any) -> int:
    """Run a statement; how many rows it changed, those of triggers not counted."""
    db.execute(SQL[name], args)
    return db.changes()


@contextmanager
def _unique(message: str) -> Iterator[None]:
    """Conflict for a broken uniqueness, and only for that."""
    try:
        yield
    except apsw.ConstraintError as error:
        if getattr(error, "extendedresult", None) not in _TAKEN:
            raise
        raise Conflict(message) from error
