"""The composition root: the only file that names concrete classes. Settings in, one ASGI app and one keeper out.

serve (parent)   takes the home, makes it on the first start, starts the others, ends them
  worker 1..n    `app`: the ASGI app, served by Granian
  keeper         `keep`: sweeps
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import secrets
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from entrepot import logs, wire
from entrepot.domain.errors import Code, Problem
from entrepot.domain.keys import ApiKey
from entrepot.domain.signing import Signer
from entrepot.home import Home, HomeError, Incarnation, ServeLock, ended_incarnations, forget_incarnations
from entrepot.metadata.base import MetadataFailed, MetadataFull
from entrepot.metadata.sqlite import SqliteMetadata
from entrepot.service.access import Access
from entrepot.service.accounts import DEFAULT_ACCOUNT, Accounts
from entrepot.service.bodies import Slots
from entrepot.service.crossing import Crossing
from entrepot.service.digester import Digester
from entrepot.service.drafts import Rules
from entrepot.service.health import Health
from entrepot.service.imports import ImportBounds, Imports
from entrepot.service.keeper import Keeper, Patience, Swept
from entrepot.service.multipart import Multipart
from entrepot.service.objects import Objects
from entrepot.service.schedule import Deed
from entrepot.service.uploads import Uploads
from entrepot.settings import Settings
from entrepot.sockets import (
    check_certificate,
    check_port,
    end_stalled_connections,
    possible_connections,
    raise_file_limit,
)
from entrepot.storage.base import BlobMissing, StorageFailed, StorageFull
from entrepot.storage.local import LocalStorage
from entrepot.volume import ground
from entrepot.volume.apps import Apps
from entrepot.volume.ground import VolumeUnusable
from entrepot.volume.multipart import Parts
from entrepot.volume.unpack import Unpacking
from entrepot.volume.volume import Limits, Volume

if TYPE_CHECKING:
    from granian.server import MPServer

    from entrepot.api.doors import Doors
    from entrepot.api.exchange import Receive, Scope, Send
    from entrepot.api.front import App, Front
    from entrepot.fetch.network import Network

# The web framework and the ASGI server are imported by the processes that use them, where they do: loading them takes
# longer than all that `entrepot keys` has to do.

log = logging.getLogger("entrepot.server")

# Whose fault an exception of the rooms below is.
FAILURES: dict[type[Exception], Code] = {
    StorageFull: Code.INSUFFICIENT_STORAGE,
    MetadataFull: Code.INSUFFICIENT_STORAGE,
    StorageFailed: Code.UNAVAILABLE,
    MetadataFailed: Code.UNAVAILABLE,
    BlobMissing: Code.GONE,
}
KEEPER_SURVIVES = (Problem, StorageFailed, StorageFull, MetadataFailed, MetadataFull, OSError)
PARENT_CHECK_SECONDS = 0.5
ORPHAN_INTERVAL = 3600.0
CHECKPOINT_INTERVAL = 2.0
VOLUME_INTERVAL = 300.0
PARTS_INTERVAL = 0.1
# For the workers, who move bodies in pieces of half a megabyte: by default glibc gives the memory of a piece back to
# the system when it is freed and takes it anew for the next, zeroed and page by page, which costs more than the read
# and the send (docs/performance.md). Other C libraries do not know these.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(4 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}


@dataclass(slots=True)
class Node:
    """What one process has open of a home."""

    home: Home
    metadata: SqliteMetadata
    storage: LocalStorage
    volume: Volume
    parts: Parts
    incarnation: Incarnation

    @classmethod
    def open(cls, settings: Settings, *, checkpoints: bool = False) -> Node:
        """Open a complete home for reading and writing. Raises HomeError, MetadataFailed, StorageFailed, OSError."""
        home = Home.open(settings.home)
        home.check_blobs()
        home.lock_shared()  # held until the process ends
        metadata = _open_catalogue(home, checkpoints=checkpoints)
        incarnation = Incarnation(home)
        storage = LocalStorage(home.blobs, incarnation.id, reserve=settings.reserve)
        volume = _volume(home, settings)
        return cls(home, metadata, storage, volume, Parts(volume, settings.max_open_uploads), incarnation)

    async def close(self) -> None:
        await self.volume.close()
        await self.storage.close()
        await self.metadata.close()
        self.incarnation.end()


def _volume(home: Home, settings: Settings) -> Volume:
    limits = Limits(
        max_file=settings.volume_max_file,
        quota=settings.volume_quota,
        reserve=settings.reserve,
        page=settings.volume_page,
        trash_ttl=settings.trash_ttl,
        upload_ttl=settings.multipart_ttl,
    )
    return Volume(settings.volume_root, home.store, limits, time.time)


def doors_of(node: Node, settings: Settings, network: Network | None = None) -> Doors:
    """All services of a worker, wired; a `network` takes the place of the system's for URLs."""
    from entrepot.api.doors import Doors

    signer = Signer(node.home.signing_secret())
    rules = Rules(
        store=node.home.store,
        prefix=wire.OBJECTS,
        purpose=wire.UPLOAD_SIGNATURE,
        max_upload=settings.max_upload,
        upload_ttl=settings.upload_ttl,
        multipart_ttl=settings.multipart_ttl,
        max_open=settings.max_open_uploads,
        max_bodies=settings.max_uploads,
        quota=settings.account_quota,
    )
    slots = Slots(rules.max_bodies)
    uploads = Uploads(node.metadata, node.storage, signer, rules, time.time, secrets.token_bytes, slots)
    objects = Objects(node.metadata, node.storage, time.time, settings.cache_size)
    bounds = ImportBounds(
        max_size=settings.import_max_size,
        timeout=settings.import_timeout,
        stall=settings.stall_timeout,
        per_account=settings.imports_per_account,
        allow=settings.fetch_allow,
        own=(settings.api_origin, settings.cdn_origin),
    )
    crossing = Crossing(node.volume, node.storage, objects, uploads)
    return Doors(
        access=Access(node.metadata, signer, time.time, settings.token_ttl),
        uploads=uploads,
        multipart=Multipart(node.metadata, node.storage, signer, rules, time.time, secrets.token_bytes, slots),
        objects=objects,
        health=Health(node.metadata, node.storage),
        volume=node.volume,
        parts=node.parts,
        apps=Apps(node.volume, node.parts.uploads),
        unpack=Unpacking(node.volume),
        imports=Imports(node.volume, crossing, bounds, network),
        crossing=crossing,
        api_origin=settings.api_origin,
        cdn_origin=settings.cdn_origin,
        clock=time.time,
        max_age=settings.max_age,
        stall_timeout=settings.stall_timeout,
        accepted_hosts=settings.host_names,
        failures=FAILURES,
    )


def app() -> Front:
    """The ASGI app of a worker; settings come from the environment."""
    from entrepot.api import app as api

    logs.configure()
    settings = Settings.load({})
    node = Node.open(settings)
    doors = doors_of(node, settings)
    return api.build(doors, _lifespan(node, doors, settings))


def _lifespan(node: Node, doors: Doors, settings: Settings) -> App:
    async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        background = [
            asyncio.create_task(_end_with_parent(_parent_pid(), settings.drain)),
            asyncio.create_task(end_stalled_connections(settings.stall_timeout)),
        ]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in background:
            task.cancel()
        doors.imports.close()
        await node.close()
        await send({"type": "lifespan.shutdown.complete"})

    return lifespan


def _parent_pid() -> int:
    """Who started this process: it may be gone by now, and another one be our parent."""
    parent = multiprocessing.parent_process()
    return parent.pid if parent is not None and parent.pid is not None else os.getppid()


async def _end_with_parent(parent: int, drain: int) -> None:
    """A worker whose parent was killed ends, so that a new server can take the home. Nobody else ends what still runs
    at the deadline."""
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_CHECK_SECONDS)
    log.error("the parent process %d is gone: ending", parent)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(drain)
    os.kill(os.getpid(), signal.SIGKILL)


def keep(settings: Settings, parent: int) -> None:
    """The keeper process: sweep until told to end, or until the parent is gone."""
    logs.configure()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends us in order
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        node = Node.open(settings, checkpoints=True)
    except HomeError as error:
        log.error("%s", error)
        raise SystemExit(1) from None
    keeper = Keeper(
        node.metadata,
        node.storage,
        time.time,
        _passed,
        lambda names: ended_incarnations(node.home, names),
        Patience(settings.tombstone_ttl, settings.orphan_grace, settings.orphan_brake, settings.clock_guard),
    )
    digester = Digester(node.metadata, node.storage)
    deeds = _deeds(node, keeper, digester, settings.sweep_interval)
    with asyncio.Runner() as runner:
        while not stop.is_set() and os.getppid() == parent:
            for deed in deeds:
                if deed.is_due and not stop.is_set():
                    runner.run(deed.do())
            soonest = min(deed.due for deed in deeds) - time.monotonic()
            stop.wait(min(PARENT_CHECK_SECONDS, max(0.0, soonest)))
        runner.run(node.close())


def _passed() -> float:
    """Seconds that passed, those that the machine slept too where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _deeds(node: Node, keeper: Keeper, digester: Digester, sweep_interval: float) -> list[Deed]:
    """All that the keeper does, and how often."""

    async def sweep() -> bool:
        swept = await keeper.sweep()
        if swept != Swept():
            log.info("swept: %s", swept)
        return False

    async def look_for_orphans() -> bool:
        log.info("looked for orphans: %s", await keeper.sweep_orphans())
        forget_incarnations(node.home)
        return False

    async def sweep_volume() -> bool:
        if (now := await keeper.now()) is not None:
            await node.parts.sweep()  # before it would be removed without a word to who comes too late
        await node.volume.sweep(now)
        return False

    async def checkpoint() -> bool:
        await node.metadata.checkpoint()
        return False

    return [
        Deed("digests", digester.pause, digester.step, KEEPER_SURVIVES),
        Deed("parts", PARTS_INTERVAL, node.parts.step, KEEPER_SURVIVES),
        Deed("sweep", sweep_interval, sweep, KEEPER_SURVIVES),
        Deed("volume", VOLUME_INTERVAL, sweep_volume, KEEPER_SURVIVES),
        Deed("orphans", ORPHAN_INTERVAL, look_for_orphans, KEEPER_SURVIVES),
        Deed("checkpoint", CHECKPOINT_INTERVAL, checkpoint, KEEPER_SURVIVES),
    ]


@dataclass(frozen=True, slots=True)
class Start:
    """What a start found or made: the key of a new home, else None."""

    home: Home
    first_key: ApiKey | None


def prepare(settings: Settings) -> Start:
    """Open the home, or make a new one with its default account and first key. Raises HomeError.

    The caller holds the home's locks. Cut short, it is done again from the start: the mark of a home is written last.
    """
    if Home.exists(settings.home):
        home = Home.open(settings.home)
        home.check_blobs()
        home.signing_secret()
        asyncio.run(_make_ready(home, settings))
        return Start(home, None)
    home, key = asyncio.run(_found(settings.home, with_key=True))
    home.signing_secret()
    asyncio.run(_make_ready(home, settings))
    return Start(home, key)


async def _make_ready(home: Home, settings: Settings) -> None:
    """Bring the catalogue up to date before any worker opens it, and make the volume where it never was before.

    The catalogue remembers where that was: a folder without the mark is then one whose disk is not mounted.
    """
    metadata, root = _open_catalogue(home), settings.volume_root
    try:
        owner = (await metadata.account_ids([DEFAULT_ACCOUNT]))[DEFAULT_ACCOUNT]
        known = await metadata.fact("volume") == str(root)
        ground.prepare(root, home.store, owner, known=known)
        if not known:
            await metadata.set_fact("volume", str(root))
    finally:
        await metadata.close()


async def _found(root: Path, *, with_key: bool) -> tuple[Home, ApiKey | None]:
    """Make the catalogue of a new home, or go on with what a start that was cut short left, and mark it complete."""
    store, key = Home.new_store(root), None
    metadata = _catalogue(root, create=True)
    try:
        store = await metadata.fact("store") or store
        await metadata.set_fact("store", store)
        accounts = Accounts(metadata, time.time, secrets.token_bytes)
        await accounts.ensure_default()
        if with_key:
            key = await accounts.create_key("first key")
    finally:
        await metadata.close()
    return Home.complete(root, store), key


def _open_catalogue(home: Home, *, checkpoints: bool = False) -> SqliteMetadata:
    """Open or migrate the catalogue of a complete home, never make it. Raises HomeError."""
    home.check_catalogue()
    return _catalogue(home.root, store=home.store, checkpoints=checkpoints)


def _catalogue(
    root: Path, *, create: bool = False, store: str | None = None, checkpoints: bool = False
) -> SqliteMetadata:
    """Open it. Raises HomeError, for those who start something on a home."""
    path, lock = root / "catalogue.db", root / "catalogue.lock"
    try:
        return SqliteMetadata(path, lock_path=lock, create=create, store=store, checkpoints=checkpoints)
    except (MetadataFailed, MetadataFull) as error:
        raise HomeError(
            f"The catalogue of the home at {root} cannot be used. {error} "
            f"The files under {root / 'blobs'} are still there."
        ) from None


@contextlib.asynccontextmanager
async def open_accounts(home_root: Path, *, init: bool = False) -> AsyncIterator[Accounts]:
    """The accounts of a home, whether a server runs on it or not. Raises HomeError when there is no home.

    With `init` a missing home is made first (it gets no first key).
    """
    if init and not Home.exists(home_root):
        whole = take_home(home_root)
        try:
            await _found(home_root, with_key=False)
        finally:
            whole.release()
    home = Home.open(home_root)
    lock = home.lock_shared()
    try:
        metadata = _open_catalogue(home)
        try:
            yield Accounts(metadata, time.time, secrets.token_bytes)
        finally:
            await metadata.close()
    finally:
        lock.release()


def take_home(root: Path) -> ServeLock:
    """Make the folders of a home if need be, and take it as its one server. Raises HomeError."""
    os.umask(0o077)  # whatever this process and those that it starts make is their user's alone
    with _home_errors(root):
        Home.prepare(root)
        return ServeLock(root)


@contextlib.contextmanager
def _home_errors(root: Path) -> Iterator[None]:
    """Say as a HomeError what keeps a home from being used."""
    try:
        yield
    except VolumeUnusable as error:
        raise HomeError(str(error)) from error
    except (OSError, MetadataFailed, MetadataFull, StorageFailed, StorageFull) as error:
        raise HomeError(f"The home at {root} cannot be used: {error}") from error


def serve(settings: Settings, announce: Callable[[Start], None]) -> None:
    """Serve until SIGTERM or SIGINT. Raises HomeError or SettingsError before anything is started."""
    logs.configure()
    signal.signal(signal.SIGTERM, _end_early)  # until the ASGI server sets its own
    check_port(settings.host, settings.port)
    if settings.tls_cert and settings.tls_key:
        check_certificate(settings.tls_cert, settings.tls_key)
    raise_file_limit()
    lock = take_home(settings.home)
    try:
        with _home_errors(settings.home):
            start = prepare(settings)
        os.environ.update({**ALLOCATOR, **os.environ, **settings.to_environ()})
        lock.share()
        announce(start)
        with _keeper(settings):
            _granian(settings).serve()
    finally:
        lock.release()


def _end_early(*_: object) -> None:
    """SIGTERM before anything serves: an orderly end, as later."""
    raise SystemExit(0)


def _granian(settings: Settings) -> MPServer:
    from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
    from granian.http import HTTP1Settings
    from granian.log import LogLevels
    from granian.server import MPServer

    # Forked workers would share the parent's locks, and keep them after its death.
    multiprocessing.set_start_method("spawn", force=True)
    return MPServer(
        "entrepot.server:app",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        workers=settings.workers,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        backlog=1024,
        backpressure=possible_connections(settings.max_connections),
        http1_settings=HTTP1Settings(header_read_timeout=30_000, max_buffer_size=400 * 1024),
        ssl_cert=settings.tls_cert,
        ssl_key=settings.tls_key,
        ssl_protocol_min=SSLProtocols.tls12,
        workers_kill_timeout=settings.drain,
        respawn_failed_workers=True,
        log_level=LogLevels.warning,
        log_dictconfig=logs.AS_JSON,
        process_name=None,
    )


@contextlib.contextmanager
def _keeper(settings: Settings) -> Iterator[None]:
    """Run the keeper beside the workers; start it again when it dies."""
    context = multiprocessing.get_context("spawn")
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.is_set():
            process = context.Process(target=keep, args=(settings, os.getpid()), name="entrepot-keeper")
            process.start()
            while process.is_alive() and not stopping.wait(0.2):
                pass
            if stopping.is_set():
                process.terminate()
                process.join(settings.drain)
                if process.is_alive():
                    process.kill()
            # A signal to the whole group ends the keeper a moment before we hear of it.
            elif not stopping.wait(1.0):
                log.error("the keeper ended with %s: starting it again", process.exitcode)

    thread = threading.Thread(target=watch, name="keeper-watch")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
