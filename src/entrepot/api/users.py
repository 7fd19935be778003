"""Who asks: what fal's command line wants to know before it acts for a team (protocol 1.5)."""

from __future__ import annotations

from typing import Any

from entrepot.api.http_context import HttpContext
from entrepot.api.services import Services
from entrepot.domain.accounts import Account


async def current(ctx: HttpContext, services: Services) -> dict[str, Any]:
    """GET /users/current: the account of the credential."""
    return _described(await services.access.account(ctx.principal))


async def teams(ctx: HttpContext, services: Services) -> list[dict[str, Any]]:
    """GET /users/teams: the accounts that the credential may act for, which is the one that it is of."""
    return [await current(ctx, services)]


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
