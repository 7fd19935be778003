"""`File`: an output with its URL, or an input whose bytes are fetched when they are needed (docs/protocol.md 7.4).

As an input it is made of a URL (http, https, data) or of its fields; `file_data` is never serialised. Arguments that
all constructors share: `repository` and `fallback_repository` say where to upload, tried in order (ids, or a
`FileRepository`); `request` is the request in flight, whose X-Fal-Object-Lifecycle-Preference is honoured, without it
that of `use_lifecycle`; `save_kwargs` and `fallback_save_kwargs` go to the repositories: `object_lifecycle_preference`,
`multipart`, `multipart_threshold`, `multipart_chunk_size` (bytes), `multipart_max_concurrency`. All raise
FileUploadException. The models' own docstrings are shown to callers, in the JSON schema.
"""

from __future__ import annotations

import asyncio
import functools
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Concatenate, ParamSpec, Self, TypeVar
from urllib.parse import urlsplit

from entrepot.client.local import expanded
from entrepot.client.types import FileUrl
from entrepot.domain.sniffing import HEAD_SIZE
from entrepot.toolkit import contents
from entrepot.toolkit.filedata import FileData, told
from entrepot.toolkit.lifetime import preference_of
from entrepot.toolkit.models import BaseModel, Field, model_validator
from entrepot.toolkit.pending import PendingFile
from entrepot.toolkit.repositories import (
    DEFAULT_REPOSITORY,
    FALLBACK_REPOSITORY,
    FileRepository,
    by_any,
    get_builtin_repository,
)

C = TypeVar("C")
P = ParamSpec("P")
R = TypeVar("R")
Repository = FileRepository | str
Fallback = Repository | Sequence[Repository] | None
Kwargs = dict[str, Any] | None


def _name_may_come_second(method: Callable[Concatenate[C, bytes, P], R]) -> Callable[Concatenate[C, ...], R]:
    """`from_bytes(data, "output.png", content_type="image/png")` too, as fal's documentation has it: a second
    positional without a slash is no media type, so it is the name, and the type comes third or by its keyword."""

    @functools.wraps(method)
    def wrapped(cls: C, *args: Any, **kwargs: Any) -> R:
        if len(args) > 1 and isinstance(args[1], str) and "/" not in args[1]:
            data, name, *rest = args
            kind = rest.pop(0) if rest else kwargs.pop("content_type", None)
            args = (data, kind, name, *rest)
        return method(cls, *args, **kwargs)

    return wrapped


class File(BaseModel):
    """Represents a file."""

    url: str = Field(description="The URL where the file can be downloaded from.")
    content_type: str | None = Field(default=None, description="The mime type of the file.", examples=["image/png"])
    file_name: str | None = Field(
        default=None,
        description="The name of the file. It will be auto-generated if not provided.",
        examples=["z9RV14K95DvU.png"],
    )
    file_size: int | None = Field(default=None, description="The size of the file in bytes.", examples=[4404019])
    file_data: bytes | None = Field(default=None, description="File data", exclude=True, repr=False)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if not is_file_url(value):
            raise ValueError("value must be a valid URL")
        return {"url": value}

    @classmethod
    def _facts(cls, file: IO[bytes]) -> dict[str, Any]:
        """What else the bytes tell: values of further fields."""
        return {}

    @classmethod
    @_name_may_come_second
    def from_bytes(
        cls,
        data: bytes,
        content_type: str | None = None,
        file_name: str | None = None,
        repository: Repository = DEFAULT_REPOSITORY,
        fallback_repository: Fallback = FALLBACK_REPOSITORY,
        request: Any = None,
        save_kwargs: Kwargs = None,
        fallback_save_kwargs: Kwargs = None,
    ) -> Self:
        """Upload bytes. The type is the given one, else what the name says, else what the bytes look like; a name is
        made when there is none. A second positional without `/` is the name."""
        return cls._of_bytes(
            FileData(data, content_type, file_name),
            repository,
            fallback_repository,
            kwargs_of(request, save_kwargs),
            kwargs_of(request, fallback_save_kwargs),
        )

    @classmethod
    def _of_bytes(
        cls,
        data: FileData,
        repository: Repository,
        fallback: Fallback,
        save_kwargs: Mapping[str, Any],
        fallback_save_kwargs: Mapping[str, Any],
        **facts: Any,
    ) -> Self:
        known = cls._facts(io.BytesIO(data.data)) | facts
        url = by_any("save", [data], repository, fallback, save_kwargs, fallback_save_kwargs)
        return cls(
            url=str(url),
            content_type=data.content_type,
            file_name=data.file_name,
            file_size=len(data.data),
            file_data=data.data,
            **known,
        )

    @classmethod
    @_name_may_come_second
    async def from_bytes_async(
        cls,
        data: bytes,
        content_type: str | None = None,
        file_name: str | None = None,
        repository: Repository = DEFAULT_REPOSITORY,
        fallback_repository: Fallback = FALLBACK_REPOSITORY,
        request: Any = None,
        save_kwargs: Kwargs = None,
        fallback_save_kwargs: Kwargs = None,
    ) -> Self:
        """As `from_bytes`, in a thread."""
        rest = (repository, fallback_repository, request, save_kwargs, fallback_save_kwargs)
        return await asyncio.to_thread(cls.from_bytes, data, content_type, file_name, *rest)

    @classmethod
    def from_path(
        cls,
        path: str | Path,
        content_type: str | None = None,
        repository: Repository = DEFAULT_REPOSITORY,
        multipart: bool | None = None,
        fallback_repository: Fallback = FALLBACK_REPOSITORY,
        request: Any = None,
        save_kwargs: Kwargs = None,
        fallback_save_kwargs: Kwargs = None,
    ) -> Self:
        """Upload a file. The type as in `from_bytes`. `multipart` None: in parts above 100 MiB. Raises
        FileNotFoundError, IsADirectoryError."""
        source = Path(expanded(path))
        if not source.exists():
            raise FileNotFoundError(f"File {source} does not exist")
        with source.open("rb") as file:
            kind, name = told(content_type, source.name, file.read(HEAD_SIZE))
            known = cls._facts(file)
        more = {"multipart": multipart, "content_type": kind}
        url, data = by_any(
            "save_file",
            [source],
            repository,
            fallback_repository,
            more | kwargs_of(request, save_kwargs),
            more | kwargs_of(request, fallback_save_kwargs),
        )
        size = url.size if isinstance(url, FileUrl) else source.stat().st_size if data is None else len(data.data)
        return cls(
            url=str(url),
            content_type=kind,
            file_name=name,
            file_size=size,
            file_data=data.data if data else None,
            **known,
        )

    @classmethod
    async def from_path_async(
        cls,
        path: str | Path,
        content_type: str | None = None,
        repository: Repository = DEFAULT_REPOSITORY,
        multipart: bool | None = None,
        fallback_repository: Fallback = FALLBACK_REPOSITORY,
        request: Any = None,
        save_kwargs: Kwargs = None,
        fallback_save_kwargs: Kwargs = None,
    ) -> Self:
        """As `from_path`, in a thread."""
        rest = (repository, multipart, fallback_repository, request, save_kwargs, fallback_save_kwargs)
        return await asyncio.to_thread(cls.from_path, path, content_type, *rest)

    @classmethod
    def reserve(
        cls,
        content_type: str | None = None,
        file_name: str | None = None,
        request: Any = None,
        repository: Repository = DEFAULT_REPOSITORY,
        extra_headers: dict[str, str] | None = None,
    ) -> PendingFile[Self]:
        """The URL now, the bytes later: `complete` or `abort` what comes back. The lifetime preference is read here,
        not there. `extra_headers` go with the request that begins the upload."""
        kind, name = told(content_type, file_name, b"")
        place = get_builtin_repository(repository)
        held = place.reserve(name, kind, preference_of(request), request, extra_headers=extra_headers)
        return PendingFile(kind, name, held, functools.partial(cls._described, held.url, kind, name))

    @classmethod
    def _described(cls, url: str, kind: str, name: str, content: bytes | Path) -> Self:
        if isinstance(content, Path) and not content.exists():
            raise FileNotFoundError(f"File {content} does not exist")
        with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
            known, size = cls._facts(file), file.seek(0, io.SEEK_END)
        data = content if isinstance(content, bytes) else None
        return cls(url=url, content_type=kind, file_name=name, file_size=size, file_data=data, **known)

    @classmethod
    async def reserve_async(
        cls,
        content_type: str | None = None,
        file_name: str | None = None,
        request: Any = None,
        repository: Repository = DEFAULT_REPOSITORY,
        extra_headers: dict[str, str] | None = None,
    ) -> PendingFile[Self]:
        """As `reserve`, in a thread."""
        return await asyncio.to_thread(cls.reserve, content_type, file_name, request, repository, extra_headers)

    def as_bytes(self, max_bytes: int = contents.MAX_BYTES) -> bytes:
        """The bytes; downloaded when they are not here, and then kept. Raises DownloadError (FileTooLarge)."""
        if self.file_data is None:
            self.file_data = contents.read(self.url, max_bytes)
        return self.file_data

    async def as_bytes_async(self, max_bytes: int = contents.MAX_BYTES) -> bytes:
        """As `as_bytes`, in a thread."""
        return await asyncio.to_thread(self.as_bytes, max_bytes)

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the file to a path, which has the whole file or what it had; its folder is made. No other file is
        touched. Raises FileExistsError, IsADirectoryError, DownloadError, OSError."""
        return contents.save(self.url, self.file_data, Path(expanded(path)), overwrite=overwrite)

    async def save_async(self, path: str | Path, overwrite: bool = False) -> Path:
        """As `save`, in a thread."""
        return await asyncio.to_thread(self.save, path, overwrite)


def is_file_url(value: str) -> bool:
    """Whether a text is taken for a file: an http or https URL with a host, or a data URI."""
    try:
        parts = urlsplit(value)
        return parts.scheme == "data" or (parts.scheme in ("http", "https") and bool(parts.hostname))
    except ValueError:
        return False


def kwargs_of(request: Any, given: Kwargs) -> dict[str, Any]:
    """What a repository is told: the caller's word wins over the request's."""
    return {"object_lifecycle_preference": preference_of(request), **(given or {})}
