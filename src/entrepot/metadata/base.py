"""The metadata interface. Every method is one transaction: when a write returns, it is durable and visible to all.

Made so that SQLite and PostgreSQL both fit. No transaction is open while bytes move. Values in, values out: no row,
cursor or connection leaves this room.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from entrepot.domain.accounts import Account, KeyRecord
from entrepot.domain.objects import Blob, Object, Segment
from entrepot.domain.uploads import Finish, Part, Upload

# Attempts at one part that are kept. A client cites one of its last; ever new bytes for one number must not fill rows.
MAX_ATTEMPTS = 16


class MetadataFull(Exception):
    """The disk is full. The write is not acknowledged, and nothing of it was written."""


class MetadataFailed(Exception):
    """The catalogue cannot be read or written (I/O error, read-only, closed).

    A write that raises this is not acknowledged; whether it was made is not known: it may or may not be found after a
    restart, whole or not at all.
    """


class Conflict(Exception):
    """A unique fact exists already: a nickname, a key id, an object id."""


class KeyEnded(Exception):
    """The key that a write was to be made with is revoked or expired, or its account suspended. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Condemned:
    """A blob in state `dying`: no reader can reach it any more. Delete its keys, then `forget_blob`."""

    blob_id: str
    keys: tuple[str, ...]


class Metadata(Protocol):
    """Accounts, keys, uploads, parts, objects, blobs and leases."""

    # Accounts and keys
    async def add_account(self, account: Account) -> None:
        """Raises Conflict when the id or nickname is taken."""
        ...

    async def account(self, account_id: str) -> Account | None: ...

    async def usage(self, account_id: str) -> int:
        """Bytes that the account holds: its objects that have bytes, and the parts of its open uploads."""
        ...

    async def account_ids(self, users: Collection[str]) -> Mapping[str, str]:
        """Map each of these nicknames or account ids that exists to its account id."""
        ...

    async def list_accounts(self) -> Sequence[Account]:
        """All accounts, oldest first."""
        ...

    async def add_key(self, key: KeyRecord) -> None:
        """Raises Conflict when the id is taken."""
        ...

    async def key(self, key_id: str) -> KeyRecord | None:
        """The hot path of every authenticated request: one read, the account's state joined in."""
        ...

    async def list_keys(self) -> Sequence[KeyRecord]:
        """All keys, revoked ones too, oldest first."""
        ...

    async def revoke_key(self, key_id: str, at: float) -> bool:
        """Revoke a key for ever; False when there is none. A second revoke keeps the first time.

        Writes that name a key raise KeyEnded when it is not valid any more, in their own transaction: what was not
        published when this returned never is. Its open uploads are for `abort_revoked_uploads`.
        """
        ...

    def is_ended_key(self, key_id: str, now: float) -> bool:
        """Whether a key is revoked or expired, or its account suspended. Blocks, for who holds a lock in a thread."""
        ...

    def live_keys(self, account_id: str) -> Collection[str]:
        """The ids of an account's keys that are not revoked. Blocks."""
        ...

    # Uploads and parts
    async def begin_upload(self, upload: Upload, limit: int | None) -> Upload | None:
        """Record an upload. With an idempotency key that its account already used for one that is not aborted, record
        nothing and return that one; the caller compares fingerprints. An open one that was over when this one was
        created is aborted, and counts as absent. None (and nothing recorded) when its key may not begin one more where
        an account may have `limit` open (`domain.uploads.may_begin`); without a limit it always may. Raises KeyEnded.
        """
        ...

    async def upload(self, upload_id: str) -> Upload | None: ...

    async def upload_of(self, object_id: str) -> Upload | None:
        """The upload that is to become, or became, this object."""
        ...

    async def open_uploads(self) -> Sequence[Upload]:
        """All uploads that are open, of all accounts; those whose time is over first come first."""
        ...

    async def upload_with_key(self, account_id: str, idempotency_key: str) -> Upload | None:
        """The upload that its account used this idempotency key for, if it is not aborted."""
        ...

    async def abort_upload(self, upload_id: str) -> bool:
        """`OPEN -> ABORTED`, its parts forgotten, their blobs left without a reference. False when it is not open."""
        ...

    async def abort_revoked_uploads(self, limit: int) -> int:
        """As `abort_upload`, for up to `limit` that were begun with keys which are revoked now; fewer when they have
        many parts. How many: none is left when it is 0."""
        ...

    async def add_part(self, part: Part, blob: Blob, key_id: str | None = None) -> Part | None:
        """Record a part and its blob; None (and nothing recorded) when the upload is not open. It takes the place of
        an attempt at the same number with the same ETag, whose blob is left without a reference: so a part whose bytes
        were damaged is repaired by sending it again. Of the attempts at a number the last `MAX_ATTEMPTS` stay. Raises
        KeyEnded when `key_id`, that of who sent it, is not valid any more."""
        ...

    async def list_parts(self, upload_id: str) -> Sequence[Part]:
        """All attempts, by number, then by time."""
        ...

    async def segments_of_parts(self, upload_id: str) -> Mapping[str, tuple[Segment, ...]]:
        """The segments of all attempts of an upload, in order, by blob id, WITHOUT their block digests (`blocks` is
        empty), which are a hundred times as long: `publish` moves such a segment by its key."""
        ...

    async def growing_uploads(self) -> Mapping[str, int]:
        """The ids of open uploads that have parts, and for each a number that grows with every attempt."""
        ...

    async def note_digest(self, upload_id: str, fingerprint: bytes, sha256: bytes) -> None:
        """Keep the SHA-256 of a list of attempts of an upload, in place of an earlier list's."""
        ...

    async def whole_digest(self, upload_id: str, fingerprint: bytes) -> bytes | None:
        """The SHA-256 noted for this list of attempts, None when another one, or none, was noted."""
        ...

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
        meanwhile is a Conflict, as a dying one is, and never a row without bytes.

        `key_id` is that of who publishes: KeyEnded when it is not valid any more, and nothing is recorded. `finish` is
        kept with the upload, so that a repetition can be compared with it.
        """
        ...

    # Objects and blobs
    async def object(self, object_id: str) -> Object | None:
        """The hot path of every read: one read, blob facts joined in."""
        ...

    async def segments(self, blob_id: str) -> tuple[Segment, ...]:
        """The segments of a blob that is live, in order; empty when it is not. All of them, with all digests: for
        small blobs only."""
        ...

    async def segments_from(self, blob_id: str, start: int, limit: int) -> Sequence[tuple[int, Segment]]:
        """At most `limit` segments of a live blob, each with the offset of its first byte in the blob, in order from
        the one that holds byte `start` on. One indexed read, however many the blob has."""
        ...

    async def blocks(self, key: str) -> bytes | None:
        """The block digests of a segment; None when no row names it."""
        ...

    async def held_blob(self, account_id: str, sha256: bytes, size: int, now: float) -> str | None:
        """The id of the newest blob of these bytes that is live and that a live object of this account refers to, one
        that ends after `now`. What others hold is not looked at, nor is a blob of less than `EXISTING_FLOOR` bytes."""
        ...

    async def undigested(self, limit: int) -> Sequence[str]:
        """The ids of up to `limit` live blobs whose SHA-256 is not known yet."""
        ...

    async def set_digest(self, blob_id: str, sha256: bytes) -> None:
        """Set the SHA-256 of a blob that has none; a dying one stays as it is."""
        ...

    # The keeper's work
    async def expire_objects(self, now: float, limit: int) -> int:
        """`LIVE -> EXPIRED` for up to `limit` objects with `expires_at <= now`; they let go of their blobs."""
        ...

    async def expire_uploads(self, now: float, limit: int) -> int:
        """Abort up to `limit` open uploads with `expires_at <= now`; fewer when they have many parts. How many: none is
        left when it is 0."""
        ...

    async def condemn_blobs(self, limit: int) -> Sequence[Condemned]:
        """`live -> dying` for up to `limit` blobs that no live object and no part refers to, in one transaction;
        returns all that are dying, so that a sweep cut short goes on."""
        ...

    async def forget_blob(self, blob_id: str) -> None:
        """Remove a dying blob's rows. Repeatable; a blob that is not dying stays."""
        ...

    async def forget_ended(self, before: float, limit: int) -> int:
        """Remove rows of ended uploads and of objects that ended before this time; returns how many."""
        ...

    async def known_keys(self, keys: Collection[str]) -> set[str]:
        """Those of these storage keys that any row refers to, dying ones too."""
        ...

    async def note_orphans(self, keys: Collection[str], now: float) -> None:
        """Remember that a look which began `now` found these keys and no row that names them. When a key was found
        before, the earlier time stays that of its first sight (a sight later than `now` was a wrong clock)."""
        ...

    async def due_orphans(self, looked_at: float, before: float, limit: int) -> Sequence[str]:
        """Up to `limit` keys that the look of this time found, and whose first sight is not later than `before`."""
        ...

    async def forget_orphans(self, keys: Collection[str]) -> None:
        """Forget that these keys were seen."""
        ...

    async def forget_other_orphans(self, looked_at: float, limit: int) -> int:
        """Forget up to `limit` keys that the look of this time did not find; returns how many."""
        ...

    async def fact(self, name: str) -> str | None:
        """What is noted about the whole home under this name."""
        ...

    async def set_fact(self, name: str, value: str) -> None:
        """Note it, in place of what was noted."""
        ...

    async def take_lease(self, name: str, holder: str, now: float, seconds: float) -> bool:
        """Take or renew a lease. False while another holder's is not over. Never a ground of correctness."""
        ...

    # The whole
    async def check(self) -> None:
        """Raise MetadataFailed when the catalogue cannot be read."""
        ...

    async def checkpoint(self) -> None:
        """Fold logs into the main file where there are such; called by the one process that does so."""
        ...

    async def close(self) -> None:
        """Finish what is queued and free threads and handles."""
        ...
