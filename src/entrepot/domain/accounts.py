"""Accounts and the record of a key."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from entrepot.domain.lifecycle import Lifecycle


class AccountState(Enum):
    ACTIVE = "active"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class Account:
    """An owner of objects. `nickname` is what ACL rules name; `defaults` apply to uploads that say nothing."""

    id: str
    nickname: str
    created_at: float
    defaults: Lifecycle = Lifecycle()
    state: AccountState = AccountState.ACTIVE


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is stored of a key: never its secret. `account_state` is joined in, so one read decides."""

    id: str
    account_id: str
    name: str
    secret_hash: bytes
    created_at: float
    revoked_at: float | None = None
    account_state: AccountState = AccountState.ACTIVE

    @property
    def valid(self) -> bool:
        return self.revoked_at is None and self.account_state is AccountState.ACTIVE
