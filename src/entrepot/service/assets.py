"""Objects made from URLs: those of other servers are fetched by a job, those of this one are taken as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

from entrepot.domain.acl import Principal
from entrepot.domain.errors import not_found
from entrepot.domain.names import new_timed_id
from entrepot.domain.objects import Object
from entrepot.domain.uploads import Intent
from entrepot.fetch import Policy, shown
from entrepot.metadata.objects import ObjectRecords
from entrepot.metadata.rows import lifecycle_of, lifecycle_text
from entrepot.service.access import Clock, require_account
from entrepot.service.imports import OBJECT_IMPORT, own_object_path
from entrepot.service.jobs import Jobs
from entrepot.service.objects import Objects
from entrepot.service.uploads import SingleUploads


class Assets:
    """The imports of URLs into the CDN."""

    def __init__(
        self,
        policy: Policy,
        jobs: Jobs,
        uploads: SingleUploads,
        objects: Objects,
        records: ObjectRecords,
        clock: Clock,
        random: Callable[[int], bytes],
    ) -> None:
        self._policy = policy
        self._jobs = jobs
        self._uploads = uploads
        self._objects = objects
        self._records = records
        self._clock = clock
        self._random = random

    async def add(self, who: Principal, url: str, intent: Intent) -> Object:
        """The object with the bytes of a URL. One of this server that `who` may read is that object itself; else a new
        one is published, with the last name of the URL's path. With an idempotency key equal calls give the first
        answer, without another fetch. A caller that is cancelled cancels the job.

        Raises Problem as `Imports.run` and `Uploads.put`.
        """
        require_account(who)
        own_path = own_object_path(self._policy, url)
        if own_path is not None:
            return await self._objects.open(who, own_path)
        name = unquote(urlsplit(url).path.rpartition("/")[2], errors="replace")
        intent = replace(
            intent, file_name=name or None, source=url, object_id=new_timed_id(self._clock(), self._random)
        )
        if done := await self._uploads.published(who, intent):
            return done
        result = await self._jobs.result(who, OBJECT_IMPORT, write_intent(intent), {"url": shown(url)})
        obj = await self._records.get(result["object_id"])
        if obj is None:
            raise not_found()
        return obj


def write_intent(intent: Intent) -> dict[str, Any]:
    """An intent with a source as JSON values, for `read_intent`."""
    return {
        "url": intent.source,
        "lifecycle": lifecycle_text(intent.lifecycle),
        "file_name": intent.file_name,
        "request_id": intent.request_id,
        "idempotency_key": intent.idempotency_key,
        "object_id": intent.object_id,
    }


def read_intent(fields: Mapping[str, Any]) -> Intent:
    """The intent that `write_intent` wrote down."""
    return Intent(
        lifecycle_of(fields["lifecycle"]),
        fields["file_name"],
        request_id=fields["request_id"],
        idempotency_key=fields["idempotency_key"],
        source=fields["url"],
        object_id=fields["object_id"],
    )
