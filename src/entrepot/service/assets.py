"""Objects made from URLs: those of other servers are fetched, those of this one are taken as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Protocol
from urllib.parse import unquote, urlsplit

from entrepot.domain.acl import Principal
from entrepot.domain.objects import Object
from entrepot.domain.uploads import Intent
from entrepot.fetch import Response
from entrepot.service.access import require_account
from entrepot.service.imports import declared
from entrepot.service.objects import Objects
from entrepot.service.request_bodies import Body
from entrepot.service.uploads import Uploads


class Fetches(Protocol):
    """The guarded way to URLs; see `Imports`."""

    def own_path(self, url: str) -> str | None: ...

    def fetched(
        self, who: Principal, url: str
    ) -> AbstractAsyncContextManager[tuple[Response, AsyncIterator[bytes]]]: ...


class Assets:
    """One method: add."""

    def __init__(self, fetches: Fetches, uploads: Uploads, objects: Objects) -> None:
        self._fetches = fetches
        self._uploads = uploads
        self._objects = objects

    async def add(self, who: Principal, url: str, intent: Intent) -> Object:
        """The object with the bytes of a URL. One of this server that `who` may read is that object itself; else a new
        one is published, with the last name of the URL's path. With an idempotency key equal calls give the first
        answer, without another fetch.

        Raises Problem as `Imports.run` and `Uploads.put`.
        """
        _, key_id = require_account(who)
        own_path = self._fetches.own_path(url)
        if own_path is not None:
            return await self._objects.open(who, own_path)
        name = unquote(urlsplit(url).path.rpartition("/")[2], errors="replace")
        intent = replace(intent, file_name=name or None, source=url)
        if done := await self._uploads.published(who, intent):
            return done
        async with self._fetches.fetched(who, url) as (response, pieces):
            body = Body(pieces, response.length, response.media_type or None, declared(response), key=key_id)
            return await self._uploads.put(who, intent, body)
