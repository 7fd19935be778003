"""Accounts and their keys, as the operator of the server handles them (the `keys` command and the first start)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from entrepot.domain.accounts import Account, KeyRecord
from entrepot.domain.errors import Code, Problem
from entrepot.domain.keys import ApiKey, new_key, secret_hash
from entrepot.domain.names import new_id
from entrepot.metadata.accounts import AccountRecords
from entrepot.metadata.uploads import UploadSessionRecords
from entrepot.service.access import Clock

DEFAULT_ACCOUNT = "default"
BATCH = 500  # uploads that are aborted at once


class Accounts:
    """Used by who holds the home folder, which is the highest right there is; so no principal is asked for."""

    def __init__(
        self, accounts: AccountRecords, uploads: UploadSessionRecords, clock: Clock, random: Callable[[int], bytes]
    ) -> None:
        self._accounts = accounts
        self._uploads = uploads
        self._clock = clock
        self._random = random

    async def ensure_default(self) -> None:
        """Create the default account unless it exists."""
        if DEFAULT_ACCOUNT not in await self._accounts.ids_of([DEFAULT_ACCOUNT]):
            await self._accounts.add(Account(new_id(self._random), DEFAULT_ACCOUNT, self._clock()))

    async def create_key(self, name: str, nickname: str = DEFAULT_ACCOUNT) -> ApiKey:
        """Make a key of an account. The secret is returned this once; only its hash is stored."""
        account_id = (await self._accounts.ids_of([nickname])).get(nickname)
        if account_id is None:
            raise Problem(Code.NOT_FOUND, f"There is no account {nickname!r}.", fix="Name an account that exists.")
        key = new_key(self._random)
        await self._accounts.add_key(KeyRecord(key.id, account_id, name, secret_hash(key.secret), self._clock()))
        return key

    async def list_keys(self) -> Sequence[tuple[KeyRecord, str]]:
        """All keys with the nickname of their account, oldest first."""
        nicknames = {a.id: a.nickname for a in await self._accounts.list()}
        return [(key, nicknames.get(key.account_id, "")) for key in await self._accounts.list_keys()]

    async def revoke_key(self, key_id: str) -> None:
        """End a key, and with it every token and signature made with it, and its unfinished uploads; those onto the
        volume end by the keeper. Raises Problem(NOT_FOUND)."""
        if not await self._accounts.revoke_key(key_id, self._clock()):
            raise Problem(Code.NOT_FOUND, f"There is no key {key_id!r}.", fix="See: entrepot keys list")
        while await self._uploads.abort_revoked(BATCH):
            pass  # in several transactions, so that others write between two
