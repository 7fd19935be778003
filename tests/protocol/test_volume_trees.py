"""Limits of paths hold for the whole tree below what gets a new place, and are looked at before anything is moved."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from support.files import FORM, Files, form
from support.talk import Reply

LONG = "x" * 250


def grow(folder: Path, parts: list[str]) -> None:
    """Make folders in each other, however long their path is, with a file in the last."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        for name in parts:
            os.mkdir(name, dir_fd=fd)
            inner = os.open(name, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = inner
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
    finally:
        os.close(fd)


def files_and_folders(files: Files, folder: str) -> list[str]:
    return [each["path"] for each in files.v1("GET", f"list/{folder}?recursive=true").json()]


def renamed(files: Files, source: str, destination: str) -> Reply:
    return files.v1("POST", f"rename/{source}", {"destination": destination})


def renamed_by_fal(files: Files, source: str, destination: str) -> Reply:
    return files.old("POST", f"rename//data/{source}", {"destination": f"/data/{destination}"})


def copied(files: Files, source: str, destination: str) -> Reply:
    return files.v1("POST", f"copy/{source}", {"destination": destination})


def restored(files: Files, source: str, destination: str) -> Reply:
    trash_id = files.v1("DELETE", f"file/{source}").json()["trash_id"]
    got = files.v1("POST", f"trash/{trash_id}/restore", {"destination": destination})
    if got.status != 200:  # undone, where it was
        assert files.v1("POST", f"trash/{trash_id}/restore").status == 200
    return got


WAYS = [renamed, renamed_by_fal, copied, restored]


@pytest.fixture
def folder(files: Files, request: pytest.FixtureRequest) -> str:
    name = "m1-" + re.sub(r"\W", "", request.node.name)[-30:]
    (files.root / name).mkdir()
    return name


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("below", "above", "told"),
    [
        (["d"] * 39, ["d"] * 22, b"would have 65 components; 64 are possible"),
        (["d"] * 40, ["d"] * 40, b"would have 65 components; 64 are possible"),
        ([LONG] * 9, [LONG] * 9, b" bytes; 4096 are possible"),
        (["d"] * 3 + ["\u00e9" * 127], [LONG] * 15 + ["d" * 50], b" bytes; 4096 are possible"),
    ],
    ids=["one too deep", "deep", "long", "long by bytes"],
)
def test_m1_a_tree_beyond_the_limits_is_refused_before_it_moves(
    files: Files, folder: str, way: Callable[..., Reply], below: list[str], above: list[str], told: bytes
) -> None:
    grow(files.root / folder, ["source", *below])
    grow(files.root / folder, ["target", *above])
    before = files_and_folders(files, folder)
    got = way(files, f"{folder}/source", "/".join([folder, "target", *above, "new"]))
    assert got.status in (400, 422), got
    assert told in got.body
    assert files_and_folders(files, folder) == before


@pytest.mark.parametrize("way", WAYS)
def test_m1_the_deepest_and_the_longest_tree_that_fit_are_moved_and_read(
    files: Files, folder: str, way: Callable[..., Reply]
) -> None:
    grow(files.root / folder, ["source", *["d"] * 38])
    above = "/".join([folder, "target", *["d"] * 21])
    assert files.v1("POST", f"dir/{above}").status == 200
    assert way(files, f"{folder}/source", f"{above}/new").status == 200
    assert files.read("/".join([above, "new", *["d"] * 38, "file"])) == b""
    assert files.v1("DELETE", f"file/{folder}?permanent=true").status == 200


def test_m1_a_tree_that_a_program_made_too_deep_can_be_moved_up_and_deleted(files: Files, folder: str) -> None:
    """What cannot be named is not listed; the folders above it stay within reach."""
    grow(files.root / folder, ["top", *["d"] * 90])
    at_limit = "/".join([folder, "top", *["d"] * 62])
    assert files.v1("GET", f"list/{at_limit}").json() == []
    assert files.v1("GET", f"usage/{folder}/top").json()["folders"] == 90
    assert renamed(files, f"{folder}/top/d/d", f"{folder}/two").status == 200, "less deep than before"
    assert renamed(files, f"{folder}/two", f"{folder}/top/d/deeper").status == 400
    trash_id = files.v1("DELETE", f"file/{folder}/two").json()["trash_id"]
    assert files.v1("DELETE", f"trash/{trash_id}").status == 200
    assert files.v1("DELETE", f"file/{folder}?permanent=true").status == 200


def packed(entries: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "merged"])
def test_m1_an_archive_that_would_pass_the_limits_leaves_nothing(files: Files, folder: str, is_there: bool) -> None:
    target = "/".join([folder, *["d"] * 40])
    if is_there:
        assert files.v1("POST", f"dir/{target}").status == 200
    before = files_and_folders(files, folder)
    for entry in ("/".join(["e"] * 30), "/".join([LONG] * 4)):
        data = packed({"first": b"1", entry: b"2"})
        where = target if entry.startswith("e") else "/".join([folder, *[LONG] * 13])
        got = files.ask("POST", f"/v1/serverless/files/file/local/{where}?unzip=true",
                        {**files.key, "content-type": FORM}, form(data))  # fmt: skip
        assert got.status == 400, got
        assert b"64 are possible" in got.body or b"4096 are possible" in got.body
    assert files_and_folders(files, folder) == before


def test_m1_the_longest_path_that_is_taken_is_read_listed_and_deleted(files: Files, folder: str) -> None:
    above = "/".join([folder, *[LONG] * 15])
    above += "/" + "d" * (4096 - len(above) - 100)
    room = 4096 - len(above) - 1
    assert files.store(f"{above}/{'z' * (room + 1)}", b"").status == 400
    for size in (room - 1, room):
        path = f"{above}/{'z' * size}"
        assert files.store(path, b"found").status == 201
        assert files.read(path) == b"found"
        assert files.names(above) == ["z" * size]
        assert files.v1("DELETE", f"file/{path}").status == 200
