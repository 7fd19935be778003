"""What the keeper expires, removes and remembers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from entrepot.metadata import rows
from entrepot.metadata.base import Database


@dataclass(frozen=True, slots=True)
class Condemned:
    """A blob in state `dying`: no reader can reach it any more. Delete its keys, then `forget_blob`."""

    blob_id: str
    keys: tuple[str, ...]


class Housekeeping:
    """Expiry, condemned blobs, orphans, and facts of the whole database.

    Two keepers may work at once: each takes rows that the other has not, and nothing is counted twice.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def expire_objects(self, now: float, limit: int) -> int:
        """`LIVE -> EXPIRED` for up to `limit` objects with `expires_at <= now`; they let go of their blobs."""
        return int(await self._database.write("expire_objects", now, limit))

    async def expire_uploads(self, now: float, limit: int) -> int:
        """Abort up to `limit` open uploads with `expires_at <= now`; fewer when they have many parts. How many: none is
        left when it is 0."""
        return int(await self._database.write("expire_uploads", now, limit))

    async def condemn_blobs(self, limit: int) -> Sequence[Condemned]:
        """`live -> dying` for up to `limit` blobs that no live object and no part refers to, in one transaction;
        returns all that are dying, so that a sweep cut short goes on.

        Who refers to a blob is counted while nobody can link it: a link that came before is counted, one that comes
        later is refused.
        """
        await self._database.write("condemn_blobs", limit)
        keys: dict[str, list[str]] = {}
        for blob_id, key in await self._database.rows("dying_blobs"):
            keys.setdefault(blob_id, []).extend([] if key is None else [key])
        return [Condemned(blob_id, tuple(each)) for blob_id, each in keys.items()]

    async def forget_blob(self, blob_id: str) -> None:
        """Remove a dying blob's rows. Repeatable; a blob that is not dying stays."""
        await self._database.write("forget_blob", blob_id)

    async def forget_ended(self, before: float, limit: int) -> int:
        """Remove rows of ended uploads and of objects that ended before this time; returns how many."""
        return int(await self._database.write("forget_ended", before, limit))

    async def known_keys(self, keys: Collection[str]) -> set[str]:
        """Those of these storage keys that any row refers to, dying ones too."""
        return {key for (key,) in await self._database.rows("known_keys", rows.array(keys))}

    async def count_segments(self) -> int:
        """The number of segments that rows name. Reads an index of them all."""
        row = await self._database.row("count_segments")
        return row[0] if row else 0

    async def note_orphans(self, keys: Collection[str], now: float) -> None:
        """Remember that a look which began `now` found these keys and no row that names them. When a key was found
        before, the earlier time stays that of its first sight (a sight later than `now` was a wrong clock)."""
        await self._database.write("note_orphans", rows.array(keys), now)

    async def due_orphans(self, looked_at: float, before: float, limit: int) -> Sequence[str]:
        """Up to `limit` keys that the look of this time found, and whose first sight is not later than `before`."""
        return [key for (key,) in await self._database.rows("due_orphans", looked_at, before, limit)]

    async def forget_orphans(self, keys: Collection[str]) -> None:
        """Forget that these keys were seen."""
        await self._database.write("forget_orphans", rows.array(keys))

    async def forget_other_orphans(self, looked_at: float, limit: int) -> int:
        """Forget up to `limit` keys that the look of this time did not find; returns how many."""
        return int(await self._database.write("forget_other_orphans", looked_at, limit))

    async def fact(self, name: str) -> str | None:
        """What is noted about the whole database under this name."""
        row = await self._database.row("fact", name)
        return row[0] if row else None

    async def set_fact(self, name: str, value: str) -> None:
        """Note it, in place of what was noted."""
        await self._database.write("set_fact", name, value)

    async def check(self) -> None:
        """Raise MetadataFailed when the database cannot be read."""
        await self._database.rows("check")
