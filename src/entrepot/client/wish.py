"""What is to become of the bytes, which way they go, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from entrepot import wire
from entrepot.client.asking import key_header
from entrepot.client.commands import Request
from entrepot.client.errors import IntegrityError
from entrepot.client.profile import Profile
from entrepot.client.replies import moment
from entrepot.client.retry import Policy
from entrepot.client.types import MIB, FileUrl, OnProgress

PART_SIZE = 10 * MIB
THRESHOLD = 100 * MIB
CONCURRENCY = 10


@dataclass(frozen=True, slots=True)
class Way:
    """A server and one of its doors. `policy` is the patience before anything was sent, `sending` that of a request
    with all bytes; for parts, of which some are on the server, it is always the whole."""

    target: Profile
    repository: str
    policy: Policy
    sending: Policy


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to become of the bytes. `states` is the folder of resume states; None keeps none."""

    name: str | None
    content_type: str
    lifecycle: str | None = None
    progress: OnProgress | None = None
    skip_existing: bool = False
    threshold: int = THRESHOLD
    part_size: int = PART_SIZE
    concurrency: int = CONCURRENCY
    states: Path | None = None

    def headers(self) -> dict[str, str]:
        """The headers that say it, on every door."""
        found = {"content-type": self.content_type}
        if self.name is not None:
            found[wire.FILE_NAME] = wire.encode_file_name(self.name)
        if self.lifecycle is not None:
            found[wire.LIFECYCLE] = found[wire.LIFECYCLE_PREFERENCE] = self.lifecycle
        return found


def initiation(unique: str, target: Profile, wish: Wish, path: str) -> Request:
    """The request that begins an upload at a REST door."""
    headers = {
        **wish.headers(),
        "content-type": "application/json",
        **key_header(target),
        wire.IDEMPOTENCY_KEY: unique,
    }
    headers.pop(wire.FILE_NAME, None)  # the name is in the body
    body = json.dumps({"file_name": wish.name or "upload.bin", "content_type": wish.content_type}).encode()
    return Request("POST", f"{target.url}{path}?storage_type=fal-cdn-v3", headers, body)


def uploaded(url: str, body: Mapping[str, object], sha256: bytes, size: int, content_type: str) -> FileUrl:
    """The result. Raises IntegrityError when the server says that it stored something else."""
    digest = f"sha256:{sha256.hex()}"
    told = body.get("digest") or digest
    if told != digest or body.get("size") not in (None, size):
        message = f"The server stored other bytes than were sent: {told}, {body.get('size')} bytes."
        raise IntegrityError(message, "Upload again; this URL must not be used.")
    kind = body.get("content_type")
    return FileUrl(url, digest, size, str(kind) if kind else content_type, moment(body.get("expires_at")))
