"""Many at once, in this process, in others and in programs that know nothing of us."""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from entrepot.domain.errors import Code, Problem
from entrepot.volume.unpack import Unpacking
from entrepot.volume.volume import Volume
from support.archives import zipped
from support.volumes import OWNER, make, names, open_volume, p, private, put, read, refused, stream, tree, with_volume

LIBC = ctypes.CDLL(None, use_errno=True)
EXPECTED = {Code.NOT_FOUND, Code.CONFLICT, Code.PRECONDITION_FAILED, Code.VALIDATION_FAILED}


def two_processes(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs a test with a volume that is open twice, as two processes have it."""

    def run(tmp_path) -> None:
        async def tell() -> None:
            first, second = open_volume(make(tmp_path / "data")), open_volume(tmp_path / "data")
            try:
                await test([first, second], tmp_path / "data")
            finally:
                await first.close()
                await second.close()

        asyncio.run(tell())

    return run


@two_processes
async def test_of_100_writers_to_one_path_one_remains_and_every_reader_sees_a_whole_file(volumes, root):
    contents = [b"%03d" % n * 20_000 for n in range(100)]
    await put(volumes[0], "a/f", contents[0])
    writing = asyncio.gather(*(put(volumes[n % 2], "a/f", body) for n, body in enumerate(contents)))
    while not writing.done():
        assert await read(volumes[0], "a/f") in contents
        assert (root / "a/f").read_bytes() in contents
    entries = await writing
    assert (root / "a/f").read_bytes() in contents
    assert (await volumes[1].stat(OWNER, p("a/f"))).etag in {entry.etag for entry in entries}
    assert len({entry.etag for entry in entries}) == 100
    assert private(root) == []


@two_processes
async def test_in_a_storm_of_moves_nothing_is_lost_and_nothing_is_doubled(volumes, root):
    """Files are written once, then only moved, deleted and put back: each is at one place at the end, whole."""
    chance = random.Random(3)
    written: list[str] = []
    folders = ["a", "b", "a/c", "b/d", "a/c/e"]

    def place() -> str:
        return f"{chance.choice(folders)}/{chance.choice('xyz')}"

    async def one(volume: Volume) -> None:
        match chance.randrange(8):
            case 0 | 1:
                name = f"{place()}-{len(written)}"
                written.append(name)
                await put(volume, name, name.encode())
            case 2 | 3:
                held = [path for path, content in tree(root).items() if content is not None]
                await volume.rename(OWNER, p(chance.choice(held or ["a"])), p(f"{place()}{chance.random()}"))
            case 4:
                await volume.rename(OWNER, p(chance.choice(folders)), p(f"{place()}{chance.random()}"))
            case 5:
                await volume.delete(OWNER, p(chance.choice([*folders, *list(tree(root))])))
            case 6 | 7:
                trash = (await volume.list_trash(OWNER)).entries
                if trash:
                    await volume.restore(OWNER, chance.choice(trash).id)

    async def worker(volume: Volume) -> None:
        for _ in range(40):
            try:
                await one(volume)
            except Problem as problem:
                assert problem.code in EXPECTED, problem

    await asyncio.gather(*(worker(volumes[n % 2]) for n in range(8)))
    found = [path.read_bytes().decode() for path in root.rglob("*") if path.is_file() and path.name != "info.json"]
    assert sorted(each for each in found if each in written) == sorted(written)
    for trashed in (await volumes[0].list_trash(OWNER)).entries:
        with suppress(Problem):
            await volumes[0].restore(OWNER, trashed.id, p(f"restored/{trashed.id}"))
    assert private(root) == []


@two_processes
async def test_a_folder_that_is_deleted_while_files_come_in_takes_them_along_or_is_made_anew(volumes, root):
    for _ in range(10):
        await asyncio.gather(
            *(put(volumes[n % 2], f"a/b/f{n}", b"x") for n in range(6)),
            volumes[0].delete(OWNER, p("a"), permanent=True) if (root / "a").exists() else asyncio.sleep(0),
        )
        assert private(root) == []
    assert set(await names(volumes[0], recursive=True)) <= {"a", "a/b", *(f"a/b/f{n}" for n in range(6))}


@two_processes
async def test_of_many_who_make_move_or_restore_to_one_place_one_succeeds(volumes, root):
    async def outcome(deed: Awaitable[object]) -> bool:
        try:
            await deed
        except Problem as problem:
            assert problem.code is Code.CONFLICT
            return False
        return True

    for n in range(8):
        await put(volumes[0], f"f{n}", b"%d" % n)
    trashed = [await volumes[0].delete(OWNER, p(f"f{n}")) for n in range(4)]
    results = await asyncio.gather(
        *(outcome(volumes[n % 2].restore(OWNER, each.id, p("one/place"))) for n, each in enumerate(trashed) if each),
        *(outcome(volumes[n % 2].rename(OWNER, p(f"f{n}"), p("one/place"))) for n in range(4, 8)),
    )
    assert sum(results) == 1
    await asyncio.gather(*(volumes[n % 2].make_folder(OWNER, p("same/folder")) for n in range(10)))
    assert sorted(os.listdir(root)) == sorted(
        [".entrepot", *(f"f{n}" for n in range(4, 8) if (root / f"f{n}").exists()), "one", "same"]
    )


# In a process of its own: a thread of this one would stand still while a deed is on its way.
SWAPPER = """
import ctypes, os, sys
swap, names, parent = ctypes.CDLL(None).renameat2, [os.fsencode(name) for name in sys.argv[1:]], os.getppid()
print(flush=True)
while not swap(-1, names[0], -1, names[1], 2) and os.getppid() == parent:
    pass
"""


@contextmanager
def swapping(folder, link) -> Iterator[None]:
    """Until the block ends, another program puts what is at `link` and the real folder in turn at one name."""
    command = [sys.executable, "-c", SWAPPER, str(folder), str(link)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        try:
            yield
        finally:
            still = program.poll() is None
            program.kill()
    assert still, "the program that swaps has ended"


async def _deed(volume: Volume, n: int) -> object:
    match n % 7:
        case 0:
            return await put(volume, "a/new", b"x")
        case 1:
            return await put(volume, "a/inner/new", b"x")
        case 2:
            return await read(volume, "a/f")
        case 3:
            return await names(volume, "a", recursive=True)
        case 4:
            return await volume.delete(OWNER, p("a/new"), permanent=True)
        case 5:
            return await volume.rename(OWNER, p("a/f"), p("a/f"))
    return await volume.copy(OWNER, p("a"), p(f"copies/{n}"))


@pytest.mark.skipif(not hasattr(LIBC, "renameat2"), reason="this system cannot swap two names")
@pytest.mark.parametrize("by_hand", [False, True], ids=["openat2", "by hand"])
def test_a_link_swapped_in_on_the_way_of_any_deed_changes_and_shows_nothing_outside(tmp_path, by_hand):
    outside, root = tmp_path / "outside", tmp_path / "data"
    (outside / "inner").mkdir(parents=True)
    (outside / "f").write_bytes(b"secret")

    async def test() -> None:
        volume = open_volume(make(root), by_hand=by_hand)
        await put(volume, "a/f", b"inside")
        (root / "link").symlink_to(outside)
        done = refusals = 0
        with swapping(root / "a", root / "link"):
            for n in range(420):
                try:
                    assert await _deed(volume, n) != b"secret"
                    done += 1
                except Problem as problem:
                    assert problem.code in EXPECTED, problem
                    refusals += 1
        await volume.close()
        assert done and refusals
        assert tree(outside) == {"inner": None, "f": b"secret"}
        assert b"secret" not in tree(root).values()

    asyncio.run(test())


@pytest.mark.skipif(not hasattr(LIBC, "renameat2"), reason="this system cannot swap two names")
@pytest.mark.parametrize("other", ["a link out", "an empty folder"])
def test_folders_that_a_program_swaps_while_they_are_seen_for_the_first_time_make_no_fault(tmp_path, other):
    """Then all folders above are opened, to be synced."""
    outside, root = tmp_path / "outside", tmp_path / "data"
    outside.mkdir()

    async def test() -> None:
        volume = open_volume(make(root))
        for n in range(1000):
            (root / f"a/{n}/b/c").mkdir(parents=True)
        if other == "a link out":
            (root / "link").symlink_to(outside)
        else:
            (root / "link").mkdir()
        with swapping(root / "a", root / "link"):
            for n in range(1000):
                try:
                    await volume.make_folder(OWNER, p(f"a/{n}/b/c"))
                except Problem as problem:
                    assert problem.code in EXPECTED, problem
        await volume.close()
        assert tree(outside) == {}

    asyncio.run(test())


@pytest.mark.skipif(not hasattr(LIBC, "renameat2"), reason="this system cannot swap two names")
@pytest.mark.parametrize("other", ["a link out", "an empty folder"])
def test_an_archive_that_is_merged_into_a_folder_that_a_program_swaps_makes_no_fault(tmp_path, other):
    outside, root = tmp_path / "outside", tmp_path / "data"
    outside.mkdir()
    data = zipped(("b/c/new", b"x"), ("b/new", b"x"), ("new", b"x")).getvalue()

    async def test() -> None:
        volume = open_volume(make(root))
        unpacking = Unpacking(volume)
        (root / "a/b/c").mkdir(parents=True)
        (root / "link").symlink_to(outside) if other == "a link out" else (root / "link").mkdir()
        with swapping(root / "a", root / "link"):
            for _ in range(300):
                try:
                    await unpacking.unpack(OWNER, p("a"), stream(data))
                except Problem as problem:
                    assert problem.code in EXPECTED, problem
        await volume.close()
        assert tree(outside) == {}

    asyncio.run(test())


@with_volume
async def test_what_other_programs_write_is_seen_at_once_and_replaced_whole(volume: Volume, root):
    (root / "made").mkdir()
    (root / "made" / "f").write_bytes(b"by hand")
    assert await names(volume, "made") == ["made/f"]
    assert await read(volume, "made/f") == b"by hand"
    with open(root / "made" / "f", "rb") as held:
        await put(volume, "made/f", b"by us")
        assert held.read() == b"by hand"
    (root / "made" / "f").unlink()
    with refused(Code.NOT_FOUND):
        await volume.stat(OWNER, p("made/f"))
    (root / "made").rmdir()
    await put(volume, "made/f", b"again")
    assert tree(root) == {"made": None, "made/f": b"again"}
