"""Where outputs go: repositories by their ids, and on to the next one when one fails (docs/protocol.md 7.4).

`fal_v3` and `fal` are this project's client, by the CDN's doors and by the REST ones; `in_memory` makes a data URI;
`local` writes to a folder of this machine, for development without a server. More can be registered.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from entrepot.client.datauri import encode
from entrepot.client.errors import EntrepotError, SourceError
from entrepot.client.local import expanded
from entrepot.client.sources import Source, Stream, of_data, open_path
from entrepot.client.wish import CONCURRENCY, PART_SIZE, THRESHOLD, Wish
from entrepot.toolkit import localfiles
from entrepot.toolkit.errors import FileUploadException, FileUploadFallbackException
from entrepot.toolkit.filedata import FileData
from entrepot.toolkit.lifetime import Preference, header_of
from entrepot.toolkit.own import client

T = TypeVar("T")
RepositoryId = Literal["fal_v3", "fal", "in_memory", "local", "cdn", "fal_v2"]
DEFAULT_REPOSITORY: FileRepository | str = "fal_v3"
FALLBACK_REPOSITORY: Sequence[FileRepository | str] = ("fal",)
# Bytes of a file up to which it is read once, and kept with the result.
KEPT_SIZE = 10 * 1024 * 1024
_OLD_NAMES = ("cdn", "fal_v2")
_ELSEWHERE = ("gcp_storage", "r2")
_NEVER = 1 << 62

_log = logging.getLogger("entrepot.toolkit")


class UnknownRepository(FileUploadException, ValueError):
    """There is no repository of that name."""

    code = "unknown_repository"


@dataclass(frozen=True)
class Reservation:
    """A URL whose bytes come later: `complete` publishes bytes or a file, `abort` gives it up."""

    url: str
    complete: Callable[[bytes | Path], object]
    abort: Callable[[], None] = lambda: None


class FileRepository:
    """A place for outputs. A repository of one's own needs `save`; the rest may stay as it is.

    What it raises moves the upload on to the next repository, unless the exception has `falls_back = False`.
    """

    def save(
        self,
        data: FileData,
        multipart: bool | None = None,
        multipart_threshold: int | None = None,
        multipart_chunk_size: int | None = None,
        multipart_max_concurrency: int | None = None,
        object_lifecycle_preference: Preference | None = None,
        **options: Any,
    ) -> str:
        """Store bytes; their URL. Sizes are in bytes. `options` are other `save_kwargs` of the caller."""
        raise NotImplementedError

    def save_file(
        self,
        file_path: str | Path,
        content_type: str,
        multipart: bool | None = None,
        multipart_threshold: int | None = None,
        multipart_chunk_size: int | None = None,
        multipart_max_concurrency: int | None = None,
        object_lifecycle_preference: Preference | None = None,
        **options: Any,
    ) -> tuple[str, FileData | None]:
        """Store a file; its URL, and its bytes when they were read whole."""
        path = Path(expanded(file_path))
        data = FileData(path.read_bytes(), content_type, path.name)
        url = self.save(
            data,
            multipart=multipart,
            multipart_threshold=multipart_threshold,
            multipart_chunk_size=multipart_chunk_size,
            multipart_max_concurrency=multipart_max_concurrency,
            object_lifecycle_preference=object_lifecycle_preference,
            **options,
        )
        return url, data

    def reserve(
        self,
        file_name: str,
        content_type: str,
        object_lifecycle_preference: Preference | None = None,
        request: Any = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> Reservation:
        """A URL now, its bytes later. Raises FileUploadException where that cannot be."""
        what = f"{type(self).__name__} gives out no URL before it has the bytes."
        raise FileUploadException(what, "Reserve at 'fal_v3', or make the file when its bytes are there.")


@dataclass(frozen=True)
class ClientRepository(FileRepository):
    """This project's server, by its client. `is_last` False: give up soon, there is another repository."""

    door: str = "fal_v3"
    is_last: bool = True

    def save(self, data: FileData, *args: Any, **options: Any) -> str:
        """Raises FileUploadException; its cause is the client's error."""
        wish = _wish(data.file_name, data.content_type, *args, **options)
        return self._store(partial(of_data, data.data), wish)

    def save_file(
        self, file_path: str | Path, content_type: str, *args: Any, **options: Any
    ) -> tuple[str, FileData | None]:
        """A small file is read once; a large one goes from the disk to the line. Raises as `save`."""
        path = Path(expanded(file_path))
        if path.stat().st_size <= KEPT_SIZE:
            data = FileData(path.read_bytes(), content_type, path.name)
            return self.save(data, *args, **options), data
        return self._store(partial(open_path, path), _wish(path.name, content_type, *args, **options)), None

    def reserve(
        self,
        file_name: str,
        content_type: str,
        object_lifecycle_preference: Preference | None = None,
        request: Any = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> Reservation:
        """An upload in parts, begun now. Raises FileUploadException."""
        wish = Wish(file_name, content_type, header_of(object_lifecycle_preference))
        held = _told(lambda: client().reserve(wish, self.door, extra_headers))

        def complete(content: bytes | Path) -> object:
            opened = partial(of_data, content) if isinstance(content, bytes) else partial(open_path, content)
            return _told(lambda: held.complete(opened))

        return Reservation(held.url, complete, held.abort)

    def _store(self, opened: Callable[[], Source | Stream], wish: Wish) -> str:
        return _told(lambda: client().store(opened, wish, self.door, is_last=self.is_last))


class InMemoryRepository(FileRepository):
    """No place at all: the URL is a data URI with the bytes in it."""

    def save(self, data: FileData, *args: Any, **options: Any) -> str:
        """The data URI. Nothing can fail but memory."""
        return encode(data.data, data.content_type)


class LocalRepository(FileRepository):
    """A folder of this machine (`ENTREPOT_LOCAL_FILES`), for development without a server. URLs are `file:` ones,
    which `save`, `as_bytes` and `to_pil` read, and nobody else. Files stay until they are removed: lifetimes are not
    kept here."""

    def save(self, data: FileData, *args: Any, **options: Any) -> str:
        """Raises OSError."""
        return localfiles.write(localfiles.new_name(data.file_name), data.data)

    def save_file(
        self, file_path: str | Path, content_type: str, *args: Any, **options: Any
    ) -> tuple[str, FileData | None]:
        """Raises OSError."""
        path = Path(expanded(file_path))
        return localfiles.write(localfiles.new_name(path.name), path), None

    def reserve(
        self,
        file_name: str,
        content_type: str,
        object_lifecycle_preference: Preference | None = None,
        request: Any = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> Reservation:
        """The URL of a file that is not there yet."""
        name = localfiles.new_name(file_name)
        return Reservation(localfiles.url_of(name), partial(localfiles.write, name))


_FACTORIES: dict[str, Callable[[], FileRepository]] = {
    "fal_v3": ClientRepository,
    "fal": partial(ClientRepository, "fal"),
    "in_memory": InMemoryRepository,
    "local": LocalRepository,
}


def register_repository(name: str, factory: Callable[[], FileRepository]) -> None:
    """Let `repository=name` mean what `factory` makes, from now on and in this process."""
    _FACTORIES[name] = factory


def get_builtin_repository(id: FileRepository | str) -> FileRepository:
    """The repository of an id; one that is passed in stays itself. Raises UnknownRepository."""
    if not isinstance(id, str):
        return id
    if id in _OLD_NAMES and id not in _FACTORIES:
        warnings.warn(f"The repository {id!r} is an old name of 'fal_v3'.", DeprecationWarning, stacklevel=2)
        id = "fal_v3"
    if id not in _FACTORIES:
        why = "is fal's own and is not here" if id in _ELSEWHERE else "is not known"
        known = ", ".join(_FACTORIES)
        raise UnknownRepository(f"The repository {id!r} {why}.", f"There are {known}; register_repository adds one.")
    return _FACTORIES[id]()


def by_any(
    deed: str,
    args: Sequence[Any],
    repository: FileRepository | str,
    fallback: FileRepository | str | Sequence[FileRepository | str] | None,
    save_kwargs: Mapping[str, Any],
    fallback_save_kwargs: Mapping[str, Any],
) -> Any:
    """Do it (`save`, `save_file`) at the first repository that can.

    Raises UnknownRepository before any is tried, FileUploadFallbackException when several failed, the error itself
    when there was one or when it says `falls_back = False`.
    """
    others: list[Any] = [] if fallback is None else [fallback]
    if isinstance(fallback, Sequence) and not isinstance(fallback, str):
        others = [*fallback]
    labels = [each if isinstance(each, str) else type(each).__name__ for each in (repository, *others)]
    chain = [get_builtin_repository(each) for each in (repository, *others)]
    failures: list[Exception] = []
    for number, place in enumerate(chain):
        is_last = number == len(chain) - 1
        if isinstance(place, ClientRepository) and not is_last:
            place = replace(place, is_last=False)
        try:
            return getattr(place, deed)(*args, **(fallback_save_kwargs if number else save_kwargs))
        except Exception as error:
            if len(chain) == 1 or not getattr(error, "falls_back", True):
                raise
            failures.append(error)
            kind = type(error).__name__  # not its text, which another's repository may fill with anything
            if is_last:
                raise _all_failed(labels, failures) from error
            _log.warning("The upload to %s failed (%s); trying %s.", labels[number], kind, labels[number + 1])
    raise AssertionError("the last repository returns or raises")


def _all_failed(labels: Sequence[str], failures: Sequence[Exception]) -> FileUploadFallbackException:
    # Labels, never the objects: their repr may hold credentials.
    lines = [f"{label}: {type(error).__name__}: {error}" for label, error in zip(labels, failures, strict=True)]
    fix = getattr(failures[0], "fix", "")
    return FileUploadFallbackException(f"All {len(failures)} repositories failed. {'; '.join(lines)}", fix, failures)


def _told(deed: Callable[[], T]) -> T:
    """What the deed gives. Raises FileUploadException for what the client raises."""
    try:
        return deed()
    except EntrepotError as error:
        failed = FileUploadException(error.message, error.fix)
        # What is wrong with the file is wrong everywhere.
        failed.falls_back = not isinstance(error, SourceError)
        raise failed from error


def _wish(
    name: str,
    content_type: str,
    multipart: bool | None = None,
    multipart_threshold: int | None = None,
    multipart_chunk_size: int | None = None,
    multipart_max_concurrency: int | None = None,
    object_lifecycle_preference: Preference | None = None,
    **_: Any,
) -> Wish:
    threshold = THRESHOLD if multipart_threshold is None else multipart_threshold
    if multipart is not None:
        threshold = 0 if multipart else _NEVER
    return Wish(
        name=name,
        content_type=content_type,
        lifecycle=header_of(object_lifecycle_preference),
        threshold=threshold,
        part_size=multipart_chunk_size or PART_SIZE,
        concurrency=multipart_max_concurrency or CONCURRENCY,
    )
