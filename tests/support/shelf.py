"""A volume of one file that a test can change, cut and garble: what an honest server would not do.

with Shelf(b"bytes") as shelf:
    shelf.cuts = [1000]  # the first reply ends after so many bytes
    ...  # download shelf.path from shelf.stub.url
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from typing import Any

from entrepot.client.clients import SyncClient
from support.sdk import in_a_hurry
from support.stubs import Asked, Stub, said

KEY = "0123456789abcdef:secret-of-the-shelf"


class Shelf:
    """`data` is the file; `etag` changes with it. `asked` are the requests for its bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.version = 1
        self.cuts: list[int | None] = []
        self.digest: bytes | None = None  # what is announced, when that is not the truth
        self.before: Callable[[Asked], None] = lambda asked: None
        self.stub = Stub(self._answer)

    @property
    def etag(self) -> str:
        return f'"v{self.version}"'

    @property
    def asked(self) -> list[Asked]:
        return [each for each in self.stub.asked if "/file/" in each.path]

    def change(self, data: bytes) -> None:
        self.data, self.version = data, self.version + 1

    def client(self, **options: Any) -> SyncClient:
        client: SyncClient = in_a_hurry(SyncClient(KEY, 10.0, url=self.stub.url, **options))
        return client

    def _answer(self, asked: Asked) -> bytes | None:
        self.before(asked)
        whole = self.digest or hashlib.sha256(self.data).digest()
        headers = {"etag": self.etag, "repr_digest": f"sha-256=:{base64.b64encode(whole).decode()}:"}
        status, body = 200, self.data
        if asked.headers.get("if-none-match") == self.etag:
            return said(304, **headers)
        if asked.headers.get("if-match", self.etag) != self.etag:
            return said(
                412, {"error": {"type": "validation_error", "message": "changed", "code": "precondition_failed"}}
            )
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("range", ""))
        if wanted and asked.headers.get("if-range", self.etag) == self.etag:
            begin, end = int(wanted[1]), int(wanted[2] or len(self.data) - 1) + 1
            status, body = 206, self.data[begin:end]
            headers["content_range"] = f"bytes {begin}-{end - 1}/{len(self.data)}"
        reply = said(status, body, **headers)
        cut = self.cuts.pop(0) if self.cuts else None
        if cut is None:
            return reply
        asked.stub.say(reply[: reply.index(b"\r\n\r\n") + 4 + cut])
        return None

    def __enter__(self) -> Shelf:
        self.stub.__enter__()
        return self

    def __exit__(self, *args: Any) -> None:
        self.stub.__exit__(*args)
