"""The private file of a download, and what is known of the file at the server that it is to become."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from entrepot.atomic import Folder, read_facts
from entrepot.client import partial as partials
from entrepot.client.commands import Arriving, Request
from entrepot.client.entries import Entry
from entrepot.client.errors import ConnectionFailed, TargetError, TargetExists
from entrepot.client.meter import Meter
from entrepot.client.partial import Partial, Version, usual_mode
from entrepot.client.transfer import BLOCK, receive
from entrepot.client.types import MIB

# To go on with less costs more than to bring it again.
_REMEMBERED = 4 * MIB
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")
_SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):")


@dataclass(frozen=True, slots=True)
class Lanes:
    """When to use several connections: for at least `smallest` bytes that one brings slower than `fast` a second for
    `probe_seconds`. Above that it is this machine that is slow, and more of them make it slower."""

    connections: int = 4
    piece: int = 8 * MIB
    smallest: int = 64 * MIB
    fast: float = 200.0 * MIB
    probe_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where a file is to be. Without `overwrite` nothing may be there. With `resume` a download that was cut is gone on
    with, and one that would bring the same bytes again is not made. `known` is what a listing says of it."""

    path: Path
    overwrite: bool = True
    resume: bool = True
    known: Entry | None = None
    lanes: Lanes = field(default_factory=Lanes)


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A file that is there. `digest` is `sha256:<hex>` of its bytes; `verified`: the server named the same.
    `fetched` is False when it was there already."""

    path: Path
    size: int
    digest: str
    verified: bool
    fetched: bool = True


class Slow(Exception):
    """One connection brings little: several are to be tried."""


class Changed(Exception):
    """The file at the server is another one now."""


class Filling:
    """A private file, in the folder of the target, that replies are received into; `open` makes it."""

    partial: Partial

    def __init__(self, url: str, target: Target, meter: Meter) -> None:
        """Looks at the target. Blocks. Raises TargetError, OSError."""
        self.url = url
        self.lanes = target.lanes
        self.slow = False
        self.is_whole = False
        self._target = target
        self._meter = meter
        named = f"{url}\0{target.path.name}".encode("utf-8", "surrogateescape")
        self._key = hashlib.sha256(named).hexdigest()[:24]
        self._sha256: bytes | None = None
        self._told = self._safe = 0
        self._pieces: dict[int, int] = {}
        self._guard = threading.Lock()
        _prepare(target)
        self._kept = _kept(target.path, self._key) if target.resume else {}
        self._remembers = target.resume and (target.known is None or target.known.size >= _REMEMBERED)
        self._folder = Folder.open(target.path.parent)

    @property
    def is_current(self) -> bool:
        """Whether what is at the target is what a listing names."""
        known = self._target.known
        return known is not None and known.etag is not None and self._kept.get("etag") == known.etag

    def open(self) -> None:
        """Go on with the file of a download that was cut, or make a new one. Blocks. Raises OSError."""
        found = partials.claim(self._folder, self._key) if self._remembers else None
        self.partial = found or self._created()
        if self.partial.version:
            self._meter.expects(self.partial.version.total)
            self._meter.keep(self.partial.at, resumed=True)
            self._told = self._safe = self.partial.at

    def _created(self) -> Partial:
        # What is not gone on with shares its name with nobody.
        key = self._key if self._remembers else f"{self._key}-{os.urandom(4).hex()}"
        made = partials.create(self._folder, key)
        made.sum_by("sha256")
        return made

    @property
    def is_complete(self) -> bool:
        """Whether it has all bytes of a version, which may be an old one."""
        version = self.partial.version
        return version is not None and 0 < self.partial.at == version.total

    @property
    def is_sound(self) -> bool:
        """Whether its bytes are those that the server announced, if it did."""
        return self._sha256 is None or self._sha256.hex() == self.partial.sha256

    def make(self) -> Request:
        """A request for all of it, or for the rest of the very version that is here."""
        version = self.partial.version
        headers: dict[str, str] = {}
        if version and self.is_complete:
            headers = {"if-none-match": version.etag}
        elif version and self.partial.at:
            headers = {"range": f"bytes={self.partial.at}-", "if-range": version.etag}
        elif self._kept:
            headers = {"if-none-match": self._kept["etag"]}
        return Request("GET", self.url, headers)

    def take(self, arriving: Arriving) -> None:
        """Receive a reply. Raises Changed, Slow, and what receiving does; what came is kept."""
        version = version_of(arriving)
        if arriving.status == 206:
            if version != self.partial.version or begin_of(arriving) != self.partial.at:
                raise Changed
        else:
            self.partial.begin(version)
            self._restart()
            self._meter.expects(arriving.length)
        self._sha256 = sha256_of(arriving.headers)
        total = version.total if version else arriving.length
        receive(arriving, self.partial, self._counting(version.total if version else 0))
        if total is not None and self.partial.at != total:
            raise ConnectionFailed(f"{self.partial.at} bytes came of {total}.", "Try again.")
        self.is_whole = True

    def _counting(self, total: int) -> Callable[[int], None]:
        """Hears how far the file is; finds out whether the line is slow."""
        lanes, begun, before = self.lanes, time.monotonic(), self.partial.at

        def moved(at: int) -> None:
            self._count(at)
            seconds = time.monotonic() - begun
            worthwhile = lanes.connections > 1 and total - at >= lanes.smallest
            if worthwhile and seconds >= lanes.probe_seconds and at - before < seconds * lanes.fast:
                raise Slow

        return moved

    def _count(self, at: int) -> None:
        self._meter.sent(at - self._told)
        self._told = at
        if self.partial.noted > self._safe:
            self._meter.keep(self.partial.noted - self._safe)
            self._safe = self.partial.noted

    def piece(self, begin: int, end: int) -> Piece:
        """A stretch of it, to be received beside others. Raises OSError."""
        assert self.partial.version is not None
        return Piece(self, self._meter, self.partial.version, begin, end)

    def has(self, begin: int) -> bool:
        """Whether the piece that begins there is here already."""
        return begin in self._pieces

    def ended(self, begin: int, end: int) -> None:
        """A piece is here. The file goes as far as there is no gap."""
        with self._guard:
            self._pieces[begin] = end
            while (reach := self._pieces.pop(self.partial.at, None)) is not None:
                self.partial.advance(reach)
            self._told = self.partial.at  # the pieces were counted as they came
            self._count(self.partial.at)

    def renew(self) -> None:
        """Begin anew, in another file: a thread of an attempt that was given up may still write to this one."""
        self.partial.drop()
        self.partial.close()
        self.partial = self._created()
        self.is_whole = self.slow = False
        self._pieces.clear()
        self._restart()

    def _restart(self) -> None:
        self._told = self._safe = 0
        self._meter.restart()

    def publish(self) -> Downloaded:
        """Make it durable and put it at the target. Raises TargetExists, OSError."""
        self._meter.publishing()
        digest, target, version = self.partial.sha256, self._target, self.partial.version
        facts = {"key": self._key, "size": str(self.partial.at), "sha256": digest}
        if version:
            facts["etag"] = version.etag
        try:
            self.partial.publish(target.path.name, usual_mode(), facts, replace=target.overwrite)
        except FileExistsError:
            raise _exists(target.path) from None
        return Downloaded(target.path, self.partial.at, f"sha256:{digest}", self._sha256 is not None)

    def kept(self) -> Downloaded:
        """What is at the target, when that is what would come."""
        size, digest = int(self._kept["size"]), f"sha256:{self._kept['sha256']}"
        return Downloaded(self._target.path, size, digest, verified=False, fetched=False)

    def drop(self) -> None:
        """Let nobody go on with it."""
        if hasattr(self, "partial"):
            self.partial.drop()

    def close(self) -> None:
        """End it; what can be gone on with stays. Repeatable."""
        if hasattr(self, "partial"):
            if not self._remembers:
                self.partial.drop()
            self.partial.close()
        self._folder.close()


class Piece:
    """A stretch of a file, written through a handle of its own."""

    def __init__(self, filling: Filling, meter: Meter, version: Version, begin: int, end: int) -> None:
        self._url = filling.url
        self._meter = meter
        self._version = version
        self._file = filling.partial.beside(begin)
        self._begin, self._end = begin, end

    @property
    def at(self) -> int:
        """Where the next byte goes."""
        return self._file.size

    @property
    def is_whole(self) -> bool:
        return self.at >= self._end

    def make(self) -> Request:
        """A request for what it lacks."""
        headers = {"range": f"bytes={self.at}-{self._end - 1}", "if-match": self._version.etag}
        return Request("GET", self._url, headers)

    def take(self, arriving: Arriving) -> None:
        """Receive a reply. Raises Changed, and what receiving does; what came is kept."""
        if version_of(arriving) != self._version or begin_of(arriving) != self.at:
            raise Changed
        view = memoryview(bytearray(BLOCK))
        while not self.is_whole and (got := arriving.readinto(view[: self._end - self.at])):
            self._file.write([view[:got]])
            self._meter.sent(got)
        if not self.is_whole:
            raise ConnectionFailed(f"A range ended {self._end - self.at} bytes too soon.", "Try again.")

    def close(self) -> None:
        """Free the handle. What is not whole does not count."""
        if not self.is_whole:
            self._meter.sent(self._begin - self.at)
        self._file.close()


def version_of(arriving: Arriving) -> Version | None:
    """None when it cannot be told from others."""
    etag = arriving.headers.get("etag", "")
    if arriving.status == 206:
        told = _CONTENT_RANGE.fullmatch(arriving.headers.get("content-range", ""))
        total = int(told[2]) if told else None
    else:
        total = arriving.length
    return Version(etag, total) if etag.startswith('"') and total else None


def begin_of(arriving: Arriving) -> int:
    """The first byte of a 206 (RFC 9110, 14.4); -1 when it does not say."""
    told = _CONTENT_RANGE.fullmatch(arriving.headers.get("content-range", ""))
    return int(told[1]) if told else -1


def sha256_of(headers: Mapping[str, str]) -> bytes | None:
    """Of the whole file, as Repr-Digest says (RFC 9530)."""
    told = _SHA256.search(headers.get("repr-digest", ""))
    return base64.b64decode(told[1]) if told else None


def _prepare(target: Target) -> None:
    """Make the folder; look at what has the name. Raises TargetError, OSError."""
    target.path.parent.mkdir(parents=True, exist_ok=True)
    if target.path.name.startswith(partials.HIDDEN):
        raise TargetError(f"{target.path}: names that begin so are those of unfinished downloads.", "Choose another.")
    with suppress(FileNotFoundError):
        kind = target.path.lstat().st_mode
        if stat.S_ISDIR(kind):
            raise TargetError(f"{target.path} is a folder.", "Name a file, or another place.")
        if not (stat.S_ISREG(kind) or stat.S_ISLNK(kind)):
            raise TargetError(f"{target.path} is a device, a pipe or a socket.", "Use - for the standard output.")
        if not target.overwrite:
            raise _exists(target.path)


def _kept(path: Path, key: str) -> dict[str, str]:
    """What was noted when the file was downloaded; empty when it is another, or was written to since."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        facts, status = read_facts(fd), os.fstat(fd)
    finally:
        os.close(fd)
    same = {"key": key, "size": str(status.st_size), "mtime": str(status.st_mtime_ns)}
    return facts if facts.get("etag") and facts.get("sha256") and same.items() <= facts.items() else {}


def _exists(path: Path) -> TargetExists:
    return TargetExists(f"{path} is there already.", "Choose another name, or let it be replaced.")
