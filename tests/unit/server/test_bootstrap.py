"""What a start makes and checks before anything serves."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entrepot.home import Home, HomeError
from entrepot.server import bootstrap
from entrepot.settings import Settings


@pytest.fixture(autouse=True)
def own_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def start(home: Path, **settings: Any) -> bootstrap.Start:
    """As `serve` does, up to the point where others are started."""
    lock = bootstrap.take_home(home)
    try:
        with bootstrap.home_errors(home):
            return bootstrap.prepare(Settings(home=home, **settings))
    finally:
        lock.release()


def mark(volume: Path, home: Path) -> Path:
    return volume / ".entrepot" / f"volume-{Home.open(home).store}"


def test_the_first_start_makes_the_volume_in_the_home(tmp_path):
    first = start(tmp_path / "home")
    assert first.first_key is not None and mark(tmp_path / "home" / "data", tmp_path / "home").is_dir()
    (tmp_path / "home" / "data" / "kept").touch()
    assert start(tmp_path / "home").first_key is None
    assert (tmp_path / "home" / "data" / "kept").exists()
    (account,) = asyncio.run(_accounts(tmp_path / "home"))
    assert (tmp_path / "home" / "data" / ".entrepot" / "owner").read_text() == account


async def _accounts(home: Path) -> list[str]:
    async with bootstrap.open_accounts(home) as accounts:
        return [account.id for account in await accounts._accounts.list()]


@pytest.mark.parametrize("volume", ["home", ".", "link"])
def test_a_volume_that_would_hold_the_home_is_refused(tmp_path, volume):
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(HomeError, match="lies in the volume"):
        start(tmp_path / "home", volume=tmp_path / volume)
    assert not list(tmp_path.rglob(".entrepot")) and not Home.exists(tmp_path / "home")


def test_a_volume_that_cannot_be_made_costs_no_first_key(tmp_path):
    with pytest.raises(HomeError, match="Make it first"):
        start(tmp_path / "home", volume=tmp_path / "mnt" / "data")
    (tmp_path / "mnt").mkdir()
    assert start(tmp_path / "home", volume=tmp_path / "mnt" / "data").first_key is not None


def test_a_home_that_has_no_volume_yet_gets_one(tmp_path):
    async def make() -> None:
        async with bootstrap.open_accounts(tmp_path / "home", init=True):
            pass

    asyncio.run(make())
    assert not (tmp_path / "home" / "data").exists()
    start(tmp_path / "home")
    assert mark(tmp_path / "home" / "data", tmp_path / "home").is_dir()


def test_a_volume_whose_disk_is_not_mounted_keeps_the_server_from_starting(tmp_path):
    start(tmp_path / "home", volume=tmp_path / "disk")
    shutil.move(tmp_path / "disk", tmp_path / "away")
    start(tmp_path / "home")  # with another volume in between
    for _ in range(2):
        with pytest.raises(HomeError, match="Is its disk mounted"):
            start(tmp_path / "home", volume=tmp_path / "disk")
        (tmp_path / "disk").mkdir(exist_ok=True)  # the mount point
        assert list((tmp_path / "disk").iterdir()) == []
    start(tmp_path / "home", volume=tmp_path / "away")  # it was moved, and the setting says so
    with pytest.raises(HomeError, match="another home"):
        start(tmp_path / "second", volume=tmp_path / "away")


def test_a_folder_that_cannot_be_read_is_no_home(tmp_path):
    root = tmp_path / "home"
    root.mkdir()
    (root / "notes.txt").write_text("x")
    root.chmod(0)
    before = os.geteuid()
    try:
        if before == 0:  # root reads everything
            os.seteuid(65534)
        with pytest.raises(HomeError, match=f"^The home at {root} cannot be used: .*Permission denied"):
            bootstrap.take_home(root)
    finally:
        os.seteuid(before)
        root.chmod(0o700)
    assert [path.name for path in root.iterdir()] == ["notes.txt"]
