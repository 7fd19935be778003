"""Services that workers and the keeper share, wired from a process's stores and settings."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from entrepot import wire
from entrepot.domain.errors import Code
from entrepot.domain.signing import Signer
from entrepot.metadata.base import MetadataFailed, MetadataFull
from entrepot.server.context import ServerContext
from entrepot.service.import_jobs import ImportBounds
from entrepot.service.multipart import Multipart
from entrepot.service.objects import Objects
from entrepot.service.transfer import Transfer
from entrepot.service.upload_sessions import Rules, UploadSessions
from entrepot.service.uploads import SingleUploads
from entrepot.settings import Settings
from entrepot.storage.base import BlobMissing, StorageFailed, StorageFull
from entrepot.volume.entries import Conditions, Entry
from entrepot.volume.paths import Path

# Whose fault an exception of the stores is.
FAILURES: dict[type[Exception], Code] = {
    StorageFull: Code.INSUFFICIENT_STORAGE,
    MetadataFull: Code.INSUFFICIENT_STORAGE,
    StorageFailed: Code.UNAVAILABLE,
    MetadataFailed: Code.UNAVAILABLE,
    BlobMissing: Code.GONE,
}


@dataclass(frozen=True, slots=True)
class CoreServices:
    """Objects and their uploads, and the copies between them and volumes."""

    signer: Signer
    uploads: SingleUploads
    multipart: Multipart
    objects: Objects
    transfer: Transfer[Path, Conditions, Entry]

    @classmethod
    def of(cls, node: ServerContext, settings: Settings) -> CoreServices:
        """Wire them."""
        signer = Signer(node.home.signing_secret())
        rules = _rules(node, settings)
        accounts, records = node.metadata.accounts, node.metadata.uploads
        sessions = UploadSessions(accounts, records, node.metadata.objects, rules, time.time, secrets.token_bytes)
        takes = (sessions, records, node.metadata.objects, node.storage, signer, rules, time.time, node.slots)
        uploads = SingleUploads(*takes)
        objects = Objects(node.metadata.objects, node.storage, time.time, settings.cache_size)
        transfer = Transfer(node.volumes.sink, node.storage, objects, uploads)
        return cls(signer, uploads, Multipart(*takes), objects, transfer)


def import_bounds(settings: Settings) -> ImportBounds:
    """The bounds of uploads from URLs."""
    return ImportBounds(
        max_size=settings.import_max_size,
        timeout=settings.import_timeout,
        stall=settings.stall_timeout,
        per_account=settings.concurrent_imports_per_account,
        allow=settings.fetch_allow,
        own=(settings.api_origin, settings.cdn_origin),
    )


def _rules(node: ServerContext, settings: Settings) -> Rules:
    """The bounds of uploads."""
    return Rules(
        store=node.home.store,
        prefix=wire.OBJECTS,
        purpose=wire.UPLOAD_SIGNATURE,
        max_upload=settings.max_upload_size,
        upload_ttl=settings.upload_ttl,
        multipart_ttl=settings.multipart_ttl,
        max_open=settings.max_unfinished_uploads,
        max_bodies=settings.max_concurrent_bodies,
        quota=settings.account_quota,
    )
