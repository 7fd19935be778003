"""Listings: by name, page by page, whatever comes and goes meanwhile."""

from __future__ import annotations

import errno
import os
import random
import tracemalloc
from datetime import UTC, datetime

import pytest

from entrepot.atomic import Folder
from entrepot.domain.errors import Code
from entrepot.volume.entries import Entry
from entrepot.volume.paths import Root
from entrepot.volume.volume import Volume
from support.volumes import OWNER, names, p, put, refused, with_volume


def fill(root, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


async def pages(volume: Volume, path: str, limit: int, between=lambda: None, **more) -> list[list[Entry]]:
    """All pages of a listing, with something done between any two."""
    found, cursor = [], None
    while True:
        page = await volume.list(OWNER, p(path), limit=limit, cursor=cursor, **more)
        assert len(page.entries) <= limit
        found.append(page.entries)
        cursor = page.cursor
        if cursor is None:
            return found
        between()


NAMES = ["a", "a-b", "a/b", "a/b/c", "a/é", "b", "B/x", "é", "e\u0301", "\U0001f600", "\uffff", "z/y/x/w"]


@pytest.mark.parametrize("recursive", [False, True])
@with_volume
async def test_names_come_in_the_order_of_their_bytes_and_folders_before_what_is_in_them(volume, root, recursive):
    fill(root, "a/b/c", "a/é", "a-b", "B/x", "é", "e\u0301", "\U0001f600", "\uffff", "z/y/x/w")
    everything = await names(volume, recursive=recursive)
    assert everything == sorted(everything, key=lambda path: [part.encode() for part in path.split("/")])
    assert len(everything) == (15 if recursive else 8)
    for limit in (1, 2, 3, 100):
        split = await pages(volume, "", limit, recursive=recursive)
        assert [entry.path for page in split for entry in page] == everything
        assert all(len(page) == limit for page in split[:-1]) and split[-1]


@with_volume
async def test_the_pages_of_a_folder_are_those_of_what_is_below_it(volume, root):
    fill(root, "a/b/c", "a/b/d/e", "a/f", "b")
    assert [[e.path for e in page] for page in await pages(volume, "a", 2, recursive=True)] == [
        ["a/b", "a/b/c"],
        ["a/b/d", "a/b/d/e"],
        ["a/f"],
    ]
    assert await names(volume, "a/b/d") == ["a/b/d/e"]
    os.mkdir(root / "empty")
    assert await names(volume, "empty") == []


@pytest.mark.parametrize("recursive", [False, True])
@with_volume
async def test_what_stays_comes_exactly_once_while_others_come_and_go(volume, root, recursive):
    chance = random.Random(7)
    stays = [f"s{n:03}" if n % 3 or not recursive else f"folder{n % 4}/s{n:03}" for n in range(150)]
    fill(root, *stays)
    loose: set[str] = set()

    def storm() -> None:
        for _ in range(40):
            name = (
                chance.choice(["", "folder1/", "gone/"] if recursive else [""])
                + f"{chance.choice('arsz')}{chance.random()}"
            )
            fill(root, name)
            loose.add(name)
        for name in chance.sample(sorted(loose), len(loose) // 2):
            os.unlink(root / name)
            loose.remove(name)

    storm()
    found = [e.path for page in await pages(volume, "", 7, storm, recursive=recursive) for e in page]
    assert len(found) == len(set(found))
    assert [path for path in found if path in stays] == sorted(stays, key=lambda path: path.split("/"))


@with_volume
async def test_a_cursor_holds_when_the_entry_that_it_names_is_gone(volume, root):
    fill(root, "a/x", "a/y", "b", "c")
    page = await volume.list(OWNER, p(""), limit=2, recursive=True)
    assert [e.path for e in page.entries] == ["a", "a/x"]
    os.unlink(root / "a/x")
    assert (await names(volume, cursor=page.cursor, recursive=True)) == ["a/y", "b", "c"]
    os.unlink(root / "a/y")
    os.rmdir(root / "a")
    assert (await names(volume, cursor=page.cursor, recursive=True)) == ["b", "c"]
    fill(root, "a")
    assert (await names(volume, cursor=page.cursor, recursive=True)) == ["b", "c"]


@with_volume
async def test_what_cannot_be_named_by_a_client_is_not_listed(volume, root):
    fill(root, "good")
    os.close(os.open(os.fsencode(root) + b"/bad\xff", os.O_CREAT | os.O_WRONLY))
    deep = root / "/".join("d" * 63)
    (deep / "e" / "f").mkdir(parents=True)
    assert await names(volume) == ["d", "good"]
    assert len(await names(volume, recursive=True)) == 65  # 64 deep, and the file


@with_volume
async def test_a_file_or_nothing_is_no_folder(volume, root):
    await put(volume, "f", b"x")
    with refused(Code.CONFLICT, "file"):
        await volume.list(OWNER, p("f"))
    for path in ("g", "f/x", "g/x"):
        with refused(Code.NOT_FOUND):
            await volume.list(OWNER, p(path))


@pytest.mark.parametrize("cursor", ["*", "YQ=", "_-8", "a", "\xff", "Li4vLi4"])
@with_volume
async def test_a_wrong_cursor_is_refused_or_leads_nowhere_else(volume, root, cursor):
    fill(root, "a/b")
    try:
        page = await volume.list(OWNER, p(""), cursor=cursor, recursive=True)
    except Exception as error:
        assert getattr(error, "code", None) is Code.VALIDATION_FAILED
    else:
        assert {entry.path for entry in page.entries} <= {"a", "a/b"}


@with_volume
async def test_a_limit_is_within_bounds(volume, root):
    for limit in (0, -1, 10_001):
        with refused(Code.VALIDATION_FAILED, "10000"):
            await volume.list(OWNER, p(""), limit=limit)
        with refused(Code.VALIDATION_FAILED):
            await volume.list_trash(OWNER, limit=limit)
    assert (await volume.list(OWNER, p(""), limit=10_000)).cursor is None


@with_volume
async def test_a_folder_that_is_replaced_by_a_link_while_it_is_listed_is_left_out(volume, root):
    fill(root, "a/b/c", "z")
    (root / "a/b/c").unlink()
    page = await volume.list(OWNER, p(""), limit=1, recursive=True)
    (root / "a/b").rmdir()
    (root / "a/b").symlink_to("/etc")
    assert await names(volume, cursor=page.cursor, recursive=True) == ["z"]


@pytest.mark.parametrize("seconds", [-(10**11), -1, 10**12])
@with_volume
async def test_whatever_time_a_program_sets_it_is_one_that_a_calendar_has(volume, root, seconds):
    fill(root, "f")
    try:
        os.utime(root / "f", (seconds, seconds))
    except (OSError, OverflowError):
        pytest.skip("this file system knows no such time")
    (entry,) = (await volume.list(OWNER, p(""))).entries
    datetime.fromtimestamp(entry.updated_at, UTC)
    assert await volume.stat(OWNER, p("f")) == entry


@with_volume
async def test_i9_a_page_of_a_large_folder_holds_few_of_its_names(volume, root):
    for number in range(3000):
        (root / f"{number:0200}").touch()
    await names(volume, limit=5)
    tracemalloc.start()
    try:
        page = await volume.list(OWNER, p(""), limit=5)
        assert tracemalloc.get_traced_memory()[1] < 200_000  # all names have 600,000 bytes
    finally:
        tracemalloc.stop()
    assert [int(entry.path) for entry in page.entries] == [0, 1, 2, 3, 4]


@with_volume
async def test_names_that_are_not_listed_are_passed_over_however_many_they_are(volume, root):
    for number in range(200):
        (root / f"{number:03}").symlink_to("nowhere")
    fill(root, "100-file", "last")
    split = await pages(volume, "", 1)
    assert [[entry.path for entry in page] for page in split] == [["100-file"], ["last"]]


@with_volume
async def test_what_no_path_leads_to_is_not_listed(volume, root):
    fill(root, ".Entrepot/x", "entrep~1", "a/.entrepot/x")
    assert await names(volume, recursive=True) == ["a", "a/.entrepot", "a/.entrepot/x"]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO])
@pytest.mark.parametrize("owner, method", [(Folder, "descend"), (Root, "status")])
@with_volume
async def test_h03_h06_a_listing_that_the_disk_fails_is_refused_and_never_cut_short(
    volume, root, monkeypatch, owner, method, number
):
    def fails(*_):
        raise OSError(number, os.strerror(number))

    fill(root, "a/b")
    (root / "link").symlink_to("a/b")
    assert await names(volume, recursive=True) == ["a", "a/b", "link"]
    with monkeypatch.context() as patch, refused(Code.UNAVAILABLE):
        patch.setattr(owner, method, fails)
        await names(volume, recursive=True)
