"""The volume as the commands see it: paths and patterns, each folder listed once."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from entrepot.cli import exits
from entrepot.cli.globs import expand_in, is_pattern
from entrepot.client.asking import OnWait
from entrepot.client.clients import STALL_SECONDS, SyncClient
from entrepot.client.entries import Entry
from entrepot.client.errors import EntrepotError, PathError, ServerError
from entrepot.client.files import Files
from entrepot.client.paths import join, parse
from entrepot.client.volume import is_missing

ROOT = Entry("", False, 0)


@contextmanager
def opened(args: argparse.Namespace, on_wait: OnWait | None = None) -> Iterator[Remote]:
    """The volume that the flags and the environment name. What a server refuses ends the command."""
    timeout = args.timeout or STALL_SECONDS
    try:
        with SyncClient(default_timeout=timeout, profile=args.profile, on_wait=on_wait) as client:
            yield Remote(client.files)
    except EntrepotError as error:
        raise exits.failure(error) from None


class Remote:
    """A `globs.Tree` of the volume. `files` does what is to be done."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self._folders: dict[str, dict[str, Entry]] = {}
        self._found: dict[str, Entry | None] = {"": ROOT}

    def resolve(self, text: str) -> list[Entry]:
        """What a path or a quoted pattern stands for. Raises Failure when that is nothing."""
        path = parsed(text)
        entry = self.find(path)
        if entry is not None:
            if entry.is_file and text.endswith("/"):
                raise exits.Failure(exits.NOT_FOUND, f"{exits.one_line(text)}: This is a file, and no folder.")
            return [entry]
        found = [self._known(each) for each in expand_in(self, path)] if is_pattern(path) else []
        if not found:
            what = "Nothing matches this pattern" if is_pattern(path) else "There is no such file or folder"
            raise exits.Failure(
                exits.NOT_FOUND, f"{exits.one_line(text)}: {what}.", "See what is there: entrepot files ls"
            )
        return found

    def one(self, text: str) -> Entry:
        """What a path stands for, or a pattern that matches one thing. Raises Failure."""
        found = self.resolve(text)
        if len(found) > 1:
            raise exits.Failure(exits.USAGE, f"{exits.one_line(text)}: {len(found)} things match, and one is wanted.")
        return found[0]

    def find(self, path: str) -> Entry | None:
        """What is at a path that was parsed; None when nothing is."""
        if path not in self._found:
            folder, _, name = path.rpartition("/")
            if folder in self._folders:
                return self._folders[folder].get(name)
            try:
                self._found[path] = self.files.stat(path)
            except ServerError as error:
                if not is_missing(error):
                    raise
                self._found[path] = None
        return self._found[path]

    @contextmanager
    def taking(self, path: str, about: str, *, is_file: bool, overwrite: bool) -> Iterator[None]:
        """For what puts something at a path. Raises Failure, that names the flag, for a file that could be replaced."""
        try:
            yield
        except ServerError as error:
            taken = error.status_code in (409, 412) and is_file and not overwrite
            if not taken or not _is_file_at(self.files, path):
                raise
            raise exits.failure(error, about, "Replace it with --overwrite, or choose another path.") from None

    def below(self, folder: Entry) -> Iterator[tuple[str, Entry]]:
        """All files and folders below one, with their paths from there."""
        start = f"{folder.path}/" if folder.path else ""
        for entry in self.files.scan(folder.path, recursive=True):
            if not entry.path.startswith(start) or entry.path == start:
                raise EntrepotError(f"The server lists {entry.path!r} in {folder.absolute}.", "Update the server.")
            yield entry.path[len(start) :], entry

    def names(self, folder: str) -> Sequence[str]:
        return list(self._children(folder))

    def exists(self, path: str) -> bool:
        return self.find(path) is not None

    def is_folder(self, path: str) -> bool:
        entry = self._known(path) if self.exists(path) else None
        return entry is not None and not entry.is_file

    def is_link(self, path: str) -> bool:
        return False  # the server lists no linked folders

    def _known(self, path: str) -> Entry:
        entry = self.find(path)
        assert entry is not None
        return entry

    def _children(self, folder: str) -> dict[str, Entry]:
        if folder not in self._folders:
            try:
                self._folders[folder] = {each.name: each for each in self.files.scan(folder)}
            except ServerError as error:
                if error.status_code not in (404, 409) or error.code == "no_volume":
                    raise
                return {}  # there is none, or it is a file
        return self._folders[folder]


def _is_file_at(files: Files, path: str) -> bool:
    try:
        return files.stat(path).is_file
    except EntrepotError:
        return False


def parsed(text: str) -> str:
    """A path as users write it. Raises Failure."""
    if not text:
        raise exits.Failure(exits.USAGE, "An empty path names nothing.", "The volume itself is /data, or /.")
    try:
        return parse(text)
    except PathError as error:
        raise exits.failure(error) from None


def place_for(destination: str, there: Entry | None, name: str) -> str:
    """Where something of this name goes: into a folder that is there or that a slash at the end asks for, else to the
    destination itself."""
    path = parsed(destination)
    into = destination.endswith("/") or not path or (there is not None and not there.is_file)
    if into and not name:
        raise exits.Failure(exits.USAGE, "It has no name of its own.", "Name a file on the volume for it.")
    return join(path, name) if into else path
