"""Leases: who may do a piece of work now, for jobs, keeper tasks and pins alike."""

from __future__ import annotations

from collections.abc import Collection

from entrepot.metadata import rows
from entrepot.metadata.base import Database


class Leases:
    """The named leases of a database. Never a ground of correctness: two may hold one for a moment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, name: str, holder: str, now: float, seconds: float) -> bool:
        """Take or renew a lease. False while another holder's is not over.

        A database that has a clock of its own (PostgreSQL) counts by that and ignores `now`, so that the clocks of two
        machines need not agree; SQLite, where all are on one machine, counts by `now`.
        """
        return bool(await self._database.write("take_lease", name, holder, now, seconds))

    async def release(self, name: str, holder: str) -> None:
        """Give a lease back before its time; one that is another holder's stays."""
        await self._database.write("release_lease", name, holder)

    async def holders(self) -> Collection[str]:
        """All that hold a lease, over or not."""
        return [holder for (holder,) in await self._database.rows("lease_holders")]

    async def release_all_of(self, holders: Collection[str]) -> None:
        """End the leases of processes that are gone, whatever time they have left."""
        await self._database.write("release_leases_of", rows.array(holders))
