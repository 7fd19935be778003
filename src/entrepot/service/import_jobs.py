"""The handlers of import jobs, in the keeper process: a guarded fetch whose body is stored as it comes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic

from entrepot.domain.acl import Principal
from entrepot.domain.digests import Expected
from entrepot.domain.jobs import Job
from entrepot.fetch import Fetcher, Policy, Response, origins
from entrepot.fetch.addresses import read_networks
from entrepot.fetch.network import Network
from entrepot.metadata.base import Conflict
from entrepot.metadata.objects import ObjectRecords
from entrepot.service.access import Keys
from entrepot.service.assets import read_intent
from entrepot.service.async_fetch import AsyncFetch
from entrepot.service.imports import ObjectCopies, own_object_path
from entrepot.service.job_pool import JobRun
from entrepot.service.request_bodies import RequestBody
from entrepot.service.sink import Entry, Place, Sink, When
from entrepot.service.uploads import SingleUploads

FETCHES = 32  # at once, a thread each


@dataclass(frozen=True, slots=True)
class ImportBounds:
    """`max_size` in bytes; `timeout` of a whole fetch and `stall`, in which a byte must come, in seconds; `per_account`
    are those at once. `allow` are networks that may be read although they are not public, `own` the origins of this
    server."""

    max_size: int
    timeout: float
    stall: float
    per_account: int
    allow: tuple[str, ...] = ()
    own: tuple[str, ...] = ()

    def policy(self) -> Policy:
        return Policy(
            allow=read_networks(",".join(self.allow)),
            own_origins=origins(self.own),
            stall_seconds=self.stall,
            total_seconds=self.timeout,
        )


class ImportJobs(Generic[Place, When, Entry]):
    """`to_volume` and `to_object` are handlers of jobs. A run that follows one which published its file before it was
    lost finds that file and fetches nothing."""

    def __init__(
        self,
        sink_of: Callable[[Principal], Sink[Place, When, Entry]],
        copies: ObjectCopies[Place, When, Entry],
        uploads: SingleUploads,
        objects: ObjectRecords,
        keys: Keys,
        bounds: ImportBounds,
        read_target: Callable[[Mapping[str, Any]], tuple[Place, When]],
        network: Network | None = None,
    ) -> None:
        """`network` takes the place of the system's. `read_target` reads the place and conditions of a job."""
        self._sink_of = sink_of
        self._copies = copies
        self._uploads = uploads
        self._objects = objects
        self._keys = keys
        self._fetcher = Fetcher(bounds.policy(), network)
        self._bounds = bounds
        self._read_target = read_target
        self._pool = ThreadPoolExecutor(FETCHES, thread_name_prefix="import")

    async def to_volume(self, run: JobRun) -> Mapping[str, Any]:
        """Store what a URL gives as a file of the account's volume."""
        who = self._principal(run.job)
        url, (path, when) = run.payload["url"], self._read_target(run.payload)
        sink = self._sink_of(who)
        own_path = own_object_path(self._fetcher.policy, url)
        if own_path is not None:
            await self._copies.keep(who, path, own_path, when)
            return {"path": str(path)}
        if run.job.checkpoint and await sink.holds(who, path, bytes.fromhex(run.job.checkpoint["sha256"])):
            return {"path": str(path)}

        async def confirm(sha256: bytes) -> None:
            await run.save_checkpoint({"sha256": sha256.hex()})

        async with self._fetched(run, url) as (response, pieces):
            await sink.take(
                who, path, pieces, length=response.length, expected=_declared(response), when=when, confirm=confirm
            )
        return {"path": str(path)}

    async def to_object(self, run: JobRun) -> Mapping[str, Any]:
        """Publish what a URL gives as an object, whose id was chosen when the job was submitted."""
        who, intent = self._principal(run.job), read_intent(run.payload)
        found = await self._uploads.published(who, intent) or await self._objects.get(intent.object_id or "")
        if found is not None:
            return {"object_id": found.id}
        async with self._fetched(run, run.payload["url"]) as (response, pieces):
            body = RequestBody(
                pieces, response.length, response.media_type or None, _declared(response), key=run.job.key_id
            )
            try:
                return {"object_id": (await self._uploads.put(who, intent, body)).id}
            except Conflict:
                if await self._objects.get(intent.object_id or "") is None:
                    raise
                return {"object_id": intent.object_id}  # an earlier run, which was given up, was only slow

    def _principal(self, job: Job) -> Principal:
        """Who submitted a job. Raises Problem(UNAUTHORIZED) when the key was revoked since."""
        who = Principal(job.account_id, job.key_id, by_key=True)
        self._keys.check(who)
        return who

    @contextlib.asynccontextmanager
    async def _fetched(self, run: JobRun, url: str) -> AsyncIterator[tuple[Response, AsyncIterator[bytes]]]:
        """The reply of another server and its body as it comes. When the block is left, nothing of the fetch is."""
        fetching = AsyncFetch(self._fetcher, self._pool, url, self._bounds.timeout)
        try:
            response = await fetching.open(self._bounds.max_size)
            run.done, run.total = 0, response.length
            async with contextlib.aclosing(_counted(fetching.pieces(response), run)) as pieces:
                yield response, pieces
        finally:
            closed = asyncio.Event()
            fetching.end(closed.set)
            await closed.wait()


async def _counted(pieces: AsyncGenerator[bytes, None], run: JobRun) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            run.done += len(piece)
            yield piece


def _declared(response: Response) -> tuple[Expected, ...]:
    """The digest that the remote server states, so that no changed byte is taken for the file's."""
    return (Expected("sha-256", response.sha256),) if response.sha256 else ()
