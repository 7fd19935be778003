"""Creating, migrating and refusing catalogue files, and the log beside them."""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from entrepot.domain.objects import Blob, Segment
from entrepot.domain.uploads import Finish
from entrepot.metadata import queries
from entrepot.metadata.base import MetadataFailed, MetadataFull
from entrepot.metadata.sqlite import connect
from entrepot.metadata.sqlite.connect import APPLICATION_ID, failure, require_sqlite
from entrepot.metadata.sqlite.database import LONG_LOG
from support.facts import ACCOUNT, a_blob, a_key, an_object
from support.metadata import Catalogue


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.db"


def close(store: Catalogue) -> None:
    asyncio.run(store.close())


def made(path: Path) -> Path:
    store = Catalogue(path, create=True)
    asyncio.run(store.accounts.add(ACCOUNT))
    close(store)
    return path


def pragma(path: Path, name: str):
    db = apsw.Connection(str(path))
    try:
        return db.execute(f"PRAGMA {name}").get
    finally:
        db.close()


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "3.9.99"])
def test_an_old_sqlite_is_refused_with_its_reason(version):
    with pytest.raises(MetadataFailed, match=r"corrupt.*3\.51\.3"):
        require_sqlite(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.100.0", "4.0.0"])
def test_a_current_sqlite_is_accepted(version):
    require_sqlite(version)


def test_a_new_file_is_stamped_and_has_a_write_ahead_log(path):
    made(path)
    assert pragma(path, "application_id") == APPLICATION_ID
    assert pragma(path, "user_version") == len(queries.migrations("sqlite"))
    assert pragma(path, "journal_mode") == "wal"


def test_a_new_file_is_durable_in_its_folder(path, monkeypatch):
    synced: list[Path] = []
    monkeypatch.setattr(connect, "sync_folder", synced.append)
    made(path)
    assert synced == [path.parent]


def test_a_file_that_was_never_finished_is_begun_again(path):
    path.touch()
    made(path)
    store = Catalogue(path)
    assert asyncio.run(store.accounts.list()) == [ACCOUNT]
    close(store)


def test_a_newer_schema_is_refused_and_left_alone(path):
    made(path)
    newer = len(queries.migrations("sqlite")) + 1
    db = apsw.Connection(str(path))
    db.execute(f"PRAGMA user_version={newer}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(MetadataFailed, match=f"schema {newer}.*newer Entrepot"):
        Catalogue(path)
    assert path.read_bytes() == before


def test_an_older_schema_is_migrated_and_keeps_its_rows(path, monkeypatch):
    made(path)
    steps = [
        *queries.migrations("sqlite"),
        "ALTER TABLE accounts ADD COLUMN color TEXT; UPDATE accounts SET color = 'red'",
    ]
    monkeypatch.setattr(connect, "migrations", lambda database: steps)
    store = Catalogue(path)
    assert asyncio.run(store.accounts.list()) == [ACCOUNT]
    close(store)
    assert pragma(path, "user_version") == len(steps)
    db = apsw.Connection(str(path))
    assert db.execute("SELECT color FROM accounts").get == "red"
    db.close()


@pytest.mark.parametrize("broken", ["SELECT * FROM nowhere", "DELETE FROM accounts"])
def test_a_migration_that_fails_leaves_the_old_schema_as_it_was(path, monkeypatch, broken):
    store = Catalogue(made(path))
    asyncio.run(store.accounts.add_key(a_key()))
    close(store)
    steps = [*queries.migrations("sqlite"), "ALTER TABLE accounts ADD COLUMN color TEXT", broken]
    monkeypatch.setattr(connect, "migrations", lambda database: steps)
    with pytest.raises(MetadataFailed):
        Catalogue(path)
    monkeypatch.undo()
    store = Catalogue(path)
    assert asyncio.run(store.accounts.list()) == [ACCOUNT]
    close(store)


def test_a_database_of_another_program_is_refused_and_left_alone(path):
    db = apsw.Connection(str(path))
    db.execute("CREATE TABLE photos (id)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(MetadataFailed, match="another program"):
        Catalogue(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(path):
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(MetadataFailed, match="not a database"):
        Catalogue(path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(MetadataFailed):
        Catalogue(tmp_path / "missing" / "catalogue.db", create=True)


def test_a_file_that_is_missing_is_made_only_when_told_so(path):
    with pytest.raises(MetadataFailed, match="missing"):
        Catalogue(path)
    assert list(path.parent.glob("catalogue.db*")) == [path.with_name("catalogue.db-lock")]


def test_a_file_that_is_empty_is_filled_only_when_told_so(path):
    path.touch()
    with pytest.raises(MetadataFailed, match="empty"):
        Catalogue(path)
    assert path.read_bytes() == b""


def test_nothing_is_made_in_the_place_of_a_catalogue_that_was_lost_while_open(path):
    store = Catalogue(made(path), checkpoints=True)
    for file in path.parent.glob("catalogue.db*"):
        file.unlink()
    with pytest.raises(MetadataFailed):
        asyncio.run(store.database.checkpoint())
    assert not path.exists()
    close(store)


def test_the_catalogue_of_another_home_is_refused(path):
    store = Catalogue(made(path))
    with pytest.raises(MetadataFailed, match="of no home"):
        Catalogue(path, store="0123abcd")
    asyncio.run(store.housekeeping.set_fact("store", "0123abcd"))
    close(store)
    close(Catalogue(path, store="0123abcd"))
    with pytest.raises(MetadataFailed, match="of the home 0123abcd"):
        Catalogue(path, store="9999ffff")


def test_a_refused_catalogue_leaves_no_open_handle(path):
    path.write_bytes(b"not a database" * 1000)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(5):
        with pytest.raises(MetadataFailed):
            Catalogue(path)
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after <= before


def test_m3_an_upload_of_the_first_schema_goes_on_and_ends_in_the_newest(path, monkeypatch):
    first, *_ = queries.migrations("sqlite")
    monkeypatch.setattr(connect, "migrations", lambda database: [first])
    made(path)
    with closing(apsw.Connection(str(path))) as db:
        for upload_id, state in (("u", "open"), ("v", "published")):
            db.execute(
                "INSERT INTO uploads"
                " (id, object_id, path, name, account_id, key_id, kind, created_at, expires_at, state)"
                " VALUES (?, ?, '', '', ?, 'key', 'multipart', 1, 1000, ?)",
                (upload_id, f"{upload_id}-object", ACCOUNT.id, state),
            )
    monkeypatch.undo()

    async def test(store: Catalogue) -> None:
        assert [(each and each.finish) for each in (await store.uploads.get("u"), await store.uploads.get("v"))] == [
            None,
            None,
        ]
        assert [each.id for each in await store.uploads.list_open()] == ["u"]
        blob = a_blob("b")
        assert await store.objects.publish(an_object("u-object", blob), blob, "u", "key", Finish(b"f"))
        ended = await store.uploads.get("u")
        assert ended and ended.finish == b"f"
        await store.close()

    asyncio.run(test(Catalogue(path)))
    assert pragma(path, "user_version") == len(queries.migrations("sqlite"))


def test_the_log_is_cut_back_by_the_one_that_checkpoints(path):
    keeper, worker = Catalogue(made(path), checkpoints=True), Catalogue(path)
    log = path.with_name(path.name + "-wal")

    async def fill() -> None:
        blocks = b"x" * 4096 * (LONG_LOG + 100)
        size = len(blocks) // 8 * 65536
        blob = Blob("b", size, None, (Segment("k", size, blocks),))
        await worker.objects.publish(an_object("o", blob), blob)

    asyncio.run(fill())
    long = log.stat().st_size
    asyncio.run(worker.database.checkpoint())
    assert log.stat().st_size == long > LONG_LOG * 4096
    asyncio.run(keeper.database.checkpoint())
    assert log.stat().st_size == 0
    assert asyncio.run(worker.objects.get("o")) is not None
    close(worker)
    close(keeper)


def test_checkpoints_beside_writes_and_beside_each_other_are_no_failure(path):
    async def test(store: Catalogue) -> None:
        keys = [store.accounts.add_key(a_key(f"k{i}")) for i in range(500)]
        await asyncio.gather(*keys, *(store.database.checkpoint() for _ in range(8)))
        assert len(await store.accounts.list_keys()) == 500
        await store.close()

    asyncio.run(test(Catalogue(made(path), checkpoints=True)))


def test_what_the_system_says_is_told_in_our_words():
    assert isinstance(failure(OSError(28, "No space left on device")), MetadataFull)
    assert isinstance(failure(apsw.FullError("full")), MetadataFull)
    assert isinstance(failure(OSError(5, "I/O error")), MetadataFailed)
    assert isinstance(failure(apsw.IOError("disk")), MetadataFailed)


def test_a_damaged_catalogue_fails_its_check(path):
    made(path)
    with path.open("r+b") as file:
        file.seek(0)
        file.write(b"\0" * 100)
    with pytest.raises(MetadataFailed):
        Catalogue(path)
