"""The seam between the aggregates of metadata and a database, and what a database raises.

An aggregate (`accounts`, `uploads`, `objects`, `housekeeping`, `leases`, `jobs`) states the contract of each operation
in its docstrings and is written once for every database. A database runs statements and operations by their names.
Made so that SQLite and PostgreSQL both fit: values in, values out; no row of a cursor, connection or transaction
leaves it, and no transaction is open while bytes move.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Protocol

Row = tuple[Any, ...]


class MetadataFull(Exception):
    """The disk of the database is full. The write is not acknowledged, and nothing of it was written."""


class MetadataFailed(Exception):
    """The database cannot be read or written (I/O error, read-only, closed).

    A write that raises this is not acknowledged; whether it was made is not known: it may or may not be found after a
    restart, whole or not at all.
    """


class Conflict(Exception):
    """A unique value exists already: a nickname, a key id, an object id. Nothing was written."""


class KeyEnded(Exception):
    """The key that a write was to be made with is revoked or expired, or its account suspended. Nothing was written."""


class WriteOutcome(Enum):
    """The outcome of a write that may be refused; when it is not `DONE`, nothing was written.

    It is a value and no error, because an error ends a transaction, and with it what others wrote in the same commit.
    """

    DONE = "done"
    KEY_ENDED = "key_ended"  # the key of who writes is revoked or expired, or its account suspended
    NOT_OPEN = "not_open"  # the upload is unknown or aborted, for a part also published
    PUBLISHED = "published"  # the upload is published already
    SAME = "same"  # the idempotency key names an upload that is there
    TOO_MANY = "too_many"  # no further upload may be open
    EXISTS = "exists"  # an id is taken
    BLOB_GONE = "blob_gone"  # the blob that is to be linked is being deleted, or gone
    SEGMENT_TAKEN = "segment_taken"  # a segment is another blob's, or was forgotten


def check(outcome: WriteOutcome, conflict: str, key_id: str | None) -> None:
    """Raise KeyEnded or Conflict for a write that was refused."""
    if outcome is WriteOutcome.KEY_ENDED:
        raise KeyEnded(f"The key {key_id} was revoked.")
    if outcome is not WriteOutcome.DONE:
        raise Conflict(conflict)


class Database(Protocol):
    """Runs named statements and operations. Every call raises MetadataFailed, a write MetadataFull too."""

    async def row(self, statement: str, *args: Any) -> Row | None:
        """The first row of a read, None when there is none. It sees all writes that were acknowledged before."""
        ...

    async def rows(self, statement: str, *args: Any) -> list[Row]:
        """All rows of a read."""
        ...

    def blocking_rows(self, statement: str, *args: Any) -> list[Row]:
        """As `rows`, but blocks the calling thread: for threads that hold a lock, never on an event loop."""
        ...

    async def write(self, operation: str, *args: Any) -> Any:
        """Run a write as one transaction; it is durable and visible to all when this returns.

        An operation is one statement (the result is the number of rows that it changed) or one function of the
        database (the result is what it returns).
        """
        ...
