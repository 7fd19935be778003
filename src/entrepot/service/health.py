"""The readiness of this process: whether it can read and write now."""

from __future__ import annotations

from entrepot.metadata.housekeeping import Housekeeping
from entrepot.storage.base import Storage, StorageFull


class Health:
    def __init__(self, housekeeping: Housekeeping, storage: Storage) -> None:
        self._housekeeping = housekeeping
        self._storage = storage

    async def check(self) -> bool:
        """Whether writes are possible; raises what a read would now raise. Nothing is written.

        A full disk stops writes only: a server that can still be read must not be taken out of service.
        """
        await self._housekeeping.check()
        try:
            await self._storage.check()
        except StorageFull:
            return False
        return True
