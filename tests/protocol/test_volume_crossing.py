"""Publish a file as an object and keep an object as a file, as a client of the Platform API sees it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from support.inprocess import InProcess
from support.talk import Reply

V1 = "/v1/serverless/files"
ORIGIN = "http://media.example.com"
DATA = bytes(range(256)) * 2000
PRIVATE = '{"initial_acl": {"default": "forbid", "rules": []}}'


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with InProcess(tmp_path_factory.mktemp("home")) as app:
        yield app


def publish(app: InProcess, path: str, value: Any = None, **headers: str) -> Reply:
    return app.post(f"{V1}/publish/{path}", value or {}, **headers)


def keep(app: InProcess, path: str, url: str, **more: Any) -> Reply:
    return app.post(f"{V1}/keep/{path}", {"url": url, **more})


def upload(app: InProcess, data: bytes, **headers: str) -> str:
    return str(app.ask("POST", "/files/upload", data, headers).json()["access_url"])


def repr_digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def test_a_published_file_has_a_url_that_keeps_its_bytes(app: InProcess) -> None:
    path = app.root / "a.txt"
    path.write_bytes(DATA)
    reply = publish(app, "a.txt")
    assert reply.status == 200
    made = reply.json()
    assert (made["file_name"], made["size"]) == ("a.txt", len(DATA))
    assert made["digest"] == f"sha256:{hashlib.sha256(DATA).hexdigest()}"
    path.write_bytes(b"other")
    got = app.get(made["access_url"].removeprefix(ORIGIN), authorization="")
    assert (got.body, got.headers["repr-digest"]) == (DATA, repr_digest(DATA))


def test_a_publish_takes_name_type_lifecycle_and_idempotency_key(app: InProcess) -> None:
    (app.root / "b").write_bytes(DATA)
    wish = {"file_name": "c.dat", "content_type": "video/x-own"}
    headers = {"x-fal-object-lifecycle": PRIVATE, "idempotency-key": "k1"}
    first = publish(app, "b", wish, **headers).json()
    assert publish(app, "b", wish, **headers).json() == first
    assert first["access_url"].endswith("_c.dat")
    place = first["access_url"].removeprefix(ORIGIN)
    assert app.get(place, authorization="").status == 403
    assert app.get(place).headers["content-type"] == "video/x-own"
    (app.root / "b").write_bytes(b"other")
    assert publish(app, "b", wish, **headers).status == 412


@pytest.mark.parametrize(
    "path, value, status",
    [
        ("none", {}, 404),
        ("folder", {}, 409),
        ("../x", {}, 400),
        ("b", {"x": 1}, 400),
        ("b", {"content_type": "a"}, 400),
    ],
)
def test_what_cannot_be_published_is_refused(app: InProcess, path: str, value: Any, status: int) -> None:
    (app.root / "folder").mkdir(exist_ok=True)
    (app.root / "b").write_bytes(DATA)
    assert publish(app, path, value).status == status


def test_a_kept_object_is_a_file_of_its_own_with_the_digest_that_is_known(app: InProcess) -> None:
    url = upload(app, DATA)
    reply = keep(app, "models/kept", url)
    assert reply.status == 200
    entry = reply.json()
    assert (entry["path"], entry["size"]) == ("models/kept", len(DATA))
    assert entry["checksum_sha256"] == hashlib.sha256(DATA).hexdigest()
    path = app.root / "models" / "kept"
    assert path.read_bytes() == DATA
    assert path.stat().st_nlink == 1
    assert app.get(f"{V1}/file/models/kept").headers["repr-digest"] == repr_digest(DATA)
    path.write_bytes(b"other")
    assert app.get(url.removeprefix(ORIGIN)).body == DATA


def test_a_file_that_is_there_is_replaced_only_when_that_is_asked_for(app: InProcess) -> None:
    first, second = upload(app, b"first"), upload(app, b"second")
    assert keep(app, "there", first).status == 200
    assert keep(app, "there", second).status == 412
    assert (app.root / "there").read_bytes() == b"first"
    assert keep(app, "there", second, overwrite=True).status == 200
    assert (app.root / "there").read_bytes() == b"second"


def test_what_is_no_object_of_this_server_is_not_kept(app: InProcess) -> None:
    url = upload(app, DATA)
    other = "http://other.example.com" + url.removeprefix(ORIGIN)
    for wrong, status in ((other, 400), (f"{ORIGIN}/healthz", 400), (f"{url}x", 404), (f"{url}/../../x", 404)):
        assert keep(app, "wrong", wrong).status == status, wrong
    assert not (app.root / "wrong").exists()


def test_damaged_segments_are_not_kept(app: InProcess) -> None:
    url = upload(app, DATA)
    newest = max((app.root.parent / "blobs").rglob("*/*/*"), key=lambda path: int(path.name))
    newest.write_bytes(DATA[:-1] + b"?")
    reply = keep(app, "damaged", url)
    assert (reply.status, reply.json()["error"]["code"]) == (500, "integrity_failed")
    assert not (app.root / "damaged").exists()
    assert [each for each in (app.root / ".entrepot" / "staging").rglob("*") if each.is_file()] == []


def test_nobody_without_a_key_crosses(app: InProcess) -> None:
    (app.root / "b").write_bytes(DATA)
    url = upload(app, DATA)
    token = app.post("/storage/auth/token?storage_type=fal-cdn-v3", {}).json()["token"]
    for credential in ("", "Key a:b", f"Bearer {token}"):
        assert publish(app, "b", authorization=credential).status == 401
        assert app.post(f"{V1}/keep/b", {"url": url}, authorization=credential).status == 401
