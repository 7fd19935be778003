"""What the README shows of fal's four pages, run word for word against a real server."""

from __future__ import annotations

import json
import shutil
import urllib.request

import pytest
from PIL import Image

from support.pages import blocks, said, surroundings
from support.server import Server

PYTHON = [block for block in blocks("README.md", "python") if "import entrepot" in block]
SHELL = blocks("README.md", "sh")

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def test_the_examples_of_all_four_pages_run_as_the_readme_shows_them(tmp_path):
    Image.new("RGB", (32, 16), "red").save(tmp_path / "picture.png")
    picture = (tmp_path / "picture.png").read_bytes()
    with Server(tmp_path / "server") as server:
        environ = surroundings(server, tmp_path)
        (program,) = PYTHON
        image, file = said(["python", "-c", program], tmp_path, environ).splitlines()
        url, *size = image.split()
        assert size == ["32", "16"]
        with urllib.request.urlopen(url) as reply:
            assert reply.read() == picture
        with urllib.request.urlopen(file) as reply:
            assert reply.read() == b"..."
        (lines,) = SHELL
        listed = said(["sh", "-e", "-c", lines], tmp_path, environ)
        with urllib.request.urlopen(json.loads((tmp_path / "begun.json").read_text())["file_url"]) as reply:
            assert reply.read() == picture
    entry = json.loads(listed.splitlines()[-1])[0]
    assert (entry["path"], entry["size"]) == ("images/picture.png", len(picture))
    assert (tmp_path / "back.png").read_bytes() == picture
