"""The writes that are more than one statement: functions of the connection, which the writer's thread runs.

A refusal is a `WriteOutcome`, found before anything is written: an exception would end the whole group. All of them
rely on SQLite having one writer at a time: what a function has read stays so until it ends.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import apsw

from entrepot.domain.objects import Blob, Object, Segment
from entrepot.domain.uploads import Finish, Part, Upload, UploadState, may_begin
from entrepot.metadata import rows
from entrepot.metadata.base import Row, WriteOutcome
from entrepot.metadata.sqlite.jobs import cancel_job, cancel_jobs_of_waiters, claim_jobs, end_job, retry_job
from entrepot.metadata.sqlite.statements import changed, fetch
from entrepot.metadata.uploads import MAX_ATTEMPTS

# Uploads expire in one transaction until so many of their parts went: others write between two (docs/threats.md H08).
MAX_PARTS_EXPIRED = 10_000


def begin_upload(db: apsw.Connection, upload: Upload, limit: int | None) -> tuple[WriteOutcome, Row | None]:
    """See `UploadSessionRecords.begin`; with SAME the row of the upload that is there."""
    if _is_ended(db, upload.draft.key_id, upload.created_at):
        return WriteOutcome.KEY_ENDED, None
    # A key that is NULL equals nothing.
    for row in fetch(db, "same_upload", upload.draft.account_id, upload.idempotency_key):
        same = rows.upload_of(row)
        if same.state is not UploadState.OPEN or same.expires_at > upload.created_at:
            return WriteOutcome.SAME, row
        abort_upload(db, same.id)
    if limit is not None and not _may_begin(db, upload, limit):
        return WriteOutcome.TOO_MANY, None
    added = changed(db, "add_upload", *rows.upload_row(upload))
    return WriteOutcome.DONE if added else WriteOutcome.EXISTS, None


def _may_begin(db: apsw.Connection, upload: Upload, limit: int) -> bool:
    account_id, key_id = upload.draft.account_id, upload.draft.key_id
    ((count,),) = fetch(db, "open_uploads", account_id)
    if 2 * count < limit:  # this half is anybody's
        return True
    held: dict[str, int] = dict(fetch(db, "open_uploads_by_key", account_id))
    others = {other for (other,) in fetch(db, "live_keys", account_id)} - {key_id}
    return may_begin(limit, held, key_id, others)


def abort_upload(db: apsw.Connection, upload_id: str) -> bool:
    """See `UploadSessionRecords.abort`."""
    if not changed(db, "end_open_upload", upload_id):
        return False
    _forget_parts(db, [upload_id])
    return True


def expire_uploads(db: apsw.Connection, now: float, limit: int) -> int:
    """See `Housekeeping.expire_uploads`."""
    return _abort_some(db, limit, "end_due_upload", now)


def abort_revoked_uploads(db: apsw.Connection, limit: int) -> int:
    """See `UploadSessionRecords.abort_revoked`."""
    return _abort_some(db, limit, "end_revoked_upload")


def _abort_some(db: apsw.Connection, limit: int, name: str, *args: Any) -> int:
    """Abort uploads by a statement that takes one at a time; how many they were."""
    ended = parts = 0
    while ended < limit and parts < MAX_PARTS_EXPIRED and (found := fetch(db, name, *args)):
        ended += 1
        parts += len(_forget_parts(db, [upload_id for (upload_id,) in found]))
    return ended


def add_part(db: apsw.Connection, part: Part, blob: Blob, key_id: str | None) -> WriteOutcome:
    """See `UploadSessionRecords.add_part`."""
    if _is_ended(db, key_id, part.received_at):
        return WriteOutcome.KEY_ENDED
    if _state_of(db, part.upload_id)[0] is not UploadState.OPEN:
        return WriteOutcome.NOT_OPEN
    if fetch(db, "blob", blob.id):
        return WriteOutcome.EXISTS
    if refused := _refusal(db, blob, set()):
        return refused
    nr = _add_blob(db, blob, set())
    changed(db, "replace_part", part.upload_id, part.number, part.etag)
    changed(db, "add_part_row", *rows.part_row(part, nr))
    changed(db, "drop_old_attempts", part.upload_id, part.number, MAX_ATTEMPTS)
    changed(db, "bump_parts_version", part.upload_id)
    return WriteOutcome.DONE


def publish(
    db: apsw.Connection, obj: Object, blob: Blob, upload_id: str | None, key_id: str | None, finish: Finish | None
) -> tuple[WriteOutcome, Row | None]:
    """See `ObjectRecords.publish`; with PUBLISHED the row of the object that is there, None when it is gone."""
    if _is_ended(db, key_id, obj.published_at):
        return WriteOutcome.KEY_ENDED, None
    if upload_id is not None:
        state, object_id = _state_of(db, upload_id)
        if state is UploadState.PUBLISHED:
            found = fetch(db, "object", object_id)
            return WriteOutcome.PUBLISHED, found[0] if found else None
        if state is not UploadState.OPEN:
            return WriteOutcome.NOT_OPEN, None
        if object_id != obj.id:
            return WriteOutcome.EXISTS, None
    if fetch(db, "has_object", obj.id):
        return WriteOutcome.EXISTS, None
    if refused := _add_object(db, obj, blob, upload_id):
        return refused, None
    if upload_id is not None:
        arguments = (finish.fingerprint, finish.sha256) if finish else (None, None)
        changed(db, "end_upload", upload_id, obj.published_at, *arguments)
        changed(db, "forget_empty_blobs", rows.array(_forget_parts(db, [upload_id])))
    return WriteOutcome.DONE, None


def condemn_blobs(db: apsw.Connection, limit: int) -> None:
    """Look at loose blobs until `limit` are condemned or none is left: once at each per letting go."""
    while limit > 0 and (states := fetch(db, "settle_blobs", limit)):
        limit -= states.count(("dying",))


def forget_ended(db: apsw.Connection, before: float, limit: int) -> int:
    """See `Housekeeping.forget_ended`."""
    uploads = changed(db, "forget_uploads", before, limit)
    return uploads + changed(db, "forget_objects", before, limit - uploads)


def _is_ended(db: apsw.Connection, key_id: str | None, now: float) -> bool:
    """Whether a key is no longer valid. In the transaction of what is done with it: what was made after a revocation
    was acknowledged was not made with that key. Keys are never removed, so one without a row is not asked about."""
    return key_id is not None and bool(fetch(db, "ended_key", key_id, now))


def _add_object(db: apsw.Connection, obj: Object, blob: Blob, upload_id: str | None) -> WriteOutcome | None:
    """Insert an object, and its blob unless that exists; what refuses it."""
    if found := fetch(db, "blob", blob.id):
        ((nr, state),) = found
        if state == "dying":
            return WriteOutcome.BLOB_GONE
    else:
        moved = _movable(db, blob, upload_id) if upload_id else set()
        if refused := _refusal(db, blob, moved):
            return refused
        nr = _add_blob(db, blob, moved)
    changed(db, "add_object", *rows.object_row(obj, nr))
    return None


def _movable(db: apsw.Connection, blob: Blob, upload_id: str) -> set[str]:
    """The keys of those segments of a blob that parts of this upload hold alone."""
    wanted = json.dumps([(segment.key, segment.size) for segment in blob.segments])
    return {key for (key,) in fetch(db, "movable_segments", wanted, upload_id)}


def _refusal(db: apsw.Connection, blob: Blob, moved: set[str]) -> WriteOutcome | None:
    """Why a new blob of these segments, some of which are moved to it, cannot be; None when it can."""
    if sum(segment.size for segment in blob.segments) != blob.size:
        # A link to what was forgotten meanwhile: without its bytes it must not exist.
        return WriteOutcome.BLOB_GONE
    added = [segment for segment in blob.segments if segment.key not in moved]
    twice = len({segment.key for segment in blob.segments}) < len(blob.segments)
    if twice or not all(segment.blocks for segment in added):
        return WriteOutcome.SEGMENT_TAKEN
    return WriteOutcome.SEGMENT_TAKEN if added and fetch(db, "known_keys", rows.array(s.key for s in added)) else None


def _add_blob(db: apsw.Connection, blob: Blob, moved: set[str]) -> int:
    """Insert a blob that nothing refuses; returns its number."""
    ((nr,),) = fetch(db, "add_blob", blob.id, blob.size, blob.sha256)
    starts = accumulate((segment.size for segment in blob.segments), initial=0)
    places: list[tuple[Segment, int]] = list(zip(blob.segments, starts, strict=False))
    if moved:
        changed(db, "move_segments", nr, json.dumps([(s.key, start) for s, start in places if s.key in moved]))
    for segment, start in places:
        if segment.key not in moved:
            ((checksums,),) = fetch(db, "add_checksums", segment.size, segment.blocks)
            changed(db, "add_segment", nr, start, segment.key, segment.size, checksums)
    return int(nr)


def _forget_parts(db: apsw.Connection, upload_ids: Sequence[str]) -> list[int]:
    """Remove the rows of parts, which lets go of their blobs; returns the numbers of those."""
    return [nr for (nr,) in fetch(db, "forget_parts", rows.array(upload_ids))]


def _state_of(db: apsw.Connection, upload_id: str) -> tuple[UploadState | None, str]:
    found = fetch(db, "upload_state", upload_id)
    return (UploadState(found[0][0]), found[0][1]) if found else (None, "")


_FUNCTIONS = (
    begin_upload, abort_upload, expire_uploads, abort_revoked_uploads, add_part, publish, condemn_blobs, forget_ended,
    claim_jobs, end_job, retry_job, cancel_job, cancel_jobs_of_waiters,
)  # fmt: skip
OPERATIONS = {function.__name__: function for function in _FUNCTIONS}
