"""The writer thread: groups, isolation of failures, several loops and processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest

from entrepot.domain.accounts import Account
from entrepot.metadata.base import Conflict, MetadataFailed
from entrepot.metadata.sqlite.connect import DatabaseLocation
from entrepot.metadata.sqlite.lock import FileLock
from entrepot.metadata.sqlite.writer import MAX_GROUP, Writer
from support.facts import ACCOUNT, a_blob, a_key, an_object
from support.faultvfs import Faults
from support.metadata import Catalogue

PROCESS = """
import asyncio, sys
from pathlib import Path
from entrepot.metadata.aggregates import Metadata
from entrepot.metadata.sqlite.database import SqliteDatabase

async def run(path, name, other):
    database = SqliteDatabase(path)
    store = Metadata(database)
    done = 0
    async def work(task):
        nonlocal done
        while done < 400 or not await store.accounts.key(f"{other}-end"):
            await store.leases.take(f"{name}-{task}-{done}", name, 1.0, 1.0)
            done += 1
            if done == 400:
                await store.accounts.add_key(KEY(f"{name}-end", "account", "n", b"h", 1.0))
    await asyncio.gather(*map(work, range(4)))
    await database.close()
    print(done)

from entrepot.domain.accounts import KeyRecord as KEY
print("ready", flush=True)
sys.stdin.readline()
asyncio.run(run(Path(sys.argv[1]), *sys.argv[2:]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.db"


def opened(path: Path) -> Catalogue:
    store = Catalogue(path, create=True)
    asyncio.run(store.accounts.add(ACCOUNT))
    return store


def test_a_hundred_writes_at_once_share_their_syncs(path):
    async def test(store: Catalogue, faults: Faults) -> None:
        await store.accounts.add(ACCOUNT)
        before = faults.syncs
        blobs = [a_blob(f"b{i}") for i in range(100)]
        await asyncio.gather(*(store.objects.publish(an_object(f"o-{b.id}", b), b) for b in blobs))
        assert 1 <= faults.syncs - before < 50
        await store.close()

    with Faults() as faults:
        asyncio.run(test(Catalogue(path, create=True, vfs=faults.name), faults))


def test_every_write_alone_is_synced_before_it_returns(path):
    async def test(store: Catalogue, faults: Faults) -> None:
        for i in range(10):
            before = faults.syncs
            await store.accounts.add(Account(f"a{i}", f"n{i}", 1.0))
            assert faults.syncs > before
        await store.close()

    with Faults() as faults:
        asyncio.run(test(Catalogue(path, create=True, vfs=faults.name), faults))


def test_more_jobs_than_a_group_holds_run_in_their_order():
    order: list[int] = []

    def note(i: int):
        return lambda db: order.append(i)

    async def test(writer: Writer) -> None:
        gate = threading.Event()
        jobs = [asyncio.ensure_future(writer.run(lambda db: gate.wait()))]
        jobs += [asyncio.ensure_future(writer.run(note(i))) for i in range(3 * MAX_GROUP)]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*jobs)

    writer = Writer(DatabaseLocation(None).open_writer, FileLock(None))
    asyncio.run(test(writer))
    writer.close()
    assert order == list(range(3 * MAX_GROUP))


@pytest.mark.parametrize("error", [ValueError("mine"), Conflict("mine"), KeyError("mine")])
def test_a_job_that_fails_is_undone_alone_and_its_neighbours_are_kept(error):
    def half_done(db: apsw.Connection) -> None:
        db.execute("INSERT INTO leases VALUES ('half', 'h', 1.0)")
        raise error

    def one(name: str):
        return lambda db: db.execute("INSERT INTO leases VALUES (?, 'h', 1.0)", (name,)).fetchall()

    async def test(writer: Writer) -> None:
        jobs = [one("before"), half_done, one("after")]
        answers = await asyncio.gather(*map(writer.run, jobs), return_exceptions=True)
        assert answers == [[], error, []]
        names = await writer.run(lambda db: db.execute("SELECT name FROM leases ORDER BY name").fetchall())
        assert names == [("after",), ("before",)]

    writer = Writer(DatabaseLocation(None).open_writer, FileLock(None))
    asyncio.run(test(writer))
    writer.close()


def test_what_sqlite_says_of_one_job_is_not_heard_above_this_room(path):
    store = opened(path)
    with pytest.raises(MetadataFailed, match="FOREIGN KEY"):
        asyncio.run(store.accounts.add_key(a_key(account_id="nobody")))
    asyncio.run(store.accounts.add_key(a_key()))
    asyncio.run(store.close())


def test_a_cancelled_caller_loses_nothing_of_the_others(path):
    async def test(store: Catalogue) -> None:
        tasks = [asyncio.ensure_future(store.accounts.add_key(a_key(f"k{i}"))) for i in range(100)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(answer) for answer in answers[::2]} == {asyncio.CancelledError}
        kept = {key.id for key in await store.accounts.list_keys()}
        assert kept >= {f"k{i}" for i in range(1, 100, 2)}
        await store.accounts.add_key(a_key("last"))
        await store.close()

    asyncio.run(test(opened(path)))


def test_a_loop_that_ends_before_its_answer_harms_nobody(path):
    store = opened(path)

    async def leave() -> None:
        asyncio.ensure_future(store.accounts.add_key(a_key("k1")))  # noqa: RUF006 - it is left behind on purpose
        await asyncio.sleep(0)

    for _ in range(20):
        asyncio.run(leave())
    asyncio.run(store.accounts.add_key(a_key("k2")))
    asyncio.run(store.close())


def test_several_threads_with_loops_of_their_own_write_and_read(path):
    store = opened(path)
    errors: list[BaseException] = []

    async def work(name: str) -> None:
        for i in range(30):
            await store.accounts.add_key(a_key(f"{name}-{i}"))
            assert await store.accounts.key(f"{name}-{i}")

    def run(name: str) -> None:
        try:
            asyncio.run(work(name))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(f"t{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(asyncio.run(store.accounts.list_keys())) == 120
    asyncio.run(store.close())


def test_a_write_in_one_store_is_read_in_another_at_once(path):
    first, second = opened(path), Catalogue(path)
    for i in range(20):
        asyncio.run(first.accounts.add_key(a_key(f"k{i}")))
        assert asyncio.run(second.accounts.key(f"k{i}"))
    asyncio.run(first.close())
    asyncio.run(second.close())


def test_two_processes_that_write_at_once_both_get_their_turns(path):
    asyncio.run(opened(path).close())
    args = [sys.executable, "-c", PROCESS, str(path)]
    pair = (("p", "q"), ("q", "p"))
    pipe = subprocess.PIPE
    runs = [subprocess.Popen([*args, *names], stdin=pipe, stdout=pipe, text=True) for names in pair]
    for run in runs:  # else the first one works alone while the other is still starting
        assert run.stdout and run.stdout.readline() == "ready\n"
    for run in runs:
        assert run.stdin
        run.stdin.write("go\n")
        run.stdin.flush()
    counts = [int(run.communicate(timeout=120)[0]) for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    # Each works until the other has done its 400: a starved one would show as a huge count of its neighbour.
    assert max(counts) < 20 * min(counts)
