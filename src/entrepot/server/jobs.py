"""The job pool of a home, with the handler of each kind of job."""

from __future__ import annotations

import time
from functools import partial

from entrepot.fetch.network import Network
from entrepot.home import living_incarnations
from entrepot.server.context import ServerContext
from entrepot.server.core import FAILURES, CoreServices, import_bounds
from entrepot.service.access import Keys
from entrepot.service.import_jobs import FETCHES, ImportJobs
from entrepot.service.imports import OBJECT_IMPORT, VOLUME_IMPORT
from entrepot.service.job_pool import JobPool
from entrepot.service.leases import ProcessLeases
from entrepot.settings import Settings
from entrepot.volume.import_target import read_target

LEASE_SECONDS = 15.0


def open_job_pool(node: ServerContext, settings: Settings, network: Network | None = None) -> JobPool:
    """The pool; a `network` takes the place of the system's."""
    core, bounds, metadata = CoreServices.of(node, settings), import_bounds(settings), node.metadata
    imports = ImportJobs(
        node.volumes.sink,
        core.transfer,
        core.uploads,
        metadata.objects,
        Keys(metadata.accounts, time.time),
        bounds,
        read_target,
        network,
    )
    living = partial(living_incarnations, node.home)
    return JobPool(
        metadata.jobs,
        ProcessLeases(metadata.leases, node.incarnation.id, time.time, LEASE_SECONDS, living),
        {VOLUME_IMPORT: imports.to_volume, OBJECT_IMPORT: imports.to_object},
        time.time,
        FAILURES,
        living,
        size=FETCHES,
        per_account=bounds.per_account,
    )
