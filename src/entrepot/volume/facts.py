"""Digests stored beside the bytes, and trusted while size and modification time of the file are unchanged."""

from __future__ import annotations

import os
from collections import OrderedDict
from threading import Lock

from entrepot.atomic import File, read_facts

ATTRIBUTE = "user.entrepot.volume"

Digests = tuple[bytes | None, bytes | None]  # SHA-256, MD5
NONE: Digests = (None, None)


def keep(file: File, sha256: bytes | None, md5: bytes | None, changed: int) -> None:
    """Note the digests of a new file whose time was set to `changed`."""
    known = {"sha256": sha256, "md5": md5}
    facts = {name: value.hex() for name, value in known.items() if value is not None}
    if facts:
        file.set_facts({**facts, "size": str(file.size), "mtime_ns": str(changed)}, ATTRIBUTE)


def known(file: int | str, status: os.stat_result) -> Digests:
    """The digests of a file (a handle, or a path that is no link) that has this status."""
    facts = read_facts(file, ATTRIBUTE)
    if facts.get("size") != str(status.st_size) or facts.get("mtime_ns") != str(status.st_mtime_ns):
        return NONE
    try:
        sha256, md5 = bytes.fromhex(facts.get("sha256", "")), bytes.fromhex(facts.get("md5", ""))
    except ValueError:
        return NONE
    return (sha256 if len(sha256) == 32 else None), (md5 if len(md5) == 16 else None)


class Computed:
    """Digests that were computed of files that bring none, by ETag. To keep them beside the file would change its time,
    and with it the ETag that a client holds."""

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._items: OrderedDict[str, Digests] = OrderedDict()
        self._lock = Lock()

    def get(self, etag: str) -> Digests:
        with self._lock:
            return self._items.get(etag, NONE)

    def put(self, etag: str, digests: Digests) -> None:
        with self._lock:
            self._items[etag] = digests
            while len(self._items) > self._most:
                self._items.popitem(last=False)
