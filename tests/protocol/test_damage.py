"""docs/threats.md C08: stored segments that were changed by hand. Never wrong bytes, always counted and logged."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.inside import segments_of
from support.server import Server
from support.talk import Talk, line

BLOCK = 65536
PIECE = 8 * BLOCK  # what a reader gets at once
SIZE = 3 * PIECE + 1000
DATA = hashlib.shake_128(b"seed").digest(SIZE)


def stored(talk: Talk, data: bytes = DATA) -> tuple[str, Path]:
    url = talk.upload(data)
    (path,) = segments_of(talk.server, url)
    return url, path


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def put_in_place(path: Path, made: Callable[[Path], None]) -> None:
    path.unlink()
    made(path)


WAYS: dict[str, Callable[[Path], None]] = {
    "one bit flipped": lambda path: flip(path, 5),
    "a bit at the end of the first block": lambda path: flip(path, BLOCK - 1),
    "truncated to nothing": lambda path: os.truncate(path, 0),
    "replaced by other bytes of the same size": lambda path: put_in_place(path, lambda p: os.truncate(_new(p), SIZE)),
    "deleted": Path.unlink,
    "replaced by a folder": lambda path: put_in_place(path, Path.mkdir),
    "replaced by a link to another file": lambda path: put_in_place(path, lambda p: p.symlink_to("/etc/passwd")),
    "replaced by a pipe": lambda path: put_in_place(path, os.mkfifo),
}


def _new(path: Path) -> Path:
    path.touch()
    return path


@pytest.mark.parametrize("way", WAYS)
def test_c08_damage_in_the_first_block_is_a_clear_500(talk: Talk, way: str) -> None:
    url, path = stored(talk)
    WAYS[way](path)
    for headers in ({}, {"range": "bytes=0-9"}):
        reply = talk.get(url, **headers)
        assert (reply.status, reply.json()["code"]) == (500, "integrity_failed")
        assert reply.headers["cache-control"] == "no-store"
    object_id = urlsplit(url).path.rpartition("/")[2][:22]
    logged = [entry["message"] for entry in talk.server.log_lines() if entry["logger"] == "entrepot.objects"]
    assert any(object_id in message for message in logged)


def test_c08_damage_in_a_small_file_is_a_clear_500(talk: Talk) -> None:
    url, path = stored(talk, b"small" * 100)
    flip(path, 7)
    assert talk.get(url).status == 500


LATER: dict[str, Callable[[Path], None]] = {
    "a bit flipped": lambda path: flip(path, 2 * PIECE + 5),
    "truncated": lambda path: os.truncate(path, 2 * PIECE + 5),
    "the last byte changed": lambda path: flip(path, SIZE - 1),
}


@pytest.mark.parametrize("way", LATER)
def test_c08_damage_further_on_cuts_the_connection_and_sends_no_wrong_byte(talk: Talk, way: str) -> None:
    url, path = stored(talk)
    LATER[way](path)
    with line(talk.server) as reader:
        reader.send_head("GET", urlsplit(url).path, connection="close")
        head, _, body = reader.rest().partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 200 "):
        assert b"content-length: %d" % SIZE in head
        assert len(body) < SIZE
        assert DATA.startswith(body)
    else:
        assert head.startswith(b"HTTP/1.1 500 ")


def test_c08_what_is_not_damaged_can_still_be_read(talk: Talk) -> None:
    url, path = stored(talk)
    flip(path, 2 * PIECE + 5)
    assert talk.get(url, range=f"bytes=100-{PIECE}").body == DATA[100 : PIECE + 1]
    tail = 2 * PIECE + BLOCK
    assert talk.get(url, range=f"bytes={tail}-").body == DATA[tail:]
    assert talk.get(url, range=f"bytes={2 * PIECE}-{2 * PIECE + 1}").status == 500


def test_c08_two_segments_that_were_exchanged_are_not_served(talk: Talk) -> None:
    (one, first), (two, second) = stored(talk), stored(talk, DATA[::-1])
    first.rename(first.with_name("x"))
    second.rename(first)
    first.with_name("x").rename(second)
    assert (talk.get(one).status, talk.get(two).status) == (500, 500)


def test_c08_a_restored_segment_is_served_again(talk: Talk) -> None:
    url, path = stored(talk)
    path.rename(path.with_name("away"))
    assert talk.get(url).status == 500
    path.with_name("away").rename(path)
    assert talk.get(url).body == DATA


def test_c08_head_needs_no_bytes_and_the_server_goes_on(talk: Talk, server: Server) -> None:
    url, path = stored(talk)
    path.unlink()
    assert talk.head(url).status == 200
    assert talk.get("/healthz").status == 200
