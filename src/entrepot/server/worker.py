"""A worker: all services, wired, and the ASGI app that Granian serves."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import secrets
import signal
import time
from typing import TYPE_CHECKING

from entrepot import logs
from entrepot.server.context import PARENT_CHECK_SECONDS, ServerContext
from entrepot.server.core import FAILURES, CoreServices, import_bounds
from entrepot.service.access import Access
from entrepot.service.assets import Assets
from entrepot.service.health import Health
from entrepot.service.imports import Imports
from entrepot.service.jobs import Jobs
from entrepot.settings import Settings
from entrepot.sockets import KNOWS_SOCKETS, end_connections, end_stalled_connections, sockets_of
from entrepot.volume.import_target import write_target

if TYPE_CHECKING:
    from entrepot.api.front import App, Front
    from entrepot.api.http_context import Receive, Scope, Send
    from entrepot.api.services import Services

# The web framework and the ASGI server are imported by the processes that use them, where they do: loading them takes
# longer than all that `entrepot keys` has to do.

log = logging.getLogger("entrepot.server")


def services_of(node: ServerContext, settings: Settings) -> Services:
    """All services of a worker, wired."""
    from entrepot.api.bytes.reply_memory import ReplyMemory
    from entrepot.api.http_context import MinRate
    from entrepot.api.services import Services

    core, accounts, policy = CoreServices.of(node, settings), node.metadata.accounts, import_bounds(settings).policy()
    jobs = Jobs(node.metadata.jobs, time.time, secrets.token_bytes, node.incarnation.id)
    return Services(
        access=Access(accounts, core.signer, time.time, settings.token_ttl),
        uploads=core.uploads,
        multipart=core.multipart,
        objects=core.objects,
        health=Health(node.metadata.housekeeping, node.storage),
        volumes=node.volumes,
        imports=Imports(node.volumes.sink, core.transfer, policy, jobs, write_target),
        jobs=jobs,
        transfer=core.transfer,
        assets=Assets(policy, jobs, core.uploads, core.objects, node.metadata.objects, time.time, secrets.token_bytes),
        api_origin=settings.api_origin,
        cdn_origin=settings.cdn_origin,
        clock=time.time,
        max_age=settings.cache_control_max_age,
        stall_timeout=settings.stall_timeout,
        replies=ReplyMemory(
            settings.reply_memory,
            patience=settings.stall_timeout,
            grace=min(5.0, settings.stall_timeout / 8),
            look=sockets_of if KNOWS_SOCKETS else None,
            end=end_connections if KNOWS_SOCKETS else None,
        ),
        min_rate=MinRate(settings.min_body_rate, settings.body_rate_grace),
        accepted_hosts=settings.host_names,
        failures=FAILURES,
    )


def app(settings: Settings) -> Front:
    """The ASGI app of a worker."""
    from entrepot.api import app as api

    logs.configure(settings.log_format)
    node = ServerContext.open(settings)
    services = services_of(node, settings)
    return api.build(services, _lifespan(node, services, settings), as_json=logs.as_json(settings.log_format))


def _lifespan(node: ServerContext, services: Services, settings: Settings) -> App:
    async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        background = [
            asyncio.create_task(_end_with_parent(_parent_pid(), settings.drain_timeout)),
            asyncio.create_task(end_stalled_connections(settings.stall_timeout)),
        ]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in background:
            task.cancel()
        services.jobs.close()
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
