"""What every handler is given: the services, and the few facts about the outside that replies need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from entrepot.api.bytes.reply_memory import ReplyMemory
from entrepot.api.http_context import MinRate
from entrepot.domain.errors import Code
from entrepot.service.access import Access
from entrepot.service.assets import Assets
from entrepot.service.health import Health
from entrepot.service.imports import Imports
from entrepot.service.jobs import Jobs
from entrepot.service.multipart import Multipart
from entrepot.service.objects import Objects
from entrepot.service.transfer import Transfer
from entrepot.service.uploads import SingleUploads
from entrepot.volume.entries import Conditions, Entry
from entrepot.volume.paths import Path
from entrepot.volume.registry import VolumeRegistry


@dataclass(frozen=True, slots=True)
class Services:
    """Origins without trailing slash; times in seconds. `failures` gives the error code of exceptions of lower
    packages; `accepted_hosts` empty means any Host header is taken, and none is ever used to make a link."""

    access: Access
    uploads: SingleUploads
    multipart: Multipart
    objects: Objects
    health: Health
    volumes: VolumeRegistry
    imports: Imports[Path, Conditions, Entry]
    jobs: Jobs
    transfer: Transfer[Path, Conditions, Entry]
    assets: Assets
    api_origin: str
    cdn_origin: str
    clock: Callable[[], float]
    max_age: int
    stall_timeout: float
    replies: ReplyMemory
    min_rate: MinRate = field(default_factory=MinRate)
    accepted_hosts: frozenset[str] = frozenset()
    failures: Mapping[type[Exception], Code] = field(default_factory=dict)
