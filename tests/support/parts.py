"""Multipart uploads as the clients of the three doors make them: the CDN's, the signed one, and the GCS style."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from support.inside import rows
from support.talk import Reply, Talk, Value, eventually

DOORS = ("cdn", "rest", "gcs")


@dataclass(frozen=True)
class Upload:
    """One begun upload. `url` is where the file will be; parts go to `base`, their number and `query`."""

    talk: Talk
    door: str
    url: str
    base: str
    query: str = ""
    credential: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return urlsplit(self.base).path.rpartition("/")[2]

    def target(self, tail: str | int = "") -> str:
        """Where a part, `complete`, or with nothing the upload itself is: the tail goes before the query."""
        return f"{self.base}{'/' if tail != '' else ''}{tail}{self.query}"

    def address(self, number: int) -> str:
        """Where to PUT a part; in the GCS style one has to ask for it."""
        if self.door != "gcs":
            return self.target(number)
        reply = self.talk.ask("POST", self.target(number), {**self.credential, "content-length": "0"})
        assert reply.status == 200, (reply.status, reply.body)
        return str(reply.json()["upload_url"])

    def put(self, number: int, data: bytes | Iterable[bytes], **headers: Value) -> Reply:
        """One attempt at one part."""
        credential = {} if self.door == "gcs" else self.credential
        return self.talk.ask("PUT", self.address(number), {**credential, **_named(headers)}, data)

    def part(self, number: int, data: bytes | Iterable[bytes], **headers: Value) -> dict[str, Any]:
        """A part that must be taken, as the list of `complete` names it."""
        reply = self.put(number, data, **headers)
        assert reply.status == 200, (reply.status, reply.body)
        return {"partNumber": number, "etag": reply.headers["etag"]}

    def parts(self, pieces: Sequence[bytes]) -> list[dict[str, Any]]:
        return [self.part(number, data) for number, data in enumerate(pieces, 1)]

    def finish(self, parts: Any, content_type: str = "application/json", **more: Any) -> Reply:
        """Ask for the end, whatever comes of it. `parts` None sends `more` alone."""
        return self.talk.ask(
            "POST", self.target("complete"), {**self.credential, "content-type": content_type},
            json.dumps(more if parts is None else {"parts": self._spelled(parts), **more}).encode(),
        )  # fmt: skip

    def finished(self, parts: Any, **more: Any) -> dict[str, Any]:
        """The reply to an end that must succeed."""
        reply = self.finish(parts, **more)
        assert reply.status == 200, (reply.status, reply.body)
        return dict(reply.json())

    def followed(self) -> None:
        """Wait until the keeper has the digest of all parts, so that the end need not wait for it."""
        digests = [bytes.fromhex(part["digest"].removeprefix("sha256:")) for part in self.listing().json()["parts"]]
        names = hashlib.sha256(b"".join(digests)).digest()
        eventually(
            partial(rows, self.talk.server, "SELECT 1 FROM uploads WHERE id = ? AND digest_of = ?", self.id, names)
        )

    def listing(self) -> Reply:
        return self.talk.ask("GET", self.own_target(), self.credential)

    def abort(self) -> Reply:
        return self.talk.ask("DELETE", self.own_target(), self.credential)

    def own_target(self) -> str:
        """The upload at the CDN's door, where it is listed and aborted."""
        return f"{self.url}/multipart/{self.id}{self.query}"

    def _spelled(self, parts: Any) -> Any:
        if self.door != "gcs" or not isinstance(parts, list):
            return parts
        return [{"part_number": each["partNumber"], "etag": (each["etag"] or "").strip('"')} for each in parts]


def alike(first: dict[str, Any], again: dict[str, Any]) -> bool:
    """Whether two replies to an end are equal, but for a digest that was not ready at the first."""
    return again == first or (first["digest"] is None and {**again, "digest": None} == first)


def begin(talk: Talk, door: str = "cdn", name: str = "big.bin", kind: str = "video/mp4", **headers: Value) -> Upload:
    """Begin an upload at one of the doors with the key of the server, unless `authorization` says otherwise."""
    key = {name: str(value) for name, value in {**talk.key, **headers}.items() if name == "authorization"}
    if door == "cdn":
        own: dict[str, Value] = {"content-type": kind, "x-fal-file-name": name.encode()}
        reply = talk.ask("POST", "/files/upload/multipart", {**talk.key, **own, **_named(headers)}, b"")
        assert reply.status == 200, (reply.status, reply.body)
        told = reply.json()
        return Upload(talk, door, told["access_url"], f"{told['access_url']}/multipart/{told['uploadId']}", "", key)
    wish = {"file_name": name, "content_type": kind}
    storage_type = "gcs" if door == "gcs" else "fal-cdn-v3"
    reply = talk.post_json(f"/storage/upload/initiate-multipart?storage_type={storage_type}", wish, **headers)
    assert reply.status == 200, (reply.status, reply.body)
    base, mark, query = reply.json()["upload_url"].partition("?")
    return Upload(talk, door, reply.json()["file_url"], base, mark + query, key if door == "gcs" else {})


def _named(headers: Mapping[str, Value]) -> dict[str, Value]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
