"""The cost of the form of object and blob ids in the catalogue: random letters, or random letters behind a time.

    python -m benchmarks.object_ids [--rows 10000000] [--forms random,time] [--folder FOLDER]

Run by hand, not by `make bench`. Each form gets a catalogue with the server's schema, which is filled in bulk up to a
tenth, a fifth, a half and all of the rows. At each of these `SAMPLE` objects are published as the server does it (its
pragmas, synchronous=FULL, group commits, a checkpoint every `CHECKPOINT`), and at the last one rows are read by id.
Ten million rows take about 6 GB and some minutes a form. CPU time and bytes written to and read from the disk are
printed, not wall time, because they depend less on who else uses the machine.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from entrepot import metadata

ALPHABET = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LETTERS = bytes(ALPHABET[byte % len(ALPHABET)] for byte in range(256))  # a little uneven, which no tree notices
BEGIN = 1_790_000_000  # seconds
UPLOADS_A_SECOND = 100
BATCH = 50_000  # rows filled at once
SAMPLE = 6_400  # publishes and reads that are measured
GROUPS = (1, 8, 32)  # publishes in one commit
CHECKPOINT = 1_600  # what a busy server publishes between two checkpoints
RECENT = 100_000  # the newest objects, which are read most

Make = Callable[[int], str]

BLOB = "INSERT INTO blobs (id, size, sha256) VALUES (?, ?, ?)"
CHECKSUMS = "INSERT INTO checksums (size, blocks) VALUES (?, ?)"
NUMBER = " RETURNING nr"
SEGMENT = "INSERT INTO segments (blob_nr, start, key, size, checksums_nr) VALUES (?, 0, ?, ?, ?)"
OBJECT = """INSERT INTO objects (id, path, name, account_id, blob_nr, size, content_type, sniffed_type, inline,
    published_at, state) VALUES (?, ?, 'picture.png', 'account', ?, ?, 'image/png', 'image/png', 1, ?, 'live')"""
READ = """SELECT o.*, b.id, b.sha256 FROM objects AS o LEFT JOIN blobs AS b ON b.nr = o.blob_nr WHERE o.id = ?"""
SIZE = 100_000
BLOCKS = bytes(16)  # of two blocks
DIGEST = bytes(32)


def random_id(number: int) -> str:
    """22 random letters and digits: more than 128 random bits."""
    return os.urandom(22).translate(LETTERS).decode()


def time_id(number: int) -> str:
    """6 letters and digits of the second before them: 28."""
    seconds, prefix = BEGIN + number // UPLOADS_A_SECOND, bytearray()
    for _ in range(6):
        seconds, digit = divmod(seconds, 62)
        prefix.append(ALPHABET[digit])
    return prefix[::-1].decode() + random_id(number)


FORMS: dict[str, tuple[Make, Make]] = {  # of objects, of blobs
    "random": (random_id, random_id),
    "time": (time_id, time_id),
    "mixed": (random_id, time_id),
}


class Catalogue:
    """A catalogue of `count` published objects whose ids are of one form."""

    def __init__(self, path: Path, form: str) -> None:
        self.path = path
        self.object_id, self.blob_id = FORMS[form]
        self.count = 0
        self.ids: list[str] = []
        db = self.connect()
        for step in sorted(Path(metadata.__path__[0]).rglob("migrations/*.sql")):
            db.execute(step.read_text("utf-8"))
        db.execute("INSERT INTO accounts (id, nickname, created_at, state) VALUES ('account', 'default', 0, 'active')")
        db.close()

    def connect(self) -> apsw.Connection:
        """A connection as the server's."""
        db = apsw.Connection(str(self.path))
        db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        db.execute("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=FULL")
        db.execute("PRAGMA cache_size=-32768; PRAGMA temp_store=MEMORY; PRAGMA foreign_keys=ON")
        return db

    def fill(self, count: int) -> str:
        """Add objects in bulk until there are so many. The trees become what one insert after the other makes them."""
        begun, cpu = self.count, time.process_time()
        db = self.connect()
        db.execute("PRAGMA foreign_keys=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-3000000")
        while self.count < count:
            numbers = range(self.count + 1, min(count, self.count + BATCH) + 1)
            ids = [self.object_id(number) for number in numbers]
            with db:
                db.executemany(BLOB, [(self.blob_id(number), SIZE, DIGEST) for number in numbers])
                db.executemany(CHECKSUMS, [(SIZE, BLOCKS) for _ in numbers])
                db.executemany(SEGMENT, [(number, key(number), SIZE, number) for number in numbers])
                db.executemany(OBJECT, [object_row(*pair) for pair in zip(ids, numbers, strict=True)])
            self.ids += ids
            self.count += len(ids)
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        db.close()
        return f"filled with {(time.process_time() - cpu) / max(1, self.count - begun) * 1e6:.1f} us CPU a row"

    def publish(self, group: int, *, cold: bool = False) -> str:
        """Publish `SAMPLE` objects as the server does, `group` in one commit."""
        db = self.connect()
        if cold:
            drop_from_page_cache(self.path)
        cpu, before = time.process_time(), disk()
        for first in range(0, SAMPLE, group):
            db.execute("BEGIN IMMEDIATE")
            for _ in range(group):
                self._publish(db)
            db.execute("COMMIT")
            if (first + group) % CHECKPOINT < group:
                db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        cpu, after = time.process_time() - cpu, disk()
        db.close()
        read, written = ((after[i] - before[i]) / SAMPLE / 1024 for i in (0, 1))
        return f"{cpu / SAMPLE * 1e6:6.1f} us CPU  {written:6.1f} KiB written  {read:6.1f} KiB read"

    def _publish(self, db: apsw.Connection) -> None:
        self.count += 1
        number, blob, name = self.count, self.blob_id(self.count), self.object_id(self.count)
        db.execute("SAVEPOINT job")
        db.execute("SELECT nr, state FROM blobs WHERE id = ?", (blob,)).fetchall()
        ((blob_nr,),) = db.execute(BLOB + NUMBER, (blob, SIZE, DIGEST)).fetchall()
        ((checksums,),) = db.execute(CHECKSUMS + NUMBER, (SIZE, BLOCKS)).fetchall()
        db.execute(SEGMENT, (blob_nr, key(number), SIZE, checksums))
        db.execute(OBJECT, object_row(name, blob_nr))
        db.execute("RELEASE job")
        self.ids.append(name)

    def read(self, ids: Sequence[str], *, cold: bool) -> str:
        """Read rows by id on a new connection; `cold`: with no page of the file in memory."""
        db = self.connect()
        chosen = random.Random(7).choices(ids, k=SAMPLE)
        (drop_from_page_cache if cold else load_into_page_cache)(self.path)
        cpu, before = time.process_time(), disk()
        for each in chosen:
            assert db.execute(READ, (each,)).fetchall()
        cpu, after = time.process_time() - cpu, disk()
        db.close()
        return f"{cpu / SAMPLE * 1e6:6.1f} us CPU  {(after[0] - before[0]) / SAMPLE / 1024:6.1f} KiB read"

    def sizes(self) -> Iterator[str]:
        db = self.connect()
        sql = "SELECT name, pgsize / 1048576.0 FROM dbstat WHERE aggregate = TRUE AND pgsize > 1048576 ORDER BY name"
        yield from (f"{name}: {size:,.0f} MiB" for name, size in db.execute(sql))
        yield f"the whole file: {self.path.stat().st_size / 2**20:,.0f} MiB"
        db.close()


def key(number: int) -> str:
    """Of a segment: one incarnation, 256 in a bucket."""
    return f"1d092d6fd5790bd7/{number >> 8:x}/{number:x}"


def object_row(object_id: str, blob_nr: Any) -> tuple[Any, ...]:
    at = BEGIN + blob_nr / UPLOADS_A_SECOND
    return object_id, f"/files/b/aa30e4b3/{object_id}_picture.png", blob_nr, SIZE, at


def disk() -> tuple[int, int]:
    """Bytes that this process has had read from and written to disks."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["read_bytes"]), int(lines["write_bytes"])


def drop_from_page_cache(path: Path) -> None:
    """Drop the pages of a file from the page cache."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def load_into_page_cache(path: Path) -> None:
    """Read a file into the page cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 24):
            pass


def measure(form: str, rows: int, folder: Path) -> None:
    catalogue = Catalogue(folder / f"{form}.db", form)
    for mark in (rows // 10, rows // 5, rows // 2, rows):
        print(f"{form}, {mark:,} rows, {catalogue.fill(mark)}", flush=True)
        for group in GROUPS:
            print(f"  publish, {group:2} in a commit   {catalogue.publish(group)}", flush=True)
    print(f"  publish, 32, from the disk  {catalogue.publish(GROUPS[-1], cold=True)}")
    for title, ids in (("any", catalogue.ids), ("recent", catalogue.ids[-RECENT:])):
        print(f"  read {title:6} in memory        {catalogue.read(ids, cold=False)}")
        print(f"  read {title:6} from the disk    {catalogue.read(ids, cold=True)}")
    print("  " + "\n  ".join(catalogue.sizes()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="What the form of object ids costs the catalogue.")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--forms", default="random,time", help=f"some of {','.join(FORMS)}")
    parser.add_argument("--folder", type=Path, help="where the catalogues are made and removed (default: a new folder)")
    options = parser.parse_args()
    for form in options.forms.split(","):
        folder = Path(tempfile.mkdtemp(prefix="entrepot-ids-", dir=options.folder))
        try:
            measure(form, options.rows, folder)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
