"""Health of the process and of its storage."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from entrepot.api import auth
from entrepot.api.json.plane import JsonRoutes, Svc
from entrepot.domain.version import __version__

health = JsonRoutes("Health")


class Alive(BaseModel):
    status: Literal["ok"]
    version: str


class Ready(BaseModel):
    status: Literal["ready"]
    writable: bool


@health.get("/healthz", right=auth.anybody)
async def healthz() -> Alive:
    """Whether the process lives."""
    return Alive(status="ok", version=__version__)


@health.get("/readyz", right=auth.anybody, errors="503")
async def readyz(services: Svc) -> Ready:
    """Whether reads and writes would work now."""
    return Ready(status="ready", writable=await services.health.check())
