"""Files of the volume as the two APIs spell them (docs/protocol.md 6.4, 6.5)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from entrepot import wire
from entrepot.api.volume_request import VolumeRequest
from entrepot.domain.errors import Code, Problem
from entrepot.volume.entries import Entry, Trashed
from entrepot.volume.paths import MOUNT


def file_spec(entry: Entry) -> dict[str, Any]:
    """An entry of the legacy routes: an absolute path without a slash at its end, and times as numbers."""
    return {
        "path": f"/{MOUNT}/{entry.path}".rstrip("/"),
        "name": entry.name or MOUNT,
        "created_time": entry.created_at,
        "updated_time": entry.updated_at,
        "is_file": entry.is_file,
        "size": entry.size,
        **_checksums(entry),
    }


def platform_entry(entry: Entry) -> dict[str, Any]:
    """An entry of the Platform API: a path relative to the volume; of a file also its ETag, for conditions."""
    return {
        "path": entry.path,
        "name": entry.name,
        "created_time": wire.timestamp_ms(entry.created_at),
        "updated_time": wire.timestamp_ms(entry.updated_at),
        "is_file": entry.is_file,
        "size": entry.size,
        **({"etag": entry.etag} if entry.etag else {}),
        **_checksums(entry),
    }


def _checksums(entry: Entry) -> dict[str, str]:
    """Those that are known."""
    found = {"checksum_sha256": entry.sha256, "checksum_md5": entry.md5}
    return {name: value.hex() for name, value in found.items() if value is not None}


def trashed(item: Trashed) -> dict[str, Any]:
    """An entry of the trash."""
    return {
        "id": item.id,
        "path": item.path,
        "is_file": item.is_file,
        "size": item.size,
        "deleted_at": wire.timestamp_ms(item.deleted_at),
        "purge_at": wire.timestamp_ms(item.purge_at),
    }


@contextmanager
def legacy_conflicts(call: VolumeRequest) -> Iterator[None]:
    """Turn CONFLICT into VALIDATION_FAILED on the legacy routes: the stock client takes 409 in a multipart upload for
    success, as the file exists already (docs/protocol.md 6.7)."""
    try:
        yield
    except Problem as problem:
        if not call.legacy or problem.code is not Code.CONFLICT:
            raise
        raise Problem(Code.VALIDATION_FAILED, problem.message, fix=problem.fix) from None
