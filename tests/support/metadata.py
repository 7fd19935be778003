"""A database of a test's own, with all its aggregates, and doubles of databases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from entrepot.domain.objects import Segment
from entrepot.metadata.aggregates import Metadata
from entrepot.metadata.base import Database, Row
from entrepot.metadata.sqlite.database import SqliteDatabase
from entrepot.service.upload_sessions import Rules, UploadSessions

Hook = Callable[[str], Awaitable[None]]


class Catalogue(Metadata):
    """All aggregates of a SQLite database, in memory unless a path is given.

    `hook` hears the name of each statement and operation before it runs.
    """

    def __init__(self, path: Path | None = None, **options: Any) -> None:
        self.database = SqliteDatabase(path, **options)
        self.hook: Hook | None = None
        super().__init__(Hooked(self))

    def interrupt(self, name: str, deed: Callable[[], Awaitable[object]]) -> None:
        """Do something else once, just before the statement or operation of this name runs next."""

        async def hook(runs: str) -> None:
            if runs == name:
                self.hook = None
                await deed()

        self.hook = hook

    async def segments(self, blob_id: str) -> tuple[Segment, ...]:
        """All segments of a live blob, with their block digests."""
        return tuple(segment for _, segment in await self.objects.segments_from(blob_id, 0, 1_000_000))

    def sessions(self, rules: Rules, clock: Callable[[], float], random: Callable[[int], bytes]) -> UploadSessions:
        return UploadSessions(self.accounts, self.uploads, self.objects, rules, clock, random)

    async def close(self) -> None:
        await self.database.close()


class Hooked:
    """A `Database` that calls the hook of a catalogue first."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._inner: Database = catalogue.database

    async def row(self, statement: str, *args: Any) -> Row | None:
        await self._before(statement)
        return await self._inner.row(statement, *args)

    async def rows(self, statement: str, *args: Any) -> list[Row]:
        await self._before(statement)
        return await self._inner.rows(statement, *args)

    def blocking_rows(self, statement: str, *args: Any) -> list[Row]:
        return self._inner.blocking_rows(statement, *args)

    async def write(self, operation: str, *args: Any) -> Any:
        await self._before(operation)
        return await self._inner.write(operation, *args)

    async def _before(self, name: str) -> None:
        if self._catalogue.hook:
            await self._catalogue.hook(name)
