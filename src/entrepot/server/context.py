"""What one process has open of a home: the concrete stores, and the volumes of its accounts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrepot.home import Home, HomeError, Incarnation
from entrepot.metadata.aggregates import Metadata
from entrepot.metadata.base import MetadataFailed, MetadataFull
from entrepot.metadata.sqlite.database import SqliteDatabase
from entrepot.service.access import Keys
from entrepot.service.request_bodies import UploadLimiter
from entrepot.settings import Settings
from entrepot.storage.local import LocalStorage
from entrepot.volume.registry import AccountVolume, VolumeRegistry
from entrepot.volume.volume import Limits, Volume

# How often a worker and the keeper look whether their parent is still there.
PARENT_CHECK_SECONDS = 0.5


@dataclass(slots=True)
class ServerContext:
    """What one process has open of a home."""

    home: Home
    database: SqliteDatabase
    metadata: Metadata
    storage: LocalStorage
    volumes: VolumeRegistry
    incarnation: Incarnation
    slots: UploadLimiter  # of all bodies that this process takes in

    @classmethod
    def open(cls, settings: Settings, *, checkpoints: bool = False) -> ServerContext:
        """Open a complete home for reading and writing. Raises HomeError, MetadataFailed, StorageFailed, OSError."""
        home = Home.open(settings.home)
        home.check_blobs()
        home.lock_shared()  # held until the process ends
        database = open_catalogue(home, checkpoints=checkpoints)
        metadata = Metadata(database)
        incarnation = Incarnation(home)
        storage = LocalStorage(home.blobs, incarnation.id, reserve=settings.min_free_space)
        slots = UploadLimiter(settings.max_concurrent_bodies)
        volume = open_volume(home, settings, gate=slots, keys=Keys(metadata.accounts, time.time))
        volumes = VolumeRegistry([AccountVolume.of(volume, settings.max_unfinished_uploads)])
        return cls(home, database, metadata, storage, volumes, incarnation, slots)

    async def close(self) -> None:
        await self.volumes.close()
        await self.storage.close()
        await self.database.close()
        self.incarnation.end()


def open_volume(home: Home, settings: Settings, **more: Any) -> Volume:
    """Open the volume of a home, which was made before. Raises OSError."""
    limits = Limits(
        max_file=settings.volume_max_file_size,
        quota=settings.volume_quota,
        reserve=settings.min_free_space,
        page=settings.volume_max_page_entries,
        trash_ttl=settings.trash_ttl,
        upload_ttl=settings.multipart_ttl,
    )
    return Volume(settings.volume_root, home.store, limits, time.time, **more)


def open_catalogue(home: Home, *, checkpoints: bool = False) -> SqliteDatabase:
    """Open or migrate the catalogue of a complete home, never make it. Raises HomeError."""
    home.check_catalogue()
    return catalogue(home.root, store=home.store, checkpoints=checkpoints)


def catalogue(
    root: Path, *, create: bool = False, store: str | None = None, checkpoints: bool = False
) -> SqliteDatabase:
    """Open it. Raises HomeError, for those who start something on a home."""
    path, lock = root / "catalogue.db", root / "catalogue.lock"
    try:
        return SqliteDatabase(path, lock_path=lock, create=create, store=store, checkpoints=checkpoints)
    except (MetadataFailed, MetadataFull) as error:
        raise HomeError(
            f"The catalogue of the home at {root} cannot be used. {error} "
            f"The files under {root / 'blobs'} are still there."
        ) from None
