"""The examples of docs/volume.md, run in their order by a shell against a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.server import Server, clean_environ

PAGE = Path(__file__).parents[2] / "docs" / "volume.md"
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
WEIGHTS = os.urandom(11 * 1024 * 1024 + 5)  # more than one part

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A server, a folder with what the page takes for granted, and an `entrepot` on the path."""
    folder = tmp_path_factory.mktemp("page")
    with Server(folder / "server") as server:
        work = folder / "work"
        (work / "renders" / "deep").mkdir(parents=True)
        (work / "weights.bin").write_bytes(WEIGHTS)
        for name in ("a.txt", "deep/b.txt", "junk.tmp"):
            (work / "renders" / name).write_text(name)
        (server.home / "data" / "models").mkdir(parents=True, exist_ok=True)
        (server.home / "data" / "models" / "notes.txt").write_text("written by a program on disk\n")
        (folder / "bin").mkdir()
        script = folder / "bin" / "entrepot"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m entrepot.cli.main "$@"\n')
        script.chmod(0o755)
        own = {"ENTREPOT_URL": server.url, "ENTREPOT_KEY": server.key}
        environ = clean_environ(folder, **own, PATH=f"{folder / 'bin'}:{os.environ['PATH']}")
        yield server, work, environ


def test_every_block_of_the_page_runs_without_an_error(place):
    server, work, environ = place
    said = []
    for number, block in enumerate(BLOCKS, 1):
        done = subprocess.run(
            ["sh", "-e", "-c", block], cwd=work, env=environ, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"block {number}:\n{block}\n{done.stdout}{done.stderr}"
        said.append(done.stdout)
    volume = server.home / "data"
    assert "written by a program on disk" in said[0]
    assert "notes.txt" in said[0]
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
