"""The reader: a read-only connection for each thread, called directly, so that a read costs microseconds."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import apsw

from entrepot.metadata.base import MetadataFailed, Row
from entrepot.metadata.sqlite.connect import failure


class Reader:
    """A reader for any number of threads; each statement sees all that was committed before."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._connect = connect
        self._local = threading.local()
        # Weak: the connection of a thread that ends goes with it.
        self._all: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
        self._gate = threading.Lock()
        self._closed = False

    def rows(self, sql: str, args: Sequence[Any]) -> list[Row]:
        """All rows. Raises MetadataFailed; the next read then starts with a new connection."""
        try:
            return self._cursor().execute(sql, args).fetchall()
        except apsw.Error as error:
            self._local.__dict__.clear()
            raise failure(error) from error

    def close(self) -> None:
        """Close all connections. No thread may be reading."""
        with self._gate:
            self._closed = True
            for db in list(self._all):
                with suppress(apsw.Error):  # nothing of a reader's is ever unsaved
                    db.close()

    def _cursor(self) -> apsw.Cursor:
        try:
            cursor: apsw.Cursor = self._local.cursor
        except AttributeError:
            cursor = self._local.cursor = self._open().cursor()
        return cursor

    def _open(self) -> apsw.Connection:
        with self._gate:
            if self._closed:
                raise MetadataFailed("The catalogue is closed.")
            db = self._connect()
            self._all.add(db)
            return db
