"""Who asks: what fal's command line wants to know before it acts for a team (protocol 1.5)."""

from __future__ import annotations

from typing import Any

from entrepot.api.doors import Doors
from entrepot.api.exchange import Exchange
from entrepot.domain.accounts import Account


async def current(x: Exchange, doors: Doors) -> dict[str, Any]:
    """GET /users/current: the account of the credential."""
    return _described(await doors.access.account(x.principal))


async def teams(x: Exchange, doors: Doors) -> list[dict[str, Any]]:
    """GET /users/teams: the accounts that the credential may act for, which is the one that it is of."""
    return [await current(x, doors)]


def _described(account: Account) -> dict[str, Any]:
    """An account has no name beside its nickname."""
    return {
        "full_name": account.nickname,
        "nickname": account.nickname,
        "user_id": account.id,
        "is_personal": True,
        "is_org": False,
        "is_locked": False,
    }
