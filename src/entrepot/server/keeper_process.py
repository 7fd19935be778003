"""The keeper process: periodic tasks (`periodic_tasks` lists them) beside the workers."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from functools import partial

from entrepot import logs
from entrepot.domain.errors import Problem
from entrepot.home import HomeError, ended_incarnations, forget_incarnations, living_incarnations
from entrepot.metadata.base import MetadataFailed, MetadataFull
from entrepot.server.context import PARENT_CHECK_SECONDS, ServerContext
from entrepot.server.jobs import open_job_pool
from entrepot.service.digester import STEP, Digester
from entrepot.service.job_pool import JobPool
from entrepot.service.keeper import Keeper, KeeperTimes
from entrepot.service.leases import ProcessLeases
from entrepot.service.tasks import BatchOutcome, PeriodicTask, run_all
from entrepot.settings import Settings
from entrepot.storage.base import StorageFailed, StorageFull

log = logging.getLogger("entrepot.server")

# What a full or failing disk raises: logged without a traceback.
EXPECTED_FAILURES = (Problem, StorageFailed, StorageFull, MetadataFailed, MetadataFull, OSError)

# Of a lease for a task: long, for each renewal is a commit. Those of a process that died are ended by the next one.
TASK_LEASE_SECONDS = 600.0
ROWS = 500  # rows in one transaction: others write between two (docs/threats.md H08)


def periodic_tasks(node: ServerContext, settings: Settings, pool: JobPool) -> list[PeriodicTask]:
    """Everything that runs periodically, and how often (in seconds)."""
    keeper = _keeper(node, settings)
    digester = Digester(node.metadata.uploads, node.metadata.objects, node.storage)
    more = _Batches(node, keeper, digester)
    sweep = settings.sweep_interval
    return [
        PeriodicTask("digests", digester.pause, more.compute_digests, STEP),
        PeriodicTask("volume parts", 0.1, more.assemble_parts),
        PeriodicTask("jobs", pool.pause, pool.start_due),
        PeriodicTask("abandoned jobs", 1.0, pool.end_abandoned, items="jobs cancelled"),
        PeriodicTask("revoked keys", 1.0, more.abort_revoked_uploads, ROWS, "uploads aborted"),
        PeriodicTask("checkpoint", 2.0, more.checkpoint),
        PeriodicTask("expired objects", sweep, keeper.expire_objects, ROWS, "objects expired", alone=True),
        PeriodicTask("expired uploads", sweep, keeper.expire_uploads, ROWS, "unfinished uploads ended", alone=True),
        PeriodicTask("condemned blobs", min(sweep, 5.0), keeper.delete_blobs, ROWS, "blobs deleted", alone=True),
        PeriodicTask("tombstones", sweep, keeper.forget_ended, ROWS, "rows forgotten", alone=True),
        PeriodicTask("ended jobs", 300.0, pool.forget_ended, ROWS, "jobs forgotten", alone=True),
        PeriodicTask("volume", 300.0, more.sweep_volume, alone=True),
        PeriodicTask("orphans", 3600.0, more.collect_orphans, alone=True),
    ]


class _Batches:
    """Batches of what is not a service of its own, or touches several."""

    def __init__(self, node: ServerContext, keeper: Keeper, digester: Digester) -> None:
        self._node = node
        self._keeper = keeper
        self._digester = digester
        self._revoked = -1  # keys that were revoked when their uploads were aborted last

    async def compute_digests(self, size: int) -> BatchOutcome:
        return BatchOutcome(more=await self._digester.step(size))

    async def assemble_parts(self, _: int) -> BatchOutcome:
        return BatchOutcome(more=any([await each.parts.step() for each in self._node.volumes]))

    async def abort_revoked_uploads(self, limit: int) -> BatchOutcome:
        revoked = sum(key.revoked_at is not None for key in await self._node.metadata.accounts.list_keys())
        if revoked == self._revoked:
            return BatchOutcome()
        batch = await self._keeper.abort_revoked_uploads(limit)
        if not batch.more:
            for each in self._node.volumes:
                await each.parts.sweep()
            self._revoked = revoked
        return batch

    async def checkpoint(self, _: int) -> BatchOutcome:
        await self._node.database.checkpoint()
        return BatchOutcome()

    async def sweep_volume(self, _: int) -> BatchOutcome:
        if (now := await self._keeper.now()) is None:
            return BatchOutcome()
        more = False
        for each in self._node.volumes:
            await each.parts.sweep()  # first: who comes too late is to be told so
            more |= await each.volume.sweep_some(now)
        return BatchOutcome(more=more)

    async def collect_orphans(self, _: int) -> BatchOutcome:
        log.info("looked for orphans: %s", await self._keeper.collect_orphans())
        forget_incarnations(self._node.home)
        return BatchOutcome()


def keep(settings: Settings, parent: int) -> None:
    """Run the keeper process until it is told to end, or until the parent is gone."""
    logs.configure(settings.log_format)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends us in order
    try:
        asyncio.run(_keep(settings, parent))
    except HomeError as error:
        log.error("%s", error)
        raise SystemExit(1) from None


async def _keep(settings: Settings, parent: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    node = ServerContext.open(settings, checkpoints=True)
    pool = open_job_pool(node, settings)
    living = partial(living_incarnations, node.home)
    leases = ProcessLeases(node.metadata.leases, node.incarnation.id, time.time, TASK_LEASE_SECONDS, living)
    running = asyncio.create_task(run_all(periodic_tasks(node, settings, pool), leases, EXPECTED_FAILURES))
    stopped = asyncio.create_task(stop.wait())
    while not stop.is_set() and not running.done() and os.getppid() == parent:
        await asyncio.wait([running, stopped], timeout=PARENT_CHECK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    stopped.cancel()
    await asyncio.wait([running, stopped])
    await pool.close()
    await node.close()
    if not running.cancelled():
        running.result()  # raises what ended it


def _keeper(node: ServerContext, settings: Settings) -> Keeper:
    return Keeper(
        node.metadata.housekeeping,
        node.metadata.uploads,
        node.storage,
        time.time,
        _uptime,
        lambda: ended_incarnations(node.home),
        KeeperTimes(
            settings.tombstone_ttl, settings.orphan_grace, settings.max_orphan_share, settings.clock_jump_pause
        ),
    )


def _uptime() -> float:
    """Seconds that passed, those that the machine slept too where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
