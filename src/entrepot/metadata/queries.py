"""The SQL of this package: named statements and migrations, read once from the .sql files beside it."""

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
def load() -> Mapping[str, str]:
    """Every named statement. Names are unique over all files."""
    named: dict[str, str] = {}
    for file in _sql_files(_folder()):
        for name, sql in statements(file.read_text("utf-8")).items():
            if named.setdefault(name, sql) is not sql:
                raise ValueError(f"two statements are named {name}")
    return named


@cache
def migrations() -> Sequence[str]:
    """The scripts that lead from an empty file to the current schema: number n makes version n of n-1."""
    return [file.read_text("utf-8") for file in _sql_files(_folder() / "migrations")]


def _folder() -> Traversable:
    return files("entrepot.metadata") / "sql"


def _sql_files(folder: Traversable) -> Iterator[Traversable]:
    found = (entry for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return iter(sorted(found, key=lambda entry: entry.name))
