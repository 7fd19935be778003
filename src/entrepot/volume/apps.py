"""Files of apps, kept by a hash of their content and their mode (docs/protocol.md 6.5, 6.7); no path leads to them.

apps/<2 hex>/<hash>         the bytes
apps/<2 hex>/<hash>.json    size, mtime and mode, as the client said them
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from entrepot.atomic import Folder
from entrepot.domain.acl import Principal
from entrepot.domain.digests import Expected
from entrepot.domain.errors import Code, Problem
from entrepot.domain.multipart import Cited
from entrepot.volume.assembly import AssemblyPart, Whole
from entrepot.volume.entries import Conditions, Entry, entry_of
from entrepot.volume.finishing import Finished, Finishing, Wish
from entrepot.volume.places import there
from entrepot.volume.root import APPS, VolumeRoot
from entrepot.volume.upload_records import write_json
from entrepot.volume.uploads import VolumeUploads
from entrepot.volume.volume import Volume

_HASH = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"[0-9]{1,19}")
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class AppFile:
    """What a client says of an app's file. `mode` is part of what is hashed, in decimal."""

    size: int
    mtime: float
    mode: int

    @classmethod
    def parse(cls, digest: str, facts: Mapping[str, Any]) -> AppFile:
        """Read the metadata of a request, all strings. Raises Problem(VALIDATION_FAILED)."""
        if facts.get("hash") != digest:
            raise _invalid("hash", "It is not the hash of the path.")
        told, mtime = facts.get("mtime"), math.nan
        if isinstance(told, str):  # a number may be larger than any float
            with suppress(ValueError):
                mtime = float(told)
        if not math.isfinite(mtime):
            raise _invalid("mtime", "It must be a time in seconds, as a string.")
        return cls(_whole_number(facts, "size"), mtime, _whole_number(facts, "mode"))


class Apps:
    """Uploads of app files, in parts only, and which are missing. Every method takes the principal first."""

    def __init__(self, volume: Volume, uploads: VolumeUploads) -> None:
        self._volume = volume
        self._uploads = uploads
        self._finishing = Finishing(volume, uploads)

    async def missing(self, who: Principal, hashes: Sequence[str]) -> list[str]:
        """Those of the hashes of which nothing is stored, in the same order."""
        self._volume.check(who)
        return await self._volume.threads.run(self._missing, hashes)

    async def begin(self, who: Principal, digest: str, facts: Mapping[str, Any]) -> str:
        """Open an upload and give its id. Raises Problem: CONFLICT when the file is stored already, VALIDATION_FAILED,
        RATE_LIMITED."""
        account = self._account(who, digest)
        AppFile.parse(digest, facts)
        if not await self._volume.threads.run(self._missing, [digest]):
            raise Problem(Code.CONFLICT, "This file is stored already.", fix="Nothing is to be sent.")
        return await self._uploads.begin(account, _target(digest), key=who.key_id)

    async def write(
        self,
        who: Principal,
        digest: str,
        upload_id: str,
        number: int,
        stream: AsyncIterator[bytes],
        *,
        length: int | None = None,
        expected: Sequence[Expected] = (),
    ) -> AssemblyPart:
        """Store a part; see `Parts.write`."""
        account = self._account(who, digest)
        return await self._uploads.write(
            account, _target(digest), upload_id, number, stream, length, expected, who.key_id or ""
        )

    async def finish(
        self, who: Principal, digest: str, upload_id: str, cited: Sequence[Cited], facts: Mapping[str, Any]
    ) -> Finished:
        """Store the file; see `Parts.finish`. VALIDATION_FAILED, and nothing is kept, when it has another hash."""
        account, file = self._account(who, digest), AppFile.parse(digest, facts)
        place = _Place(self._volume, digest, file)
        try:
            return await self._finishing.finish(account, _target(digest), upload_id, Wish(cited, file.size), place)
        except WrongHash:
            await self._uploads.abort(account, _target(digest), upload_id)
            raise

    async def abort(self, who: Principal, digest: str, upload_id: str) -> None:
        """End an upload and free its bytes. Repeatable."""
        await self._uploads.abort(self._account(who, digest), _target(digest), upload_id)

    def _account(self, who: Principal, digest: str) -> str:
        self._volume.check(who)
        if not _HASH.fullmatch(digest):
            message = "It must be a SHA-256 in lowercase hex."
            raise Problem(Code.VALIDATION_FAILED, message, where=("path", "hash"))
        return who.account_id or ""

    def _missing(self, hashes: Sequence[str]) -> list[str]:
        with self._volume.ground.own(APPS) as apps:
            return [each for each in hashes if not (_HASH.fullmatch(each) and _is_stored(apps, each))]


class WrongHash(Problem):
    """The bytes are not those of the hash."""

    def __init__(self) -> None:
        message = "The SHA-256 of content and mode is not the hash that the file is stored by. Nothing was kept."
        super().__init__(Code.VALIDATION_FAILED, message, where=("path", "hash"), fix="Send the file again as it is.")


class _Place:
    """Where a file of this hash is stored, as the place that an upload leads to."""

    def __init__(self, volume: Volume, digest: str, file: AppFile) -> None:
        self._volume = volume
        self._digest = digest
        self._file = file

    @property
    def path(self) -> str:
        return f"{APPS}/{self._digest}"

    def check(self, fd: int, size: int) -> None:
        hasher = hashlib.sha256()
        for start in range(0, size, _CHUNK):
            hasher.update(os.pread(fd, _CHUNK, start))
        hasher.update(str(self._file.mode).encode())
        if hasher.hexdigest() != self._digest:
            raise WrongHash

    def place(self, whole: Whole, when: Conditions) -> Entry:
        with _shelf(self._volume.ground, self._digest) as shelf:
            write_json(shelf, f"{self._digest}.json", asdict(self._file))
            with self._volume.ground.locked():
                before = there(shelf, self._digest)
                with self._volume.quota.changed(-before.st_size if before else 0):
                    whole.folder.move(whole.name, shelf, self._digest)
            shelf.sync()
        return entry_of(self.path, os.fstat(whole.file.fd), whole.sha256, whole.md5)

    def find(self, inode: int, mtime_ns: int) -> Entry | None:
        with _shelf(self._volume.ground, self._digest) as shelf:
            status = there(shelf, self._digest)
            shelf.sync()
        return entry_of(self.path, status) if status else None


def _shelf(ground: VolumeRoot, digest: str) -> Folder:
    """The folder of a file, made where missing."""
    with ground.own(APPS) as apps:
        with suppress(FileExistsError):
            apps.make_dir(digest[:2])
        apps.sync()
        return apps.descend(digest[:2])


def _is_stored(apps: Folder, digest: str) -> bool:
    with suppress(FileNotFoundError):
        os.stat(f"{digest[:2]}/{digest}", dir_fd=apps.fd, follow_symlinks=False)
        return True
    return False


def _target(digest: str) -> str:
    return f"app:{digest}"


def _whole_number(facts: Mapping[str, Any], name: str) -> int:
    text = facts.get(name)
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise _invalid(name, "It must be a whole number, as a string of digits.")
    return int(text)


def _invalid(name: str, message: str) -> Problem:
    return Problem(Code.VALIDATION_FAILED, message, where=("body", "metadata", name))
