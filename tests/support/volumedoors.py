"""The doors of the volume as a client speaks to them: our names for the v1 family, `old_` for the legacy one.

A path is text such as "models/a.bin", its components as they are stored. Every method returns the whole reply,
whatever its status.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from support.server import Server
from support.talk import SECONDS, Reply
from support.trees import all_below

V1 = "/v1/serverless/files"
OLD = "/files"
BOUNDARY = "entrepot-boundary"
OWN = ".entrepot"  # the folder of the store inside the volume
OCTETS = "application/octet-stream"


def spelled(path: str, slash: str = "/") -> str:
    """A path in a URL; with `slash` "%2F" in one component."""
    return slash.join(quote(part, safe="") for part in path.split("/"))


def form(data: bytes) -> tuple[dict[str, str], bytes]:
    """The headers and the body of a form with one file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file_upload"; filename="chunk"\r\n\r\n'
    body = head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
    return {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}, body


def root_of(server: Server) -> Path:
    """Where the volume of a server lies."""
    return Path(server.settings.get("volume") or server.home / "data")


def listed_on_disk(root: Path) -> dict[str, bytes | None]:
    """All that lies in the volume: files with their bytes, folders with None; without what is the store's own."""
    found: dict[str, bytes | None] = {}
    for folder, folders, files in os.walk(root):
        if folder == str(root):
            folders[:] = [name for name in folders if name != OWN]
        above = "" if folder == str(root) else os.path.relpath(folder, root) + "/"
        found |= {above + name: None for name in folders}
        found |= {above + name: Path(folder, name).read_bytes() for name in files}
    return found


def staged(root: Path) -> list[str]:
    """What is in staging: writes under way, or what they left. The folder of an upload in parts stays when that has
    ended, with records of how it did: that does not count, bytes of its parts would."""
    folder = root / OWN / "staging"
    ended = {path.parent for path in folder.glob("*/end.json")}
    found = all_below(folder) - ended
    records = {path for path in found if path.parent in ended and path.suffix in (".json", ".lock", ".tmp")}
    return sorted(str(path.relative_to(folder)) for path in found - records)


def comes_clean(root: Path) -> bool:
    """Whether nothing is left in staging, as soon as the keeper, which works behind the parts, lets go of them."""
    deadline = time.monotonic() + SECONDS
    while left := staged(root):
        assert time.monotonic() < deadline, f"this stays in staging: {left}"
        time.sleep(0.01)
    return True


@dataclass
class Doors:
    """One client on one kept connection: each thread needs its own. A broken connection is opened anew."""

    server: Server
    slash: str = "/"

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=SECONDS)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Doors:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask once, with the key of the server."""
        if body is None and method in ("POST", "PUT"):
            body = b""
        chunked = body is not None and not isinstance(body, bytes)
        own = {"authorization": f"Key {self.server.key}", **(headers or {})}
        try:
            self._connection.request(method, target, body, own, encode_chunked=chunked)
            got = self._connection.getresponse()
            pairs = [(name.lower(), value) for name, value in got.getheaders()]
            return Reply(got.status, dict(pairs), got.read(), pairs)
        except BaseException:
            self._connection.close()
            raise

    def _json(self, method: str, target: str, value: Any) -> Reply:
        return self.ask(method, target, json.dumps(value).encode(), {"content-type": "application/json"})

    def _v1(self, verb: str, path: str, **query: Any) -> str:
        spelling = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
        given = {name: value for name, value in spelling.items() if value is not None}
        tail = f"/{spelled(path, self.slash)}" if path else ""
        return f"{V1}/{verb}{tail}{'?' + urlencode(given) if given else ''}"

    def _old(self, verb: str, path: str, tail: str = "") -> str:
        """The path as the stock command sends it: absolute, after a slash."""
        return f"{OLD}/{verb}//data/{spelled(path)}{tail}"

    # Files and folders

    def put(self, path: str, data: bytes | Iterable[bytes], **headers: str) -> Reply:
        """`put("a", b"...", if_match='"..."')`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("PUT", self._v1("file", path), data, {"content-type": OCTETS, **named})

    def get(self, path: str, **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("GET", self._v1("file", path), None, named)

    def stat(self, path: str, *, checksum: bool | None = None) -> Reply:
        return self.ask("GET", self._v1("stat", path, checksum=checksum))

    def listing(
        self, path: str, *, limit: int | None = None, cursor: str | None = None, recursive: bool | None = None
    ) -> Reply:
        return self.ask("GET", self._v1("list", path, limit=limit, cursor=cursor, recursive=recursive))

    def pages(self, path: str, limit: int, *, recursive: bool | None = None) -> Iterable[list[dict[str, Any]]]:
        """All pages of a folder, each asked for when it is wanted."""
        cursor = None
        while True:
            reply = self.listing(path, limit=limit, cursor=cursor, recursive=recursive)
            assert reply.status == 200, (reply.status, reply.body)
            yield reply.json()
            cursor = reply.headers.get("x-entrepot-next-cursor")
            if cursor is None:
                return

    def make_folder(self, path: str) -> Reply:
        return self.ask("POST", self._v1("dir", path))

    def rename(self, path: str, destination: str, *, overwrite: bool | None = None) -> Reply:
        return self._json("POST", self._v1("rename", path), _to(destination, overwrite))

    def copy(self, path: str, destination: str, *, overwrite: bool | None = None) -> Reply:
        return self._json("POST", self._v1("copy", path), _to(destination, overwrite))

    def delete(
        self, path: str, *, permanent: bool | None = None, recursive: bool | None = None, if_match: str = ""
    ) -> Reply:
        headers = {"if-match": if_match} if if_match else {}
        return self.ask("DELETE", self._v1("file", path, permanent=permanent, recursive=recursive), None, headers)

    def usage(self, path: str = "") -> Reply:
        return self.ask("GET", self._v1("usage", path))

    # Trash

    def trash(self) -> list[dict[str, Any]]:
        reply = self.ask("GET", f"{V1}/trash")
        assert reply.status == 200, (reply.status, reply.body)
        return list(reply.json())

    def restore(self, trash_id: str, destination: str | None = None) -> Reply:
        wish = {} if destination is None else {"destination": destination}
        return self._json("POST", f"{V1}/trash/{trash_id}/restore", wish)

    def drop_trash(self, trash_id: str) -> Reply:
        return self.ask("DELETE", f"{V1}/trash/{trash_id}")

    # Parts

    def initiate(self, path: str, **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", f"{self._v1('file/multipart', path)}/initiate", None, named)

    def begin(self, path: str) -> str:
        """The id of an upload that must be begun."""
        reply = self.initiate(path)
        assert reply.status == 200, (reply.status, reply.body)
        return str(reply.json()["upload_id"])

    def part(self, path: str, upload_id: str, number: int, data: bytes | Iterable[bytes]) -> Reply:
        return self.ask("PUT", f"{self._v1('file/multipart', path)}/{upload_id}/{number}", data)

    def parts(self, path: str, upload_id: str) -> Reply:
        return self.ask("GET", f"{self._v1('file/multipart', path)}/{upload_id}")

    def complete(self, path: str, upload_id: str, parts: Iterable[tuple[int, str]]) -> Reply:
        cited = [{"part_number": number, "etag": etag} for number, etag in parts]
        return self._json("POST", f"{self._v1('file/multipart', path)}/{upload_id}/complete", {"parts": cited})

    def cancel(self, path: str, upload_id: str) -> Reply:
        return self.ask("DELETE", f"{self._v1('file/multipart', path)}/{upload_id}")

    # The legacy family

    def old_put(self, path: str, data: bytes) -> Reply:
        headers, body = form(data)
        return self.ask("POST", self._old("file/local", path), body, headers)

    def old_get(self, path: str) -> Reply:
        return self.ask("GET", self._old("file", path))

    def old_list(self, path: str) -> Reply:
        return self.ask("GET", self._old("list", path))

    def old_exists(self, path: str) -> Reply:
        return self.ask("POST", self._old("file/exists", path))

    def old_rename(self, path: str, destination: str) -> Reply:
        return self._json("POST", self._old("rename", path), {"destination": f"/data/{destination}"})

    def old_delete(self, path: str) -> Reply:
        return self.ask("DELETE", self._old("file", path))

    def old_initiate(self, path: str) -> Reply:
        return self.ask("POST", self._old("file/multipart", path, "/initiate"))

    def old_part(self, path: str, upload_id: str, number: int, data: bytes) -> Reply:
        headers, body = form(data)
        return self.ask("PUT", self._old("file/multipart", path, f"/{upload_id}/{number}"), body, headers)

    def old_complete(self, path: str, upload_id: str, parts: Iterable[tuple[int, str]]) -> Reply:
        cited = [{"part_number": number, "etag": etag} for number, etag in parts]
        return self._json("POST", self._old("file/multipart", path, f"/{upload_id}/complete"), {"parts": cited})

    def old_cancel(self, path: str, upload_id: str) -> Reply:
        return self.ask("POST", self._old("file/multipart", path, f"/{upload_id}/cancel"))


def _to(destination: str, overwrite: bool | None) -> dict[str, Any]:
    return {"destination": destination} | ({} if overwrite is None else {"overwrite": overwrite})
