"""The examples of docs/client.md, run in their order against a real server."""

from __future__ import annotations

import asyncio
import os
import re
import urllib.request
from pathlib import Path

import pytest

import entrepot
from entrepot.client import errors
from entrepot.client.errors import EntrepotError, ServerError
from support.server import Server

PAGE = Path(__file__).parents[2] / "docs" / "client.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
# One pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360f8cfc0f01f00050001ff56c72f0d0000000049454e44ae426082"
)
MODEL = os.urandom(3 * 1024 * 1024 + 17)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture
def surroundings(server, tmp_path, monkeypatch):
    """What the page takes for granted: a server, a key, files, and two names."""
    (tmp_path / "path" / "to").mkdir(parents=True)
    (tmp_path / "path" / "to" / "image.png").write_bytes(PNG)
    (tmp_path / "path" / "to" / "model.bin").write_bytes(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENTREPOT_URL", server.url)
    monkeypatch.setenv("FAL_KEY", server.key)
    monkeypatch.setenv("ENTREPOT_STATE", str(tmp_path / "state"))
    return {"image_bytes": PNG, "server_url": server.url, "key": server.key}


def fetched(url: str, key: str) -> bytes:
    with urllib.request.urlopen(url) as reply:
        return reply.read()


def test_the_page_has_its_examples():
    assert len(BLOCKS) >= 12


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_of_the_page_works(number, server, surroundings):
    code = BLOCKS[number]
    if "PIL" in code:
        pytest.importorskip("PIL", reason="Pillow is not installed")
    names = dict(surroundings)
    exec(compile(code, f"{PAGE.name}, example {number + 1}", "exec"), names)
    if "main" in names:
        names["url"] = asyncio.run(names["main"]())
    url = names.get("url")
    if url is None or 'default="forbid"' in code:
        return
    sent = MODEL if "model.bin" in code else PNG
    if "frames" in names:
        sent = b"frame 0\nframe 1\nframe 2\n"
    if "upload_image" not in code:
        assert fetched(url, server.key) == sent
        assert isinstance(url, entrepot.FileUrl) and url.size == len(sent)


@pytest.mark.parametrize("name", entrepot.__all__)
def test_every_public_name_is_there_and_is_described(name):
    assert getattr(entrepot, name) is not None
    if not name.startswith("_") and not name.endswith("_async"):
        assert name in PAGE.read_text("utf-8")


def test_every_error_is_of_one_tree_and_is_described_with_its_code():
    raised = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)}
    found = {each for each in raised if issubclass(each, EntrepotError)}
    told = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE))
    assert found == raised
    assert told == {each.__name__: each.code for each in found - {EntrepotError, ServerError}}
    assert len(set(told.values())) == len(told) > 5
