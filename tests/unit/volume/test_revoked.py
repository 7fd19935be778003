"""A key that is revoked at any moment of a change: the change is refused, and nothing of it is seen."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path as Folder
from typing import Any

import pytest

from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem
from entrepot.domain.multipart import Cited
from support.archives import zipped
from support.inparts import OWNER, Process, stream
from support.volumes import Run, p, put, runs


class Keys:
    """Revokes the key just before it is asked about for the `last` time."""

    def __init__(self) -> None:
        self.asked, self.last = 0, 0

    def check(self, who: Principal) -> None:
        assert who == OWNER
        self.asked += 1
        if self.asked == self.last:
            raise Problem(Code.UNAUTHORIZED, "This key was revoked.")

    def live(self, account_id: str) -> list[str]:
        return ["key"]


async def adopted(process: Process) -> None:
    with (process.root / "a").open("rb") as file:
        await process.volume.adopt(OWNER, p("new"), runs(Run(file.fileno(), 0, 3)), sha256=None, size=3)


async def finished(process: Process) -> None:
    upload = await process.parts.begin(OWNER, p("new"))
    await process.put(upload, 1, b"new", p("new"))
    await process.parts.finish(OWNER, p("new"), upload, [Cited(1, None)])


async def restored(process: Process) -> None:
    (trashed,) = (await process.volume.list_trash(OWNER)).entries
    await process.volume.restore(OWNER, trashed.id, p("new"))


def unpacked(into: str) -> Callable[[Process], Awaitable[Any]]:
    archive = zipped(("b", b"b"), ("c/d", b"d"), method=zipfile.ZIP_STORED).getvalue()
    return lambda process: process.unpacking.unpack(OWNER, p(into), stream(archive))


CHANGES: dict[str, Callable[[Process], Awaitable[Any]]] = {
    "put": lambda process: put(process.volume, "a", b"other"),
    "put into a new folder": lambda process: put(process.volume, "new/a", b"other"),
    "folder": lambda process: process.volume.make_folder(OWNER, p("new")),
    "rename": lambda process: process.volume.rename(OWNER, p("a"), p("new")),
    "copy": lambda process: process.volume.copy(OWNER, p("a"), p("new")),
    "copy of a folder": lambda process: process.volume.copy(OWNER, p("f"), p("new")),
    "delete": lambda process: process.volume.delete(OWNER, p("a")),
    "delete for good": lambda process: process.volume.delete(OWNER, p("f"), permanent=True),
    "restore": restored,
    "adopt": adopted,
    "finish": finished,
    "unpack": unpacked("new"),
    "unpack into a folder": unpacked("f"),
}


def tree(root: Folder) -> dict[str, bytes | None]:
    """All that programs see."""
    seen = (path for path in root.rglob("*") if ".entrepot" not in path.parts)
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in seen}


@pytest.mark.parametrize("change", CHANGES)
def test_m5_nothing_changes_whenever_the_key_is_revoked(tmp_path: Folder, change: str) -> None:
    async def act() -> None:
        process = Process(tmp_path / "data")
        volume, root = process.volume, process.root
        try:
            for path in ("a", "f/b", "gone"):
                await put(volume, path, b"old")
            await volume.delete(OWNER, p("gone"))
            before = tree(root)
            keys = volume.ground.keys = Keys()
            while True:
                keys.asked, keys.last = 0, keys.last + 1
                try:
                    await CHANGES[change](process)
                except Problem as problem:
                    assert problem.code is Code.UNAUTHORIZED
                    assert tree(root) == before
                else:
                    break
            assert keys.last > 2, "it is asked about at the begin, and again under the lock"
            assert tree(root) != before
        finally:
            await volume.close()

    asyncio.run(act())
