"""The examples of docs/volume.md, run in their order by a shell against a real server."""

from __future__ import annotations

import os
import shutil

import pytest

from support.pages import blocks, said, surroundings
from support.server import Server

BLOCKS = blocks("docs/volume.md", "sh")
WEIGHTS = os.urandom(11 * 1024 * 1024 + 5)  # more than one part

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def test_every_block_of_the_page_runs_without_an_error(tmp_path):
    with Server(tmp_path / "server") as server:
        work, volume = tmp_path / "work", server.home / "data"
        (work / "renders" / "deep").mkdir(parents=True)
        (work / "weights.bin").write_bytes(WEIGHTS)
        for name in ("a.txt", "deep/b.txt", "junk.tmp"):
            (work / "renders" / name).write_text(name)
        (volume / "models").mkdir()
        (volume / "models" / "notes.txt").write_text("written by a program on disk\n")
        environ = surroundings(server, tmp_path)
        spoken = [said(["sh", "-e", "-c", block], work, environ) for block in BLOCKS]
    assert "written by a program on disk" in spoken[0]
    assert "notes.txt" in spoken[0]
    assert (work / "copy.bin").read_bytes() == WEIGHTS
    assert (work / "local" / "a.txt").read_text() == "a.txt"
    assert not (volume / "shows" / "first" / "junk.tmp").exists()
    assert (volume / "shows" / "first" / "b.txt").read_text() == "a.txt"
    assert (volume / "shows" / "first" / "deep" / "b.txt").read_text() == "deep/b.txt"
    assert (volume / "shows" / "second" / "a.txt").read_text() == "a.txt"
    assert (volume / "models" / "piped.txt").read_text() == "made by a pipe\n"
    assert (volume / "models" / "kept.bin").read_bytes() == WEIGHTS
    assert (volume / "api" / "new.bin").read_bytes() == WEIGHTS
    assert (work / "part").read_bytes() == WEIGHTS[:100]


def test_the_page_has_its_examples():
    assert len(BLOCKS) >= 5
