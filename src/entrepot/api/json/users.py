"""The account of a credential (docs/protocol.md 1.5)."""

from __future__ import annotations

from pydantic import BaseModel

from entrepot import wire
from entrepot.api.json.plane import Caller, JsonRoutes, Svc

users = JsonRoutes("Users")


class User(BaseModel):
    full_name: str
    nickname: str
    user_id: str
    is_personal: bool
    is_org: bool
    is_locked: bool


@users.get(wire.CURRENT_USER, errors="401")
async def current_user(caller: Caller, services: Svc) -> User:
    """The account of the credential."""
    account = await services.access.account(caller)
    return User(  # an account has no other name than its nickname
        full_name=account.nickname,
        nickname=account.nickname,
        user_id=account.id,
        is_personal=True,
        is_org=False,
        is_locked=False,
    )


@users.get(wire.TEAMS, errors="401")
async def teams(caller: Caller, services: Svc) -> list[User]:
    """The accounts that the credential may act for: the one that it belongs to."""
    return [await current_user(caller, services)]
