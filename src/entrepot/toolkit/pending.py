"""A file whose URL is out and whose bytes are not there yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from entrepot.client.local import expanded
from entrepot.toolkit.repositories import Reservation

F = TypeVar("F")


@dataclass(frozen=True)
class PendingFile(Generic[F]):
    """What `File.reserve` gives. Readers of `url` get 404 until `complete`, and for ever after `abort`."""

    content_type: str
    file_name: str
    _reservation: Reservation = field(repr=False)
    _described: Callable[[bytes | Path], F] = field(repr=False)

    @property
    def url(self) -> str:
        """Where the file will be."""
        return self._reservation.url

    def complete(self, content: bytes | str | Path) -> F:
        """Publish bytes, or a file by its path; the file object. Nothing falls back: the URL is out. Raises
        FileUploadException, after which it may be tried again; FileNotFoundError."""
        data = Path(expanded(content)) if isinstance(content, str | Path) else bytes(content)
        file = self._described(data)
        self._reservation.complete(data)
        return file

    async def complete_async(self, content: bytes | str | Path) -> F:
        """As `complete`, in a thread."""
        return await asyncio.to_thread(self.complete, content)

    def abort(self) -> None:
        """Give the URL up."""
        self._reservation.abort()

    async def abort_async(self) -> None:
        """As `abort`, in a thread."""
        await asyncio.to_thread(self.abort)
