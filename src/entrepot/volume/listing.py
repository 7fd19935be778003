"""Listings of folders, page by page."""

from __future__ import annotations

import os
import stat
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from heapq import heapify, heappop, nsmallest

from entrepot.atomic import Folder
from entrepot.domain.errors import Problem
from entrepot.volume.entries import Entry, Page
from entrepot.volume.files import Files
from entrepot.volume.paths import MAX_DEPTH, Path, is_addressable
from entrepot.volume.refusals import FAILING, conflict, reading, wrong_cursor
from entrepot.volume.root import VolumeRoot

# Names that are held beyond a page: some are not listed, and one more tells whether there is another page.
_SPARE = 16


class Listing:
    """Lists folders. The methods block and raise Problem and OSError."""

    def __init__(self, ground: VolumeRoot, files: Files) -> None:
        self._ground = ground
        self._files = files

    def page(self, path: Path, limit: int | None, cursor: str | None, *, recursive: bool = False) -> Page:
        """Entries after the cursor, by name; with `recursive` a folder's own come right after it."""
        after = _parse_cursor(cursor) if cursor else ()
        try:
            with reading(path):
                folder = self._ground.root.open_folder(path)
        except Problem as problem:
            raise self._why(path, problem) from None
        entries: list[Entry] = []
        for entry in self._walk(folder, path, after, recursive, limit):
            if limit is not None and len(entries) == limit:
                return Page(entries, _cursor(path, entries[-1]))
            entries.append(entry)
        return Page(entries, None)

    def _why(self, path: Path, problem: Problem) -> Problem:
        """A file is no folder, but not missing."""
        try:
            if not stat.S_ISDIR(self._ground.root.status(path).st_mode):
                return conflict(f"{path} is a file.")
        except OSError:
            pass
        return problem

    def _walk(
        self, folder: Folder, path: Path, after: tuple[str, ...], recursive: bool, limit: int | None
    ) -> Iterator[Entry]:
        """Closes the folder."""
        with folder:
            first = after[0] if after else ""
            above = f"{path}/" if path.parts else ""
            for name in _names(folder, first, limit):
                resumed = name == first
                if (resumed and not recursive) or not is_addressable(above, name):
                    continue
                entry = self._files.look(folder, above, name)
                if entry is not None and not resumed:
                    yield entry
                if entry is not None and recursive and not entry.is_file:
                    yield from self._inside(folder, path.child(name), after[1:] if resumed else (), limit)

    def _inside(self, folder: Folder, path: Path, after: tuple[str, ...], limit: int | None) -> Iterator[Entry]:
        if len(path.parts) < MAX_DEPTH:
            try:
                inner = folder.descend(path.name)
            except OSError as error:
                if error.errno in FAILING:
                    raise
                return
            yield from self._walk(inner, path, after, True, limit)


def _names(folder: Folder, first: str, limit: int | None) -> Iterator[str]:
    """The names in a folder from `first` on, in order. For a page a few more than it takes are held at a time, however
    many there are; the more, the more of them were passed over."""
    if limit is None:
        names = [name for name in os.listdir(folder.fd) if name >= first]
        heapify(names)
        while names:
            yield heappop(names)
        return
    most = limit + _SPARE
    while True:
        with os.scandir(folder.fd) as found:
            names = nsmallest(most, (entry.name for entry in found if entry.name >= first))
        yield from names
        if len(names) < most:
            return
        first, most = f"{names[-1]}\0", 4 * most


def _cursor(path: Path, last: Entry) -> str:
    return _encoded("/".join(last.path.split("/")[len(path.parts) :]))


def _encoded(below: str) -> str:
    return urlsafe_b64encode(below.encode()).decode().rstrip("=")


def _parse_cursor(text: str) -> tuple[str, ...]:
    try:
        below = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        if _encoded(below) != text:  # the decoder passes over what is not of its alphabet
            raise ValueError
        return tuple(below.split("/"))
    except ValueError:
        raise wrong_cursor() from None
