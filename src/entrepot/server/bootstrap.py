"""The first start of a home, and what every start sees to before anything serves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from entrepot.domain.keys import ApiKey, Secret, matches, parse_key
from entrepot.home import Home, HomeError, ServeLock
from entrepot.metadata.aggregates import Metadata
from entrepot.metadata.base import MetadataFailed, MetadataFull
from entrepot.server.context import catalogue, open_catalogue
from entrepot.service.accounts import DEFAULT_ACCOUNT, Accounts
from entrepot.settings import Settings
from entrepot.storage.base import StorageFailed, StorageFull
from entrepot.volume import root as volume_root
from entrepot.volume.root import VolumeUnusable


@dataclass(frozen=True, slots=True)
class Start:
    """What a start found or made: the key of a new home, else None."""

    home: Home
    first_key: ApiKey | None


def prepare(settings: Settings) -> Start:
    """Open the home, or make a new one with its default account and first key. Raises HomeError, VolumeUnusable.

    The caller holds the home's locks. Cut short, it is done again from the start: the mark of a home is written last.
    """
    _check_apart(settings.home, settings.volume_root)
    if Home.exists(settings.home):
        home = Home.open(settings.home)
        home.check_blobs()
        home.signing_secret()
        asyncio.run(_make_ready(home, settings))
        return Start(home, None)
    home, key = asyncio.run(_found(settings.home, volume=settings.volume_root, with_key=True))
    home.signing_secret()
    return Start(home, key)


def _check_apart(home: Path, volume: Path) -> None:
    """Raise VolumeUnusable when secrets and catalogue would be files that everybody with a key can read and replace."""
    if home.resolve().is_relative_to(volume.resolve()):
        raise VolumeUnusable(f"The home {home} lies in the volume {volume}. Put one of them elsewhere.")


async def _make_ready(home: Home, settings: Settings) -> None:
    """Bring the catalogue up to date before any worker opens it, and see to the volume."""
    database = open_catalogue(home)
    try:
        await _ensure_volume(Metadata(database), settings.volume_root, home.store)
    finally:
        await database.close()


async def _ensure_volume(metadata: Metadata, root: Path, store: str) -> None:
    """Make the volume where it never was before. Raises VolumeUnusable, OSError.

    The catalogue remembers each place: a folder there without the mark is one whose disk is not mounted.
    """
    owner = (await metadata.accounts.ids_of([DEFAULT_ACCOUNT]))[DEFAULT_ACCOUNT]
    place = f"volume {root}"
    known = await metadata.housekeeping.fact(place) is not None
    volume_root.prepare(root, store, owner, known=known)
    if not known:
        await metadata.housekeeping.set_fact(place, "made")


async def _found(root: Path, *, volume: Path | None = None, with_key: bool = False) -> tuple[Home, ApiKey | None]:
    """Make the catalogue of a new home, or go on with what a start that was cut short left, and mark it complete."""
    store, key = Home.new_store(root), None
    database = catalogue(root, create=True)
    metadata = Metadata(database)
    try:
        store = await metadata.housekeeping.fact("store") or store
        await metadata.housekeeping.set_fact("store", store)
        accounts = Accounts(metadata.accounts, metadata.uploads, time.time, secrets.token_bytes)
        await accounts.ensure_default()
        if volume is not None:
            await _ensure_volume(metadata, volume, store)
        if with_key:
            key = await accounts.create_key("first key")
    finally:
        await database.close()
    return Home.complete(root, store), key


@contextlib.asynccontextmanager
async def open_accounts(
    home_root: Path, *, init: bool = False, expected: Iterable[Path] = ()
) -> AsyncIterator[Accounts]:
    """The accounts of a home, whether a server runs on it or not. Raises HomeError when there is no home.

    With `init` a missing home is made first (it gets no first key). `expected`: see `Home.prepare`.
    """
    if init and not Home.exists(home_root):
        whole = take_home(home_root, expected)
        try:
            await _found(home_root)
        finally:
            whole.release()
    home = Home.open(home_root)
    lock = home.lock_shared()
    try:
        database = open_catalogue(home)
        metadata = Metadata(database)
        try:
            yield Accounts(metadata.accounts, metadata.uploads, time.time, secrets.token_bytes)
        finally:
            await database.close()
    finally:
        lock.release()


def keys_of(home_root: Path, keys: Mapping[str, Secret]) -> list[str]:
    """The names of those keys that are valid keys of a home. Raises HomeError."""

    async def known() -> list[str]:
        async with open_accounts(home_root) as accounts:
            records = {record.id: record for record, _ in await accounts.list_keys()}
        given = {name: parse_key(key.reveal()) for name, key in keys.items()}
        return [
            name
            for name, key in given.items()
            if key and (record := records.get(key.id)) and record.valid and matches(key.secret, record.secret_hash)
        ]

    return asyncio.run(known())


def take_home(root: Path, expected: Iterable[Path] = ()) -> ServeLock:
    """Make the folders of a home if need be, and take it as its one server. Raises HomeError. `expected`: see
    `Home.prepare`."""
    os.umask(0o077)  # whatever this process and those that it starts make is their user's alone
    with home_errors(root):
        Home.prepare(root, expected)
        return ServeLock(root)


@contextlib.contextmanager
def home_errors(root: Path) -> Iterator[None]:
    """Say as a HomeError what keeps a home from being used."""
    try:
        yield
    except VolumeUnusable as error:
        raise HomeError(str(error)) from error
    except (OSError, MetadataFailed, MetadataFull, StorageFailed, StorageFull) as error:
        raise HomeError(f"The home at {root} cannot be used: {error}") from error
