"""The README's tour, run from top to bottom as one script, by a newcomer on a server's first start."""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from pathlib import Path

import pytest

from support.pages import ROOT, program, said
from support.server import FirstServer, clean_environ

PICTURE = (ROOT / "docs" / "picture.png").read_bytes()

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


class Clone(FirstServer):
    """A server as `make serve` starts it: its home lies in the clone."""

    @property
    def home(self) -> Path:
        return self.folder / ".entrepot"


def blocks() -> list[str]:
    """The tour's examples in their order, each as lines for a shell."""
    readme = (ROOT / "README.md").read_text("utf-8")
    (tour,) = re.findall(r"^## A tour\n(.*?)^## ", readme, re.MULTILINE | re.DOTALL)
    found = re.findall(r"^```(sh|python)\n(.*?)^```", tour, re.MULTILINE | re.DOTALL)
    return [f"python - <<'END'\n{code}END\n" if language == "python" else code for language, code in found]


def clone(folder: Path) -> None:
    """What a newcomer's folder has after `make serve`; `make setup` links what the tests have prepared. The packages
    of the tests alone, Pillow among them, cannot be imported there."""
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "picture.png").write_bytes(PICTURE)
    (folder / "bare" / "PIL").mkdir(parents=True)
    (folder / "bare" / "PIL" / "__init__.py").write_text("raise ModuleNotFoundError('No module named PIL', name='PIL')")
    program(folder / ".venv" / "bin" / "entrepot", "-m entrepot.cli.main")
    program(folder / ".venv" / "bin" / "python", "")
    make = folder / "bin" / "make"
    make.parent.mkdir()
    make.write_text(f'#!/bin/sh\n[ "$*" = setup ] && ln -s "{ROOT}/.venv-fal-client" .venv-fal-client\n')
    make.chmod(0o755)


def test_n1_the_tour_works_line_by_line(tmp_path):
    clone(tmp_path)
    lines = blocks()
    assert len(lines) >= 7
    with Clone(tmp_path) as server:
        server.said()
        script = "".join(lines).replace("http://127.0.0.1:8000", server.url)
        path = f"{tmp_path / 'bin'}:{clean_environ(tmp_path)['PATH']}"
        printed = said(
            ["sh", "-e", "-c", script], tmp_path, clean_environ(tmp_path, PATH=path, PYTHONPATH=str(tmp_path / "bare"))
        )
        url, same, status = printed.splitlines()[:3]
        assert (same, status) == ("same", "HTTP/1.1 206 Partial Content")
        image, width, height = re.findall(r"^(http\S+) (\d+) (\d+)$", printed, re.MULTILINE)[0]
        assert (width, height) == ("320", "200")
        begun = json.loads((tmp_path / "begun.json").read_text())["file_url"]
        (piped,) = re.findall(r"^http\S+_piped\.png$", printed, re.MULTILINE)
        stock = re.findall(r"^http\S+_picture\.png$", printed, re.MULTILINE)[-1]
        for each in (url, image, begun, piped, stock):
            with urllib.request.urlopen(each) as reply:
                assert reply.read() == PICTURE
    assert '"path":"images/picture.png"' in printed
    (downloaded,) = (tmp_path / "inputs").iterdir()
    assert (tmp_path / "back.png").read_bytes() == downloaded.read_bytes() == PICTURE
