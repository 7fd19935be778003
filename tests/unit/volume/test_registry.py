"""The registry of volumes: each account reaches its own and no other."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from entrepot.domain.acl import ANONYMOUS, Principal
from entrepot.domain.errors import Code
from entrepot.volume import root as volume_root
from entrepot.volume.registry import AccountVolume, VolumeRegistry
from entrepot.volume.volume import Limits, Volume
from support.volumes import STORE, p, refused, stream

ALICE, BOB = Principal("alice", "key1", by_key=True), Principal("bob", "key2", by_key=True)


def opened(root: Path, owner: str) -> AccountVolume:
    volume_root.prepare(root, STORE, owner, known=False)
    return AccountVolume.of(Volume(root, STORE, Limits(), time.time, threads=2), max_open_uploads=10)


def test_each_account_reaches_its_own_volume(tmp_path: Path) -> None:
    async def run() -> None:
        registry = VolumeRegistry([opened(tmp_path / "a", "alice"), opened(tmp_path / "b", "bob")])
        for who in (ALICE, BOB):
            await registry.of(who).volume.put(who, p(f"{who.account_id}.txt"), stream(b"x"))
        assert [each.volume.owner for each in registry] == ["alice", "bob"]
        with refused(Code.FORBIDDEN):
            await registry.of(ALICE).volume.list(BOB, p(""))
        await registry.close()

    asyncio.run(run())
    assert (tmp_path / "a" / "alice.txt").exists() and (tmp_path / "b" / "bob.txt").exists()
    assert not (tmp_path / "a" / "bob.txt").exists()


@pytest.mark.parametrize(
    ("who", "code"),
    [
        (ANONYMOUS, Code.UNAUTHORIZED),
        (Principal("alice", "key1"), Code.UNAUTHORIZED),
        (Principal("carol", "key3", by_key=True), Code.FORBIDDEN),
    ],
    ids=["nobody", "token", "account without a volume"],
)
def test_others_reach_no_volume(tmp_path: Path, who: Principal, code: Code) -> None:
    registry = VolumeRegistry([opened(tmp_path / "a", "alice")])
    for reach in (registry.of, registry.sink):
        with refused(code):
            reach(who)
    asyncio.run(registry.close())
