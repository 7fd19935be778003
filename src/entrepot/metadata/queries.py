"""Named statements and migrations, read once from the .sql files of this package.

`sql/` holds what databases share, `<database>/sql/` what one of them spells in its own way, and
`<database>/migrations/` its schema. An aggregate's statements are in the file of its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def statements(text: str) -> Mapping[str, str]:
    """Map each `-- name: x` of a file to the one statement that follows it."""
    _, *pieces = _NAME.split(text)
    return {name: sql.strip() for name, sql in zip(pieces[::2], pieces[1::2], strict=True)}


@cache
def load(database: str) -> Mapping[str, str]:
    """Every named statement of a database. Names are unique over all files."""
    named: dict[str, str] = {}
    for folder in (_package(), _package() / database):
        for file in _sql_files(folder / "sql"):
            for name, sql in statements(file.read_text("utf-8")).items():
                if named.setdefault(name, sql) is not sql:
                    raise ValueError(f"two statements are named {name}")
    return named


@cache
def migrations(database: str) -> Sequence[str]:
    """The scripts that lead from an empty database to the current schema: number n makes version n of n-1."""
    return [file.read_text("utf-8") for file in _sql_files(_package() / database / "migrations")]


def _package() -> Traversable:
    return files("entrepot.metadata")


def _sql_files(folder: Traversable) -> Iterator[Traversable]:
    found = (entry for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return iter(sorted(found, key=lambda entry: entry.name))
