"""Patterns that the shell left to us."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from entrepot.cli.globs import expand, is_pattern


@pytest.fixture
def tree(tmp_path: Path, monkeypatch) -> Path:
    for name in ("b.png", "a.png", ".hidden.png", "note.txt", "x/c.png", "x/y/d.png", ".git/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "x" / "circle").symlink_to(tmp_path)
    (tmp_path / "folder.png").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.png", ["a.png", "b.png"]),
        ("[ab].png", ["a.png", "b.png"]),
        ("?.png", ["a.png", "b.png"]),
        (".*.png", [".hidden.png"]),
        ("*/*.png", ["x/c.png"]),
        ("**/*.png", ["a.png", "b.png", "x/c.png", "x/y/d.png"]),
        ("x/**", ["x/c.png", "x/y/d.png"]),
        ("x/**/d.png", ["x/y/d.png"]),
        (".git/*", [".git/e.png"]),
        ("./*.txt", ["./note.txt"]),
        ("*.gif", []),
        ("no/*.png", []),
        ("*/", []),
    ],
)
def test_a_pattern_stands_for_the_files_that_match_each_once(tree, pattern, found):
    assert expand(pattern) == found


def test_a_pattern_may_begin_at_the_root(tree):
    assert expand(f"{tree}/*.png") == [f"{tree}/a.png", f"{tree}/b.png"]


def test_case_counts_everywhere(tree):
    assert expand("*.PNG") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_has_no_matches(tree):
    (tree / "x").chmod(0)
    assert expand("x/*.png") == []


def test_only_what_has_wildcards_is_a_pattern():
    assert is_pattern("a*") and is_pattern("a?") and is_pattern("[a]") and not is_pattern("a.png")
