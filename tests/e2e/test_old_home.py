"""A home made by the version before, with all that can be in one, is migrated by the first start and served whole."""

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
from support.old_home import BIG, PIECES, PNG, app_facts, digest, seen, volume_of
from support.parts import Upload, alike
from support.server import Server
from support.talk import eventually
from support.volumedoors import spelled

ROOM = 1 << 20  # what the account may store beyond what it held
EXPECTED: dict[str, Any] = json.loads((old_home.FIXTURES / "home-0002.json").read_text("utf-8"))
KEYS = EXPECTED["keys"]


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    """The server of today on the old home."""
    settings = {
        "multipart_ttl": old_home.LONG, "tombstone_ttl": old_home.LONG, "trash_ttl": old_home.LONG, "clock_guard": "0",
        "sweep_interval": "0.2", "orphan_grace": "60", "account_quota": str(EXPECTED["usage"] + ROOM),
        "volume_quota": "1G",
    }  # fmt: skip
    server = Server(tmp_path / "server", settings, key=KEYS["first"])
    try:
        old_home.unpack(old_home.FIXTURES / "home-0002.tar.xz", server.home)
    except OSError as error:
        pytest.skip(f"this file system keeps no extended attributes: {error}")
    assert version(server.home) == 2
    yield Files(server.start())
    server.stop()


def version(home: Path) -> int:
    """The version of a catalogue's schema, read from its file."""
    return int.from_bytes((home / "catalogue.db").read_bytes()[60:64], "big")


def test_a_home_of_the_version_before_is_migrated_and_served_whole(files: Files, tmp_path: Path) -> None:
    server = files.server
    newest = Server(tmp_path / "new")
    newest.new_key()
    ((now,),) = rows(server, "PRAGMA user_version")
    assert now == version(newest.home)
    objects_are_served(files)
    assert volume_of(files) == EXPECTED["volume"]
    keys_are_listed(server)
    what_is_over_goes(files)
    left = ROOM - usage_is_kept(files)
    left -= open_uploads_go_on(files)
    ended_uploads_answer_as_before(files)
    assert files.post("/files/upload", bytes(left + 1), content_type="image/png").status == 413
    files.upload(bytes(left), content_type="image/png")
    volume_goes_on(files)
    objects_are_served(files)
    assert server.stop() == 0
    assert "Traceback" not in server.log()


def objects_are_served(files: Files) -> None:
    keys = {"nobody": None, **KEYS}
    for name, noted in EXPECTED["objects"].items():
        assert seen(files, noted["target"], keys) == noted, name
    big = EXPECTED["objects"]["big"]["target"]
    seam = files.get(big, range="bytes=67108000-67109999")  # where one segment ends and the next begins
    assert (seam.status, seam.body) == (206, BIG[67108000:67110000])


def keys_are_listed(server: Server) -> None:
    told = server.run("keys", "list", "--json", "--home", str(server.home)).stdout.splitlines()
    assert sorted(told) == EXPECTED["listed keys"]


def what_is_over_goes(files: Files) -> None:
    """The object that no sweep had seen, and the orphan that was noted long ago; the newer one is noted now."""
    blobs = files.server.home / "blobs"
    noted, new = (blobs / EXPECTED[name] for name in ("noted orphan", "new orphan"))
    assert files.get(EXPECTED["unswept"]).status == 410
    eventually(lambda: not noted.exists())
    assert new.exists()
    eventually(lambda: rows(files.server, "SELECT key FROM orphans") == [(EXPECTED["new orphan"],)])
    swept = "SELECT 1 FROM objects WHERE path = ? AND state = 'expired'"
    eventually(lambda: rows(files.server, swept, EXPECTED["unswept"]))
    eventually(lambda: not rows(files.server, "SELECT 1 FROM blobs WHERE state <> 'live'"))
    assert files.get(EXPECTED["unswept"]).status == 410


def usage_is_kept(files: Files) -> int:
    """Bytes that were added to hold the account's usage against its quota."""
    assert files.post("/files/upload", bytes(ROOM + 1), content_type="image/png").status == 413
    files.upload(bytes(1000), content_type="image/png")
    return 1000


def open_uploads_go_on(files: Files) -> int:
    """Bytes that they added."""
    single = EXPECTED["single"]
    assert files.put(single["url"], PNG + b"late", content_type="image/png").status == 200
    assert files.get(single["target"]).body == PNG + b"late"
    added = len(PNG + b"late")
    for noted in EXPECTED["open"]:
        upload = upload_of(files, noted)
        listed = {part["partNumber"]: part["etag"] for part in upload.listing().json()["parts"]}
        assert listed == {part["partNumber"]: part["etag"].strip('"') for part in noted["cited"]}
        upload.finished([*noted["cited"], upload.part(3, PIECES[2])])
        assert digest(files.get(upload.url).body) == digest(b"".join(PIECES))
        # The earlier attempt at the second part counted until now.
        added += len(PIECES[2]) - len(b"an earlier attempt")
    return added


def upload_of(files: Files, noted: dict[str, Any]) -> Upload:
    credential = {} if noted["door"] == "rest" else files.key
    return Upload(files, noted["door"], noted["url"], noted["base"], noted["query"], credential)


def ended_uploads_answer_as_before(files: Files) -> None:
    headers, objects = EXPECTED["idempotent"], EXPECTED["objects"]
    again = files.post("/files/upload", PNG + b"once", **headers)
    assert again.status == 200
    assert urlsplit(again.json()["access_url"]).path == objects["idempotent"]["target"]
    assert files.post("/files/upload", PNG + b"other", **headers).status in (409, 412, 422)
    assert files.put(EXPECTED["repeated"], PNG + b"done", content_type="image/png").status == 200
    assert files.put(EXPECTED["repeated"], PNG + b"other", content_type="image/png").status == 412
    ended, first = upload_of(files, EXPECTED["ended"]), EXPECTED["ended"]["reply"]
    told = ended.finished(EXPECTED["ended"]["cited"])
    origin = f"http://{urlsplit(first['access_url']).netloc}"
    assert alike(json.loads(json.dumps(first).replace(origin, files.server.url)), told)
    assert upload_of(files, EXPECTED["aborted"]).put(2, PIECES[1]).status in (404, 410)


def volume_goes_on(files: Files) -> None:
    noted = EXPECTED["volume upload"]
    base = f"file/multipart/{noted['path']}/{noted['id']}"
    listed = files.v1("GET", base).json()["parts"]
    assert {(part["part_number"], part["etag"]) for part in listed} == {
        (part["part_number"], part["etag"]) for part in noted["cited"]
    }
    second = files.v1("PUT", f"{base}/2", PIECES[1]).json()["etag"]
    cited = sorted([*noted["cited"], {"part_number": 2, "etag": second}], key=lambda part: part["part_number"])
    done = files.v1("POST", f"{base}/complete", {"parts": cited})
    assert done.status in (200, 201), done.body
    assert files.read(noted["path"]) == b"".join(PIECES)
    for path, trash_id, _ in EXPECTED["volume"]["trash"]:
        restored = files.v1("POST", f"trash/{trash_id}/restore", {})
        assert restored.status in (200, 201), (path, restored.body)
    assert (files.read("gone.txt"), files.read("deleted/a"), files.read("deleted/b/c")) == (b"deleted", b"a", b"c")
    assert files.v1("GET", "trash").json() == []
    opened, noted = app_facts(b"open()")[0], EXPECTED["app upload"]
    assert files.old("POST", "missing_hashes", {"hashes": [EXPECTED["app"], opened]}).json() == [opened]
    wish = {"parts": noted["id"]["cited"], "metadata": noted["facts"]}
    upload_id = noted["id"]["upload_id"]
    assert files.old("POST", f"app/multipart/{opened}/{upload_id}/complete", wish).status == 200
    assert files.old("POST", "missing_hashes", {"hashes": [opened]}).json() == []
    published = files.v1("POST", f"publish/{spelled('models/ü 日本.txt')}", {})
    assert published.status == 413  # the account is full by now
    assert os.listxattr(files.root / "models" / "a.bin")
