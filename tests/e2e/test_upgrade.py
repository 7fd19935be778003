"""Uploads in flight across a change of the schema (docs/threats.md H11)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from entrepot.metadata import queries
from entrepot.metadata.base import MetadataFailed
from entrepot.metadata.sqlite import connect
from support.metadata import Catalogue
from support.parts import DOORS, alike, begin
from support.server import Server
from support.talk import Talk

# The server of these tests knows one step more than the one that ran on the home before.
NEXT = """
ALTER TABLE uploads ADD COLUMN colour TEXT;
CREATE INDEX uploads_colour ON uploads (colour) WHERE colour IS NOT NULL;
UPDATE parts SET received_at = received_at + 0.0;
"""
SITE = """
import os
if step := os.environ.get("ENTREPOT_TEST_STEP"):
    from entrepot.metadata import queries
    from entrepot.metadata.sqlite import connect
    known = queries.migrations("sqlite")
    connect.migrations = lambda database: [*known, step]
"""
PIECES = [b"one" * 100_000, b"two" * 100_000, b"three" * 50_000]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    yield server
    if server.process is not None:
        server.kill()


def version(server: Server) -> int:
    with closing(apsw.Connection(str(server.home / "catalogue.db"))) as db:
        return int(db.execute("PRAGMA user_version").get)


def upgraded(server: Server, folder: Path) -> Server:
    """The same server as of the next version, on the same home."""
    (folder / "newer").mkdir()
    (folder / "newer" / "sitecustomize.py").write_text(SITE)
    server.environ = {"PYTHONPATH": str(folder / "newer"), "ENTREPOT_TEST_STEP": NEXT}
    return server


@pytest.mark.parametrize("crash", [False, True], ids=["after a stop", "after a crash"])
def test_h11_uploads_in_flight_go_on_after_an_upgrade(server: Server, tmp_path: Path, crash: bool) -> None:
    talk = Talk(server.start())
    kept = talk.upload(b"kept")
    single = talk.initiate()
    uploads = [begin(talk, door) for door in DOORS]
    first = [upload.part(1, PIECES[0]) for upload in uploads]
    ended = begin(talk)
    ended_parts = ended.parts(PIECES)
    told = ended.finished(ended_parts)
    old = version(server)
    if crash:
        server.kill()
    else:
        assert server.stop() == 0
    upgraded(server, tmp_path).start()
    assert version(server) == old + 1
    for upload, part in zip(uploads, first, strict=True):
        (listed,) = upload.listing().json()["parts"]
        assert listed["etag"] == part["etag"].strip('"')
        upload.finished([part, upload.part(2, PIECES[1]), upload.part(3, PIECES[2])])
        assert talk.get(upload.url).body == b"".join(PIECES)
    assert talk.put(single["upload_url"], b"single").status == 200
    assert talk.get(kept).body == b"kept"
    assert alike(told, ended.finished(ended_parts))


def test_h11_a_home_of_a_newer_version_is_refused_and_left_as_it_is(server: Server, tmp_path: Path) -> None:
    talk = Talk(upgraded(server, tmp_path).start())
    upload = begin(talk)
    part = upload.part(1, PIECES[0])
    server.stop()
    newer, newest = dict(server.environ), version(server)
    server.environ = {}
    for arguments in (server.arguments(), ["keys", "list", "--home", str(server.home)]):
        refused = server.run(*arguments, check=False)
        assert refused.returncode != 0
        assert f"schema {newest}" in refused.stderr
        assert "newer Entrepot" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert version(server) == newest
    server.environ = newer
    server.start()
    upload.finished([part])
    assert talk.get(upload.url).body == PIECES[0]


def test_h11_a_step_that_fails_leaves_the_older_schema_and_its_uploads(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(server.start())
    upload = begin(talk)
    part = upload.part(1, PIECES[0])
    server.stop()
    old = version(server)
    monkeypatch.setattr(
        connect, "migrations", lambda database: [*queries.migrations(database), NEXT + "SELECT no_such_function();"]
    )
    with pytest.raises(MetadataFailed):
        asyncio.run(Catalogue(server.home / "catalogue.db").close())
    assert version(server) == old
    server.start()
    upload.finished([part])
    assert talk.get(upload.url).body == PIECES[0]
