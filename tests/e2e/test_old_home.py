"""A home of the previous version, with everything that a home can hold, is migrated at the first start and served."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support import old_home
from support.files import Files
from support.inside import rows
from support.old_home import BIG, PIECES, PNG, app_facts, digest, object_replies, volume_contents
from support.parts import Upload, alike
from support.server import Server
from support.talk import eventually
from support.volumedoors import spelled

HEADROOM = 1 << 20  # quota beyond the usage of the fixture
EXPECTED: dict[str, Any] = json.loads((old_home.FIXTURES / "home-0002.json").read_text("utf-8"))
KEYS = EXPECTED["keys"]


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    """The server of this version on the old home."""
    settings = {
        "multipart_ttl": old_home.LONG, "tombstone_ttl": old_home.LONG, "trash_ttl": old_home.LONG,
        "clock_jump_pause": "0", "sweep_interval": "0.2", "orphan_grace": "60",
        "account_quota": str(EXPECTED["usage"] + HEADROOM), "volume_quota": "1G",
    }  # fmt: skip
    server = Server(tmp_path / "server", settings, key=KEYS["first"])
    try:
        old_home.unpack(old_home.FIXTURES / "home-0002.tar.xz", server.home)
    except OSError as error:
        pytest.skip(f"no extended attributes on this file system: {error}")
    assert version(server.home) == 2
    yield Files(server.start())
    server.stop()


def version(home: Path) -> int:
    """The schema version in the header of a catalogue file."""
    return int.from_bytes((home / "catalogue.db").read_bytes()[60:64], "big")


def test_home_of_previous_version_is_migrated_and_served(files: Files, tmp_path: Path) -> None:
    server = files.server
    newest = Server(tmp_path / "new")
    newest.new_key()
    ((now,),) = rows(server, "PRAGMA user_version")
    assert now == version(newest.home)
    check_objects(files)
    assert volume_contents(files) == EXPECTED["volume"]
    check_keys(server)
    check_expiry_and_orphans(files)
    left = HEADROOM - check_usage(files)
    left -= finish_open_uploads(files)
    check_ended_uploads(files)
    assert files.post("/files/upload", bytes(left + 1), content_type="image/png").status == 413
    files.upload(bytes(left), content_type="image/png")
    check_volume(files)
    check_objects(files)
    assert server.stop() == 0
    assert "Traceback" not in server.log()


def check_objects(files: Files) -> None:
    keys = {"nobody": None, **KEYS}
    for name, expected in EXPECTED["objects"].items():
        assert object_replies(files, expected["target"], keys) == expected, name
    big = EXPECTED["objects"]["big"]["target"]
    seam = files.get(big, range="bytes=67108000-67109999")  # across the boundary of two segments
    assert (seam.status, seam.body) == (206, BIG[67108000:67110000])


def check_keys(server: Server) -> None:
    listed = server.run("keys", "list", "--json", "--home", str(server.home)).stdout.splitlines()
    assert sorted(listed) == EXPECTED["listed keys"]


def check_expiry_and_orphans(files: Files) -> None:
    """The expired object and the orphan recorded long ago are removed; the newer orphan is recorded."""
    blobs = files.server.home / "blobs"
    recorded, new = (blobs / EXPECTED[name] for name in ("recorded orphan", "new orphan"))
    assert files.get(EXPECTED["unswept"]).status == 410
    eventually(lambda: not recorded.exists())
    assert new.exists()
    eventually(lambda: rows(files.server, "SELECT key FROM orphans") == [(EXPECTED["new orphan"],)])
    swept = "SELECT 1 FROM objects WHERE path = ? AND state = 'expired'"
    eventually(lambda: rows(files.server, swept, EXPECTED["unswept"]))
    eventually(lambda: not rows(files.server, "SELECT 1 FROM blobs WHERE state <> 'live'"))
    assert files.get(EXPECTED["unswept"]).status == 410


def check_usage(files: Files) -> int:
    """Compare the usage of the account with its quota; returns the bytes added."""
    assert files.post("/files/upload", bytes(HEADROOM + 1), content_type="image/png").status == 413
    files.upload(bytes(1000), content_type="image/png")
    return 1000


def finish_open_uploads(files: Files) -> int:
    """Finish the open uploads; returns the bytes added."""
    single = EXPECTED["single"]
    assert files.put(single["url"], PNG + b"late", content_type="image/png").status == 200
    assert files.get(single["target"]).body == PNG + b"late"
    added = len(PNG + b"late")
    for expected in EXPECTED["open"]:
        upload = upload_of(files, expected)
        listed = {part["partNumber"]: part["etag"] for part in upload.listing().json()["parts"]}
        assert listed == {part["partNumber"]: part["etag"].strip('"') for part in expected["cited"]}
        upload.finished([*expected["cited"], upload.part(3, PIECES[2])])
        assert digest(files.get(upload.url).body) == digest(b"".join(PIECES))
        # The earlier attempt at part 2 was counted until now.
        added += len(PIECES[2]) - len(b"an earlier attempt")
    return added


def upload_of(files: Files, expected: dict[str, Any]) -> Upload:
    credential = {} if expected["door"] == "rest" else files.key
    return Upload(files, expected["door"], expected["url"], expected["base"], expected["query"], credential)


def check_ended_uploads(files: Files) -> None:
    headers, objects = EXPECTED["idempotent"], EXPECTED["objects"]
    repeated = files.post("/files/upload", PNG + b"once", **headers)
    assert repeated.status == 200
    assert urlsplit(repeated.json()["access_url"]).path == objects["idempotent"]["target"]
    assert files.post("/files/upload", PNG + b"other", **headers).status in (409, 412, 422)
    assert files.put(EXPECTED["repeated"], PNG + b"done", content_type="image/png").status == 200
    assert files.put(EXPECTED["repeated"], PNG + b"other", content_type="image/png").status == 412
    ended, first = upload_of(files, EXPECTED["ended"]), EXPECTED["ended"]["reply"]
    again = ended.finished(EXPECTED["ended"]["cited"])
    origin = f"http://{urlsplit(first['access_url']).netloc}"
    assert alike(json.loads(json.dumps(first).replace(origin, files.server.url)), again)
    assert upload_of(files, EXPECTED["aborted"]).put(2, PIECES[1]).status in (404, 410)


def check_volume(files: Files) -> None:
    expected = EXPECTED["volume upload"]
    base = f"file/multipart/{expected['path']}/{expected['id']}"
    listed = files.v1("GET", base).json()["parts"]
    assert {(part["part_number"], part["etag"]) for part in listed} == {
        (part["part_number"], part["etag"]) for part in expected["cited"]
    }
    second = files.v1("PUT", f"{base}/2", PIECES[1]).json()["etag"]
    cited = sorted([*expected["cited"], {"part_number": 2, "etag": second}], key=lambda part: part["part_number"])
    done = files.v1("POST", f"{base}/complete", {"parts": cited})
    assert done.status in (200, 201), done.body
    assert files.read(expected["path"]) == b"".join(PIECES)
    for path, trash_id, _ in EXPECTED["volume"]["trash"]:
        restored = files.v1("POST", f"trash/{trash_id}/restore", {})
        assert restored.status in (200, 201), (path, restored.body)
    assert (files.read("gone.txt"), files.read("deleted/a"), files.read("deleted/b/c")) == (b"deleted", b"a", b"c")
    assert files.v1("GET", "trash").json() == []
    opened, expected = app_facts(b"open()")[0], EXPECTED["app upload"]
    assert files.old("POST", "missing_hashes", {"hashes": [EXPECTED["app"], opened]}).json() == [opened]
    wish = {"parts": expected["id"]["cited"], "metadata": expected["facts"]}
    upload_id = expected["id"]["upload_id"]
    assert files.old("POST", f"app/multipart/{opened}/{upload_id}/complete", wish).status == 200
    assert files.old("POST", "missing_hashes", {"hashes": [opened]}).json() == []
    published = files.v1("POST", f"publish/{spelled('models/ü 日本.txt')}", {})
    assert published.status == 413  # quota_exceeded
    assert os.listxattr(files.root / "models" / "a.bin")
