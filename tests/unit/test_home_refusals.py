"""Which folders become a home, and which are refused before anything is written into them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from entrepot.home import Home, HomeError


def contents(root: Path) -> dict[str, str]:
    """Every path below the root, with what it is."""
    return {
        str(path.relative_to(root)): "folder" if path.is_dir() else path.read_text(errors="replace")
        for path in root.rglob("*")
    }


def refused(root: Path, expected: list[Path] | None = None) -> str:
    """The error for a folder, which must be left as it was."""
    before = contents(root)
    with pytest.raises(HomeError) as caught:
        Home.prepare(root, expected or [])
    assert contents(root) == before
    return str(caught.value)


def make(root: Path, *names: str) -> None:
    """Files, and folders where the name ends with a slash."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_text("somebody's")


@pytest.mark.parametrize("names", [(), ("lost+found/",), ("data/",), ("data/models/a.bin",), ("blobs/lost+found/",)])
def test_an_empty_folder_or_one_with_the_volume_becomes_a_home(tmp_path, names):
    make(tmp_path, *names)
    Home.prepare(tmp_path)
    assert (tmp_path / "signing.secret").exists()


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("notes.txt",), "'notes.txt'"),
        ((".bashrc",), "'.bashrc'"),
        (("photos/2026/a.jpg", "data/b"), "'photos'"),
        (("d", "c", "b", "a", "run/"), "'a', 'b', 'c' and 1 more"),
        (("data",), "'data'"),
        (("run",), "'run'"),
        (("lost+found",), "'lost+found'"),
        (("blobs/photo.jpg",), "'blobs/photo.jpg'"),
        (("blobs/0123456789abcdef/00/1",), "'blobs/0123456789abcdef'"),
        (("a\nb",), r"'a\nb'"),
        ((".0123456789abcdef.tmp~",), "'.0123456789abcdef.tmp~'"),
        (("catalogue.db", "catalogue.db.bak"), "'catalogue.db.bak'"),
    ],
)
def test_a_folder_with_foreign_files_is_refused(tmp_path, names, shown):
    make(tmp_path, *names)
    message = refused(tmp_path)
    assert f"is not a home, and it is not empty: it holds {shown}. Name an empty folder" in message
    assert "--home DIR, or ENTREPOT_HOME" in message


def test_each_step_of_an_interrupted_first_start_is_continued(tmp_path):
    steps = ["blobs/", "run/", ".0123456789abcdef.tmp", "signing.secret", "serve.lock", "home.lock", "catalogue.lock"]
    steps += ["catalogue.db", "catalogue.db-wal", "catalogue.db-shm", "data/", "blobs/.store-01234567/"]
    for count in range(len(steps) + 1):
        root = tmp_path / str(count)
        make(root, "data/", *(step for step in steps[:count] if step != "data/"))
        Home.prepare(root)


def test_paths_that_the_settings_name_may_be_in_the_home_before(tmp_path):
    make(tmp_path, "shared/models/a.bin", "tls/cert.pem", "settings.toml")
    expected = [tmp_path / "shared" / "models", tmp_path / "tls" / "cert.pem", tmp_path / "settings.toml"]
    assert "'shared'" in refused(tmp_path, expected[1:])
    assert "'settings.toml'" in refused(tmp_path, expected[:2])
    Home.prepare(tmp_path, [*expected, tmp_path, tmp_path.parent / "elsewhere", Path("/")])


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "home").write_text("x")
    with pytest.raises(HomeError, match="is not a folder"):
        Home.prepare(tmp_path / "home")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HomeError, match="is not a folder"):
        Home.prepare(tmp_path / "pipe")


def test_a_link_stands_for_the_folder_that_it_leads_to(tmp_path):
    make(tmp_path, "full/notes.txt", "empty/")
    for name in ("full", "empty", "nothing", "loop"):
        (tmp_path / f"to-{name}").symlink_to("to-loop" if name == "loop" else name)
    assert "'notes.txt'" in refused(tmp_path / "to-full")
    Home.prepare(tmp_path / "to-empty")
    assert (tmp_path / "empty" / "signing.secret").exists()
    with pytest.raises(HomeError, match="is a link to a folder that does not exist"):
        Home.prepare(tmp_path / "to-nothing")
    assert not (tmp_path / "nothing").exists()
    with pytest.raises((HomeError, OSError)):
        Home.prepare(tmp_path / "to-loop")


@pytest.mark.parametrize("facts", ["[]", "{}", '"x"', "null", '{"name": "photos"}', '{"store": 5}', "not JSON"])
def test_a_home_json_of_something_else_is_refused(tmp_path, facts):
    (tmp_path / "home.json").write_text(facts)
    assert str(tmp_path) in refused(tmp_path)


def test_a_home_of_a_newer_format_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "home.json").write_text(json.dumps({"format": 99, "store": "01234567"}))
    assert "has format 99; this version reads 1. Upgrade." in refused(tmp_path)
