"""A fixture: the home of an earlier version, how to make, pack and unpack it, and what a server must reply from it.

The fixture is tests/fixtures/home-0002.tar.xz (schema 0002, commit c96cd55) with home-0002.json beside it. Make one
of another version with that version's code in the place of this checkout's:

    git worktree add --detach FOLDER COMMIT
    PYTHONPATH=tests .venv/bin/python -m support.old_home FOLDER tests/fixtures/home-0002

A real server of that commit makes everything through its own routes. Open uploads expire in 95 years. The server is
killed during an upload twice, so that the fixture holds an orphan that the keeper has recorded and one that it has not.
The keys in home-0002.json are those of this home only.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from entrepot import wire
from support import parts
from support.files import Files
from support.inside import rows, unnamed_files
from support.server import Server, clean_environ
from support.talk import eventually, line
from support.volumedoors import spelled

FIXTURES = Path(__file__).parents[1] / "fixtures"
ATTRIBUTES = "attributes.json"
LONG = str(95 * 365 * 86_400)
# The parts of each upload. The test sends those that the old server did not get.
PIECES = [b"one" * 1000, b"two" * 1000, b"three" * 500]
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 500
# Two segments, which compress well.
BIG = b"".join(number.to_bytes(8, "big") + bytes(65_528) for number in range(1025))
# Headers of an object that never change.
HEADERS = ("content-type", "content-disposition", "content-length", "etag", "last-modified", "repr-digest",
           "x-entrepot-expires-at")  # fmt: skip
HIDE, FORBID = '{"initial_acl": {"default": "hide"}}', '{"initial_acl": {"default": "forbid"}}'
FOR_BOB = '{"initial_acl": {"default": "forbid", "rules": [{"user": "bob", "decision": "allow"}]}}'
ADD_BOB = """
import asyncio, pathlib, secrets, sys, time
from entrepot.domain.accounts import Account
from entrepot.metadata.sqlite import SqliteMetadata
from entrepot.service.accounts import Accounts

async def add():
    home = pathlib.Path(sys.argv[1])
    metadata = SqliteMetadata(home / "catalogue.db", lock_path=home / "catalogue.lock")
    await metadata.add_account(Account("id-of-bob", "bob", time.time()))
    print((await Accounts(metadata, time.time, secrets.token_bytes).create_key("of bob", "bob")).reveal())
    await metadata.close()

asyncio.run(add())
"""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def app_facts(data: bytes) -> tuple[str, dict[str, str]]:
    """The hash under which an app file is stored, and the metadata that its client sends."""
    name = digest(data + str(0o644).encode())
    return name, {"size": str(len(data)), "mtime": "1700000000.5", "mode": str(0o644), "hash": name}


def object_replies(talk: Files, target: str, keys: dict[str, str | None]) -> dict[str, Any]:
    """Replies to GET of an object: the status for each key, and digest and permanent headers of the 200 replies, which
    must be equal."""
    replies = {name: talk.get(target, **_credential(key)) for name, key in keys.items()}
    readable = {
        json.dumps([digest(reply.body), {name: reply.headers.get(name) for name in HEADERS}])
        for reply in replies.values()
        if reply.status == 200
    }
    assert len(readable) <= 1, (target, readable)
    statuses = {name: reply.status for name, reply in replies.items()}
    return {"target": target, "statuses": statuses, "readable": [json.loads(each) for each in readable]}


def _credential(key: str | None) -> dict[str, str]:
    return {} if key is None else {"authorization": f"Key {key}"}


def volume_contents(files: Files) -> dict[str, Any]:
    """The volume as its API shows it: sizes, digests, usage and trash."""
    entries = files.v1("GET", "list?recursive=true").json()
    found = {each["path"]: each["size"] for each in entries}
    read = {path: files.v1("GET", f"file/{spelled(path)}") for path in found if not _is_folder(entries, path)}
    usage = files.v1("GET", "usage").json()
    return {
        "sizes": found,
        "files": {path: digest(reply.body) for path, reply in read.items()},
        "known": {path: reply.headers.get("repr-digest") for path, reply in read.items()},
        "usage": {name: usage[name] for name in ("files", "folders", "bytes") if name in usage},
        "trash": sorted([each["path"], each["id"], each["size"]] for each in files.v1("GET", "trash").json()),
    }


def _is_folder(entries: list[dict[str, Any]], path: str) -> bool:
    return any(each["path"] == path and not each["is_file"] for each in entries)


# Packing


def pack(home: Path, archive: Path) -> None:
    """Write a stopped home into an archive. Modes, times in nanoseconds and extended attributes go into a member of
    their own, because tar does not keep all of them exactly."""
    attributes: dict[str, Any] = {}
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for path in [home, *_below(home)]:
            name, status = str(path.relative_to(home)), path.lstat()
            names = (
                [] if path.is_symlink() else [each for each in os.listxattr(path) if each.startswith("user.entrepot")]
            )
            extended = {each: os.getxattr(path, each).decode() for each in names}
            attributes[name] = [status.st_mode & 0o7777, status.st_mtime_ns, extended]
            info = tar.gettarinfo(path, name)
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            tar.addfile(info, io.BytesIO(path.read_bytes()) if info.isreg() else None)
        data = json.dumps(attributes).encode()
        info = tarfile.TarInfo(ATTRIBUTES)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))


def _below(folder: Path) -> Iterator[Path]:
    """Files and folders below a folder, parents first, without SQLite's shared memory, which is made at each start."""
    for path in sorted(folder.iterdir()):
        if path.name.endswith(("-shm", ".sock")):
            continue
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)


def unpack(archive: Path, home: Path) -> None:
    """Restore a home. Raises OSError on a file system without extended attributes."""
    with tarfile.open(archive) as tar:
        attributes = json.load(tar.extractfile(ATTRIBUTES) or io.BytesIO())
        for member in tar:
            path = home / member.name
            if member.isdir():
                path.mkdir(parents=True)
            elif member.issym():
                path.symlink_to(member.linkname)
            elif member.name != ATTRIBUTES:
                path.write_bytes((tar.extractfile(member) or io.BytesIO()).read())
    for name, (mode, changed, extended) in reversed(attributes.items()):  # a folder's time after what is in it
        path = home / name
        if not path.is_symlink():
            path.chmod(mode)
            for each, value in extended.items():
                os.setxattr(path, each, value.encode())
        os.utime(path, ns=(changed, changed), follow_symlinks=False)


# Making


class Maker:
    """Fills a home through the routes of its server. `expected` is written beside the fixture for the test."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.files = Files(server)
        self.targets: dict[str, str] = {}  # of objects, by name
        self.expected: dict[str, Any] = {"pieces": [digest(piece) for piece in PIECES]}

    def keys(self) -> None:
        server = self.server
        home = ["--home", str(server.home)]
        second, revoked = (
            json.loads(server.run("keys", "create", "--name", name, "--json", *home).stdout)["key"]
            for name in ("second", "revoked")
        )
        bob = _python(server, ADD_BOB, str(server.home)).strip()
        self.files.initiate("of-a-revoked-key.png", authorization=f"Key {revoked}")
        server.run("keys", "revoke", revoked.partition(":")[0], *home)
        self.expected["keys"] = {"first": server.key, "second": second, "revoked": revoked, "bob": bob}

    def objects(self) -> None:
        self._upload("picture", PNG, "cat.png", "image/png")
        self._upload("named", b"text", "grüße 日本.txt", "text/plain")
        self._upload("page", b"<script>alert(1)</script>", "page.html", "text/html")
        self._upload("nameless", b"\x00\x01", "", "application/octet-stream")
        self._upload("empty", b"", "empty.bin", "application/octet-stream")
        self._upload("forbidden", PNG, "forbidden.png", "image/png", FORBID)
        self._upload("hidden", PNG, "hidden.png", "image/png", HIDE)
        self._upload("for bob", PNG, "for-bob.png", "image/png", FOR_BOB)
        self._upload("far", PNG, "far.png", "image/png", f'{{"expiration_duration_seconds": {74 * 365 * 86_400}}}')
        self._upload("big", BIG, "big.bin", "application/octet-stream")
        self._upload("swept", b"soon over", "swept.txt", "text/plain", '{"expiration_duration_seconds": 1}')
        again = self.files.post(
            f"/files/upload/existing?size={len(BIG)}", content_type="application/octet-stream",
            repr_digest=wire.repr_digest(hashlib.sha256(BIG).digest()),
        )  # fmt: skip
        assert again.status == 200, again.body
        self.targets["linked"] = urlsplit(again.json()["access_url"]).path
        self._upload(
            "of bob", b"bob's own", "bob.txt", "text/plain", authorization=f"Key {self.expected['keys']['bob']}"
        )
        headers = {"content_type": "image/png", "idempotency_key": "the-first", "x_fal_file_name": "once.png"}
        reply = self.files.post("/files/upload", PNG + b"once", **headers).json()
        self.targets["idempotent"] = urlsplit(reply["access_url"]).path
        self.expected["idempotent"] = headers

    def _upload(
        self, title: str, data: bytes, name: str, kind: str, lifecycle: str | None = None, **headers: str
    ) -> None:
        more = {} if lifecycle is None else {"x_fal_object_lifecycle": lifecycle}
        url = self.files.upload(data, content_type=kind, x_fal_file_name=name.encode(), **more, **headers)
        self.targets[title] = urlsplit(url).path

    def uploads(self) -> None:
        """Published, aborted and open uploads on the routes of each API."""
        begun = self.files.initiate("signed.png")
        self.expected["single"] = {"url": begun["upload_url"], "target": urlsplit(begun["file_url"]).path}
        done = self.files.initiate("done.png")
        assert self.files.put(done["upload_url"], PNG + b"done", content_type="image/png").status == 200
        self.targets["signed"] = urlsplit(done["file_url"]).path
        self.expected["repeated"] = done["upload_url"]
        ended = parts.begin(self.files, name="ended.mp4")
        cited = ended.parts(PIECES)
        ended.followed()
        self.expected["ended"] = {**_upload_fields(ended), "cited": cited, "reply": ended.finished(cited)}
        self.targets["ended"] = urlsplit(ended.url).path
        aborted = parts.begin(self.files, name="aborted.mp4")
        aborted.part(1, PIECES[0])
        assert aborted.abort().status in (200, 204)
        self.expected["aborted"] = _upload_fields(aborted)
        self.expected["open"] = []
        for door in parts.DOORS:
            upload = parts.begin(self.files, door, f"open-{door}.mp4")
            upload.part(2, b"an earlier attempt")
            cited = [upload.part(1, PIECES[0]), upload.part(2, PIECES[1])]
            self.expected["open"].append({**_upload_fields(upload), "cited": cited})

    def volume(self) -> None:
        files = self.files
        stored = {
            "models/a.bin": b"weights" * 1000, "models/ü 日本.txt": b"named", "runs/1/log": b"1", "empty": b"",
            "gone.txt": b"deleted", "deleted/a": b"a", "deleted/b/c": b"c",
        }  # fmt: skip
        for path, data in stored.items():
            assert files.store(spelled(path), data).status in (200, 201), path
        assert files.v1("POST", "dir/nothing/in/it").status in (200, 201)
        (files.root / "by-hand.txt").write_bytes(b"a program on disk wrote this")
        (files.root / "models" / "link.bin").symlink_to("a.bin")
        assert files.v1("DELETE", "file/gone.txt").status in (200, 204)
        assert files.v1("DELETE", "file/deleted?recursive=true").status in (200, 204)
        published = files.v1("POST", "publish/models/a.bin", {})
        assert published.status == 200, published.body
        self.targets["published"] = urlsplit(published.json()["access_url"]).path
        kept = files.v1("POST", "keep/kept.png", {"url": self.targets["picture"]})
        assert kept.status in (200, 201), kept.body
        self.expected["volume upload"] = {"path": "runs/big.bin", **self._volume_parts("runs/big.bin", 1, 3)}
        ended = self._volume_parts("runs/ended.bin", 1, 2, 3)
        reply = files.v1("POST", f"file/multipart/runs/ended.bin/{ended['id']}/complete", {"parts": ended["cited"]})
        assert reply.status in (200, 201), reply.body
        assert self._app_upload(b"print()", complete=True).status == 200
        self.expected["app"], _ = app_facts(b"print()")
        self.expected["app upload"] = {
            "id": self._app_upload(b"open()", complete=False),
            "facts": app_facts(b"open()")[1],
        }

    def _volume_parts(self, path: str, *numbers: int) -> dict[str, Any]:
        begun = self.files.v1("POST", f"file/multipart/{path}/initiate")
        assert begun.status == 200, begun.body
        upload_id = begun.json()["upload_id"]
        cited = []
        for number in numbers:
            reply = self.files.v1("PUT", f"file/multipart/{path}/{upload_id}/{number}", PIECES[number - 1])
            cited.append({"part_number": number, "etag": reply.json()["etag"]})
        return {"id": upload_id, "cited": cited}

    def _app_upload(self, data: bytes, *, complete: bool) -> Any:
        name, facts = app_facts(data)
        upload_id = self.files.old("POST", f"app/multipart/{name}/initiate", facts).json()["upload_id"]
        part = self.files.form(f"/files/app/multipart/{name}/{upload_id}/1", data, "PUT").json()
        if not complete:
            return {"upload_id": upload_id, "cited": [part]}
        return self.files.old(
            "POST", f"app/multipart/{name}/{upload_id}/complete", {"parts": [part], "metadata": facts}
        )

    def record(self) -> None:
        """Record the replies of this server."""
        keys = {"nobody": None, **self.expected["keys"]}
        self.expected["objects"] = {
            name: object_replies(self.files, target, keys) for name, target in self.targets.items()
        }
        self.expected["volume"] = volume_contents(self.files)
        self.expected["listed keys"] = sorted(
            self.server.run("keys", "list", "--json", "--home", str(self.server.home)).stdout.splitlines()
        )

    def expire_unswept(self) -> None:
        """Publish an object that expires before the next sweep."""
        lifecycle = '{"expiration_duration_seconds": 1}'
        url = self.files.upload(b"just over", content_type="text/plain", x_fal_object_lifecycle=lifecycle)
        self.expected["unswept"] = urlsplit(url).path

    def kill_in_an_upload(self) -> str:
        """Kill the server while it receives a body; returns the key of the segment that becomes an orphan."""
        before = unnamed_files(self.server)
        with line(self.server) as connection:
            connection.send_head(
                "POST", "/files/upload", content_length=str(3 << 20), content_type="application/octet-stream",
                host="localhost", authorization=f"Key {self.server.key}",
            )  # fmt: skip
            connection.send(bytes(2 << 20))
            (left,) = eventually(lambda: unnamed_files(self.server) - before)
            time.sleep(0.5)
            self.server.kill()
        return str(left.relative_to(self.server.home / "blobs"))


def _upload_fields(upload: parts.Upload) -> dict[str, Any]:
    return {"door": upload.door, "url": upload.url, "base": upload.base, "query": upload.query}


def _python(server: Server, code: str, *args: str) -> str:
    """Run code of the server's version."""
    environ = clean_environ(server.folder, **server.environ)
    return subprocess.run(
        [sys.executable, "-c", code, *args], env=environ, check=True, capture_output=True, text=True
    ).stdout


def make(checkout: Path, folder: Path, output: Path) -> None:
    """Make, pack and describe a home with the server of a checkout."""
    settings = {"upload_ttl": LONG, "multipart_ttl": LONG, "sweep_interval": "0.2", "orphan_grace": "604800",
                "account_quota": "1G", "volume_quota": "1G"}  # fmt: skip
    server = Server(folder, settings, {"PYTHONPATH": str(checkout / "src")})
    maker = Maker(server.start())
    try:
        maker.keys()
        maker.objects()
        maker.uploads()
        maker.volume()
        swept = maker.targets["swept"]
        eventually(lambda: rows(server, "SELECT 1 FROM objects WHERE path = ? AND state = 'expired'", swept))
        eventually(lambda: not rows(server, "SELECT 1 FROM blobs WHERE state <> 'live'"))
        maker.record()
        ((maker.expected["usage"],),) = rows(server, "SELECT sum(bytes) FROM usage WHERE account_id <> 'id-of-bob'")
        maker.expected["recorded orphan"] = maker.kill_in_an_upload()
        server.settings["sweep_interval"] = "3600"
        server.start()
        eventually(lambda: rows(server, "SELECT key FROM orphans"))
        eventually(lambda: rows(server, "SELECT value FROM facts WHERE name = 'swept_at'"))
        maker.expire_unswept()
        maker.expected["new orphan"] = maker.kill_in_an_upload()
        time.sleep(1.5)  # until the last object has expired
    finally:
        if server.process is not None:
            server.kill()
    pack(server.home, output.with_suffix(".tar.xz"))
    output.with_suffix(".json").write_text(
        json.dumps(maker.expected, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    )


def main() -> None:
    checkout, output = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        make(checkout.absolute(), Path(folder), output.absolute())


if __name__ == "__main__":
    main()
