"""A volume in a folder, without a server, and short words for what tests do to it."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem
from entrepot.volume import root as volume_root
from entrepot.volume.entries import Entry
from entrepot.volume.paths import PRIVATE, parse
from entrepot.volume.paths import Path as VolumePath
from entrepot.volume.volume import Limits, Volume

OWNER = Principal("owner", "key", by_key=True)
STORE = "abcd0123"


def p(text: str) -> VolumePath:
    return parse(text, legacy=False)


def make(root: Path) -> Path:
    """Make the volume's folder."""
    volume_root.prepare(root, STORE, "owner", known=False)
    return root


def open_volume(root: Path, *, by_hand: bool = False, clock: Callable[[], float] = time.time, **limits: Any) -> Volume:
    return Volume(root, STORE, Limits(**limits), clock, threads=4, by_hand=by_hand)


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@dataclass(frozen=True)
class Run:
    """Bytes of an open file that are to be adopted. `check` is called with the copy's handle and place."""

    fd: int
    start: int
    size: int
    check: Callable[[int, int], None] = lambda fd, at: None


async def runs(*given: tuple[int, int, int] | Run) -> AsyncIterator[Run]:
    for each in given:
        yield each if isinstance(each, Run) else Run(*each)


async def put(volume: Volume, path: str, *pieces: bytes, **more: Any) -> Entry:
    return (await volume.put(OWNER, p(path), stream(*pieces), **more))[0]


async def read(volume: Volume, path: str) -> bytes:
    file = await volume.open(OWNER, p(path))
    try:
        return b"".join([piece async for piece in file.read(0, file.entry.size)])
    finally:
        await file.close()


async def names(volume: Volume, path: str = "", **more: Any) -> list[str]:
    return [entry.path for entry in (await volume.list(OWNER, p(path), **more)).entries]


@contextmanager
def refused(code: Code, match: str | None = None) -> Iterator[None]:
    """The block must raise this Problem."""
    with pytest.raises(Problem, match=match) as caught:
        yield
    assert caught.value.code is code, caught.value


def private(root: Path) -> list[str]:
    """What lies in the private folder beside what is always there, files and folders."""
    base = root / PRIVATE
    found = sorted(str(each.relative_to(base)) for each in base.rglob("*"))
    always = {"apps", "gone", "lock", "owner", "staging", "trash", "usage", f"volume-{STORE}"}
    return [name for name in found if name not in always]


def tree(root: Path) -> dict[str, bytes | None]:
    """All that programs see: the bytes of files, None for folders. What goes meanwhile is left out."""
    found: dict[str, bytes | None] = {}
    for folder, folders, files in os.walk(root):
        if PRIVATE in folders:
            folders.remove(PRIVATE)
        for name in folders:
            found[os.path.relpath(os.path.join(folder, name), root)] = None
        for name in files:
            path = os.path.join(folder, name)
            with suppress(FileNotFoundError):
                found[os.path.relpath(path, root)] = Path(path).read_bytes() if os.path.isfile(path) else b""
    return found


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def with_volume(test: Callable[..., Awaitable[None]] | None = None, **limits: Any) -> Any:
    """Runs a test in an event loop, on a new volume: `async def test_x(volume, root)`. It is closed afterwards."""

    def decorate(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        async def tell(root: Path, more: dict[str, Any]) -> None:
            volume = open_volume(make(root), **limits)
            try:
                await test(volume, root, **more)
            finally:
                await volume.close()

        @wraps(test)
        def run(tmp_path: Path, **more: Any) -> None:
            asyncio.run(tell(tmp_path / "data", more))

        run.__signature__ = _signature(test)  # type: ignore[attr-defined]
        return run

    return decorate(test) if test is not None else decorate


def _signature(test: Callable[..., Any]) -> Any:
    """That of the test, with `tmp_path` in the place of the volume and its root."""
    own = [each for name, each in inspect.signature(test).parameters.items() if name not in ("volume", "root")]
    return inspect.Signature([inspect.Parameter("tmp_path", inspect.Parameter.POSITIONAL_OR_KEYWORD), *own])
