"""Published objects, and the blobs and segments that hold their bytes."""

from __future__ import annotations

from collections.abc import Sequence

from entrepot.domain.objects import Blob, Object, Segment
from entrepot.domain.uploads import Finish
from entrepot.metadata import rows
from entrepot.metadata.base import Database, WriteOutcome, check


class ObjectRecords:
    """The objects, blobs and segments of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def publish(
        self,
        obj: Object,
        blob: Blob,
        upload_id: str | None = None,
        key_id: str | None = None,
        finish: Finish | None = None,
    ) -> Object | None:
        """Make the object exist: blob, segments, object and the upload's end in ONE transaction.

        Returns `obj`; or, when the upload is published already, the object that is there, and records nothing; or None
        when the upload is aborted or unknown. Segments that parts of the upload hold are moved under the new blob by
        their keys, none is copied and no digest of theirs is needed; parts of the upload are forgotten. Raises Conflict
        when the object id exists without that upload, and when a segment is held by another or comes without digests
        and is no longer there.

        A blob whose id exists is linked, not added: pass it without its segments, so that one that was forgotten
        meanwhile is a Conflict, as a dying one is, and never a row without bytes. It cannot be condemned between the
        look at its state and the commit.

        `key_id` is that of who publishes: KeyEnded when it is not valid any more, and nothing is recorded. `finish` is
        kept with the upload, so that a repetition can be compared with it.
        """
        outcome, row = await self._database.write("publish", obj, blob, upload_id, key_id, finish)
        if outcome is WriteOutcome.PUBLISHED:
            return None if row is None else rows.object_of(row)
        if outcome is WriteOutcome.NOT_OPEN:
            return None
        check(outcome, f"The object {obj.id} with the blob {blob.id}: {outcome.value}.", key_id)
        return obj

    async def get(self, object_id: str) -> Object | None:
        """The object of this id, facts of its blob joined in: the one row that every read needs."""
        row = await self._database.row("object", object_id)
        return None if row is None else rows.object_of(row)

    async def segments_from(self, blob_id: str, start: int, limit: int) -> Sequence[tuple[int, Segment]]:
        """At most `limit` segments of a live blob, each with the offset of its first byte in the blob, in order from
        the one that holds byte `start` on. One indexed read, however many the blob has."""
        found = await self._database.rows("segments_from", blob_id, start, limit)
        return [(row[0], rows.segment_of(row[1:])) for row in found]

    async def blocks(self, key: str) -> bytes | None:
        """The block digests of a segment; None when no row names it."""
        row = await self._database.row("blocks", key)
        return row[0] if row else None

    async def held_blob(self, account_id: str, sha256: bytes, size: int, now: float) -> str | None:
        """The id of the newest blob of these bytes that is live and that a live object of this account refers to, one
        that ends after `now`. What others hold is not looked at, nor is a blob of less than `EXISTING_FLOOR` bytes."""
        row = await self._database.row("held_blob", account_id, sha256, size, now)
        return row[0] if row else None

    async def undigested(self, limit: int) -> Sequence[str]:
        """The ids of up to `limit` live blobs whose SHA-256 is not known yet."""
        return [blob_id for (blob_id,) in await self._database.rows("undigested", limit)]

    async def set_digest(self, blob_id: str, sha256: bytes) -> None:
        """Set the SHA-256 of a blob that has none; a dying one stays as it is."""
        await self._database.write("set_digest", blob_id, sha256)
