"""Unpacking for a server; what archives may hold is tried through the toolkit (tests/unit/toolkit/test_archive.py)."""

from __future__ import annotations

import io
import os
import stat

import pytest

from entrepot.archive.errors import ArchiveError, ArchiveRefused
from entrepot.archive.unpacking import extract
from entrepot.atomic import Folder
from support.archives import tarred, zipped


def test_a_tar_is_no_zip_where_only_zip_is_asked_for(tmp_path):
    for mode in ("w", "w:gz", "w:xz"):
        with pytest.raises(ArchiveError) as caught:
            extract(tarred(("x", b"x"), mode=mode), tmp_path, only_zip=True)
        assert type(caught.value) is ArchiveError
        assert caught.value.fix
    extract(tarred(("x", b"x")), tmp_path)
    assert os.listdir(tmp_path) == ["x"]


def test_a_zip_whose_first_entry_looks_like_a_tar_is_a_zip_where_only_that_is_asked_for(tmp_path):
    both = io.BytesIO(tarred(("from the tar", b"x")).getvalue() + zipped(("from the zip", b"x")).getvalue())
    extract(both, tmp_path, only_zip=True)
    assert os.listdir(tmp_path) == ["from the zip"]


def test_an_open_folder_is_filled_and_stays_open(tmp_path):
    with Folder.open(tmp_path) as folder:
        extract(zipped(("a/x", b"x")), folder)
        (tmp_path / "moved").mkdir()
        extract(zipped(("b", b"b")), folder)
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "moved"]


@pytest.mark.parametrize("masked", [True, False])
def test_modes_are_those_of_the_umask_or_of_everybody(tmp_path, masked):
    before = os.umask(0o077)
    try:
        extract(zipped(("a/x", b"x")), tmp_path, masked=masked)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/x")]
    assert modes == ([0o700, 0o600] if masked else [0o755, 0o644])


def test_what_is_refused_says_why_and_what_to_do(tmp_path):
    with pytest.raises(ArchiveRefused, match="leads out") as caught:
        extract(zipped(("../x", b"x")), tmp_path)
    assert caught.value.message == str(caught.value)
    assert caught.value.fix
