"""Accounts, their keys, and the bytes that they hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from entrepot.domain.accounts import Account, KeyRecord
from entrepot.metadata import rows
from entrepot.metadata.base import Conflict, Database


class AccountRecords:
    """The accounts and keys of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, account: Account) -> None:
        """Add an account. Raises Conflict when the id or nickname is taken."""
        if not await self._database.write("add_account", *rows.account_row(account)):
            raise Conflict(f"The account id {account.id} or nickname {account.nickname!r} is taken.")

    async def get(self, account_id: str) -> Account | None:
        """The account of this id."""
        row = await self._database.row("account", account_id)
        return None if row is None else rows.account_of(row)

    async def list(self) -> Sequence[Account]:
        """All accounts, oldest first."""
        return [rows.account_of(row) for row in await self._database.rows("list_accounts")]

    async def ids_of(self, users: Collection[str]) -> Mapping[str, str]:
        """Map each of these nicknames or account ids that exists to its account id."""
        return dict(await self._database.rows("account_ids", rows.array(users)))

    async def usage(self, account_id: str) -> int:
        """Bytes that the account holds: its objects that have bytes, and the parts of its open uploads."""
        row = await self._database.row("usage", account_id)
        return int(row[0]) if row else 0

    async def add_key(self, key: KeyRecord) -> None:
        """Add a key. Raises Conflict when the id is taken."""
        if not await self._database.write("add_key", *rows.key_row(key)):
            raise Conflict(f"The key id {key.id} is taken.")

    async def key(self, key_id: str) -> KeyRecord | None:
        """The key of this id, its account's state joined in: the one read of every authenticated request."""
        row = await self._database.row("key", key_id)
        return None if row is None else rows.key_of(row)

    async def list_keys(self) -> Sequence[KeyRecord]:
        """All keys, revoked ones too, oldest first."""
        return [rows.key_of(row) for row in await self._database.rows("list_keys")]

    async def revoke_key(self, key_id: str, at: float) -> bool:
        """Revoke a key for ever; False when there is none. A second revoke keeps the first time.

        Writes that name a key raise KeyEnded when it is not valid any more, in their own transaction: what was not
        published when this returned never is. Its open uploads are for `UploadSessionRecords.abort_revoked`.
        """
        return bool(await self._database.write("revoke_key", key_id, at))

    def is_ended_key(self, key_id: str, now: float) -> bool:
        """Whether a key is revoked or expired, or its account suspended. Blocks, for who holds a lock in a thread."""
        return bool(self._database.blocking_rows("ended_key", key_id, now))

    def live_keys(self, account_id: str) -> Collection[str]:
        """The ids of an account's keys that are not revoked. Blocks."""
        return [key_id for (key_id,) in self._database.blocking_rows("live_keys", account_id)]
