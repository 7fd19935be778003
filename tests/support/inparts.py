"""Volumes to test with, as processes of a server have them open."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path as Folder
from typing import Any

import pytest

from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem
from entrepot.domain.multipart import Cited
from entrepot.volume.apps import Apps
from entrepot.volume.multipart import AssemblyPart, Finished, Parts
from entrepot.volume.paths import Path, parse
from entrepot.volume.root import prepare
from entrepot.volume.unpack import Unpacking
from entrepot.volume.volume import Limits, Volume

OWNER = Principal("owner", "key", by_key=True)
PLACE = parse("models/a.bin", legacy=False)
STORE = "0123abcd"


class Process:
    """One process that has a volume open. `root` is made when it is missing."""

    def __init__(
        self, root: Folder, *, most: int = 100, ahead: Callable[[], float] = lambda: 0.0, **limits: Any
    ) -> None:
        prepare(root, STORE, OWNER.account_id or "", known=False)
        self.root = root
        self.volume = Volume(root, STORE, Limits(**limits), lambda: time.time() + ahead())
        self.parts = Parts(self.volume, most)
        self.apps = Apps(self.volume, self.parts.uploads)
        self.unpacking = Unpacking(self.volume)

    async def put(
        self, upload_id: str, number: int, data: bytes, path: Path = PLACE, who: Principal = OWNER
    ) -> AssemblyPart:
        return await self.parts.write(who, path, upload_id, number, stream(data))

    async def finish(
        self, upload_id: str, parts: Sequence[AssemblyPart] | Sequence[Cited], path: Path = PLACE, **facts: Any
    ) -> Finished:
        cited = [Cited(part.number, part.etag) for part in parts]
        return await self.parts.finish(OWNER, path, upload_id, cited, **facts)

    async def keep(self) -> None:
        """What the keeper does until there is nothing left to do."""
        while await self.parts.step():
            pass

    def staged(self) -> int:
        """Bytes of all that is staged and being removed."""
        folders = (self.root / ".entrepot" / name for name in ("staging", "gone"))
        return sum(p.stat().st_size for folder in folders for p in folder.rglob("*") if p.is_file())


def played(act: Callable[..., Awaitable[Any]], *processes: Process) -> Any:
    """Run one scene in the processes, and end them."""

    async def play() -> Any:
        try:
            return await act(*processes)
        finally:
            for process in processes:
                await process.volume.close()

    return asyncio.run(play())


async def refuses(code: Code, deed: Awaitable[Any]) -> str:
    """What is said by the problem that the deed ends with."""
    with pytest.raises(Problem) as caught:
        await deed
    assert caught.value.code is code, caught.value
    return caught.value.message


async def stream(data: bytes, piece: int = 1 << 16) -> AsyncIterator[bytes]:
    for start in range(0, len(data), piece):
        yield data[start : start + piece]


async def broken(data: bytes) -> AsyncIterator[bytes]:
    """A client that goes away after these bytes."""
    yield data
    raise ConnectionResetError


def files(root: Folder) -> dict[str, bytes]:
    """All that other programs see in a volume."""
    found: dict[str, bytes] = {}
    for above, folders, names in os.walk(root):
        if ".entrepot" in folders:
            folders.remove(".entrepot")
        found |= {os.path.relpath(f"{above}/{name}", root): Folder(above, name).read_bytes() for name in names}
    return found
