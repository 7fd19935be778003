"""Whether this process can do its work now."""

from __future__ import annotations

from entrepot.metadata.base import Metadata
from entrepot.storage.base import Storage


class Health:
    def __init__(self, metadata: Metadata, storage: Storage) -> None:
        self._metadata = metadata
        self._storage = storage

    async def check(self) -> None:
        """Raise what a read or a write would now raise; nothing is written."""
        await self._metadata.check()
        await self._storage.check()
