"""The registry of volumes: which account has which, and what this process has open of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem
from entrepot.volume.apps import Apps
from entrepot.volume.multipart import Parts
from entrepot.volume.unpack import Unpacking
from entrepot.volume.volume import Volume, require_key


@dataclass(frozen=True, slots=True)
class AccountVolume:
    """The volume of one account, with its uploads in parts, app files and unpacking of archives."""

    volume: Volume
    parts: Parts
    apps: Apps
    unpack: Unpacking

    @classmethod
    def of(cls, volume: Volume, max_open_uploads: int) -> AccountVolume:
        """Set up all that works on a volume; `max_open_uploads` counts those of app files too."""
        parts = Parts(volume, max_open_uploads)
        return cls(volume, parts, Apps(volume, parts.uploads), Unpacking(volume))


class VolumeRegistry:
    """The volumes of a server by account: one today. Iterating gives all of them."""

    def __init__(self, volumes: Iterable[AccountVolume]) -> None:
        self._by_account = {each.volume.owner: each for each in volumes}

    def of(self, who: Principal) -> AccountVolume:
        """The volume of an account. Raises Problem: UNAUTHORIZED without a valid key, FORBIDDEN when the account has no
        volume."""
        require_key(who)
        found = self._by_account.get(who.account_id or "")
        if found is None:
            raise Problem(Code.FORBIDDEN, "This account has no volume.")
        found.volume.check(who)
        return found

    def sink(self, who: Principal) -> Volume:
        """Where the imports and kept objects of an account go. Raises Problem as `of`."""
        return self.of(who).volume

    def __iter__(self) -> Iterator[AccountVolume]:
        return iter(self._by_account.values())

    async def close(self) -> None:
        for each in self:
            await each.volume.close()
