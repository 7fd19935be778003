"""`CompressedFile` and its folder: docs/threats.md G06."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from entrepot.toolkit import ArchiveError, CompressedFile, Limits
from entrepot.toolkit.errors import ArchiveTooLarge


def zipped(**files: bytes) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in files.items():
                archive.writestr(name.replace("__", "/").replace("_", "."), data)
        return file.getvalue()


DATA = zipped(a_png=b"1", b_txt=b"2", c__d_png=b"3", c__e__f_png=b"4")


@pytest.fixture
def temp(tmp_path, monkeypatch):
    """The folder for temporary files; nothing may be left in it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def made(data: bytes = DATA) -> CompressedFile:
    return CompressedFile.from_bytes(data, "application/zip", "a.zip", repository="in_memory")


def names(paths) -> list[str]:
    return sorted(path.name for path in paths)


@pytest.mark.parametrize("drop", [False, True], ids=["in memory", "behind its URL"])
def test_it_iterates_over_its_top_and_globs_everywhere(temp, drop):
    file = made()
    if drop:
        file.file_data = None
    assert file.extract_dir is None
    assert names(file) == ["a.png", "b.txt", "c"]
    assert names(file.glob("*.png")) == ["a.png"]
    assert names(file.glob("**/*.png")) == ["a.png", "d.png", "f.png"]
    assert file.extract_dir is not None and Path(file.extract_dir).parent == temp


def test_it_is_unpacked_once(temp):
    file = made()
    first = file.extract()
    (first / "mark").touch()
    assert file.extract() == first
    assert "mark" in names(file)


def test_g06_the_folder_goes_away_with_the_object(temp):
    file = made()
    folder = file.extract()
    assert folder.exists()
    del file
    assert not folder.exists()


def test_g06_an_iterator_keeps_the_folder_until_it_is_done(temp):
    paths = CompressedFile.from_bytes(DATA, repository="in_memory").glob("**/*.png")
    gc.collect()
    assert sorted(path.read_bytes() for path in paths) == [b"1", b"3", b"4"]


def test_g06_an_object_that_dies_before_unpacking_leaves_nothing(temp):
    del (file := made()).file_data, file


def test_g06_an_exception_takes_the_folder_along(temp):
    with pytest.raises(ZeroDivisionError):
        for path in made():
            assert path.parent.exists()
            1 / 0  # noqa: B018


@pytest.mark.parametrize("cut", [10, 200, -10])
def test_g06_when_unpacking_fails_nothing_is_left(temp, cut):
    file = made(DATA[:cut])
    with pytest.raises(ArchiveError):
        file.extract()
    assert list(temp.iterdir()) == []
    assert file.extract_dir is None


def test_g06_a_limit_that_is_passed_leaves_nothing(temp):
    with pytest.raises(ArchiveTooLarge):
        made().extract(limits=Limits(entries=3))
    assert list(temp.iterdir()) == []


def test_g06_a_copy_keeps_the_folder(temp):
    file = made()
    folder = file.extract()
    other = copy.deepcopy(file)
    shallow = file.model_copy()
    del file
    assert names(other) == names(shallow) == ["a.png", "b.txt", "c"]
    again = pickle.loads(pickle.dumps(other))
    assert again.extract_dir is None
    assert names(again) == ["a.png", "b.txt", "c"]
    del other, shallow
    assert not folder.exists()


PROGRAM = """
import os, sys
from entrepot.toolkit import CompressedFile
file = CompressedFile.from_bytes(bytes.fromhex(sys.argv[1]), repository="in_memory")
folder = file.extract()
if os.fork() == 0:
    sys.exit(0)  # the child's end must not take the parent's folder
os.wait()
assert folder.exists()
print(folder)
if sys.argv[2] == "raise":
    raise RuntimeError("by the test")
"""


@pytest.mark.parametrize("how", ["end", "raise"])
def test_g06_the_folder_goes_away_when_the_program_ends(tmp_path, how):
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM, DATA.hex(), how], env=env, capture_output=True, text=True)
    assert done.returncode == (how == "raise"), done.stderr
    assert done.stdout.startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_caller_cannot_choose_the_folder(temp, tmp_path_factory):
    """The stock package removes what a caller names as `extract_dir`."""
    mine = tmp_path_factory.mktemp("mine")
    file = CompressedFile.model_validate({"url": "https://example.com/x.zip", "extract_dir": str(mine)})
    assert file.extract_dir is None
    del file
    assert mine.exists()
