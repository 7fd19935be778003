"""The .sql files: every statement fits the schema and the hot ones use their indexes."""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest

import entrepot.metadata
from entrepot.domain.uploads import EXISTING_FLOOR
from entrepot.metadata import queries
from entrepot.metadata.sqlite.connect import DatabaseLocation

SQL = queries.load("sqlite")
ROOM = Path(entrepot.metadata.__file__).parent


@pytest.fixture(scope="module")
def db():
    connection = DatabaseLocation(None).open_writer()
    yield connection
    connection.close()


def plan(db: apsw.Connection, name: str) -> list[str]:
    sql = SQL[name]
    numbered = {int(n) for n in re.findall(r"\?(\d+)", sql)}
    count = max(numbered) if numbered else sql.count("?")
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", (None,) * count)]


@pytest.mark.parametrize("name", sorted(SQL))
def test_the_statement_fits_the_schema(db, name):
    plan(db, name)


@pytest.mark.parametrize("name", sorted(set(SQL) - {"list_accounts", "list_keys", "check", "count_segments"}))
def test_the_statement_reads_no_whole_table_and_sorts_nothing(db, name):
    slow = re.compile(
        r"SCAN (?!json_each|CONSTANT|\w+ USING (COVERING )?INDEX "
        r"\w+_(due|ended|held|leaving|growing|queued|running|undigested|waited))"
        r"|TEMP B-TREE"
    )
    assert [step for step in plan(db, name) if slow.search(step)] == []


def test_what_is_held_is_found_in_the_index_of_large_blobs_alone(db):
    first, *others = plan(db, "held_blob")
    assert first == "SEARCH b USING INDEX blobs_held (sha256=?)"
    assert [step for step in others if "objects_blob (blob_nr=?)" not in step] == []
    ((index,),) = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'blobs_held'")
    assert f"size >= {EXISTING_FLOOR}" in index
    assert f"size >= {EXISTING_FLOOR} " in SQL["held_blob"]


def test_every_statement_is_used():
    text = "".join(file.read_text("utf-8") for file in ROOM.rglob("*.py"))
    assert [name for name in SQL if f'"{name}"' not in text] == []


def test_statements_that_databases_share_use_nothing_of_sqlite_alone():
    own = re.compile(r"json_each|json_extract|->>|\browid\b|LIMIT -1|\b(max|min)\([^()]*,|\bGLOB\b|\bINSERT OR\b")
    shared = {file.name: file.read_text("utf-8") for file in (ROOM / "sql").glob("*.sql")}
    assert {name: own.findall(text) for name, text in shared.items() if own.search(text)} == {}
    assert own.search(SQL["known_keys"]) and own.search(SQL["end_upload"])


def test_a_file_of_statements_is_split_by_their_names():
    text = "-- A file.\n-- name: one\n-- Why.\nSELECT 1;\n\n-- name: two\nSELECT 2;\n"
    assert queries.statements(text) == {"one": "-- Why.\nSELECT 1;", "two": "SELECT 2;"}


def test_migrations_are_numbered_without_a_gap():
    names = sorted(file.name for file in (ROOM / "sqlite" / "migrations").iterdir())
    assert [int(name.split("_")[0]) for name in names] == list(range(1, len(names) + 1))
