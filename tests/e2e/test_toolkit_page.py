"""The examples of docs/toolkit.md, run in their order against a real server."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import pytest
from PIL import Image as PilImage

import entrepot
from entrepot import toolkit
from support.server import Server

PAGE = Path(__file__).parents[2] / "docs" / "toolkit.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture
def names(server, tmp_path, monkeypatch):
    """What the page takes for granted: a server, a key, and some things by their names."""
    monkeypatch.setenv("ENTREPOT_URL", server.url)
    monkeypatch.setenv("FAL_KEY", server.key)
    monkeypatch.setenv("ENTREPOT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ENTREPOT_VOLUME", str(tmp_path / "data"))
    picture = PilImage.new("RGBA", (32, 16), "red")
    png = io.BytesIO()
    picture.save(png, "png")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("one.png", png.getvalue())
        archive.writestr("two.txt", "two")
    client = entrepot.SyncClient(server.key, url=server.url)
    given = {
        "url": str(client.upload(png.getvalue(), "image/png", "in.png")),
        "archive_url": str(client.upload(packed.getvalue(), "application/zip", "in.zip")),
        "data_uri": entrepot.encode(png.getvalue(), "image/png"),
        "pil_image": picture,
        "raw_bytes": png.getvalue(),
        "wav_bytes": b"RIFF$\x00\x00\x00WAVEfmt \x10\x00\x00\x00" + bytes(24),
        "data": b"some bytes",
    }
    client.close()
    for name in ("output.png", "output.mp4", "output.wav", "result.obj"):
        (tmp_path / name).write_bytes(png.getvalue() if name.endswith("png") else b"content of " + name.encode())
    return given


def test_the_page_has_its_examples():
    assert len(BLOCKS) >= 14


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_of_the_page_works(number, names, tmp_path):
    code = BLOCKS[number].replace("/tmp", str(tmp_path))
    exec(compile(code, f"{PAGE.name}, example {number + 1}", "exec"), names)
    if "path" in names and "as_temp_file" not in code:
        assert names["path"].read_bytes() == names["raw_bytes"]
    if "png_files" in names:
        assert [each.name for each in names["png_files"]] == ["one.png"]
    made = [value for value in names.values() if isinstance(value, toolkit.File) and "CompressedFile" not in code]
    for value in made:
        assert value.url and value.content_type and value.file_name and value.file_size
    if "content" in names:
        assert names["content"] == names["raw_bytes"]
    if "size" in names:
        assert names["size"] == (32, 16)


@pytest.mark.parametrize("name", toolkit.__all__)
def test_every_name_of_the_toolkit_is_there(name):
    assert getattr(toolkit, name) is not None
