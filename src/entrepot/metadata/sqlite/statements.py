"""Running the named statements of SQLite on a connection."""

from __future__ import annotations

from typing import Any

import apsw

from entrepot.metadata import queries
from entrepot.metadata.base import Row

SQL = queries.load("sqlite")


def fetch(db: apsw.Connection, name: str, *args: Any) -> list[Row]:
    """All rows of a statement."""
    return db.execute(SQL[name], args).fetchall()


def changed(db: apsw.Connection, name: str, *args: Any) -> int:
    """The number of rows that a statement changes, those of triggers not counted."""
    db.execute(SQL[name], args)
    return db.changes()
