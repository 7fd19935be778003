"""The keeper process: sweeps, digests, and what follows uploads in parts."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time

from entrepot import logs
from entrepot.domain.errors import Problem
from entrepot.home import HomeError, ended_incarnations, forget_incarnations
from entrepot.metadata.base import MetadataFailed, MetadataFull
from entrepot.server.context import PARENT_CHECK_SECONDS, ServerContext
from entrepot.service.digester import Digester
from entrepot.service.keeper import Keeper, Patience, Swept
from entrepot.service.schedule import Deed
from entrepot.settings import Settings
from entrepot.storage.base import StorageFailed, StorageFull

log = logging.getLogger("entrepot.server")

KEEPER_SURVIVES = (Problem, StorageFailed, StorageFull, MetadataFailed, MetadataFull, OSError)
ORPHAN_INTERVAL = 3600.0
CHECKPOINT_INTERVAL = 2.0
VOLUME_INTERVAL = 300.0
PARTS_INTERVAL = 0.1
REVOKED_INTERVAL = 1.0


def keep(settings: Settings, parent: int) -> None:
    """The keeper process: sweep until told to end, or until the parent is gone."""
    logs.configure(settings.log_format)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends us in order
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        node = ServerContext.open(settings, checkpoints=True)
    except HomeError as error:
        log.error("%s", error)
        raise SystemExit(1) from None
    keeper = Keeper(
        node.metadata.housekeeping,
        node.metadata.uploads,
        node.storage,
        time.time,
        _passed,
        lambda: ended_incarnations(node.home),
        Patience(settings.tombstone_ttl, settings.orphan_grace, settings.max_orphan_share, settings.clock_jump_pause),
    )
    digester = Digester(node.metadata.uploads, node.metadata.objects, node.storage)
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


def _deeds(node: ServerContext, keeper: Keeper, digester: Digester, sweep_interval: float) -> list[Deed]:
    """All that the keeper does, and how often."""

    async def sweep() -> bool:
        swept = await keeper.sweep()
        if swept != Swept():
            log.info("swept: %s", swept)
        return False

    revoked = -1

    async def end_uploads_of_revoked_keys() -> bool:
        nonlocal revoked
        found = sum(key.revoked_at is not None for key in await node.metadata.accounts.list_keys())
        if found != revoked:
            await keeper.end_revoked_uploads()
            for each in node.volumes:
                await each.parts.sweep()
            revoked = found
        return False

    async def look_for_orphans() -> bool:
        log.info("looked for orphans: %s", await keeper.sweep_orphans())
        forget_incarnations(node.home)
        return False

    async def sweep_volume() -> bool:
        if (now := await keeper.now()) is None:
            return False
        more = False
        for each in node.volumes:
            await each.parts.sweep()  # before it would be removed without a word to who comes too late
            more |= await each.volume.sweep_some(now)
        return more

    async def follow_parts() -> bool:
        return any([await each.parts.step() for each in node.volumes])

    async def checkpoint() -> bool:
        await node.database.checkpoint()
        return False

    return [
        Deed("digests", digester.pause, digester.step, KEEPER_SURVIVES),
        Deed("parts", PARTS_INTERVAL, follow_parts, KEEPER_SURVIVES),
        Deed("sweep", sweep_interval, sweep, KEEPER_SURVIVES),
        Deed("revoked keys", REVOKED_INTERVAL, end_uploads_of_revoked_keys, KEEPER_SURVIVES),
        Deed("volume", VOLUME_INTERVAL, sweep_volume, KEEPER_SURVIVES),
        Deed("orphans", ORPHAN_INTERVAL, look_for_orphans, KEEPER_SURVIVES),
        Deed("checkpoint", CHECKPOINT_INTERVAL, checkpoint, KEEPER_SURVIVES),
    ]
