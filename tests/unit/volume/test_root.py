"""The ground of a volume: made once, marked, and refused when it is another's or not there."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest

from entrepot.atomic import observe
from entrepot.volume import root as volume_root
from entrepot.volume.root import VolumeRoot, VolumeUnusable
from support.disk import FailAt


def prepare(root: Path, store: str = "store", owner: str = "me", known: bool = False) -> None:
    volume_root.prepare(root, store, owner, known=known)


def test_a_volume_is_made_once_and_found_again(tmp_path):
    for known in (False, False, True):
        prepare(tmp_path / "data", known=known)
        opened = VolumeRoot(tmp_path / "data", "store")
        opened.check()
        assert opened.owner == "me" and opened.free() > 0
        opened.close()
    prepare(tmp_path / "data", owner="other")
    opened = VolumeRoot(tmp_path / "data", "store")
    assert opened.owner == "other"
    opened.close()


def test_a_folder_with_files_in_it_becomes_a_volume_as_it_is(tmp_path):
    (tmp_path / "models").mkdir(mode=0o700)
    (tmp_path / "models" / "w.bin").write_bytes(b"w")
    prepare(tmp_path / "models")
    assert (tmp_path / "models" / "w.bin").read_bytes() == b"w"
    assert (tmp_path / "models").stat().st_mode & 0o777 == 0o700


def test_a_disk_that_is_not_mounted_is_told_from_a_new_volume(tmp_path):
    prepare(tmp_path / "data")
    shutil.rmtree(tmp_path / "data")
    for _ in range(2):
        with pytest.raises(VolumeUnusable, match="mounted"):
            prepare(tmp_path / "data", known=True)
        assert not (tmp_path / "data" / ".entrepot").exists()
        (tmp_path / "data").mkdir(exist_ok=True)  # the empty mount point


def test_the_volume_of_another_home_is_refused_until_its_user_says_otherwise(tmp_path):
    prepare(tmp_path / "data", "first")
    with pytest.raises(VolumeUnusable, match=r"mv .*volume-first .*volume-second") as caught:
        prepare(tmp_path / "data", "second")
    assert os.system(str(caught.value).rpartition(": ")[2]) == 0
    prepare(tmp_path / "data", "second")


def test_a_folder_above_that_is_missing_is_named(tmp_path):
    with pytest.raises(VolumeUnusable, match=r"no folder .*nothing"):
        prepare(tmp_path / "nothing" / "data")


def test_a_start_that_is_cut_short_anywhere_is_done_again(tmp_path):
    k, failed = 0, True
    while failed:
        k += 1
        failing = FailAt(k, errno.EIO)
        try:
            with observe(failing):
                prepare(tmp_path / f"data{k}")
        except OSError:
            assert not (tmp_path / f"data{k}" / ".entrepot" / "volume-store").exists() or k > 12
        failed = failing.failed is not None
        prepare(tmp_path / f"data{k}")
        opened = VolumeRoot(tmp_path / f"data{k}", "store")
        with opened.locked():
            pass
        for name in ("staging", "trash", "gone", "apps"):
            opened.own(name).close()
        opened.close()
    assert k > 15


def test_the_lock_keeps_all_others_out(tmp_path):
    prepare(tmp_path / "data")
    first, second = VolumeRoot(tmp_path / "data", "store"), VolumeRoot(tmp_path / "data", "store")
    order: list[int] = []

    def wait() -> None:
        with second.locked():
            order.append(2)

    with first.locked():
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.05)
        order.append(1)
    thread.join()
    assert order == [1, 2]
    first.close()
    second.close()
