"""The volume's routes in short: `files.old("GET", "list/x")` is fal's legacy path, `files.v1(...)` the Platform API."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.talk import Reply, Talk, Value, named
from support.trees import files_below

OLD, V1 = "/files", "/v1/serverless/files"
BOUNDARY = "d2b8f0c4"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def form(data: bytes, disposition: str = 'form-data; name="file_upload"; filename="x.bin"') -> bytes:
    """A form as the stock client sends it."""
    head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\nContent-Type: application/octet-stream\r\n\r\n"
    return head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True)
class Files(Talk):
    """With the server's key, unless `authorization` says otherwise."""

    @property
    def root(self) -> Path:
        """The volume on the disk."""
        return self.server.home / "data"

    def old(self, method: str, rest: str, body: Any = None, **headers: Value) -> Reply:
        return self._ask(method, f"{OLD}/{rest}", body, headers)

    def v1(self, method: str, rest: str, body: Any = None, **headers: Value) -> Reply:
        return self._ask(method, f"{V1}/{rest}", body, headers)

    def _ask(self, method: str, target: str, body: Any, headers: dict[str, Value]) -> Reply:
        """A body that is not bytes goes as JSON."""
        if body is not None and not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"content_type": "application/json", **headers}
        return self.ask(method, target, {**self.key, **named(headers)}, body)

    def form(self, target: str, data: bytes, method: str = "POST", **headers: Value) -> Reply:
        """Send bytes as the file of a form to a whole path."""
        return self._ask(method, target, form(data), {"content_type": FORM, **headers})

    def store(self, path: str, data: bytes, **headers: Value) -> Reply:
        """Store a file: `files.store("a/b.txt", b"...")`."""
        return self.v1("PUT", f"file/{path}", data, **headers)

    def read(self, path: str) -> bytes | None:
        """The bytes of a file; None when there is none."""
        got = self.v1("GET", f"file/{path}")
        assert got.status in (200, 404), got
        return got.body if got.status == 200 else None

    def names(self, folder: str) -> list[str]:
        """The names in a folder."""
        return [each["name"] for each in self.v1("GET", f"list/{folder}").json()]

    def leftovers(self) -> list[Path]:
        """What is staged now."""
        return list(files_below(self.root / ".entrepot" / "staging"))
