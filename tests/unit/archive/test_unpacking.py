"""Unpacking for a server; what archives may hold is tried through the toolkit (tests/unit/toolkit/test_archive.py)."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import zipfile

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


ZIP = zipped(("a/x", b"x"), ("b", b"b" * 1000)).getvalue()
EMPTY = zipped().getvalue()


def commented(comment: bytes) -> bytes:
    file = io.BytesIO(ZIP)
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = comment
    return file.getvalue()


# What zipfile, unzip and 7-Zip read.
AROUND = {
    "newline": ZIP + b"\n",
    "zeros": ZIP + bytes(4096),
    "text": ZIP + b"<!-- served by x -->" * 3000,
    "comment": commented(b"a comment"),
    "comment and newline": commented(b"a comment") + b"\r\n",
    "comment cut off": commented(b"a comment")[:-3],
    "program before it": b"#!/bin/sh\nexit\n" + bytes(10_000) + ZIP,
    "both": b"MZ" + bytes(500) + ZIP + b"\0\0",
}


@pytest.mark.parametrize("only_zip", [False, True])
@pytest.mark.parametrize("data", AROUND.values(), ids=AROUND)
def test_a01_a_zip_with_bytes_around_it_is_read(tmp_path, data, only_zip):
    with zipfile.ZipFile(io.BytesIO(data)) as theirs:
        assert theirs.namelist() == ["a/x", "b"]
    assert extract(io.BytesIO(data), tmp_path, only_zip=only_zip).entries == 3
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("data", [EMPTY + b"\n", b"x" * 100 + EMPTY, EMPTY + bytes(60_000)])
def test_a01_an_empty_zip_with_bytes_around_it_is_empty(tmp_path, data):
    assert extract(io.BytesIO(data), tmp_path).entries == 0


@pytest.mark.parametrize("only_zip", [False, True])
def test_a01_a_zip_that_was_cut_off_is_not_called_none(tmp_path, only_zip):
    with pytest.raises(ArchiveError, match="cut off") as caught:
        extract(io.BytesIO(ZIP[:-40]), tmp_path, only_zip=only_zip)
    assert "Pack it" not in caught.value.fix
    assert "application/zip" not in caught.value.message


CSV = b"name,value\n" + b"a,1\n" * 500
SINGLE = {
    "gz": (gzip.compress(CSV), "gzip"),
    "short gz": (gzip.compress(b"a,b\n"), "gzip"),
    "empty gz": (gzip.compress(b""), "gzip"),
    "empty xz": (lzma.compress(b""), "xz"),
    "bz2": (bz2.compress(CSV), "bzip2"),
    "xz": (lzma.compress(CSV), "xz"),
    "zst": (b"\x28\xb5\x2f\xfd\x04\x00\x19\x00\x00abc", "Zstandard"),
}


@pytest.mark.parametrize("only_zip", [False, True])
@pytest.mark.parametrize(("data", "name"), SINGLE.values(), ids=SINGLE)
def test_a05_one_compressed_file_is_called_so(tmp_path, data, name, only_zip):
    with pytest.raises(ArchiveError, match=f"one file.* compressed with {name}") as caught:
        extract(io.BytesIO(data), tmp_path, only_zip=only_zip)
    assert "damaged" not in caught.value.message
    assert caught.value.fix
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a05_a_compressed_tar_is_advised_to_be_a_zip_where_only_that_is_read(tmp_path, mode):
    with pytest.raises(ArchiveError) as caught:
        extract(tarred(("x", b"x"), mode=mode), tmp_path, only_zip=True)
    assert caught.value.fix == "Pack it as ZIP."
    assert extract(tarred(("x", b"x"), mode=mode), tmp_path).size == 1536


def test_a03_an_encoding_that_does_not_fit_a_name_is_passed_over(tmp_path):
    extract(io.BytesIO(ZIP), tmp_path, encoding="punycode")  # its errors are no UnicodeDecodeError
    assert os.listdir(tmp_path)


@pytest.mark.parametrize("encoding", ["nonsense", "hex", "rot13", "undefined", "a\0b", "", "x" * 10_000])
def test_a03_an_encoding_that_is_none_is_refused_before_anything_is_read(tmp_path, encoding):
    with pytest.raises(ValueError, match="no encoding of text"):
        extract(io.BytesIO(b"no archive"), tmp_path, encoding=encoding)
