"""A file whose URL is out and whose bytes are not there yet."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from entrepot.toolkit.repositories import Reservation

if TYPE_CHECKING:
    from entrepot.toolkit.files import File

F = TypeVar("F", bound="File")


@dataclass(frozen=True)
class PendingFile(Generic[F]):
    """What `File.reserve` gives. Readers of `url` get 404 until `complete`, and for ever after `abort`."""

    content_type: str
    file_name: str
    _reservation: Reservation = field(repr=False)
    _type: type[F] = field(repr=False)

    @property
    def url(self) -> str:
        """Where the file will be."""
        return self._reservation.url

    def complete(self, content: bytes | str | Path) -> F:
        """Publish bytes, or a file by its path. Nothing falls back: the URL is out. Raises FileUploadException, after
        which it may be tried again; FileNotFoundError."""
        data = content if isinstance(content, bytes) else Path(content)
        if isinstance(data, Path) and not data.exists():
            raise FileNotFoundError(f"File {data} does not exist")
        with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as file:
            known: dict[str, Any] = self._type._facts(file)
            size = file.seek(0, io.SEEK_END)
        self._reservation.complete(data)
        return self._type(
            url=self.url,
            content_type=self.content_type,
            file_name=self.file_name,
            file_size=size,
            file_data=data if isinstance(data, bytes) else None,
            **known,
        )

    async def complete_async(self, content: bytes | str | Path) -> F:
        """As `complete`, in a thread."""
        return await asyncio.to_thread(self.complete, content)

    def abort(self) -> None:
        """Give the URL up."""
        self._reservation.abort()

    async def abort_async(self) -> None:
        """As `abort`, in a thread."""
        await asyncio.to_thread(self.abort)
