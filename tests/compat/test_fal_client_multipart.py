"""Large files with the unmodified stock `fal-client` 1.0.3: more than 100 MiB goes in parts of 10 MiB."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compat.test_fal_client import BOTH, STOCK, Stock, call
from support.inside import rows
from support.server import Server
from support.talk import Talk, line

pytestmark = pytest.mark.skipif(not STOCK.exists(), reason=f"the stock client is not installed at {STOCK}: make setup")
MIB = 1024 * 1024
THRESHOLD = 100 * MIB


@pytest.fixture
def stock(server: Server, tmp_path: Path) -> Stock:
    return Stock(server, tmp_path, server.url, server.url)


def large_file(path: Path, size: int) -> Path:
    """A file whose every MiB differs."""
    with path.open("wb") as file:
        for number in range(-(-size // MIB)):
            file.write(number.to_bytes(4, "big") * (MIB // 4))
        file.truncate(size)
    return path


def same(server: Server, url: str, path: Path) -> bool:
    return Talk(server).get(url).body == path.read_bytes()


def uploads(server: Server) -> int:
    return int(rows(server, "SELECT count(*) FROM uploads WHERE kind = 'multipart'")[0][0])


@BOTH
@pytest.mark.parametrize("over", [0, 1], ids=["at the threshold", "one byte over it"])
def test_a_large_file_goes_in_one_piece_up_to_the_threshold_and_in_parts_above(
    stock: Stock, wait: str, over: int
) -> None:
    data = large_file(stock.folder / "model.safetensors", THRESHOLD + over)
    before = uploads(stock.server)
    upload = call(wait, "fal_client.upload_file('model.safetensors')")
    url = stock.says(f"say(url={upload})")["url"]
    assert same(stock.server, url, data)
    assert uploads(stock.server) - before == over
    assert url.endswith("_model.safetensors")


@BOTH
def test_many_bytes_in_memory_go_in_parts_and_keep_their_lifetime(stock: Stock, wait: str) -> None:
    lifecycle = 'StorageSettings(expires_in="1h", initial_acl=StorageACL(default="forbid"))'
    data = large_file(stock.folder / "data", THRESHOLD + 12 * MIB + 345)
    upload = call(wait, f"fal_client.upload(data, 'video/mp4', file_name='a.mp4', lifecycle={lifecycle})")
    url = stock.says(f"data = open('data', 'rb').read()\nsay(url={upload})")["url"]
    talk = Talk(stock.server)
    assert talk.get(url).status == 403
    reply = talk.get(url, **talk.key)
    assert reply.body == data.read_bytes()
    assert reply.headers["content-type"] == "video/mp4"
    assert "x-entrepot-expires-at" in reply.headers


@BOTH
def test_a30_parts_that_are_sent_once_all_arrive_at_a_server_that_takes_one_body_at_a_time(
    serve: Callable[..., Server], tmp_path: Path, wait: str
) -> None:
    server = serve(max_concurrent_bodies="1", stall_timeout="5")
    stock = Stock(server, tmp_path, server.url, server.url)
    data = large_file(tmp_path / "big.bin", THRESHOLD + 5 * MIB)
    with line(server) as other:  # somebody else holds the only place when the upload begins
        target = Talk(server).initiate()["upload_url"].removeprefix(server.url)
        other.send_head("PUT", target, host="x", content_length=str(3 * MIB))
        other.send(b"z" * (2 * MIB))
        upload = call(wait, "fal_client.upload_file('big.bin')")
        url = stock.says(f"say(url={upload})")["url"]
        assert other.answer("PUT").status == 408, "who stands still loses his place"
    assert same(server, url, data)
    refused = [e for e in server.log_lines() if e.get("status") in (429, 503) and "multipart" in e.get("path", "")]
    assert refused == []


@BOTH
def test_a_part_that_is_refused_ends_the_upload_at_once(
    serve: Callable[..., Server], tmp_path: Path, wait: str
) -> None:
    """The client sends no part twice and gives up at the first refusal."""
    server = serve(max_upload_size="1M")
    stock = Stock(server, tmp_path, server.url, server.url)
    large_file(tmp_path / "big.bin", THRESHOLD + 1)
    told = stock.says(f"""
try:
    {call(wait, "fal_client.upload_file('big.bin')")}
except Exception as error:
    say(kind=type(error).__name__, text=str(error))
""")
    assert told["kind"]
    parts = [e for e in server.log_lines() if e.get("method") == "PUT"]
    assert {e["status"] for e in parts} <= {413, 0, 200}
    assert len(parts) <= 11
