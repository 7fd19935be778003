"""Domain values for tests: valid, small, and different where ids are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from entrepot.domain.accounts import Account, KeyRecord
from entrepot.domain.acl import PUBLIC
from entrepot.domain.lifecycle import Lifecycle
from entrepot.domain.objects import Blob, Object, Segment
from entrepot.domain.uploads import Draft, Part, Upload, UploadKind

ACCOUNT = Account("account", "nick", 1.0)
DIGEST = bytes(range(32))
LIMIT = 1000  # open uploads that an account may have


def a_key(key_id: str = "key", **changes: Any) -> KeyRecord:
    return replace(KeyRecord(key_id, ACCOUNT.id, "laptop", b"h" * 32, 2.0), **changes)


def a_segment(key: str, size: int = 100) -> Segment:
    return Segment(key, size, b"12345678" * -(-size // 65536))


def a_blob(blob_id: str, *keys: str, sha256: bytes | None = DIGEST) -> Blob:
    """A blob of segments under these keys, by default one under its own id."""
    segments = tuple(a_segment(key) for key in keys or (f"{blob_id}/0",))
    return Blob(blob_id, sum(segment.size for segment in segments), sha256, segments)


def an_object(object_id: str, blob: Blob, **changes: Any) -> Object:
    obj = Object(
        object_id, f"/files/b/0123abcd/{object_id}_cat.png", "cat.png", ACCOUNT.id, blob.id, blob.size, blob.sha256,
        "image/png", "image/png", True, PUBLIC, published_at=100.0,
    )  # fmt: skip
    return replace(obj, **changes)


def an_upload(upload_id: str, object_id: str | None = None, **changes: Any) -> Upload:
    object_id = object_id or f"{upload_id}-object"
    path = f"/files/b/0123abcd/{object_id}_cat.png"
    draft = Draft(object_id, path, "cat.png", ACCOUNT.id, "key", "image/png", Lifecycle(), "request-1")
    upload = Upload(upload_id, draft, UploadKind.MULTIPART, 50.0, 1000.0)
    return replace(upload, **changes)


def a_part(upload_id: str, number: int, blob: Blob, received_at: float = 60.0) -> Part:
    return Part(upload_id, number, f"etag-{blob.id}", blob.size, DIGEST, blob.id, received_at)
