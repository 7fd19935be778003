"""Whether a file that is there is the one at the URL: by what the head of a reply says, without its body."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from entrepot.atomic import FACTS_ATTRIBUTE, File, read_facts, write_file
from entrepot.client.owner import is_ours
from entrepot.client.partial import HIDDEN, sha256_of
from entrepot.fetch import Response
from entrepot.toolkit.naming import choose_name, identity, own_name, url_digest, with_ending

Verify = Literal["size", "etag", "digest"] | None
VERIFY = (None, "size", "etag", "digest")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})(?:-[^/]*)?/([0-9]{1,18})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Remote:
    """What a reply's head says of the whole file; `length` in bytes, None when it is not announced."""

    name: str
    length: int | None
    etag: str
    modified: str
    sha256: str

    def facts(self, url: str, size: int, digest: str, asked: bool) -> dict[str, str]:
        """What is kept beside a finished file, to recognise it by. `asked`: with request headers that may have decided
        what came."""
        return {
            "url": identity(url),
            "asked": "1" if asked else "",
            "size": str(size),
            "sha256": digest,
            "modified": self.modified,
            "etag": self.etag,
        }


def remote_of(url: str, response: Response, *, typed: bool = False) -> Remote:
    """Of a 200 (GET or HEAD), or a 206 whose total is `total_of`. `typed`: a name without an extension gets that of the
    content type."""
    digest = response.sha256.hex() if response.sha256 else ""
    modified = response.headers.get("last-modified", "")
    length = total_of(response)[1] if response.status == 206 else response.length
    name = choose_name(url, response.headers)
    name = with_ending(name, response.media_type) if typed else name
    return Remote(name, length, response.etag, modified, digest)


def place_of(folder: Path, name: str, url: str) -> Path:
    """Where the file of a URL lies, or will lie: under its name, or under one of the URL's own where another URL's file
    has that name. Only what was noted beside a file tells; one without a note is nobody's."""
    marks = _marks(url)
    for digits in (8, 32):
        own = folder / own_name(name, url, digits)
        owner = _owner(own)
        if owner in marks:
            return own
        if not owner:
            break
    return own if is_of_another(folder / name, url) else folder / name


def is_of_another(path: Path, url: str) -> bool:
    """Whether another URL was noted of the file that is there now."""
    return _owner(path) not in ("", *_marks(url))


def _owner(path: Path) -> str:
    """What was noted of the URL of a file; '' when there is no note."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return _owner_of(fd, path)
    finally:
        os.close(fd)


def _owner_of(fd: int, path: Path) -> str:
    return read_facts(fd).get("url", "") or _owner_aside(path, os.fstat(fd))


def note_aside(path: Path, url: str) -> None:
    """Note of which URL a finished file is, where the file system keeps no notes at files (extended attributes): in a
    hidden file. One that cannot be written is not missed before another URL has the same name and size."""
    with suppress(OSError):
        if not _keeps_notes(path):
            status = path.stat()
            note = {"url": identity(url), "size": status.st_size, "mtime": status.st_mtime_ns}
            write_file(_aside(path), json.dumps(note).encode(), 0o644)


def _owner_aside(path: Path, status: os.stat_result) -> str:
    try:
        note = json.loads(_aside(path).read_bytes())
        same = (note["size"], note["mtime"]) == (status.st_size, status.st_mtime_ns)
        return str(note["url"]) if same else ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def _aside(path: Path) -> Path:
    return path.with_name(f"{HIDDEN}{url_digest(path.name)[:24]}.note")


def _keeps_notes(path: Path) -> bool:
    if sys.platform != "linux":
        return False
    try:
        os.getxattr(path, FACTS_ATTRIBUTE)
    except OSError as error:
        return error.errno == errno.ENODATA
    return True


def _marks(url: str) -> tuple[str, ...]:
    """What may be noted of a URL; former releases noted all of it."""
    return identity(url), url_digest(url)


def total_of(response: Response) -> tuple[int, int | None]:
    """First byte and size of the whole of a 206 (RFC 9110 section 14.4); (-1, None) when it does not say."""
    told = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    return (int(told[1]), int(told[2])) if told else (-1, None)


def is_fresh(path: Path, url: str, remote: Remote, verify: Verify, *, asked: bool = False) -> bool:
    """Whether the file at `path`, which is `place_of` the URL, may be taken for the remote one. `size`: it is as long;
    where request headers may have decided what came, now (`asked`) or then, as `etag`. `etag`: it was downloaded from
    this URL, was not touched since, and the server's tag (without one: the time of change) is still the same. `digest`:
    its SHA-256 is what the server says, which must say it; else as `etag`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or remote.length is None or status.st_size != remote.length:
            return False
        if _owner_of(fd, path) not in ("", *_marks(url)):  # another URL's took the place a moment ago
            return False
        kept = _kept(fd, status, path.parent)
        if verify in (None, "size") and not (kept and (asked or kept.get("asked"))):
            return True
        if verify == "digest" and remote.sha256:
            return _has_digest(fd, kept, url, remote, asked)
        same_tag = kept.get("etag") == remote.etag if remote.etag else kept.get("modified") == remote.modified
        return kept.get("url") in _marks(url) and bool(remote.etag or remote.modified) and same_tag
    finally:
        os.close(fd)


def _kept(fd: int, status: os.stat_result, folder: Path) -> dict[str, str]:
    """What was noted at the end of the download; empty when the file was written to since, or is another user's, who
    may have noted anything."""
    facts = read_facts(fd) if status.st_uid == 0 or is_ours(status, folder) else {}
    same = facts.get("size") == str(status.st_size) and facts.get("mtime") == str(status.st_mtime_ns)
    return facts if same else {}


def _has_digest(fd: int, kept: dict[str, str], url: str, remote: Remote, asked: bool) -> bool:
    if kept.get("sha256"):
        return kept["sha256"] == remote.sha256
    if sha256_of(fd) != remote.sha256:
        return False
    status = os.fstat(fd)
    facts = remote.facts(url, status.st_size, remote.sha256, asked) | {"mtime": str(status.st_mtime_ns)}
    with suppress(OSError):  # so that the next time need not read it all
        File(fd, str(fd)).set_facts(facts)
    return True
