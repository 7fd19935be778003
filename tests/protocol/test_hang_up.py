"""A client that hangs up in the middle of a sparse 16 GiB object delays nobody."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from entrepot.domain.acl import PUBLIC
from entrepot.domain.objects import BLOCK_SIZE, Blob, Object, Segment
from entrepot.storage.blocks import checksums
from support.inside import rows, with_metadata
from support.server import Server
from support.talk import Line, Talk, eventually, line

GIB = 1024**3
SEGMENT = 4 * GIB
SEGMENTS = 4
SIZE = SEGMENT * SEGMENTS
OBJECT_ID = "S" * 22


def publish_sparse(server: Server) -> str:
    """Put a file of zeros that takes no room into a home that is not served, and return its path."""
    store = server.home / "blobs" / "sparse" / "0"
    store.mkdir(parents=True)
    blocks = checksums(bytes(BLOCK_SIZE)) * (SEGMENT // BLOCK_SIZE)
    for number in range(SEGMENTS):
        _sparse_file(store / str(number), SEGMENT)
    segments = tuple(Segment(f"sparse/0/{number}", SEGMENT, blocks) for number in range(SEGMENTS))
    # Any digest will do: nobody here compares it, and the keeper need not read 16 GiB to find it out.
    blob = Blob("sparse-blob", SIZE, bytes(range(32)), segments)
    ((account,),) = rows(server, "SELECT id FROM accounts")
    path = f"/files/b/00000000/{OBJECT_ID}_{quote('huge.bin')}"
    kind = "application/octet-stream"
    obj = Object(OBJECT_ID, path, "huge.bin", account, blob.id, SIZE, blob.sha256, kind, None, False, PUBLIC, 1e9)
    with_metadata(server, lambda metadata: metadata.objects.publish(obj, blob))
    return path


def _sparse_file(path: Path, size: int) -> None:
    path.touch(0o600)
    os.truncate(path, size)
    assert path.stat().st_blocks == 0


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Talk, str]]:
    """One worker, so that whoever holds it up holds everybody up."""
    server = Server(tmp_path_factory.mktemp("sparse"), {"workers": "1"})
    server.key = server.new_key()
    path = publish_sparse(server)
    with server:
        yield Talk(server), path


def access_lines(talk: Talk, path: str) -> list[dict[str, object]]:
    return [entry for entry in talk.server.log_lines() if entry.get("path") == path]


def begin(talk: Talk, path: str) -> Line:
    """Ask for the whole file and read a little of it."""
    reader = line(talk.server)
    reader.send_head("GET", path)
    assert reader.receive_exactly(1 << 20).startswith(b"HTTP/1.1 200 ")
    return reader


@pytest.mark.parametrize("way", ["close", "reset", "half_close"])
def test_a_reader_that_hangs_up_ends_its_reply_at_once(huge: tuple[Talk, str], way: str) -> None:
    talk, path = huge
    before = len(access_lines(talk, path))
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            getattr(stack.enter_context(begin(talk, path)), way)()
        ended = eventually(lambda: len(found := access_lines(talk, path)[before:]) == 4 and found)
    for entry in ended:
        assert entry["outcome"] == "client_gone"
        assert isinstance(entry["bytes"], int)
        assert entry["bytes"] < GIB // 4, "far from the 16 GiB that it would have run through"


def test_others_are_answered_while_many_read_and_hang_up(huge: tuple[Talk, str]) -> None:
    talk, path = huge
    small = talk.upload(b"small")
    before = len(access_lines(talk, path))
    answered = 0
    for round_ in range(6):
        readers = [begin(talk, path) for _ in range(3)]
        answered += talk.get(small).body == b"small"
        for reader in readers:
            reader.reset() if round_ % 2 else reader.close()
        answered += talk.get(small).body == b"small"
        answered += talk.post("/files/upload", b"x").status == 200
    assert answered == 18
    # All these answers came before even one of the 18 replies had gone out whole.
    ended = eventually(lambda: len(found := access_lines(talk, path)[before:]) == 18 and found)
    assert sum(int(str(entry["bytes"])) for entry in ended) < SIZE // 4


def test_a_reader_that_pipelines_another_request_and_hangs_up_is_noticed_too(huge: tuple[Talk, str]) -> None:
    talk, path = huge
    before = len(access_lines(talk, path))
    reader = line(talk.server)
    reader.send(b"GET %s HTTP/1.1\r\nhost: x\r\n\r\n" % path.encode() * 2)
    reader.receive_exactly(1 << 20)
    reader.reset()
    assert talk.get("/healthz").status == 200
    ended = eventually(lambda: access_lines(talk, path)[before:])
    assert int(str(ended[0]["bytes"])) < SIZE


def test_ranges_anywhere_in_a_huge_file_are_served(huge: tuple[Talk, str]) -> None:
    talk, path = huge
    reply = talk.get(path, range=f"bytes={SEGMENT - 5}-{SEGMENT + 4}")
    assert (reply.status, reply.body) == (206, bytes(10))
    assert talk.get(path, range="bytes=-7").headers["content-range"] == f"bytes {SIZE - 7}-{SIZE - 1}/{SIZE}"
    assert talk.head(path).headers["content-length"] == str(SIZE)
