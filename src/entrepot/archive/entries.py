"""What comes out of an archive: names that are safe or refused, limits on what is really written, and the folder that
is filled through handles.

An archive is a stranger's program for our disk. Nothing it declares is believed: names are taken apart here, sizes are
those of the bytes that came out, and no path is ever opened but name by name below an open folder, never through a
link (docs/threats.md G01, G02).
"""

from __future__ import annotations

import errno
import os
import re
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from entrepot.archive.errors import ArchiveRefused, ArchiveTooLarge
from entrepot.atomic import Folder
from entrepot.domain.names import has_control_characters

CHUNK = 256 * 1024
MAX_PART_BYTES = 255  # of one name on the file systems of Linux, macOS and Windows
MAX_NAME_BYTES = 1024
# Names of one archive together: they are held in memory, to find those that collide.
_MAX_NAMES = 32 * 1024 * 1024
# Small archives of zeros are no danger, whatever their ratio.
RATIO_FLOOR = 64 * 1024 * 1024
_DRIVE = re.compile(r"[A-Za-z]:")
_ENCODING_HINT = "If its names are in another encoding, name that: encoding='shift_jis', 'gbk', 'cp866', ..."


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may come out of one archive.

    `size` bytes and `entries` files and folders; `ratio` of bytes that come out to bytes of the archive, above 64 MiB;
    `depth` names in a path; `seconds` for the whole.
    """

    size: int = 8 * 1024**3
    entries: int = 50_000
    ratio: int = 250
    depth: int = 32
    seconds: float = 600.0


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder of an archive. `chunks` gives the bytes, at most `CHUNK` at a time, each once, and must be read
    before the next entry is asked for."""

    name: str
    is_folder: bool
    chunks: Iterator[bytes]


class Budget:
    """Counts what really comes out. Every method raises ArchiveTooLarge when a limit is passed."""

    def __init__(self, limits: Limits, packed: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`packed`: bytes of the archive itself."""
        self.limits = limits
        self.entries = 0
        self.size = 0
        self._names = 0
        self._most = min(limits.size, max(RATIO_FLOOR, packed * limits.ratio))
        self._clock = clock
        self._end = clock() + limits.seconds

    def entry(self, name: str | bytes = "", count: int = 1) -> None:
        """So many more files or folders; of one, its name."""
        self.entries += count
        self._names += len(name)
        if self.entries > self.limits.entries or self._names > _MAX_NAMES:
            raise _too_large(f"more than {self.limits.entries} entries, or names that fill the memory", "entries")
        self.tick()

    def recount(self) -> None:
        """Count entries from the beginning: they were listed, and come now."""
        self.entries = self._names = 0

    def unpacked(self, size: int) -> None:
        """So many more bytes that came out."""
        self.size += size
        if self.size > self._most:
            by_ratio = self._most < self.limits.size
            what = f"more than {self.limits.ratio} times its own size" if by_ratio else f"more than {self._most} bytes"
            raise _too_large(what, "ratio" if by_ratio else "size")
        self.tick()

    def tick(self) -> None:
        """Time passes, also where nothing comes out."""
        if self._clock() > self._end:
            raise _too_large(f"so much that unpacking takes more than {self.limits.seconds:g} seconds", "seconds")


def decoded(raw: bytes, encoding: str | None, *, is_utf8: bool = False) -> str:
    """A name as text, whatever its bytes: UTF-8 when it is marked so, the named encoding, UTF-8, at last cp437, which
    is ZIP's own and reads everything. A mark that lies is passed over (G04)."""
    for each in ("utf-8" if is_utf8 else None, encoding, "utf-8"):
        with suppress(UnicodeError):  # some encodings raise no more than that
            if each:
                return raw.decode(each)
    return raw.decode("cp437")


def safe_parts(name: str, depth: int) -> tuple[str, ...]:
    """The names that a path is made of; () for the folder itself. Raises ArchiveRefused for whatever leads, or could
    lead on another system, out of the folder."""
    if has_control_characters(name) or any(unicodedata.category(letter) == "Cs" for letter in name):
        raise refused(name, "has control characters", _ENCODING_HINT)
    if "\\" in name:
        raise refused(name, "has a backslash", _ENCODING_HINT)
    if name.startswith("/"):
        raise refused(name, "is an absolute path")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise refused(name, "leads out of the folder")
    if any(_DRIVE.match(part) for part in parts):
        raise refused(name, "begins with a drive")
    if any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        raise refused(name, f"is longer than {MAX_PART_BYTES} bytes")
    if len(parts) > depth:
        raise _too_large(f"paths of more than {depth} names", "depth")
    return parts


def refused(name: str, why: str, fix: str = "") -> ArchiveRefused:
    """The error for an entry that no honest archive has."""
    shown = ascii(name if len(name) <= 80 else f"{name[:77]}...")
    return ArchiveRefused(f"The archive's entry {shown} {why}. Nothing was kept.", fix or "Pack it again without that.")


class Tree:
    """Fills an open folder. Files that are there are never written to; folders that are there are gone into. Files are
    0644 and folders 0755, less the umask when `masked`."""

    def __init__(self, root: Folder, budget: Budget, *, masked: bool = True) -> None:
        self._root = root
        self._masked = masked
        self._budget = budget
        # Folded names to exact ones: 'A' and 'a', and two spellings of one accent, are one name on other systems.
        self._names: dict[tuple[str, ...], tuple[tuple[str, ...], bool]] = {}
        self._made: list[tuple[tuple[str, ...], bool]] = []
        self._last: tuple[tuple[str, ...], Folder] = (), self._open(())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._last[1].close()

    @property
    def count(self) -> int:
        """Files and folders that were made."""
        return len(self._made)

    def add(self, entry: Entry) -> None:
        """Write one entry. Raises ArchiveRefused, ArchiveTooLarge, OSError."""
        self._budget.entry(entry.name)
        parts = safe_parts(entry.name, self._budget.limits.depth)
        if entry.is_folder:
            self._go_to(parts)
            for _ in entry.chunks:
                raise refused(entry.name, "is a folder with bytes")
            return
        if not parts:
            raise refused(entry.name, "has no name")
        self._claim(parts, is_folder=False)
        self._write(self._go_to(parts[:-1]), parts, entry)

    def undo(self) -> None:
        """Remove what was made, newest first; what cannot be removed stays."""
        for parts, is_folder in reversed(self._made):
            with suppress(OSError), self._open(parts[:-1]) as folder:
                (folder.rmdir if is_folder else folder.unlink)(parts[-1])
        self._made.clear()

    def _write(self, folder: Folder, parts: tuple[str, ...], entry: Entry) -> None:
        try:
            file = folder.create(parts[-1], 0o644, masked=self._masked)
        except FileExistsError:
            raise refused(entry.name, "would replace a file that is there") from None
        self._made.append((parts, False))
        try:
            for chunk in entry.chunks:
                file.write([chunk])
        finally:
            file.close()

    def _go_to(self, parts: tuple[str, ...]) -> Folder:
        """The folder of that path, made with all above it; it stays open until another is wanted."""
        if parts == self._last[0]:
            return self._last[1]
        for count in range(1, len(parts) + 1):
            if self._claim(parts[:count], is_folder=True):
                self._budget.entry()
                with self._open(parts[: count - 1]) as above, suppress(FileExistsError):
                    above.make_dir(parts[count - 1], 0o755, masked=self._masked)
                    self._made.append((parts[:count], True))
        try:
            folder = self._open(parts)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise refused("/".join(parts), "goes through what is no folder") from None
            raise
        self._last[1].close()
        self._last = parts, folder
        return folder

    def _open(self, parts: tuple[str, ...]) -> Folder:
        folder = Folder(os.dup(self._root.fd), self._root.path)
        for part in parts:
            with folder:
                folder = folder.descend(part)
        return folder

    def _claim(self, parts: tuple[str, ...], *, is_folder: bool) -> bool:
        """Whether the path is new. Raises ArchiveRefused when it is another entry's."""
        key = tuple(unicodedata.normalize("NFC", part).casefold() for part in parts)
        held = self._names.get(key)
        if held is None:
            self._names[key] = parts, is_folder
            return True
        if held[0] != parts:
            raise refused("/".join(parts), f"differs from {'/'.join(held[0])!a} only by case or by spelling")
        if not (is_folder and held[1]):
            raise refused("/".join(parts), "is there twice")
        return False


def _too_large(what: str, limit: str) -> ArchiveTooLarge:
    fix = f"If it can be trusted, allow more: Limits({limit}=...)."
    return ArchiveTooLarge(f"The archive holds {what}. Nothing was kept.", fix)
