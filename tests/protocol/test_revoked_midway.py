"""A key that is revoked while a request of it is under way: nothing is published, stored or moved by that request."""

from __future__ import annotations

import json
import secrets
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.archives import zipped
from support.files import FORM, OLD, V1, Files, form
from support.inside import a_key, revoke, rows, segment_files
from support.parts import Upload, begin
from support.talk import eventually, line

BIG = bytes(range(256)) * 16_384  # so much that some of it is on the disk before all is sent
LIST = {"parts": [{"partNumber": 1, "etag": None}]}


@dataclass
class Scene:
    """A key that is about to be revoked, names that nobody else uses, and what is there for its requests."""

    files: Files
    key: str
    name: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def own(self) -> dict[str, Any]:
        return {"authorization": f"Key {self.key}"}

    @property
    def named(self) -> dict[str, Any]:
        return {**self.own, "x_fal_file_name": f"{self.name}.bin"}

    def parts(self, door: str, **credential: Any) -> Upload:
        return begin(self.files, door, name=f"{self.name}.bin", **(credential or self.own))

    def volume_upload(self, path: str, data: bytes = b"") -> str:
        reply = self.files.v1("POST", f"file/multipart/{path}/initiate", {}, **self.own)
        assert reply.status == 200, reply
        base = f"file/multipart/{path}/{reply.json()['upload_id']}"
        if data:
            assert self.files.v1("PUT", f"{base}/1", data, **self.own).status == 200
        return f"{V1}/{base}"

    def there(self) -> list[str]:
        """What exists under the name: objects, and files of the volume, deleted ones too."""
        found = rows(self.files.server, "SELECT path FROM objects WHERE name LIKE ?", f"{self.name}%")
        return [path for (path,) in found] + [str(p) for p in self.files.root.glob(f"{self.name}/*")]

    def held(self) -> set[Path]:
        """The files that hold bytes now, wherever they wait for their place."""
        staged = set[Path]()
        for path in self.files.leftovers():
            with suppress(FileNotFoundError):
                staged |= {path} if path.stat().st_size >= 1000 else set()  # else notes and locks of an upload
        return segment_files(self.files.server) | staged


@dataclass
class Half:
    """A request whose body is sent in two halves."""

    method: str
    target: str
    headers: dict[str, Any]
    body: bytes
    status: int = 401


def as_json(scene: Scene, method: str, rest: str, value: Any) -> Half:
    body = json.dumps(value).encode()
    return Half(method, f"{V1}/{rest}", {**scene.own, "content_type": "application/json"}, body)


def upload(s: Scene) -> Half:
    return Half("POST", "/files/upload", s.named, BIG)


def upload_by_token(s: Scene) -> Half:
    return Half("POST", "/files/upload", {**s.named, "authorization": s.files.token(**s.own)}, BIG)


def upload_with_idempotency_key(s: Scene) -> Half:
    return Half("POST", "/files/upload", {**s.named, "idempotency_key": s.name}, BIG)


def signed_put(s: Scene) -> Half:
    url = urlsplit(s.files.initiate(f"{s.name}.bin", **s.own)["upload_url"])
    return Half("PUT", f"{url.path}?{url.query}", {}, BIG, 403)


def part(door: str) -> Callable[[Scene], Half]:
    def made(s: Scene) -> Half:
        made = s.parts(door)
        url = urlsplit(made.address(1))
        return Half("PUT", f"{url.path}?{url.query}", made.credential, BIG, 401 if door == "cdn" else 403)

    return made


def complete(door: str) -> Callable[[Scene], Half]:
    def made(s: Scene) -> Half:
        made = s.parts(door)
        made.put(1, b"x" * 1000)
        url = urlsplit(made.target("complete"))
        target = f"{url.path}?{url.query}" if url.query else url.path
        return Half("POST", target, made.credential, json.dumps(LIST).encode(), 403 if door == "rest" else 401)

    return made


def complete_what_another_key_began(s: Scene) -> Half:
    made = s.parts("cdn", **s.files.key)
    made.put(1, b"x" * 1000)
    return Half("POST", urlsplit(made.target("complete")).path, s.own, json.dumps(LIST).encode())


def initiate(s: Scene) -> Half:
    body = json.dumps({"file_name": f"{s.name}.bin"}).encode()
    return Half("POST", "/storage/upload/initiate", {**s.own, "content_type": "application/json"}, body)


def volume_put(s: Scene) -> Half:
    return Half("PUT", f"{V1}/file/{s.name}/a.bin", s.own, BIG)


def volume_form(s: Scene) -> Half:
    return Half("POST", f"{OLD}/file/local/{s.name}/a.bin", {**s.own, "content_type": FORM}, form(BIG))


def volume_unzip(s: Scene) -> Half:
    archive = zipped(("a.bin", BIG), ("b/c.bin", b"c"), method=zipfile.ZIP_STORED).getvalue()
    return Half("POST", f"{OLD}/file/local/{s.name}?unzip=true", {**s.own, "content_type": FORM}, form(archive))


def volume_part(s: Scene) -> Half:
    return Half("PUT", s.volume_upload(f"{s.name}/a.bin") + "/1", s.own, BIG)


def volume_complete(s: Scene) -> Half:
    target = s.volume_upload(f"{s.name}/a.bin", b"x" * 1000) + "/complete"
    etag = s.files.ask("GET", target.removesuffix("/complete"), {"authorization": f"Key {s.key}"}).json()
    parts = [{"part_number": 1, "etag": etag["parts"][0]["etag"]}]
    return Half("POST", target, {**s.own, "content_type": "application/json"}, json.dumps({"parts": parts}).encode())


def volume_publish(s: Scene) -> Half:
    s.files.store(f"from-{s.name}/a", b"a")
    return as_json(s, "POST", f"publish/from-{s.name}/a", {"file_name": f"{s.name}.bin"})


def volume_keep(s: Scene) -> Half:
    return as_json(s, "POST", f"keep/{s.name}/a", {"url": s.files.upload(b"kept")})


def volume_import(s: Scene) -> Half:
    return as_json(s, "POST", f"file/url/{s.name}/a", {"url": s.files.upload(b"kept")})


def volume_folder(s: Scene) -> Half:
    return as_json(s, "POST", f"dir/{s.name}/a", {})


def changed(verb: str) -> Callable[[Scene], Half]:
    def made(s: Scene) -> Half:
        s.files.store(f"from-{s.name}/a", b"a")
        return as_json(s, "POST", f"{verb}/from-{s.name}/a", {"destination": f"{s.name}/a"})

    return made


def volume_restore(s: Scene) -> Half:
    s.files.store(f"{s.name}/a", b"a")
    trash_id = s.files.v1("DELETE", f"file/{s.name}/a").json()["trash_id"]
    return as_json(s, "POST", f"trash/{trash_id}/restore", {"destination": f"{s.name}/b"})


HALVES: dict[str, Callable[[Scene], Half]] = {
    "upload": upload,
    "upload by token": upload_by_token,
    "upload, idempotent": upload_with_idempotency_key,
    "signed PUT": signed_put,
    "initiate": initiate,
    **{f"part, {door}": part(door) for door in ("cdn", "rest", "gcs")},
    **{f"complete, {door}": complete(door) for door in ("cdn", "rest", "gcs")},
    "complete of another key's": complete_what_another_key_began,
    "volume put": volume_put,
    "volume form": volume_form,
    "volume unzip": volume_unzip,
    "volume part": volume_part,
    "volume complete": volume_complete,
    "volume publish": volume_publish,
    "volume keep": volume_keep,
    "volume import": volume_import,
    "volume folder": volume_folder,
    "volume rename": changed("rename"),
    "volume copy": changed("copy"),
    "volume restore": volume_restore,
}


@pytest.fixture
def scene(files: Files) -> Iterator[Scene]:
    yield Scene(files, a_key(files.server))


@pytest.mark.parametrize("route", HALVES)
def test_m5_what_ends_after_its_key_was_revoked_is_refused(scene: Scene, route: str) -> None:
    server = scene.files.server
    half = HALVES[route](scene)
    before = scene.held()
    with line(server) as raw:
        raw.send_head(half.method, half.target, **half.headers, content_length=str(len(half.body)))
        raw.send(half.body[: -len(half.body) // 4])
        if len(half.body) >= len(BIG):
            eventually(lambda: scene.held() > before)
        revoke(server, scene.key)
        raw.send(half.body[-len(half.body) // 4 :])
        reply = raw.answer(half.method)
    assert reply.status == half.status, reply.body
    assert b"revoked" in reply.body
    assert scene.there() == []
    eventually(lambda: not scene.held() - before)


def test_m5_the_same_requests_succeed_while_the_key_is_valid(scene: Scene) -> None:
    for route, made in HALVES.items():
        scene.name = secrets.token_hex(8)
        half = made(scene)
        headers = {name.replace("_", "-"): value for name, value in half.headers.items()}
        reply = scene.files.ask(half.method, half.target, headers, half.body)
        assert reply.status in (200, 201), (route, reply.status, reply.body)
        assert scene.there() or route in ("initiate", "volume part") or route.startswith("part"), route
