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

from entrepot import logs, wire
from entrepot.domain.errors import Code
from entrepot.domain.signing import Signer
from entrepot.metadata.base import MetadataFailed, MetadataFull
from entrepot.server.context import PARENT_CHECK_SECONDS, ServerContext
from entrepot.service.access import Access
from entrepot.service.assets import Assets
from entrepot.service.health import Health
from entrepot.service.imports import ImportBounds, Imports
from entrepot.service.multipart import Multipart
from entrepot.service.objects import Objects
from entrepot.service.transfer import Transfer
from entrepot.service.upload_sessions import Rules, UploadSessions
from entrepot.service.uploads import Uploads
from entrepot.settings import Settings
from entrepot.sockets import KNOWS_SOCKETS, end_connections, end_stalled_connections, sockets_of
from entrepot.storage.base import BlobMissing, StorageFailed, StorageFull

if TYPE_CHECKING:
    from entrepot.api.front import App, Front
    from entrepot.api.http_context import Receive, Scope, Send
    from entrepot.api.services import Services
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


def services_of(node: ServerContext, settings: Settings, network: Network | None = None) -> Services:
    """All services of a worker, wired; a `network` takes the place of the system's for URLs."""
    from entrepot.api.bytes.reply_memory import ReplyMemory
    from entrepot.api.http_context import MinRate
    from entrepot.api.services import Services

    signer = Signer(node.home.signing_secret())
    rules = _rules(node, settings)
    accounts, records = node.metadata.accounts, node.metadata.uploads
    sessions = UploadSessions(accounts, records, node.metadata.objects, rules, time.time, secrets.token_bytes)
    takes = (sessions, records, node.metadata.objects, node.storage, signer, rules, time.time, node.slots)
    uploads = Uploads(*takes)
    objects = Objects(node.metadata.objects, node.storage, time.time, settings.cache_size)
    bounds = ImportBounds(
        max_size=settings.import_max_size,
        timeout=settings.import_timeout,
        stall=settings.stall_timeout,
        per_account=settings.concurrent_imports_per_account,
        allow=settings.fetch_allow,
        own=(settings.api_origin, settings.cdn_origin),
    )
    transfer = Transfer(node.volumes.sink, node.storage, objects, uploads)
    imports = Imports(node.volumes.sink, transfer, bounds, network)
    return Services(
        access=Access(accounts, signer, time.time, settings.token_ttl),
        uploads=uploads,
        multipart=Multipart(*takes),
        objects=objects,
        health=Health(node.metadata.housekeeping, node.storage),
        volumes=node.volumes,
        imports=imports,
        transfer=transfer,
        assets=Assets(imports, uploads, objects),
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
        services.imports.close()
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
