"""Uploads that are on record, and their parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from entrepot.domain.objects import Blob, Segment
from entrepot.domain.uploads import Part, Upload
from entrepot.metadata import rows
from entrepot.metadata.base import Database, WriteOutcome, check

# Attempts at one part that are kept. A client cites one of its last; ever new bytes for one number must not fill rows.
MAX_ATTEMPTS = 16


class UploadSessionRecords:
    """The uploads and parts of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, upload: Upload, limit: int | None) -> Upload | None:
        """Record an upload. With an idempotency key that its account already used for one that is not aborted, record
        nothing and return that one; the caller compares fingerprints. An open one that was over when this one was
        created is aborted, and counts as absent. None (and nothing recorded) when its key may not begin one more where
        an account may have `limit` open (`domain.uploads.may_begin`); without a limit it always may. Raises KeyEnded.

        Looking and recording are one step: of any number at once, no more than `limit` are open, and one idempotency
        key begins one upload.
        """
        outcome, row = await self._database.write("begin_upload", upload, limit)
        if outcome is WriteOutcome.SAME:
            return rows.upload_of(row)
        if outcome is WriteOutcome.TOO_MANY:
            return None
        check(outcome, f"The upload id {upload.id} or its object id is taken.", upload.draft.key_id)
        return upload

    async def get(self, upload_id: str) -> Upload | None:
        """The upload of this id."""
        row = await self._database.row("upload", upload_id)
        return None if row is None else rows.upload_of(row)

    async def of_object(self, object_id: str) -> Upload | None:
        """The upload that is to become, or became, this object."""
        row = await self._database.row("upload_of", object_id)
        return None if row is None else rows.upload_of(row)

    async def with_idempotency_key(self, account_id: str, idempotency_key: str) -> Upload | None:
        """The upload that its account used this idempotency key for, if it is not aborted."""
        row = await self._database.row("same_upload", account_id, idempotency_key)
        return None if row is None else rows.upload_of(row)

    async def list_open(self) -> Sequence[Upload]:
        """All uploads that are open, of all accounts; those whose time is over first come first."""
        return [rows.upload_of(row) for row in await self._database.rows("list_open_uploads")]

    async def abort(self, upload_id: str) -> bool:
        """`OPEN -> ABORTED`, its parts forgotten, their blobs left without a reference. False when it is not open.

        Of an abort, an expiry and a publish at once exactly one ends the upload.
        """
        return bool(await self._database.write("abort_upload", upload_id))

    async def abort_revoked(self, limit: int) -> int:
        """As `abort`, for up to `limit` that were begun with keys which are revoked now; fewer when they have many
        parts. How many: none is left when it is 0."""
        return int(await self._database.write("abort_revoked_uploads", limit))

    async def add_part(self, part: Part, blob: Blob, key_id: str | None = None) -> Part | None:
        """Record a part and its blob; None (and nothing recorded) when the upload is not open. It takes the place of
        an attempt at the same number with the same ETag, whose blob is left without a reference: so a part whose bytes
        were damaged is repaired by sending it again. Of the attempts at a number the last `MAX_ATTEMPTS` stay. Raises
        KeyEnded when `key_id`, that of who sent it, is not valid any more, Conflict when the blob or a segment exists.

        The upload cannot end between the look at its state and the commit: a part that was recorded is forgotten by
        that end, and none is recorded after it.
        """
        outcome = await self._database.write("add_part", part, blob, key_id)
        if outcome is WriteOutcome.NOT_OPEN:
            return None
        check(outcome, f"The blob {blob.id} or one of its segments exists already.", key_id)
        return part

    async def list_parts(self, upload_id: str) -> Sequence[Part]:
        """All attempts, by number, then by time."""
        return [rows.part_of(row) for row in await self._database.rows("list_parts", upload_id)]

    async def segments_of_parts(self, upload_id: str) -> Mapping[str, tuple[Segment, ...]]:
        """The segments of all attempts of an upload, in order, by blob id, WITHOUT their block digests (`blocks` is
        empty), which are a hundred times as long: `ObjectRecords.publish` moves such a segment by its key."""
        found: dict[str, list[Segment]] = {}
        held = await self._database.rows("segments_of_parts", upload_id)
        for blob_id, _, key, size in sorted(held, key=lambda row: row[:2]):
            found.setdefault(blob_id, []).append(Segment(key, size, b""))
        return {blob_id: tuple(segments) for blob_id, segments in found.items()}

    async def growing(self) -> Mapping[str, int]:
        """The ids of open uploads that parts were added to, and for each the version of its parts: a number that grows
        in the transaction of every `add_part`. Who reads it before the parts misses none: a part that came later makes
        it grow again."""
        return dict(await self._database.rows("growing_uploads"))

    async def note_digest(self, upload_id: str, fingerprint: bytes, sha256: bytes) -> None:
        """Keep the SHA-256 of a list of attempts of an upload, in place of an earlier list's."""
        await self._database.write("note_digest", upload_id, fingerprint, sha256)

    async def whole_digest(self, upload_id: str, fingerprint: bytes) -> bytes | None:
        """The SHA-256 noted for this list of attempts, None when another one, or none, was noted."""
        row = await self._database.row("whole_digest", upload_id, fingerprint)
        return row[0] if row else None
