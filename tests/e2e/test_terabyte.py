"""Ten thousand parts and a terabyte: the end copies nothing, and both ends can be read.

The parts are sparse files with the rows that an upload of zeros would have left: nothing of that size is sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from entrepot.domain.multipart import MAX_PARTS
from entrepot.domain.objects import BLOCK_SIZE
from entrepot.storage.blocks import checksums
from support.parts import Upload, alike, begin
from support.server import Server
from support.talk import Talk

PART = 96 * 1024 * 1024
SPARSE = MAX_PARTS - 1
LAST = b"the last of ten thousand parts"
SIZE = SPARSE * PART + len(LAST)
BLOCKS = checksums(bytes(BLOCK_SIZE)) * (PART // BLOCK_SIZE)


def digest_of_zeros(size: int) -> bytes:
    hasher = hashlib.sha256()
    for _ in range(size // BLOCK_SIZE):
        hasher.update(bytes(BLOCK_SIZE))
    return hasher.digest()


def lay_down(server: Server, upload: Upload) -> str:
    """Files and rows of all parts but the last, in a home that nobody has open. Returns their ETag."""
    sha256 = digest_of_zeros(PART)
    keys = [f"sparse/{n // 1024:x}/{n}" for n in range(SPARSE)]
    for key in keys:
        path = server.home / "blobs" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.truncate(PART)
    with closing(apsw.Connection(str(server.home / "catalogue.db"))) as db:
        db.execute("BEGIN IMMEDIATE")
        for nr, key in enumerate(keys, 1):
            db.execute("INSERT INTO blobs (nr, id, size, sha256) VALUES (?, ?, ?, ?)", (nr, f"blob-{nr}", PART, sha256))
            ((checks,),) = db.execute(
                "INSERT INTO checksums (size, blocks) VALUES (?, ?) RETURNING nr", (PART, BLOCKS)
            ).fetchall()
            db.execute("INSERT INTO segments VALUES (?, 0, ?, ?, ?)", (nr, key, PART, checks))
            part = (upload.id, nr, sha256.hex(), PART, sha256, nr, 1.0)
            db.execute("INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?, ?)", part)
        db.execute("COMMIT")
    return sha256.hex()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    if server.process is not None:
        server.kill()


@pytest.mark.timeout(600)
def test_a_terabyte_in_ten_thousand_parts_is_finished_without_a_copy_and_read_at_both_ends(server: Server) -> None:
    talk = Talk(server.start())
    upload = begin(talk, "gcs")
    server.stop()
    etag = lay_down(server, upload)
    server.start()
    parts = [{"partNumber": n, "etag": etag} for n in range(SPARSE, 0, -1)]
    parts.append(upload.part(MAX_PARTS, LAST))
    files = {path: path.stat().st_ino for path in (server.home / "blobs").rglob("*") if path.is_file()}
    assert SIZE > 10**12
    told = upload.finished(parts, size=SIZE)
    assert told["size"] == SIZE
    assert alike(told, upload.finished(parts))
    assert {path: path.stat().st_ino for path in (server.home / "blobs").rglob("*") if path.is_file()} == files
    assert sum(path.stat().st_blocks for path in files) * 512 < 64 * 1024 * 1024, "what is sparse stayed so"
    assert talk.head(upload.url).headers["content-length"] == str(SIZE)
    edge = SPARSE * PART
    for asked, expected in {
        "bytes=0-9": bytes(10),
        f"bytes={edge - 3}-{edge + 2}": bytes(3) + LAST[:3],
        f"bytes=-{len(LAST) + 2}": bytes(2) + LAST,
        f"bytes={SIZE // 2}-{SIZE // 2 + 99_999}": bytes(100_000),
    }.items():
        reply = talk.get(upload.url, range=asked)
        assert (reply.status, reply.body) == (206, expected)
    assert server.stop() == 0
