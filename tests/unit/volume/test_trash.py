"""The trash: what is deleted comes back as it was, until its time is over."""

from __future__ import annotations

import asyncio
import errno
import os

import pytest

from entrepot.atomic import Kind, Op, observe
from entrepot.domain.errors import Code
from entrepot.volume import trash
from entrepot.volume import volume as volume_module
from entrepot.volume.paths import PRIVATE
from entrepot.volume.volume import Volume
from support.disk import Recorder
from support.volumes import OWNER, make, names, open_volume, p, private, put, read, refused, tree, with_volume


@with_volume
async def test_what_is_deleted_is_gone_for_all_and_comes_back_as_it_was(volume: Volume, root):
    entry = await put(volume, "a/b/f", b"x")
    await put(volume, "a/g", b"y")
    before = tree(root)
    for path, is_file, size in [("a/b/f", True, 1), ("a", False, 0), ("a/b", False, 0)]:
        trashed = await volume.delete(OWNER, p(path))
        assert trashed is not None
        assert (trashed.path, trashed.is_file, trashed.size) == (path, is_file, size)
        assert trashed.purge_at == trashed.deleted_at + 7 * 86_400
        assert not (root / path).exists()
        assert (await volume.list_trash(OWNER)).entries == [trashed]
        restored = await volume.restore(OWNER, trashed.id)
        assert (restored.path, restored.is_file) == (path, is_file)
        assert tree(root) == before and private(root) == []
        with refused(Code.NOT_FOUND):
            await volume.restore(OWNER, trashed.id)
    assert (await volume.stat(OWNER, p("a/b/f"))).sha256 == entry.sha256


@with_volume
async def test_what_comes_back_finds_its_folders_made_again_or_goes_elsewhere(volume, root):
    await put(volume, "a/b/f", b"x")
    first = await volume.delete(OWNER, p("a/b/f"))
    second = await volume.delete(OWNER, p("a"))
    assert first and second
    assert (await volume.restore(OWNER, first.id)).path == "a/b/f"
    assert (await volume.restore(OWNER, second.id, p("other/place"))).path == "other/place"
    assert tree(root) == {
        "a": None, "a/b": None, "a/b/f": b"x", "other": None, "other/place": None, "other/place/b": None,
    }  # fmt: skip


@with_volume
async def test_nothing_comes_back_over_what_is_there(volume, root):
    await put(volume, "f", b"old")
    trashed = await volume.delete(OWNER, p("f"))
    assert trashed
    await put(volume, "f", b"new")
    await volume.make_folder(OWNER, p("folder"))
    for destination in (None, p("folder"), p("f/x"), p("")):
        with refused(Code.CONFLICT):
            await volume.restore(OWNER, trashed.id, destination)
    assert tree(root) == {"f": b"new", "folder": None}
    await volume.restore(OWNER, trashed.id, p("g"))
    assert await read(volume, "g") == b"old"


@with_volume
async def test_what_cannot_be_deleted_stays(volume, root):
    await put(volume, "a/f", b"x")
    before = tree(root)
    for permanent in (False, True):
        for path in ("b", "a/g", "a/f/x"):
            with refused(Code.NOT_FOUND):
                await volume.delete(OWNER, p(path), permanent=permanent)
        with refused(Code.CONFLICT):
            await volume.delete(OWNER, p(""), permanent=permanent)
        with refused(Code.CONFLICT, "something in it"):
            await volume.delete(OWNER, p("a"), recursive=False, permanent=permanent)
    assert tree(root) == before and private(root) == []
    await volume.make_folder(OWNER, p("empty"))
    await volume.delete(OWNER, p("empty"), recursive=False)


@with_volume
async def test_for_good_means_gone_from_the_disk(volume, root):
    await put(volume, "a/b/f", b"x")
    os.symlink("/etc", root / "a" / "link")
    assert await volume.delete(OWNER, p("a"), permanent=True) is None
    trashed = await put(volume, "b/f", b"y") and await volume.delete(OWNER, p("b"))
    assert trashed
    await volume.drop_trash(OWNER, trashed.id)
    assert tree(root) == {} and private(root) == []
    for trash_id in (trashed.id, "", "..", "x", "../staging", "\0"):
        with refused(Code.NOT_FOUND):
            await volume.drop_trash(OWNER, trash_id)
        with refused(Code.NOT_FOUND):
            await volume.restore(OWNER, trash_id)


@pytest.mark.parametrize("permanent", [False, True])
@with_volume
async def test_a_deletion_is_one_rename_however_much_there_is(volume, root, permanent):
    for n in range(50):
        (root / "a" / f"d{n % 5}").mkdir(parents=True, exist_ok=True)
        (root / "a" / f"d{n % 5}" / f"f{n}").touch()
    with observe(recorder := Recorder()):
        await volume.delete(OWNER, p("a"), permanent=permanent)
    first = next(op for op in recorder.ops if op.kind is Kind.RENAME)
    assert first.path == str(root / "a")
    if not permanent:
        assert len(recorder.ops) < 12
    assert private(root) == [] or not permanent


@with_volume
async def test_however_deep_a_tree_is_it_can_be_removed(volume, root):
    depth, base = 300, os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=base)
        inner = os.open("d", os.O_RDONLY, dir_fd=base)
        os.close(base)
        base = inner
    os.close(base)
    await volume.usage(OWNER, p(""))
    await volume.delete(OWNER, p("d"), permanent=True)
    assert tree(root) == {} and private(root) == []


@with_volume
async def test_the_trash_is_listed_page_by_page_the_newest_first(volume, root):
    ids = []
    for n in range(5):
        await put(volume, f"f{n}", b"x")
        trashed = await volume.delete(OWNER, p(f"f{n}"))
        assert trashed
        ids.append(trashed.id)
    (root / PRIVATE / "trash" / "stray").mkdir()
    (root / PRIVATE / "trash" / ("f" * 44)).mkdir()
    found, cursor, count = [], None, 0
    while count == 0 or cursor is not None:
        page = await volume.list_trash(OWNER, limit=2, cursor=cursor)
        found += [each.id for each in page.entries]
        cursor, count = page.cursor, count + 1
    assert sorted(found) == sorted(ids) and count == 3
    assert found[0] == max(ids)


def test_the_sweep_takes_what_was_there_long_enough_and_what_crashes_left(tmp_path):
    async def test() -> None:
        now = 1_800_000_000.0
        root = make(tmp_path / "data")
        volume = open_volume(root, clock=lambda: now, trash_ttl=100)
        await put(volume, "old", b"x")
        await put(volume, "new", b"y")
        old = await volume.delete(OWNER, p("old"))
        now += 60
        new = await volume.delete(OWNER, p("new"))
        assert old and new
        half = root / PRIVATE / "trash" / ("0" * 44)  # a crash came between folder and item
        half.mkdir()
        os.utime(half, (now - 4000, now - 4000))
        under_way = root / PRIVATE / "trash" / ("1" * 44)
        under_way.mkdir()
        os.utime(under_way, (now, now))
        (root / PRIVATE / "gone" / "left").mkdir()
        (root / PRIVATE / "gone" / "left" / "f").touch()
        await volume.sweep(now + 39)
        assert [each.id for each in (await volume.list_trash(OWNER)).entries] == [new.id, old.id]
        await volume.sweep()
        await volume.sweep(now + 40)
        assert [each.id for each in (await volume.list_trash(OWNER)).entries] == [new.id]
        assert sorted(os.listdir(root / PRIVATE / "trash")) == sorted([new.id, under_way.name])
        assert os.listdir(root / PRIVATE / "gone") == []
        await volume.restore(OWNER, new.id)
        assert await names(volume) == ["new"]
        await volume.close()

    asyncio.run(test())


@with_volume
async def test_on_a_full_disk_it_is_told_how_to_delete_all_the_same(volume, root):
    await put(volume, "f", b"x")

    def full(op: Op) -> None:
        if op.kind in (Kind.CREATE, Kind.WRITE, Kind.MAKE_DIR):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with observe(full):
        with refused(Code.INSUFFICIENT_STORAGE, "trash"):
            await volume.delete(OWNER, p("f"))
        assert await read(volume, "f") == b"x"
        await volume.delete(OWNER, p("f"), permanent=True)
    assert tree(root) == {} and private(root) == []


@with_volume
async def test_a_sweep_is_done_a_moment_at_a_time(volume, root, monkeypatch):
    monkeypatch.setattr(volume_module, "SWEEP_SECONDS", 0.0)
    gone = root / PRIVATE / "gone"
    for n in range(3):
        (gone / f"d{n}").mkdir()
        for each in range(1100):
            (gone / f"d{n}" / str(each)).touch()
    moments = 0
    while await volume.sweep_some(0.0):
        moments += 1
    assert moments == 3 and os.listdir(gone) == []
    assert not await volume.sweep_some(0.0)


@pytest.mark.parametrize("info", [
    "{", "[]", '{"path": "f", "deleted_at": "x"}', '{"path": 1, "deleted_at": 1}', None,
    '{"path": "f", "deleted_at": NaN}', '{"path": "f", "deleted_at": Infinity}',
    '{"path": "f", "deleted_at": 1' + "0" * 400 + "}", "[" * 100_000,
], ids=lambda info: str(info)[:40])  # fmt: skip
def test_what_nothing_is_known_of_any_more_stays_in_the_trash_as_long_as_all_else(tmp_path, info):
    async def tell() -> None:
        volume = open_volume(make(tmp_path / "data"))
        try:
            await put(volume, "f", b"x")
            trashed = await volume.delete(OWNER, p("f"))
            assert trashed
            place = tmp_path / "data" / PRIVATE / "trash" / trashed.id
            (place / "info.json").write_text(info or "") if info else (place / "info.json").unlink()
            now = os.stat(place).st_mtime
            await volume.sweep(now + 7 * 86_400 - 60)
            assert (place / "item").read_bytes() == b"x"
            assert (await volume.list_trash(OWNER)).entries == []
            await volume.sweep(now + 7 * 86_400 + 60)
            assert private(tmp_path / "data") == []
        finally:
            await volume.close()

    asyncio.run(tell())


@with_volume
async def test_h03_a_disk_that_fails_makes_no_sweep_take_what_can_come_back(volume, root, monkeypatch, caplog):
    def fails(*_):
        raise OSError(errno.EIO, "input/output error")

    await put(volume, "f", b"x")
    trashed = await volume.delete(OWNER, p("f"))
    with monkeypatch.context() as patch:
        patch.setattr(trash, "_info", fails)
        await volume.sweep(trashed.purge_at - 60)
    assert trashed.id in caplog.text
    await volume.restore(OWNER, trashed.id)
