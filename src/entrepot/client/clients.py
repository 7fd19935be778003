"""The clients: `SyncClient` and `AsyncClient`. Both make the same flows; only what carries them out differs.

Names, arguments and meaning are those of `fal_client` 1.0.3; docs/client.md lists what differs.
"""

from __future__ import annotations

import os
import random
import re
import secrets
import time
import warnings
from collections.abc import AsyncIterable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self, Unpack

from entrepot.client import profile, resume
from entrepot.client.asking import Context, OnWait
from entrepot.client.commands import Flow
from entrepot.client.errors import ConfigurationError, SourceError
from entrepot.client.flows import upload, ways
from entrepot.client.image_encoding import encode_image_bytes
from entrepot.client.profile import Profile
from entrepot.client.sources import Data, Source, Stream, of_data, open_path
from entrepot.client.sync import SyncDriver
from entrepot.client.types import FileUrl, Options, check_names, settings_of
from entrepot.client.wish import CONCURRENCY, PART_SIZE, THRESHOLD, Wish
from entrepot.domain.mediatypes import OCTET_STREAM, is_valid_type, type_for_name

if TYPE_CHECKING:
    from entrepot.client.files import AsyncFiles, Files
    from entrepot.client.volume import Volume

_REPOSITORIES = ("fal_v3", "fal")
# Seconds in which no byte moves before a request counts as stalled.
STALL_SECONDS = 120.0
_LONE = re.compile("[\ud800-\udfff]")


class _Client:
    """What both clients share: where to upload to, and the flow of each upload."""

    def __init__(
        self,
        key: str | None = None,
        default_timeout: float = STALL_SECONDS,
        *,
        url: str | Sequence[str] | None = None,
        profile: str | None = None,
    ) -> None:
        """`key` and `url` (or several, tried in order) win over ENTREPOT_KEY, FAL_KEY and ENTREPOT_URL, and those over
        the saved `profile`. `default_timeout` is how many seconds may pass in which no byte moves: no upload is ever
        too long. Nothing is looked up before the first upload."""
        if not default_timeout > 0:
            raise ValueError("default_timeout must be more than 0 seconds")
        self._key, self._url, self._profile = key, url, profile
        self._context = Context(time.time, random.random, lambda: secrets.token_hex(16))

    def __repr__(self) -> str:
        try:
            places = ", ".join(repr(each.url) for each in self._targets())
        except ConfigurationError:  # for the upload to say; a debugger or a log only wants to show the client
            places = ""
        return f"{type(self).__name__}({places})"

    def _targets(self) -> tuple[Profile, ...]:
        return profile.targets(self._key, self._url, self._profile)

    def _volume(self) -> Volume:
        from entrepot.client.volume import Volume  # who only uploads does without

        return Volume(self._context, self._targets()[0])

    def _file(
        self, path: str | os.PathLike[str], content_type: str | None, file_name: str | None, options: Options
    ) -> Flow[FileUrl]:
        given = os.fsdecode(path)  # `os.listdir(b"...")` gives paths in bytes
        name = file_name or (None if given == "-" else os.path.basename(given))
        kind = content_type or (type_for_name(name) if name else None) or OCTET_STREAM
        return self._flow(partial(open_path, given), kind, name, options)

    def _data(self, data: Data, content_type: str, file_name: str | None, options: Options) -> Flow[FileUrl]:
        return self._flow(partial(of_data, data), content_type, file_name, options)

    def _flow(
        self, opened: Callable[[], Source | Stream], content_type: str, name: str | None, options: Options
    ) -> Flow[FileUrl]:
        chain = ways(self._targets(), _repositories(options), self._context.policy)
        return upload(self._context, chain, opened, _wish(content_type, name, options))


class SyncClient(_Client):
    """Uploads from any thread; in a forked child it begins with connections of its own."""

    def __init__(
        self,
        key: str | None = None,
        default_timeout: float = STALL_SECONDS,
        *,
        url: str | Sequence[str] | None = None,
        profile: str | None = None,
        on_wait: OnWait | None = None,
    ) -> None:
        """`on_wait` is told in any thread how many seconds are waited because a server asked for it, and why."""
        super().__init__(key, default_timeout, url=url, profile=profile)
        self._context.on_wait = on_wait
        self._driver = SyncDriver(default_timeout)

    def upload(
        self, data: Data, content_type: str, file_name: str | None = None, **options: Unpack[Options]
    ) -> FileUrl:
        """Upload bytes, a text, a binary file object from where it stands on, or an iterator of bytes.

        Raises EntrepotError; `SourceChanged` when the file changed meanwhile, and then nothing was published.
        """
        if isinstance(data, AsyncIterable):
            raise SourceError("An asynchronous iterator needs an event loop.", "Use AsyncClient, or upload_async.")
        return self._driver.run(self._data(data, content_type, file_name, options))

    def upload_file(
        self,
        path: str | os.PathLike[str],
        *,
        content_type: str | None = None,
        file_name: str | None = None,
        **options: Unpack[Options],
    ) -> FileUrl:
        """Upload a file, or the standard input for `-`. Its type is found by its name, then by its bytes. One that
        was cut goes on where it stopped. Raises as `upload`."""
        return self._driver.run(self._file(path, content_type, file_name, options))

    def upload_image(self, image: Any, format: str | None = "jpeg", **options: Unpack[Options]) -> FileUrl:
        """Upload a Pillow image, or what has `save(file, format=...)`, as a file of this format; None: the one that it
        was loaded from, else png. Raises ImageNotEncodable, and as `upload`."""
        data, kind = encode_image_bytes(image, format)
        return self.upload(data, kind, **options)

    @property
    def files(self) -> Files:
        """The /data volume of the server; of several, of the first."""
        from entrepot.client.files import Files

        return Files(self._volume(), self._driver.run)

    def close(self) -> None:
        """Close all connections; the client may be used again."""
        self._driver.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Client):
    """The twin for asyncio; one client may serve several event loops."""

    def __init__(
        self,
        key: str | None = None,
        default_timeout: float = STALL_SECONDS,
        *,
        url: str | Sequence[str] | None = None,
        profile: str | None = None,
    ) -> None:
        from entrepot.client.aio import AsyncDriver  # asyncio would be half of what an import of this module takes

        super().__init__(key, default_timeout, url=url, profile=profile)
        self._driver = AsyncDriver(default_timeout)

    async def upload(
        self, data: Data, content_type: str, file_name: str | None = None, **options: Unpack[Options]
    ) -> FileUrl:
        """As `SyncClient.upload`; `data` may be an asynchronous iterator of bytes too."""
        return await self._driver.run(self._data(data, content_type, file_name, options))

    async def upload_file(
        self,
        path: str | os.PathLike[str],
        *,
        content_type: str | None = None,
        file_name: str | None = None,
        **options: Unpack[Options],
    ) -> FileUrl:
        """As `SyncClient.upload_file`."""
        return await self._driver.run(self._file(path, content_type, file_name, options))

    async def upload_image(self, image: Any, format: str | None = "jpeg", **options: Unpack[Options]) -> FileUrl:
        """As `SyncClient.upload_image`."""
        data, kind = encode_image_bytes(image, format)
        return await self.upload(data, kind, **options)

    @property
    def files(self) -> AsyncFiles:
        """As `SyncClient.files`."""
        from entrepot.client.files import AsyncFiles

        return AsyncFiles(self._volume(), self._driver.run)

    async def close(self) -> None:
        """Close all connections; the client may be used again."""
        self._driver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _repositories(options: Options) -> list[str]:
    """The ways of uploading, each once (docs/protocol.md 8.1). Raises ValueError for an unknown one."""
    fallback = options.get("fallback_repository")
    more = ["fal"] if fallback is None else fallback if isinstance(fallback, list) else [fallback]
    found: list[str] = []
    for each in [options.get("repository") or "fal_v3", *more]:
        if each == "cdn":
            warnings.warn("The repository 'cdn' is an old name of 'fal_v3'.", DeprecationWarning, stacklevel=5)
        name = "fal_v3" if each == "cdn" else each
        if name not in _REPOSITORIES:
            raise ValueError(f"Unsupported upload repository {each!r}; there are {', '.join(_REPOSITORIES)}.")
        if name not in found:
            found.append(name)
    return found


def _wish(content_type: str, name: str | None, options: Options) -> Wish:
    """Raises ValueError for an option that makes no sense, TypeError for one that there is not."""
    check_names(options, Options.__optional_keys__)
    if not is_valid_type(content_type):
        raise ValueError(f"{content_type!r} is not a media type such as image/png")
    lifecycle = settings_of(options.get("lifecycle"), options.get("expires"))
    wish = Wish(
        # What is no Unicode, as names of files may be, cannot be said on HTTP.
        name=None if name is None else _LONE.sub("\ufffd", name),
        content_type=content_type.strip(),
        lifecycle=lifecycle.header() if lifecycle else None,
        progress=options.get("progress"),
        skip_existing=options.get("skip_existing", False),
        threshold=options.get("multipart_threshold", THRESHOLD),
        part_size=options.get("part_size", PART_SIZE),
        concurrency=options.get("concurrency", CONCURRENCY),
        states=resume.folder() if options.get("resume", True) else None,
    )
    if wish.threshold < 0 or wish.part_size < 1 or wish.concurrency < 1:
        raise ValueError("part_size and concurrency must be at least 1, multipart_threshold at least 0")
    return wish
