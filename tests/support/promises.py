"""Holds a home after a crash against what was acknowledged before it (docs/threats.md I1, I2 and I8)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote

import apsw

from entrepot import wire
from entrepot.domain.acl import ANONYMOUS
from entrepot.domain.errors import Code, Problem
from entrepot.domain.objects import Object
from entrepot.domain.signing import Signer
from entrepot.domain.uploads import Part, UploadState
from entrepot.home import Home, Incarnation, ended_incarnations
from entrepot.server import bootstrap
from entrepot.service.digester import Digester
from entrepot.service.keeper import Keeper, KeeperTimes
from entrepot.service.multipart import Multipart
from entrepot.service.objects import Objects
from entrepot.service.upload_sessions import Rules
from entrepot.service.uploads import SingleUploads
from entrepot.settings import Settings
from entrepot.storage.local import LocalStorage
from entrepot.volume.paths import PRIVATE
from support.metadata import Catalogue
from support.sweeping import sweep


@dataclass
class Claims:
    """All that was acknowledged. `contents` knows every body that was ever sent, by file name."""

    contents: dict[str, bytes]
    clock: float
    objects: list[Object] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)  # object ids
    keys: set[str] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)
    files: dict[str, bytes] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    aborted: set[str] = field(default_factory=set)  # upload ids
    accounts: list[str] = field(default_factory=list)  # of the catalogue that stands alone
    homes: int = 0  # homes that were complete


@dataclass
class Deeds:
    """The services of one process on a home, wired as `server` wires them but with a clock and small segments."""

    home: Home
    metadata: Catalogue
    storage: LocalStorage
    incarnation: Incarnation
    uploads: SingleUploads
    multipart: Multipart
    digester: Digester
    objects: Objects
    keeper: Keeper
    now: float

    def clock(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def opened(
    root: Path, now: float, *, segment_size: int = 4096, threads: int = 1, vfs: str | None = None
) -> AsyncIterator[Deeds]:
    """One process on a home, as long as the block lasts."""
    home = Home.open(root)
    home.check_blobs()
    signer = Signer(home.signing_secret())
    lock = home.lock_shared()
    incarnation = Incarnation(home)
    metadata = Catalogue(home.catalogue, lock_path=home.catalogue_lock, store=home.store, checkpoints=True, vfs=vfs)
    storage = LocalStorage(home.blobs, incarnation.id, threads=threads, segment_size=segment_size)
    rules = Rules(home.store, wire.OBJECTS, wire.UPLOAD_SIGNATURE, 1 << 30, 3600.0)

    def clock() -> float:
        return deeds.now

    sessions = metadata.sessions(rules, clock, secrets.token_bytes)
    takes = (sessions, metadata.uploads, metadata.objects, storage, signer, rules, clock)
    deeds: Deeds = Deeds(
        home,
        metadata,
        storage,
        incarnation,
        SingleUploads(*takes),
        Multipart(*takes),
        Digester(metadata.uploads, metadata.objects, storage),
        Objects(metadata.objects, storage, clock, 0),
        Keeper(
            metadata.housekeeping,
            metadata.uploads,
            storage,
            clock,
            clock,
            lambda: ended_incarnations(home),
            KeeperTimes(1e9, orphan_grace=0),
        ),
        now,
    )
    try:
        yield deeds
    finally:
        await storage.close()
        await metadata.close()
        incarnation.end()
        lock.release()


def violations(root: Path, claims: Claims) -> list[str]:
    """What is wrong with the home in `root/HOME`, and with what stands alone beside it."""
    found = _files(root, claims)
    try:
        if Home.exists(root / HOME):
            found += asyncio.run(_home(root / HOME, claims))
        elif claims.homes:
            found.append("the home is gone")
        else:
            _start(root / HOME)
        found += asyncio.run(_alone(root / ALONE, claims))
    except Exception as error:  # whatever it is, a start after a power cut must not meet it
        found.append(f"the start fails: {error!r}")
    return found


HOME = "not/there/yet/home"
ALONE = "alone.db"


def _start(root: Path) -> None:
    """A first start that was cut short is done again, and succeeds."""
    lock = bootstrap.take_home(root)
    try:
        bootstrap.prepare(Settings(home=root))
    finally:
        lock.release()


def _files(root: Path, claims: Claims) -> list[str]:
    found = []
    for name, data in claims.files.items():
        path = root / name
        if not path.exists() or path.read_bytes() != data:
            found.append(f"{name} is not what was written")
    return found


async def _alone(path: Path, claims: Claims) -> list[str]:
    if not claims.accounts:
        return []
    metadata = Catalogue(path)
    try:
        there = {account.id for account in await metadata.accounts.list()}
    finally:
        await metadata.close()
    return [f"the account {name} is gone" for name in claims.accounts if name not in there]


async def _home(root: Path, claims: Claims) -> list[str]:
    async with opened(root, claims.clock) as deeds:
        await sweep(deeds.keeper)
        await deeds.keeper.collect_orphans()
        found = [line for obj in claims.objects for line in await _acknowledged(deeds, obj)]
        if claims.homes and not (root / "data" / PRIVATE / f"volume-{deeds.home.store}").is_dir():
            found.append("the volume has lost its mark")
        for path in live_paths(root / "catalogue.db"):
            found += await _whole(deeds, path, claims)
        found += await _rights(deeds, claims)
        found += await _unfinished(deeds, claims)
        return found + await space(deeds)


async def _acknowledged(deeds: Deeds, obj: Object) -> list[str]:
    """I1: there, and with the facts from which a lost catalogue can be rebuilt; over when its time is over."""
    over = obj.expires_at is not None and obj.expires_at <= deeds.now
    try:
        there = await deeds.objects.open(ANONYMOUS, obj.path)
    except Problem as problem:
        return [] if over and problem.code is Code.GONE else [f"I1: {obj.name} is lost: {problem.message}"]
    if over:
        return [f"I5: {obj.name} is readable after its end"]
    return [] if (there.size, there.sha256) == (obj.size, obj.sha256) else [f"I1: {obj.name} has other bytes"]


async def _whole(deeds: Deeds, path: str, claims: Claims) -> list[str]:
    """I2: whatever can be opened can be read to its end, and is what was sent."""
    obj = await deeds.objects.open(ANONYMOUS, path)
    try:
        data = b"".join([piece async for piece in deeds.objects.read(obj, 0, obj.size)])
    except Problem as problem:
        return [f"I2: {obj.name} cannot be read: {problem.message}"]
    right = data == claims.contents[obj.name] and obj.sha256 == sha256(data).digest()
    return [] if right else [f"I2: {obj.name} has other bytes than were sent"]


async def _rights(deeds: Deeds, claims: Claims) -> list[str]:
    keys = {key.id: key for key in await deeds.metadata.accounts.list_keys()}
    begun = [await deeds.metadata.uploads.of_object(object_id) for object_id in claims.begun]
    return [
        *(f"the key {key_id} is gone" for key_id in claims.keys if key_id not in keys),
        *(f"the key {key_id} is valid again" for key_id in claims.revoked if keys[key_id].valid),
        *("a begun upload is gone" for upload in begun if upload is None),
    ]


async def _unfinished(deeds: Deeds, claims: Claims) -> list[str]:
    """An acknowledged part is held until its upload ends; an aborted upload stays so."""
    found = []
    for part in claims.parts:
        upload = await deeds.metadata.uploads.get(part.upload_id)
        if upload is None:
            found.append("an upload with parts is gone")
        elif upload.state is UploadState.OPEN and part not in await deeds.metadata.uploads.list_parts(part.upload_id):
            found.append(f"I1: part {part.number} is lost")
    for upload_id in claims.aborted:
        upload = await deeds.metadata.uploads.get(upload_id)
        if upload is None or upload.state is not UploadState.ABORTED:
            found.append("an aborted upload is open again")
    return found


async def space(deeds: Deeds) -> list[str]:
    """I8: on the disk is what rows name, all of it and nothing else, each with its facts."""
    named = dict(_rows(deeds.home.catalogue, "SELECT key, size FROM segments"))
    names = os.listdir(deeds.home.blobs)
    there = {entry.key: entry.size for name in names for entry in [e async for e in deeds.storage.list(name)]}
    wrong = [
        *(f"I8: {key} is named by no row" for key in there.keys() - named.keys()),
        *(f"I2: the row of {key} has no bytes" for key in named.keys() - there.keys()),
        *(f"I2: {key} has {there[key]} bytes, not {named[key]}" for key in named.keys() & there.keys()
          if there[key] != named[key]),
    ]  # fmt: skip
    bare = [key for key in there.keys() & named.keys() if "object" not in await deeds.storage.describe(key)]
    return wrong + [f"{key} has lost its facts" for key in bare]


def live_paths(catalogue: Path) -> list[str]:
    """The decoded paths of all objects that readers can reach."""
    return [unquote(path) for (path,) in _rows(catalogue, "SELECT path FROM objects WHERE state = 'live'")]


def _rows(catalogue: Path, sql: str) -> list[tuple]:
    db = apsw.Connection(str(catalogue), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        db.set_busy_timeout(60_000)
        return db.execute(sql).fetchall()
    finally:
        db.close()
