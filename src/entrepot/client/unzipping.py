"""An archive that the server unpacks into a folder of the volume: one request, a form with the file in it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from entrepot import wire
from entrepot.client.commands import Call, Flow, Request
from entrepot.client.errors import SourceError
from entrepot.client.meter import Meter
from entrepot.client.retry import brief
from entrepot.client.sources import Source, Stream, Window
from entrepot.client.types import OnProgress
from entrepot.client.volume import Volume

_SILENCE = 900.0  # seconds that the server may unpack without a word


@dataclass(frozen=True, slots=True)
class _Form:
    """A form with one file (RFC 7578), as the body of a request."""

    boundary: str
    file: Window

    @property
    def size(self) -> int:
        return len(self._head) + self.file.size + len(self._tail)

    def chunks(self) -> Iterator[bytes]:
        yield self._head
        yield from self.file.chunks()
        yield self._tail

    @property
    def _head(self) -> bytes:
        field = f'form-data; name="{wire.FORM_FILE}"; filename="archive.zip"'
        lines = f"--{self.boundary}\r\nContent-Disposition: {field}\r\nContent-Type: application/zip\r\n\r\n"
        return lines.encode()

    @property
    def _tail(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode()


def unzip(
    volume: Volume,
    opened: Callable[[], Source | Stream],
    folder: str,
    encoding: str | None,
    progress: OnProgress | None,
) -> Flow[None]:
    """Send a ZIP file to be unpacked into `folder`, which was parsed. `encoding` is that of names in it which are not
    UTF-8. It may be repeated, for it makes the same files. Raises EntrepotError."""
    source: Source | Stream = yield Call(opened)
    try:
        if isinstance(source, Stream):
            raise SourceError("An archive to unpack must be a file.", "Save it to a file first.")
        meter = Meter(progress, source.size)
        body = _Form(secrets.token_hex(16), Window(source, 0, source.size, meter.sent))
        url = volume.url("file/local", folder, query={"unzip": "true", "encoding": encoding})
        headers = {"content-type": f"multipart/form-data; boundary={body.boundary}"}
        request = Request("POST", url, headers, body, _SILENCE)
        yield from volume.ask(lambda: request, brief(volume.ctx.policy), source.check)
    finally:
        source.close()
