"""The unmodified stock `@fal-ai/client` 1.10.1 under Node against a real server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.server import Server, clean_environ
from support.talk import Talk

JS = Path(__file__).with_name("js")
NODE = shutil.which("node")
pytestmark = [
    pytest.mark.skipif(NODE is None, reason="there is no node: the stock JavaScript client is not tested"),
    pytest.mark.skipif(
        not (JS / "node_modules" / "@fal-ai" / "client").exists(),
        reason=f"the stock JavaScript client is not installed in {JS}: make setup, with npm",
    ),
]
MIB = 1024 * 1024
THRESHOLD = 90 * MIB  # more than this goes in parts of 10 MiB


def uploaded(server: Server, folder: Path, *files: dict[str, Any], input: bool = False) -> dict[str, Any]:
    wish = json.dumps({"origin": server.url, "key": server.key, "files": files, "input": input})
    env = clean_environ(folder)
    done = subprocess.run(
        [str(NODE), str(JS / "upload.mjs")], input=wish, env=env, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def large_file(path: Path, size: int) -> Path:
    """A file whose every part differs."""
    with path.open("wb") as file:
        for number in range(-(-size // MIB)):
            file.write(number.to_bytes(4, "big") * (MIB // 4))
        file.truncate(size)
    return path


def same(server: Server, url: str, path: Path) -> bool:
    return Talk(server).get(url).body == path.read_bytes()


def test_small_files_of_any_name_and_type_come_back(server: Server, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"\x00\x01small\xff")
    names = ["cat.png", "clip é.mp4", "日本語 😀.webp", "a#b?c%d+e.txt", "no extension"]
    told = uploaded(server, tmp_path, *({"path": str(data), "name": name, "type": "video/mp4"} for name in names))
    for url in told["urls"]:
        assert url.isascii()
        assert same(server, url, data)
        assert Talk(server).head(url).headers["content-type"] == "video/mp4"
    assert told["asked"] == [["POST", "/storage/upload/initiate"], ["PUT", "/files/b/"]] * len(names)


def test_a_blob_without_a_name_gets_one_of_its_type(server: Server, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"<svg/>")
    types = ["text/plain", "image/svg+xml", "application/octet-stream", "image/jpeg", ""]
    told = uploaded(server, tmp_path, *({"path": str(data), "type": kind} for kind in types))
    assert [re.sub(r".*_\d+", "", url) for url in told["urls"]] == [
        ".plain", ".svg%2Bxml", ".octet", ".jpeg", ".octet",
    ]  # fmt: skip
    assert all(same(server, url, data) for url in told["urls"])


def test_an_empty_file_and_a_lifetime_and_an_input_that_holds_files(server: Server, tmp_path: Path) -> None:
    lifecycle = {"expiresIn": "1h", "initialAcl": {"default": "forbid", "rules": []}}
    empty = {"name": "empty.txt", "type": "text/plain"}
    told = uploaded(server, tmp_path, empty, {**empty, "lifecycle": lifecycle}, input=True)
    talk = Talk(server)
    assert (talk.get(told["urls"][0]).status, talk.get(told["urls"][0]).body) == (200, b"")
    assert talk.get(told["urls"][1]).status == 403
    assert "x-entrepot-expires-at" in talk.get(told["urls"][1], **talk.key).headers
    assert (talk.get(told["walked"]["list"][0]).body, told["walked"]["n"]) == (b"walked", 1)


@pytest.mark.parametrize("over", [0, 1], ids=["at the threshold", "one byte over it"])
def test_a_large_file_goes_in_one_piece_up_to_the_threshold_and_in_parts_above(
    server: Server, tmp_path: Path, over: int
) -> None:
    data = large_file(tmp_path / "data", THRESHOLD + over)
    told = uploaded(server, tmp_path, {"path": str(data), "name": "clip é.mp4", "type": "video/mp4"})
    methods = [method for method, _ in told["asked"]]
    assert methods == (["POST", *["PUT"] * 10, "POST"] if over else ["POST", "PUT"])
    (url,) = told["urls"]
    assert same(server, url, data)
    headers = Talk(server).head(url).headers
    assert (headers["content-type"], headers["content-length"]) == ("video/mp4", str(THRESHOLD + over))


def test_a_large_file_keeps_its_lifetime(server: Server, tmp_path: Path) -> None:
    data = large_file(tmp_path / "data", THRESHOLD + 12_345)
    wish = {"path": str(data), "name": "a.bin", "type": "a/b", "lifecycle": {"expiresIn": 7200}}
    (url,) = uploaded(server, tmp_path, wish)["urls"]
    assert "x-entrepot-expires-at" in Talk(server).head(url).headers
    assert same(server, url, data)
