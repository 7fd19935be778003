"""`client.files`: the /data volume of the server. Both faces make the same flows.

Paths are as in `models/a.bin` or `/data/models/a.bin`; names are taken byte for byte. All raise EntrepotError:
ServerError with 404 where nothing is, with 409 where something is in the way, with 412 when a condition is not met.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypedDict, TypeVar, Unpack

from entrepot.client import downloads, resume, stowing, unzipping
from entrepot.client.commands import Flow
from entrepot.client.entries import Entry, Trashed, Uploaded, Usage
from entrepot.client.errors import PathError, SourceError, TargetError
from entrepot.client.filling import Downloaded, Target
from entrepot.client.local import expanded
from entrepot.client.paths import parse
from entrepot.client.sources import Data, Source, Stream, of_data, open_path
from entrepot.client.types import FileUrl, Lifetime, OnProgress, check_names, settings_of
from entrepot.client.volume import Conditions, Volume
from entrepot.client.wish import CONCURRENCY, PART_SIZE, Wish
from entrepot.domain.mediatypes import OCTET_STREAM

T = TypeVar("T")
Entries = list[Entry]  # in a class that has a method `list` the word means that one
AllTrashed = list[Trashed]


class UploadOptions(TypedDict, total=False):
    """Keyword arguments of uploads to the volume.

    `overwrite=False`: only where nothing is; `if_match`: only over the file with this `Entry.etag`. With
    `skip_existing` a file is not sent when the one that is there has the same bytes. The others are those of
    `SyncClient.upload`.
    """

    overwrite: bool
    if_match: str | None
    skip_existing: bool
    progress: OnProgress | None
    multipart_threshold: int
    part_size: int
    concurrency: int
    resume: bool


class _Run(Protocol):
    def __call__(self, flow: Flow[T], /) -> T: ...


class _RunAsync(Protocol):
    def __call__(self, flow: Flow[T], /) -> Coroutine[Any, Any, T]: ...


class _Files:
    """What both faces share: the flows that need more than the path."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume

    def _upload(self, opened: Callable[[], Source | Stream], path: str, options: UploadOptions) -> Flow[Uploaded]:
        check_names(options, UploadOptions.__optional_keys__)
        wish = Wish(
            name=None,
            content_type=OCTET_STREAM,
            progress=options.get("progress"),
            skip_existing=options.get("skip_existing", False),
            threshold=options.get("multipart_threshold", stowing.THRESHOLD),
            part_size=options.get("part_size", PART_SIZE),
            concurrency=options.get("concurrency", CONCURRENCY),
            states=resume.folder() if options.get("resume", True) else None,
        )
        if wish.threshold < 0 or wish.part_size < 1 or wish.concurrency < 1:
            raise ValueError("part_size and concurrency must be at least 1, multipart_threshold at least 0")
        when = Conditions(options.get("if_match"), options.get("overwrite", True))
        return stowing.upload(self._volume, opened, _file(path), wish, when)

    def _unzip(self, local: str, folder: str, encoding: str | None, progress: OnProgress | None) -> Flow[None]:
        return unzipping.unzip(self._volume, partial(open_path, local), _inner(folder), encoding, progress)

    def _download(
        self,
        path: str | Entry,
        local: str | os.PathLike[str],
        overwrite: bool,
        resume: bool,
        progress: OnProgress | None,
    ) -> Flow[Downloaded]:
        target = Path(os.path.abspath(expanded(local)))
        if not target.name:
            raise TargetError(f"{target} is a folder.", "Name a file.")
        known, path = (path, path.path) if isinstance(path, Entry) else (None, path)
        return downloads.download(self._volume, _file(path), Target(target, overwrite, resume, known), progress)

    def _stream(self, path: str, write: Callable[[memoryview], object], start: int, end: int | None) -> Flow[int]:
        if start < 0 or (end is not None and end <= start):
            raise ValueError("start must be at least 0, and end more than start")
        return downloads.read(self._volume, _file(path), write, start, end)

    def _publish(
        self, path: str, file_name: str | None, content_type: str | None, lifecycle: Lifetime | None
    ) -> Flow[FileUrl]:
        known = {"file_name": file_name, "content_type": content_type}
        told = {name: value for name, value in known.items() if value is not None}
        settings = settings_of(lifecycle)
        return self._volume.publish(path, told, settings.header() if settings else None)


class Files(_Files):
    """The volume, for SyncClient. May be used from any thread."""

    def __init__(self, volume: Volume, run: _Run) -> None:
        super().__init__(volume)
        self._run = run

    def upload(self, local: str | os.PathLike[str], path: str, **options: Unpack[UploadOptions]) -> Uploaded:
        """Upload a file of this machine (`-`: the standard input) to a path. One that was cut goes on where it
        stopped. Raises SourceChanged, and then nothing was stored."""
        return self._run(self._upload(partial(open_path, os.fsdecode(local)), path, options))

    def unzip(
        self,
        local: str | os.PathLike[str],
        folder: str,
        *,
        encoding: str | None = None,
        progress: OnProgress | None = None,
    ) -> None:
        """Upload a ZIP file of this machine and have the server unpack it into a folder. `encoding` (`gbk`,
        `shift_jis`) is that of names in it which are not UTF-8."""
        self._run(self._unzip(os.fsdecode(local), folder, encoding, progress))

    def write(self, path: str, data: Data, **options: Unpack[UploadOptions]) -> Uploaded:
        """Put bytes, a text, a binary file object or an iterator of bytes at a path, in place of what file was
        there."""
        if isinstance(data, AsyncIterable):
            raise SourceError("An asynchronous iterator needs an event loop.", "Use AsyncClient.")
        return self._run(self._upload(partial(of_data, data), path, options))

    def download(
        self,
        path: str | Entry,
        local: str | os.PathLike[str],
        *,
        overwrite: bool = True,
        resume: bool = True,
        progress: OnProgress | None = None,
    ) -> Downloaded:
        """Download a file to a path of this machine, whole or not at all; its folder is made. One that was cut goes on
        where it stopped, and one that is there already is not brought again; an Entry as `path` saves the question."""
        return self._run(self._download(path, local, overwrite, resume, progress))

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes of a file, or those from `start` to before `end`."""
        found = bytearray()
        self._run(self._stream(path, found.extend, start, end))
        return bytes(found)

    def stream(self, path: str, write: Callable[[memoryview], object], start: int = 0, end: int | None = None) -> int:
        """Give the bytes of a file to `write` as they come; how many they were. They are whole and right only when this
        returns."""
        return self._run(self._stream(path, write, start, end))

    def stat(self, path: str, *, checksum: bool = False) -> Entry:
        """What is at a path; with `checksum` its digest is computed if it is not known."""
        return self._run(self._volume.stat(path, checksum))

    def scan(self, path: str = "", *, recursive: bool = False) -> Iterator[Entry]:
        """The entries of a folder, or of all below it, by name, page by page as they are asked for."""
        cursor = None
        while True:
            page = self._run(self._volume.page(path, recursive=recursive, cursor=cursor))
            yield from page.entries
            if (cursor := page.cursor) is None:
                return

    def usage(self, path: str = "") -> Usage:
        """How much a folder holds, all below it included."""
        return self._run(self._volume.usage(path))

    def make_folder(self, path: str) -> Entry:
        """Make a folder and those above it. One that is there is fine."""
        return self._run(self._volume.make_folder(path))

    def rename(self, path: str, destination: str, *, overwrite: bool = False) -> Entry:
        """Move a file or folder; `destination` is its whole new path."""
        return self._run(self._volume.rename(path, destination, overwrite))

    def copy(self, path: str, destination: str, *, overwrite: bool = False) -> Entry:
        """Copy a file, or a folder with all below it, on the server."""
        return self._run(self._volume.copy(path, destination, overwrite))

    def delete(
        self, path: str, *, recursive: bool = False, permanent: bool = False, if_match: str | None = None
    ) -> str | None:
        """Delete a file, or with `recursive` a folder; the id by which it is undone, None when that is not wanted."""
        return self._run(self._volume.delete(path, recursive=recursive, permanent=permanent, if_match=if_match))

    def undelete(self, trash_id: str, destination: str | None = None) -> Entry:
        """Put back what was deleted, where it was or elsewhere."""
        return self._run(self._volume.restore(trash_id, destination))

    def trash(self) -> AllTrashed:
        """What was deleted and can be put back."""
        return self._run(self._volume.trash())

    def drop(self, trash_id: str) -> None:
        """End something in the trash for good."""
        self._run(self._volume.drop(trash_id))

    def upload_url(self, url: str, path: str) -> None:
        """Have the server fetch a URL into a file; comes back when it is there."""
        self._run(self._volume.upload_url(url, _file(path)))

    def publish(
        self,
        path: str,
        *,
        file_name: str | None = None,
        content_type: str | None = None,
        lifecycle: Lifetime | None = None,
    ) -> FileUrl:
        """Make a file with a URL of its own of one on the volume, without sending its bytes."""
        return self._run(self._publish(path, file_name, content_type, lifecycle))

    def keep(self, url: str, path: str, *, overwrite: bool = False) -> Entry:
        """Make a file on the volume of one with a URL of this server, without sending its bytes."""
        return self._run(self._volume.keep(url, _file(path), overwrite))

    def list(self, path: str = "", *, recursive: bool = False) -> Entries:
        """All entries of a folder, or of all below it, by name."""
        return self._run(self._volume.all(path, recursive=recursive))


class AsyncFiles(_Files):
    """The volume, for AsyncClient."""

    def __init__(self, volume: Volume, run: _RunAsync) -> None:
        super().__init__(volume)
        self._run = run

    async def upload(self, local: str | os.PathLike[str], path: str, **options: Unpack[UploadOptions]) -> Uploaded:
        """As `Files.upload`."""
        return await self._run(self._upload(partial(open_path, os.fsdecode(local)), path, options))

    async def unzip(
        self,
        local: str | os.PathLike[str],
        folder: str,
        *,
        encoding: str | None = None,
        progress: OnProgress | None = None,
    ) -> None:
        """As `Files.unzip`."""
        await self._run(self._unzip(os.fsdecode(local), folder, encoding, progress))

    async def write(self, path: str, data: Data, **options: Unpack[UploadOptions]) -> Uploaded:
        """As `Files.write`; `data` may be an asynchronous iterator of bytes too."""
        return await self._run(self._upload(partial(of_data, data), path, options))

    async def download(
        self,
        path: str | Entry,
        local: str | os.PathLike[str],
        *,
        overwrite: bool = True,
        resume: bool = True,
        progress: OnProgress | None = None,
    ) -> Downloaded:
        """As `Files.download`."""
        return await self._run(self._download(path, local, overwrite, resume, progress))

    async def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """As `Files.read`."""
        found = bytearray()
        await self._run(self._stream(path, found.extend, start, end))
        return bytes(found)

    async def stream(
        self, path: str, write: Callable[[memoryview], object], start: int = 0, end: int | None = None
    ) -> int:
        """As `Files.stream`; `write` is called in another thread."""
        return await self._run(self._stream(path, write, start, end))

    async def stat(self, path: str, *, checksum: bool = False) -> Entry:
        """As `Files.stat`."""
        return await self._run(self._volume.stat(path, checksum))

    async def scan(self, path: str = "", *, recursive: bool = False) -> AsyncIterator[Entry]:
        """As `Files.scan`."""
        cursor = None
        while True:
            page = await self._run(self._volume.page(path, recursive=recursive, cursor=cursor))
            for entry in page.entries:
                yield entry
            if (cursor := page.cursor) is None:
                return

    async def usage(self, path: str = "") -> Usage:
        """As `Files.usage`."""
        return await self._run(self._volume.usage(path))

    async def make_folder(self, path: str) -> Entry:
        """As `Files.make_folder`."""
        return await self._run(self._volume.make_folder(path))

    async def rename(self, path: str, destination: str, *, overwrite: bool = False) -> Entry:
        """As `Files.rename`."""
        return await self._run(self._volume.rename(path, destination, overwrite))

    async def copy(self, path: str, destination: str, *, overwrite: bool = False) -> Entry:
        """As `Files.copy`."""
        return await self._run(self._volume.copy(path, destination, overwrite))

    async def delete(
        self, path: str, *, recursive: bool = False, permanent: bool = False, if_match: str | None = None
    ) -> str | None:
        """As `Files.delete`."""
        return await self._run(self._volume.delete(path, recursive=recursive, permanent=permanent, if_match=if_match))

    async def undelete(self, trash_id: str, destination: str | None = None) -> Entry:
        """As `Files.undelete`."""
        return await self._run(self._volume.restore(trash_id, destination))

    async def trash(self) -> AllTrashed:
        """As `Files.trash`."""
        return await self._run(self._volume.trash())

    async def drop(self, trash_id: str) -> None:
        """As `Files.drop`."""
        await self._run(self._volume.drop(trash_id))

    async def upload_url(self, url: str, path: str) -> None:
        """As `Files.upload_url`."""
        await self._run(self._volume.upload_url(url, _file(path)))

    async def publish(
        self,
        path: str,
        *,
        file_name: str | None = None,
        content_type: str | None = None,
        lifecycle: Lifetime | None = None,
    ) -> FileUrl:
        """As `Files.publish`."""
        return await self._run(self._publish(path, file_name, content_type, lifecycle))

    async def keep(self, url: str, path: str, *, overwrite: bool = False) -> Entry:
        """As `Files.keep`."""
        return await self._run(self._volume.keep(url, _file(path), overwrite))

    async def list(self, path: str = "", *, recursive: bool = False) -> Entries:
        """As `Files.list`."""
        return await self._run(self._volume.all(path, recursive=recursive))


def _inner(folder: str) -> str:
    """The path of a folder that is not the volume itself, parsed. Raises PathError."""
    if not (parsed := parse(folder)):
        raise PathError("This would be the whole volume.", "Name a folder on it.")
    return parsed


def _file(path: str) -> str:
    """A path that may be a file's, parsed. Raises PathError."""
    if path.endswith("/") or not (parsed := parse(path)):
        raise PathError(f"{path!r} is a folder.", "Name a file.")
    return parsed
