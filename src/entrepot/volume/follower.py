"""The keeper's work behind uploads in parts: it puts together what has arrived, and computes the digests of the whole.

The state of a hash cannot be kept: after a restart the staged file is read from its beginning. What the keeper knows is
noted beside the file, for the finish; the note names the list of parts that it is true of.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from hashlib import md5, sha256

from entrepot.atomic import Folder
from entrepot.domain.errors import Problem
from entrepot.threads import Threads
from entrepot.volume.assembly import NOTE, WHOLE, WHOLE_LOCK, Assembly, Record, try_lock
from entrepot.volume.facts import Digests
from entrepot.volume.upload_records import END, UPLOAD, UploadRecords, read_json

log = logging.getLogger("entrepot.follower")

# Bytes put together, and bytes hashed, before the keeper looks at its other work.
STEP = 256 * 1024 * 1024
# Of so many uploads that are behind each gets its share of a step.
SHARES = 4
# Parts are put together by so many bytes, or when none has come for so long: each time costs a few syncs.
BATCH = 64 * 1024 * 1024
QUIET = 0.5
# The keeper looks for new parts again when it has waited so many times as long as the last look took.
IDLE = 20
_CHUNK = 1024 * 1024


class Hashing:
    """SHA-256 of a file that grows, and beside it, when it is wanted, the MD5."""

    def __init__(self, threads: Threads, with_md5: bool = True) -> None:
        self._threads = threads
        self._sha256, self._md5 = sha256(), md5(usedforsecurity=False) if with_md5 else None
        self.size = 0

    def anew(self) -> Hashing:
        """One of the same kind that has seen nothing."""
        return Hashing(self._threads, self._md5 is not None)

    def read_to(self, fd: int, end: int) -> None:
        """Go on to `end`. Raises OSError when the file ends before."""
        while self.size < end:
            chunk = os.pread(fd, min(_CHUNK, end - self.size), self.size)
            if not chunk:
                raise OSError(f"the staged file ends at {self.size}, not at {end}")
            other = self._threads.beside(self._md5.update, chunk) if self._md5 else None
            self._sha256.update(chunk)
            if other:
                other.result()
            self.size += len(chunk)

    @property
    def digests(self) -> Digests:
        return self._sha256.digest(), self._md5.digest() if self._md5 else None


@dataclass(slots=True)
class _Run:
    """What the keeper knows of one upload. `seen` is when its parts changed last, `since` when that was noticed;
    `behind` says that something was left to do, `met` that it was looked up what is wanted. `version` is of the record
    that `hashing` follows."""

    hashing: Hashing
    seen: int = -1
    since: float = 0.0
    behind: bool = True
    met: bool = False
    version: int = 0
    noted: str = ""
    complaint: str = ""


class Follower:
    """`step` does a bounded piece of the work that is there; it blocks.

    An upload that fails is passed over until something changes in it, and does not hold up the others.
    """

    def __init__(self, drafts: UploadRecords, threads: Threads) -> None:
        self._drafts = drafts
        self._threads = threads
        self._runs: dict[str, _Run] = {}
        self._last = ""  # whose turn was the last
        self._next_look = 0.0

    def step(self, budget: int = STEP) -> bool:
        """Put together and hash up to about `budget` bytes each; True when there is more to do at once."""
        started = time.monotonic()
        if started < self._next_look:
            return False
        behind = self._behind(started)
        # Who had the last turn is the last one now.
        turns = sorted(behind, key=lambda upload_id: (upload_id <= self._last, upload_id))[:SHARES]
        more = len(behind) > len(turns)
        for upload_id in turns:
            self._last = upload_id
            more = self._guarded(upload_id, budget // len(turns)) or more
        if not more:
            now = time.monotonic()
            self._next_look = now + min(1.0, IDLE * (now - started)) if not turns else 0.0
        return more

    def _behind(self, now: float) -> list[str]:
        """The uploads in which there is something to do."""
        changes = self._drafts.changes()
        self._runs = {upload_id: run for upload_id, run in self._runs.items() if upload_id in changes}
        for upload_id, changed in changes.items():
            if upload_id not in self._runs:
                self._runs[upload_id] = _Run(Hashing(self._threads))
            run = self._runs[upload_id]
            if run.seen != changed:
                run.seen, run.since, run.behind = changed, now, True
        return [upload_id for upload_id, run in self._runs.items() if run.behind]

    def _guarded(self, upload_id: str, budget: int) -> bool:
        run = self._runs[upload_id]
        try:
            return self._follow(upload_id, run, budget)
        except (Problem, FileNotFoundError):
            run.behind = False  # finished or aborted meanwhile
        except OSError as error:
            run.behind, run.hashing = False, run.hashing.anew()
            if str(error) != run.complaint:
                log.error("the parts of upload=%s cannot be put together: %s", upload_id, error)
            run.complaint = str(error)
        return False

    def _follow(self, upload_id: str, run: _Run, budget: int) -> bool:
        with self._drafts.opened(upload_id) as folder:
            if read_json(folder, END) is not None or read_json(folder, UPLOAD) is None:
                run.behind = False
                return False
            if not run.met:
                draft = self._drafts.read(folder, upload_id)
                run.met, run.hashing = True, Hashing(self._threads, draft is None or draft.md5)
            assembly, more = Assembly(folder), False
            # The time of a folder has ticks of milliseconds: one part may hide behind another.
            run.behind = time.monotonic() - run.since < QUIET
            if not run.behind or sum(part.size for part in assembly.ready(BATCH)) >= BATCH:
                more = self._put_together(folder, assembly, run, budget)
            more = self._hash(folder, assembly, run, budget) or more
            run.behind = run.behind or more
            if read_json(folder, END) is not None:  # it ended while this had the lock, or wrote the note
                assembly.clear()
            return more

    def _put_together(self, folder: Folder, assembly: Assembly, run: _Run, budget: int) -> bool:
        """Append what is there; True when there is more."""
        lock = try_lock(folder, WHOLE_LOCK)
        if lock is None:
            run.behind = True  # a finish does it
            return False
        try:
            while budget > 0 and (moved := assembly.advance(budget)):
                budget -= moved
        finally:
            os.close(lock)
        return budget <= 0

    def _hash(self, folder: Folder, assembly: Assembly, run: _Run, budget: int) -> bool:
        """Go on with the digests; True when there is more to read."""
        record = assembly.record()
        if run.version != record.version or run.hashing.size > record.size:
            run.version, run.hashing = record.version, run.hashing.anew()
        if not record.parts or record.key == run.noted:
            return False
        fd = os.open(WHOLE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.fd)
        try:
            run.hashing.read_to(fd, min(record.size, run.hashing.size + budget))
        finally:
            os.close(fd)
        if assembly.record().version != record.version:
            run.hashing = run.hashing.anew()  # what was read may have been taken out under our eyes
            return True
        if run.hashing.size < record.size:
            return True
        note(folder, record, run.hashing.digests)
        run.noted = record.key
        return False


def note(folder: Folder, record: Record, digests: Digests) -> None:
    """Say what the digests of these parts are. Not durable: it can be computed again."""
    facts = {"of": record.key, "sha256": (digests[0] or b"").hex(), "md5": (digests[1] or b"").hex()}
    name = f".{secrets.token_hex(8)}.tmp"
    file = folder.create(name)
    try:
        file.write([json.dumps(facts).encode()])
    finally:
        file.close()
    folder.rename(name, NOTE)


def noted(folder: Folder, record: Record) -> Digests | None:
    """The digests of these parts, if the keeper has got so far."""
    with suppress(OSError):
        facts = read_json(folder, NOTE)
        if facts and facts["of"] == record.key:
            return bytes.fromhex(facts["sha256"]), bytes.fromhex(facts["md5"]) or None
    return None
