"""Uploads: from the wish to store a file to the published object."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from entrepot.domain.lifecycle import Lifecycle

# Files from this size on are looked for among those that an account holds; for smaller ones, which are sent as fast as
# they are asked for, no index is kept.
EXISTING_FLOOR = 1024 * 1024


class UploadState(Enum):
    """`OPEN -> PUBLISHED` by one transaction, or `OPEN -> ABORTED` by the client or by time. Both ends are final."""

    OPEN = "open"
    PUBLISHED = "published"
    ABORTED = "aborted"


class UploadKind(Enum):
    SINGLE = "single"
    MULTIPART = "multipart"


@dataclass(frozen=True, slots=True)
class Intent:
    """What a client says of a file before its bytes: any field may be missing but the lifecycle, which may be unset.

    `idempotency_key` makes a repeated begin give the first answer again. `source` is the URL that the bytes are fetched
    from, if they are; `object_id` the id that was chosen for the object beforehand, so that work which is repeated
    makes it once.
    """

    lifecycle: Lifecycle
    file_name: str | None = None
    content_type: str | None = None
    request_id: str | None = None
    idempotency_key: str | None = None
    source: str | None = None
    object_id: str | None = None

    def fingerprint(self) -> bytes:
        """32 bytes that tell whether a repeated idempotency key comes with the same wish."""
        wish: tuple[object, ...] = (self.lifecycle, self.file_name, self.content_type)
        if self.source is not None:
            wish += (self.source,)
        return hashlib.sha256(repr(wish).encode()).digest()


@dataclass(frozen=True, slots=True)
class Draft:
    """The object to be: everything about it that is fixed before its bytes are known.

    `lifecycle` is what was asked for, its rules naming account ids; the account's defaults are added at publish, when
    life starts.
    """

    object_id: str
    path: str
    name: str
    account_id: str
    key_id: str
    declared_type: str | None
    lifecycle: Lifecycle
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that is on record. Times are epoch seconds; after `expires_at` it can no longer be finished.

    `finish` and `finish_sha256` are those of the `Finish` that it was published with.
    """

    id: str
    draft: Draft
    kind: UploadKind
    created_at: float
    expires_at: float
    state: UploadState = UploadState.OPEN
    idempotency_key: str | None = None
    fingerprint: bytes | None = None
    finish: bytes | None = None
    finish_sha256: bytes | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """The arguments that an upload was published with: 32 bytes made of them, and the SHA-256 that was declared."""

    fingerprint: bytes
    sha256: bytes | None = None


def may_begin(limit: int, held: Mapping[str, int], key: str, others: Collection[str]) -> bool:
    """Whether a key may begin one more upload where an account may have `limit` open. `held` counts those that are open
    by key; `others` are the account's further valid keys.

    Half of the limit goes to whoever comes first. The other half is divided among the keys: what a key has not used of
    its share is kept for it, and within its share it is never refused. So no key can keep another one out.
    """
    share = max(1, limit // (2 * (1 + len(others))))
    if held.get(key, 0) < share:
        return True
    reserved = sum(max(0, share - held.get(other, 0)) for other in others)
    return sum(held.values()) + reserved < limit


@dataclass(frozen=True, slots=True)
class Part:
    """One acknowledged attempt at one part. A retry is another row with another blob; `finish` cites one of them."""

    upload_id: str
    number: int
    etag: str
    size: int
    sha256: bytes
    blob_id: str
    received_at: float
