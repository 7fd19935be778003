"""Pages whose examples are lines for a shell: what they take for granted, and how they are run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from support.server import Server, clean_environ

ROOT = Path(__file__).parents[2]


def blocks(page: str, language: str) -> list[str]:
    """The examples of a page in one language, in their order."""
    text = (ROOT / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def surroundings(server: Server, folder: Path) -> dict[str, str]:
    """The variables of a shell that has `entrepot` and `python` on its path, and a server to talk to."""
    program(folder / "bin" / "entrepot", "-m entrepot.cli.main")
    program(folder / "bin" / "python", "")
    own = {"ENTREPOT_URL": server.url, "ENTREPOT_KEY": server.key}
    return clean_environ(folder, **own, PATH=f"{folder / 'bin'}:{os.environ['PATH']}")


def program(path: Path, start: str) -> None:
    """A program that starts the Python of the tests with these arguments first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {start} "$@"\n')
    path.chmod(0o755)


def said(command: list[str], folder: Path, environ: dict[str, str]) -> str:
    """What a command prints; its failure is the test's."""
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"
    return done.stdout
