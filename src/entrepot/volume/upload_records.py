"""Records of uploads in parts: owner, target, expiry and result.

staging/<id>/upload.json      what was said at the begin; without it the begin was cut short
staging/<id>/finishing.json   which file is about to be published
staging/<id>/end.json         how it ended; it stays for a while, so that a repeated call has the same answer
staging/<id>/...              the bytes, see `assembly`

Everything here blocks; OSErrors are those of the system.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from entrepot.atomic import Folder
from entrepot.domain.errors import Code, Problem
from entrepot.domain.uploads import may_begin
from entrepot.volume.assembly import PARTS, STATE_LOCK, locked
from entrepot.volume.entries import ALWAYS, Conditions
from entrepot.volume.root import STAGING, VolumeRoot

UPLOAD, FINISHING, END = "upload.json", "finishing.json", "end.json"
FINISHED, ABORTED, EXPIRED = "finished", "aborted", "expired"
# What is known of an upload that was aborted or ran out is kept for so long, to say the same again.
REMEMBERED = 3600.0
_ID = re.compile(r"[0-9a-f]{32}")
# So many digits of an upload's id tell which key began it, so that those of a key are counted by their names.
_MARK = 8


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """An upload that was begun. `target` says where it leads, in the words of who began it; `when` is asked at the
    end, too. Without `md5` nobody wants to know that of the whole, and it is not computed. `key` is the id of the API
    key that began it."""

    id: str
    account: str
    target: str
    created_at: float
    when: Conditions = ALWAYS
    md5: bool = True
    key: str | None = None


class UploadRecords:
    """All uploads of a volume. One that nothing happens to for `ttl` seconds is over."""

    def __init__(self, ground: VolumeRoot, ttl: float, clock: Callable[[], float]) -> None:
        self._ground = ground
        self._ttl = ttl
        self._clock = clock

    def begin(
        self, account: str, target: str, when: Conditions, most: int, md5: bool = True, key: str | None = None
    ) -> UploadRecord:
        """Put an upload on record, durably. Raises Problem(RATE_LIMITED) when the key may not begin one more where
        `most` may be open (`may_begin`)."""
        with self._ground.own(STAGING) as staging:
            if not self._may_begin(staging, account, key, most):
                raise _too_many(most)
            draft = UploadRecord(_mark_of(key) + secrets.token_hex(12), account, target, self._clock(), when, md5, key)
            try:
                staging.make_dir(draft.id)
                with staging.descend(draft.id) as folder:
                    folder.make_dir(PARTS)
                    folder.replace(UPLOAD, _encoded(draft))
                staging.sync()
            except BaseException:
                _undo(staging, draft.id)
                raise
        return draft

    def ids(self) -> list[str]:
        """Every upload that has a folder, begun, ended or cut short."""
        with self._ground.own(STAGING) as staging:
            return sorted(filter(_ID.fullmatch, os.listdir(staging.fd)))

    def changes(self) -> dict[str, int]:
        """When the parts of each upload changed last, in nanoseconds; uploads that have none any more are left out."""
        found = {}
        with self._ground.own(STAGING) as staging:
            for name in filter(_ID.fullmatch, os.listdir(staging.fd)):
                with suppress(FileNotFoundError, NotADirectoryError):
                    found[name] = os.stat(f"{name}/{PARTS}", dir_fd=staging.fd, follow_symlinks=False).st_mtime_ns
        return found

    @contextmanager
    def opened(self, upload_id: str) -> Iterator[Folder]:
        """The folder of an upload. Raises Problem(NOT_FOUND)."""
        if not _ID.fullmatch(upload_id):
            raise unknown()
        with self._ground.own(STAGING) as staging:
            try:
                folder = staging.descend(upload_id)
            except (FileNotFoundError, NotADirectoryError):
                raise unknown() from None
        with folder:
            yield folder

    def read(self, folder: Folder, upload_id: str) -> UploadRecord | None:
        """What was said at the begin; None when that was cut short."""
        facts = read_json(folder, UPLOAD)
        if facts is None:
            return None
        when = facts["when"]
        matches = None if when["if_match"] is None else frozenset(when["if_match"])
        conditions = Conditions(matches, bool(when["if_none_match"]))
        md5 = bool(facts.get("md5", True))
        key = facts.get("key")
        return UploadRecord(upload_id, facts["account"], facts["target"], facts["created_at"], conditions, md5, key)

    def owned(self, folder: Folder, upload_id: str, account: str, target: str) -> UploadRecord:
        """The same, if that account began it for that target: else NOT_FOUND, as if there were none."""
        draft = self.read(folder, upload_id)
        if draft is None or (draft.account, draft.target) != (account, target):
            raise unknown()
        return draft

    def expires_at(self, folder: Folder, draft: UploadRecord) -> float:
        """When it is over unless a part arrives."""
        with suppress(FileNotFoundError):
            changed = os.stat(PARTS, dir_fd=folder.fd, follow_symlinks=False).st_mtime
            return max(draft.created_at, changed) + self._ttl
        return draft.created_at + self._ttl

    def check_open(self, folder: Folder, draft: UploadRecord) -> None:
        """Raise Problem unless it takes parts: NOT_FOUND when aborted, GONE, ALREADY_PUBLISHED."""
        if (end := read_json(folder, END)) is not None:
            raise {ABORTED: unknown, EXPIRED: gone}.get(end["how"], finished)()
        if self._clock() >= self.expires_at(folder, draft):
            raise gone()

    def is_forgettable(self, folder: Folder, end: Mapping[str, Any]) -> bool:
        """Whether nobody is to be told any more how it ended."""
        kept = self._ttl if end["how"] == FINISHED else min(self._ttl, REMEMBERED)
        return self._clock() >= os.stat(END, dir_fd=folder.fd, follow_symlinks=False).st_mtime + kept

    def is_cut_short(self, folder: Folder) -> bool:
        """Whether its begin never came to its end, and will not."""
        return self._clock() >= os.fstat(folder.fd).st_mtime + REMEMBERED

    def _may_begin(self, staging: Folder, account: str, key: str | None, most: int) -> bool:
        names = [name for name in os.listdir(staging.fd) if _ID.fullmatch(name)]
        if 2 * len(names) < most:  # this half is anybody's
            return True
        held = Counter(name[:_MARK] for name in names if not _exists(staging, f"{name}/{END}"))
        live = self._ground.keys.live(account) if self._ground.keys else ()
        return may_begin(most, held, _mark_of(key), {_mark_of(each) for each in live} - {_mark_of(key)})


@contextmanager
def settled(folder: Folder) -> Iterator[None]:
    """Nobody else accepts a part or ends the upload in this block. Raises Problem(NOT_FOUND)."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder, STATE_LOCK))
        except FileNotFoundError:
            raise unknown() from None  # it was removed meanwhile
        yield


def read_json(folder: Folder, name: str) -> dict[str, Any] | None:
    """What a small file of an upload says; None when there is none."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.fd)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        try:
            facts: dict[str, Any] = json.loads(file.read())
        except ValueError as error:
            raise OSError(errno.EIO, f"{name} of an upload is damaged") from error
        return facts


def write_json(folder: Folder, name: str, facts: Mapping[str, Any]) -> None:
    """Say something in a small file, durably."""
    folder.replace(name, json.dumps(facts).encode())


def unknown() -> Problem:
    return Problem(
        Code.NOT_FOUND, "There is no such upload.", fix="Begin a new upload; this one may have been aborted."
    )


def gone() -> Problem:
    return Problem(Code.GONE, "The time of this upload is over.", fix="Begin a new upload.")


def finished() -> Problem:
    return Problem(
        Code.ALREADY_PUBLISHED, "This upload is finished; nothing changes it any more.", fix="Begin a new upload."
    )


def _mark_of(key: str | None) -> str:
    return hashlib.sha256((key or "").encode()).hexdigest()[:_MARK]


def _too_many(most: int) -> Problem:
    message = f"Too many uploads in parts are open: an account has at most {most}, and each key its share."
    return Problem(Code.RATE_LIMITED, message, fix="Finish or abort some of them.", retry_after=60)


def _encoded(draft: UploadRecord) -> bytes:
    when = {
        "if_match": None if draft.when.if_match is None else sorted(draft.when.if_match),
        "if_none_match": draft.when.if_none_match,
    }
    facts = {"account": draft.account, "target": draft.target, "created_at": draft.created_at, "when": when}
    return json.dumps({**facts, "md5": draft.md5, "key": draft.key}).encode()


def _undo(staging: Folder, name: str) -> None:
    """Remove what there is of a begin that failed: it would count as an open upload for a while."""
    with suppress(OSError):
        with staging.descend(name) as folder:
            for remove, inner in ((folder.rmdir, PARTS), (folder.unlink, UPLOAD)):
                with suppress(FileNotFoundError):
                    remove(inner)
        staging.rmdir(name)


def _exists(folder: Folder, name: str) -> bool:
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
        return True
    return False
