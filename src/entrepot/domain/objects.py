"""Objects, blobs and segments: what is stored and who may open it when.

An object is what a URL names. It refers to a blob: an ordered list of immutable segments, each one file or one remote
object written by one attempt. Several objects may refer to one blob.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from entrepot.domain.acl import Acl, Decision, Principal, decide
from entrepot.domain.errors import Code, Problem, not_found

BLOCK_SIZE = 64 * 1024
DIGEST_SIZE = 8


@dataclass(frozen=True, slots=True)
class Segment:
    """One immutable run of bytes in a storage.

    `blocks` holds the XXH3-64 (big-endian, 8 bytes) of every 64 KiB block in order, the last block may be short; it has
    `8 * ceil(size / 65536)` bytes. A reader checks each block before it sends it (docs/threats.md I4).
    """

    key: str
    size: int
    blocks: bytes


@dataclass(frozen=True, slots=True)
class Blob:
    """An ordered list of segments. `sha256` (32 bytes) is of the whole, None until it is known."""

    id: str
    size: int
    sha256: bytes | None
    segments: tuple[Segment, ...]


class ObjectState(Enum):
    """`LIVE` is readable; the others keep only the row, so that the URL can say why it is gone."""

    LIVE = "live"
    EXPIRED = "expired"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Object:
    """A published object. Times are epoch seconds (UTC).

    `content_type` is what is served; `sniffed_type` what the bytes look like (None: unknown); `inline` whether a
    browser may show it in place. `blob_id` is empty once the bytes are gone. `path` is the URL's path, percent-encoded.
    """

    id: str
    path: str
    name: str
    account_id: str
    blob_id: str
    size: int
    sha256: bytes | None
    content_type: str
    sniffed_type: str | None
    inline: bool
    acl: Acl
    published_at: float
    expires_at: float | None = None
    state: ObjectState = ObjectState.LIVE
    request_id: str | None = None

    @property
    def etag(self) -> str:
        """Strong and made of the id: an object has one byte sequence for life (I3), the digest stays out of it."""
        return f'"{self.id}"'


def check_readable(obj: Object, who: Principal, now: float) -> None:
    """Raise unless `who` may read `obj` now.

    The ACL speaks first: who may not know of the object must not learn that it expired. Expiry holds to the second
    (I5): a read at `expires_at` fails, one before it does not.
    """
    decision = decide(obj.acl, obj.account_id, who.reader_ids)
    if decision is Decision.HIDE:
        raise not_found()
    if decision is Decision.FORBID:
        raise Problem(Code.FORBIDDEN, "The owner of this file does not let you read it.")
    if obj.state is ObjectState.DELETED:
        raise Problem(Code.GONE, "This file was deleted.", fix="Ask its owner for a new URL.")
    if obj.expires_at is not None and now >= obj.expires_at:
        when = datetime.fromtimestamp(obj.expires_at, UTC).isoformat(timespec="seconds")
        raise Problem(Code.GONE, f"This file expired at {when}.")
    if obj.state is ObjectState.EXPIRED:
        raise Problem(Code.GONE, "This file expired.")


def is_public(obj: Object) -> bool:
    """Whether an anonymous reader is allowed, so that shared caches may keep the reply."""
    return decide(obj.acl, obj.account_id, ()) is Decision.ALLOW
