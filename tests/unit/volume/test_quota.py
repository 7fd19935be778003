"""The quota: what is there counts, what is gone does not, and nothing comes in above it."""

from __future__ import annotations

import asyncio
import os

import pytest

from entrepot.domain.errors import Code
from entrepot.volume.paths import PRIVATE
from entrepot.volume.volume import Volume
from entrepot.volume.walking import Sums, exhausted, measure
from support.volumes import OWNER, make, names, open_volume, p, private, put, refused, runs, stream, tree, with_volume


def counted(root) -> int:
    return int((root / PRIVATE / "usage").read_text())


@with_volume(quota=1000)
async def test_all_that_is_there_counts_until_it_is_gone_for_good(volume: Volume, root):
    await put(volume, "a/f", bytes(300))
    assert counted(root) == 300
    await put(volume, "a/f", bytes(200))
    assert counted(root) == 200
    await volume.copy(OWNER, p("a/f"), p("a/g"))
    await volume.copy(OWNER, p("a"), p("b"))
    assert counted(root) == 800
    await volume.rename(OWNER, p("a/f"), p("a/g"), overwrite=True)
    assert counted(root) == 600
    trashed = await volume.delete(OWNER, p("b"))
    assert trashed and counted(root) == 600
    await volume.drop_trash(OWNER, trashed.id)
    assert counted(root) == 200
    await volume.delete(OWNER, p("a"), permanent=True)
    assert counted(root) == 0
    usage = await volume.usage(OWNER, p(""))
    assert (usage.quota, usage.free) == (1000, 1000)


@with_volume(quota=1000)
async def test_a_rename_to_the_same_place_by_another_way_frees_nothing(volume, root):
    await put(volume, "a/f", bytes(300))
    (root / "link").symlink_to("a")
    await volume.rename(OWNER, p("a/f"), p("link/f"), overwrite=True)
    assert counted(root) == 300 and tree(root)["a/f"] == bytes(300)


@with_volume(quota=1000)
async def test_what_does_not_fit_is_refused_and_nothing_is_left_of_it(volume, root):
    async def endless():
        while True:
            sent.append(1)
            yield bytes(100)

    sent: list[int] = []
    await put(volume, "a/f", bytes(600))
    with refused(Code.QUOTA_EXCEEDED, "400"):
        await volume.put(OWNER, p("g"), endless(), length=401)
    assert not sent
    with refused(Code.QUOTA_EXCEEDED):
        await volume.put(OWNER, p("g"), endless())
    assert len(sent) == 5
    for path, destination in [("a/f", "g"), ("a", "b")]:
        with refused(Code.QUOTA_EXCEEDED):
            await volume.copy(OWNER, p(path), p(destination))
    with refused(Code.QUOTA_EXCEEDED):
        await volume.adopt(OWNER, p("g"), runs((0, 0, 401)), sha256=None, size=401)
    assert tree(root) == {"a": None, "a/f": bytes(600)}
    assert private(root) == [] and counted(root) == 600
    await put(volume, "g", bytes(400), length=400)
    assert counted(root) == 1000
    with refused(Code.QUOTA_EXCEEDED, "0 bytes"):
        await put(volume, "h", b"x")
    await put(volume, "empty")
    await put(volume, "g", bytes(400), length=400)  # in the place of as many
    await volume.copy(OWNER, p("g"), p("a/f"), overwrite=True)
    assert counted(root) == 800
    for n in range(2):
        await put(volume, f"small/{n}", bytes(90))
    with refused(Code.QUOTA_EXCEEDED):  # each of its files would fit
        await volume.copy(OWNER, p("small"), p("copy"))
    assert counted(root) == 980 and private(root) == []


@with_volume(quota=1000)
async def test_of_many_writers_only_as_many_come_in_as_fit(volume, root):
    results = await asyncio.gather(*(put(volume, f"f{n}", bytes(150)) for n in range(12)), return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    assert len(failures) == 6 and {getattr(f, "code", None) for f in failures} == {Code.QUOTA_EXCEEDED}
    assert len(await names(volume)) == 6 and counted(root) == 900


@pytest.mark.parametrize("damage", ["missing", "torn", "wrong"])
@with_volume(quota=1000)
async def test_the_count_is_made_anew_where_it_was_lost_and_by_every_sweep(volume, root, damage):
    await put(volume, "f", bytes(300))
    await put(volume, "g", bytes(300))
    assert await volume.delete(OWNER, p("g"))
    (root / "other").write_bytes(bytes(100))  # by another program
    (root / PRIVATE / "staging" / "upload").mkdir()
    (root / PRIVATE / "staging" / "upload" / "1").write_bytes(bytes(50))
    (root / PRIVATE / "staging" / "single").write_bytes(bytes(7))  # counts when it is published
    match damage:
        case "missing":
            os.unlink(root / PRIVATE / "usage")
        case "torn":
            (root / PRIVATE / "usage").write_bytes(b"")
        case "wrong":
            (root / PRIVATE / "usage").write_bytes(b"5")
            await volume.sweep()
    assert (await volume.usage(OWNER, p(""))).free == 250
    assert counted(root) == 750


def test_without_a_quota_nothing_is_counted_and_an_old_count_is_not_believed_later(tmp_path):
    async def test() -> None:
        root = make(tmp_path / "data")
        volume = open_volume(root, quota=1000)
        await put(volume, "f", bytes(10))
        await volume.close()
        volume = open_volume(root)
        await put(volume, "g", bytes(2000))
        await volume.sweep()
        assert not (root / PRIVATE / "usage").exists()
        await volume.close()
        volume = open_volume(root, quota=3000)
        with refused(Code.QUOTA_EXCEEDED, "990"):
            await volume.put(OWNER, p("h"), stream(bytes(991)), length=991)
        await volume.close()

    asyncio.run(test())


@with_volume
async def test_counts_of_several_threads_at_once_are_all_right(volume: Volume, root):
    def count() -> int:
        exhausted(measure(volume.ground.root.folder, sums := Sums(), skip=PRIVATE))
        return sums.files

    for n in range(1000):
        (root / f"{n}").touch()
    assert set(await asyncio.gather(*(volume.threads.run(count) for _ in range(60)))) == {1000}
