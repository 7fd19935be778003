"""Uploads to a server that dies under them, and what must be found afterwards."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from support.inside import rows
from support.promises import live_paths
from support.server import Server
from support.trees import files_below

FAILPOINTS = Path(__file__).with_name("failpoints")
CUT = (OSError, http.client.HTTPException)  # what a client sees of a server that dies
WAIT_SECONDS = 90.0
# SQLite has written its commit record, but not told the other processes: a write of the keeper may take its place, so
# that what nobody was told of is there or not.
COMMITTED = ("db_sync:1", "reply:1")


def connect(server: Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)


def ask(
    server: Server, method: str, target: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    """One request on a connection of its own: status, body, headers in lower case."""
    with contextlib.closing(connect(server)) as connection:
        connection.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
        reply = connection.getresponse()
        return reply.status, reply.read(), {name.lower(): value for name, value in reply.getheaders()}


def upload(server: Server, name: str, data: bytes, **headers: str) -> tuple[int, str]:
    """POST a file: the status, and its path when it is acknowledged."""
    status, body, _ = ask(
        server, "POST", "/files/upload", data,
        Authorization=f"Key {server.key}", X_Fal_File_Name=name, Content_Type="application/octet-stream", **headers,
    )  # fmt: skip
    return status, urlsplit(json.loads(body)["access_url"]).path if status == 200 else ""


def initiate(server: Server, name: str) -> tuple[str, str]:
    """Begin an upload: the target of the signed PUT, and the path to read from."""
    wish = json.dumps({"file_name": name, "content_type": "application/octet-stream"}).encode()
    status, body, _ = ask(
        server, "POST", "/storage/upload/initiate", wish,
        Authorization=f"Key {server.key}", Content_Type="application/json",
    )  # fmt: skip
    assert status == 200, body
    begun = {name: urlsplit(url) for name, url in json.loads(body).items()}
    return f"{begun['upload_url'].path}?{begun['upload_url'].query}", begun["file_url"].path


@dataclass
class Ledger:
    """What was sent and what was acknowledged, over all lives of one server."""

    sent: dict[str, bytes] = field(default_factory=dict)  # by name
    acknowledged: dict[str, bytes] = field(default_factory=dict)  # by path
    read_back: set[str] = field(default_factory=set)
    chance: Random = field(default_factory=lambda: Random(7))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def make(self, size: int) -> tuple[str, bytes]:
        """A new body under a new name, without `_`: a path ends with `_` and the name."""
        with self._lock:
            name = f"file-{len(self.sent)}.bin"
            self.sent[name] = self.chance.randbytes(size)
            return name, self.sent[name]

    def upload(self, server: Server, size: int, **headers: str) -> bool:
        """Send a new body; whether it was acknowledged."""
        name, data = self.make(size)
        try:
            status, path = upload(server, name, data, **headers)
        except CUT:
            return False
        if status == 200:
            with self._lock:
                self.acknowledged[path] = data
        return status == 200

    def check(self, server: Server, *, again: bool = False) -> None:
        """I1: what was acknowledged is there. I2: what else there is was sent, and is whole.

        What was read back once is read only `again`.
        """
        paths = set(live_paths(server.home / "catalogue.db"))
        assert self.acknowledged.keys() <= paths
        unread = paths if again else paths - self.read_back
        self.read_back |= paths
        with contextlib.closing(connect(server)) as connection:
            for path in sorted(unread):
                connection.request("GET", path)
                reply = connection.getresponse()
                data = reply.read()
                assert reply.status == 200, (path, data[:300])
                assert data == self.acknowledged.get(path, self.sent[path.rpartition("_")[2]]), path


def stray_and_missing(server: Server) -> tuple[set[str], set[str]]:
    """Segment files that no row names, and rows whose file is not there (docs/threats.md I8 wants neither)."""
    named = dict(rows(server, "SELECT key, size FROM segments"))
    blobs = server.home / "blobs"
    there = {str(path.relative_to(blobs)): size for path, size in files_below(blobs).items()}
    return there.keys() - named.keys(), {key for key, size in named.items() if there.get(key) != size}


def wait_for(what: Callable[[], object], title: str) -> None:
    """Poll until `what` is true; a fault that hangs the wait is told by its title."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not what():
        assert time.monotonic() < deadline, f"never happened: {title}"
        time.sleep(0.05)


def wait_for_clean_disk(server: Server) -> None:
    """The sweep of orphans leaves exactly what rows name."""
    wait_for(lambda: stray_and_missing(server) == (set(), set()), "the blobs folder holds exactly what rows name")
