"""The volume's deeds: what is written is there, whole, for all who look."""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
import random
import socket
import stat
from contextlib import aclosing

import pytest

from entrepot.atomic import observe
from entrepot.domain.acl import ANONYMOUS, Principal
from entrepot.domain.digests import Expected
from entrepot.domain.errors import Code, Problem
from entrepot.volume.entries import Conditions
from entrepot.volume.volume import Volume
from support.disk import Recorder
from support.volumes import (
    OWNER,
    Run,
    make,
    names,
    open_volume,
    p,
    private,
    put,
    read,
    refused,
    runs,
    stream,
    tree,
    with_volume,
)

ABSENT = Conditions(if_none_match=True)
BODY = [random.Random(number).randbytes(300_000) for number in range(9)]


def matching(*etags: str) -> Conditions:
    return Conditions(if_match=frozenset(etags))


# Who may


@with_volume
async def test_only_a_key_of_the_owner_opens_the_volume(volume: Volume, root):
    volume.check(OWNER)
    for who, code in [
        (ANONYMOUS, Code.UNAUTHORIZED),
        (Principal("owner", "key"), Code.UNAUTHORIZED),  # a token
        (Principal("owner", "key", "/files/b/x"), Code.UNAUTHORIZED),
        (Principal("other", "key", by_key=True), Code.FORBIDDEN),
    ]:
        with refused(code):
            await volume.list(who, p(""))
        for deed in (volume.stat, volume.open, volume.make_folder, volume.delete, volume.usage):
            with refused(code):
                await deed(who, p("x"))
        for pair in (volume.rename, volume.copy):
            with refused(code):
                await pair(who, p("x"), p("y"))
        for identified in (volume.restore, volume.drop_trash):
            with refused(code):
                await identified(who, "x")
        with refused(code):
            await volume.put(who, p("x"), stream(b"x"))
        with refused(code):
            await volume.adopt(who, p("x"), runs(), sha256=None, size=0)
        with refused(code):
            await volume.list_trash(who)
    assert tree(root) == {}


# Writing


@pytest.mark.parametrize(
    "pieces", [[], [b""], [b"x"], [b"ab", b"", b"cd"], BODY], ids=["none", "empty", "1", "4", "2.7M"]
)
@with_volume
async def test_a_file_comes_back_as_it_was_written(volume, root, pieces):
    body = b"".join(pieces)
    entry, created = await volume.put(OWNER, p("a/b/c.bin"), stream(*pieces), length=len(body))
    assert created
    assert (entry.path, entry.name, entry.is_file, entry.size) == ("a/b/c.bin", "c.bin", True, len(body))
    assert entry.sha256 == hashlib.sha256(body).digest()
    assert await read(volume, "a/b/c.bin") == body == (root / "a/b/c.bin").read_bytes()
    assert await volume.stat(OWNER, p("a/b/c.bin")) == entry
    assert (await volume.list(OWNER, p("a/b"))).entries == [entry]
    assert private(root) == []


@with_volume
async def test_other_programs_may_read_what_is_written(volume, root):
    before = os.umask(0o077)
    try:
        await put(volume, "a/b", b"x")
        await volume.make_folder(OWNER, p("f"))
        await volume.copy(OWNER, p("a"), p("c"))
    finally:
        os.umask(before)
    modes = {
        path: stat.S_IMODE((root / path).stat().st_mode) for path in ("", "a", "a/b", "f", "c", "c/b", ".entrepot")
    }
    assert modes == {"": 0o755, "a": 0o755, "a/b": 0o644, "f": 0o755, "c": 0o755, "c/b": 0o644, ".entrepot": 0o700}


@with_volume
async def test_a_write_replaces_the_whole_file_and_readers_of_the_old_one_keep_it(volume, root):
    await put(volume, "f", b"old" * 1000)
    file = await volume.open(OWNER, p("f"))
    entry, created = await volume.put(OWNER, p("f"), stream(b"new"))
    assert not created and entry.etag != file.entry.etag
    assert b"".join([piece async for piece in file.read(0, 3000)]) == b"old" * 1000
    await file.close()
    await file.close()
    assert await read(volume, "f") == b"new"


@with_volume
async def test_names_are_bytes_exact(volume, root):
    odd = ["é", "e\u0301", "A", "a", " ", "a\\b", "C:x", "\n", "%2e%2e", "x" * 255, "=cmd()", "\x1b[31m"]
    for name in odd:
        await put(volume, name, name.encode())
    assert sorted(os.listdir(os.fsencode(root))) == sorted([*(name.encode() for name in odd), b".entrepot"])
    assert await names(volume) == sorted(odd)
    for name in odd:
        assert await read(volume, name) == name.encode()


@with_volume
async def test_a_write_that_does_not_suit_what_is_there_changes_nothing(volume, root):
    await put(volume, "file", b"x")
    await volume.make_folder(OWNER, p("folder/inner"))
    before = tree(root)
    for path in ("folder", "folder/inner", "file/x", "file/x/y", ""):
        with refused(Code.CONFLICT):
            await put(volume, path, b"y")
        with refused(Code.CONFLICT):
            await volume.adopt(OWNER, p(path), runs(), sha256=None, size=0)
    for path in ("file", "file/x"):
        with refused(Code.CONFLICT):
            await volume.make_folder(OWNER, p(path))
    assert tree(root) == before and private(root) == []


@with_volume
async def test_a_body_is_as_long_and_has_the_digest_that_was_declared_or_is_not_stored(volume, root):
    good, md5 = hashlib.sha256(b"abc").digest(), hashlib.md5(b"abc").digest()
    entry = await put(volume, "f", b"a", b"bc", length=3, expected=(Expected("sha-256", good), Expected("md5", md5)))
    assert (entry.sha256, entry.md5) == (good, md5)
    assert await volume.stat(OWNER, p("f")) == entry
    for length, expected, code in [
        (4, (), Code.INVALID_REQUEST),
        (2, (), Code.INVALID_REQUEST),
        (3, (Expected("md5", bytes(16)),), Code.DIGEST_MISMATCH),
        (None, (Expected("sha-512", bytes(64)),), Code.DIGEST_MISMATCH),
    ]:
        with refused(code):
            await put(volume, "new/g", b"abc", length=length, expected=expected)
    assert tree(root) == {"f": b"abc"} and private(root) == []


def test_a_file_above_the_limit_is_refused_as_soon_as_that_is_known(tmp_path):
    async def endless():
        while True:
            sent.append(1)
            yield bytes(1000)

    async def test() -> None:
        volume = open_volume(make(tmp_path / "data"), max_file=5000)
        await put(volume, "f", bytes(5000), length=5000)
        with refused(Code.TOO_LARGE, "5000"):
            await volume.put(OWNER, p("g"), endless(), length=5001)
        assert not sent
        with refused(Code.TOO_LARGE):
            await volume.put(OWNER, p("g"), endless())
        assert len(sent) == 6
        with refused(Code.TOO_LARGE):
            await volume.adopt(OWNER, p("g"), runs((0, 0, 5001)), sha256=None, size=5001)
        assert await names(volume) == ["f"] and private(tmp_path / "data") == []
        await volume.close()

    sent: list[int] = []
    asyncio.run(test())


def test_nothing_comes_in_when_the_disk_is_down_to_the_reserve(tmp_path):
    async def test() -> None:
        volume = open_volume(make(tmp_path / "data"), reserve=1 << 62)
        with refused(Code.INSUFFICIENT_STORAGE, "free space"):
            await put(volume, "f", b"x")
        (tmp_path / "data" / "old").write_bytes(b"x")
        with refused(Code.INSUFFICIENT_STORAGE):
            await volume.copy(OWNER, p("old"), p("new"))
        assert await read(volume, "old") == b"x"
        await volume.delete(OWNER, p("old"))
        assert (await volume.usage(OWNER, p(""))).free == 0
        await volume.close()

    asyncio.run(test())


# Conditions


@with_volume
async def test_conditions_hold_or_the_write_is_refused(volume, root):
    async def attempt(when: Conditions) -> bool:
        try:
            await put(volume, "f", random.randbytes(8), when=when)
        except Exception as error:
            assert getattr(error, "code", None) is Code.PRECONDITION_FAILED
            return False
        return True

    assert not await attempt(matching("*"))
    assert not await attempt(matching('"x"'))
    assert await attempt(ABSENT)
    assert not await attempt(ABSENT)
    first = (await volume.stat(OWNER, p("f"))).etag
    assert not await attempt(matching('"x"'))
    assert await attempt(matching('"x"', first))
    assert not await attempt(matching(first))
    assert await attempt(matching("*"))
    current = (await volume.stat(OWNER, p("f"))).etag
    with refused(Code.PRECONDITION_FAILED):
        await volume.delete(OWNER, p("f"), when=matching(first))
    assert await volume.delete(OWNER, p("f"), when=matching(current)) is not None


@with_volume
async def test_a_condition_that_fails_already_is_told_before_the_body_is_read(volume, root):
    async def body():
        asked.append(1)
        yield b"x"

    asked: list[int] = []
    await put(volume, "f", b"x")
    for path, when in [("f", ABSENT), ("g", matching("*")), ("new/g", matching("*"))]:
        with refused(Code.PRECONDITION_FAILED):
            await volume.put(OWNER, p(path), body(), when=when)
    with refused(Code.CONFLICT):
        await volume.put(OWNER, p("f/x"), body())
    assert not asked and tree(root) == {"f": b"x"}


@with_volume
async def test_of_many_writers_with_one_etag_exactly_one_wins(volume, root):
    etag = (await put(volume, "f", b"first")).etag
    results = await asyncio.gather(
        *(put(volume, "f", b"%d" % n, when=matching(etag)) for n in range(20)), return_exceptions=True
    )
    won = [n for n, result in enumerate(results) if not isinstance(result, BaseException)]
    assert len(won) == 1
    assert await read(volume, "f") == b"%d" % won[0]
    assert {getattr(r, "code", None) for n, r in enumerate(results) if n != won[0]} == {Code.PRECONDITION_FAILED}
    assert private(root) == []


@with_volume
async def test_an_etag_changes_with_every_write_of_any_program(volume, root):
    seen = set()
    for n in range(30):
        seen.add((await put(volume, "f", b"same size")).etag)
        if n % 3 == 0:
            (root / "f").write_bytes(b"own write")
            seen.add((await volume.stat(OWNER, p("f"))).etag)
    assert len(seen) == 40
    assert all(len(etag) == 24 and etag[0] == etag[-1] == '"' for etag in seen)


# Reading


@with_volume
async def test_any_range_can_be_read(volume, root):
    body = b"".join(BODY)
    await put(volume, "f", *BODY)
    file = await volume.open(OWNER, p("f"))
    for start, end in [
        (0, len(body)),
        (0, 0),
        (5, 6),
        (524_287, 524_289),
        (524_288, 1_048_576),
        (2_699_999, 2_700_000),
    ]:
        assert b"".join([piece async for piece in file.read(start, end)]) == body[start:end]
    assert os.pread(file.fileno(), 10, 5) == body[5:15]
    assert max([len(piece) async for piece in file.read(0, len(body))]) == 512 * 1024
    await file.close()


@with_volume
async def test_a_file_that_shrinks_while_it_is_read_is_an_error_and_never_a_short_body(volume, root):
    await put(volume, "f", *BODY)
    file = await volume.open(OWNER, p("f"))
    async with aclosing(file.read(0, file.entry.size)) as pieces:
        await anext(pieces)
        os.truncate(root / "f", 600_000)
        with refused(Code.CONFLICT, "shorter"):
            await anext(pieces)
    await file.close()


@with_volume
async def test_what_is_not_there_or_no_file_cannot_be_read(volume, root):
    await put(volume, "a/f", b"x")
    for path in ("b", "a/g", "a/f/x", "a/f/x/y"):
        with refused(Code.NOT_FOUND):
            await volume.open(OWNER, p(path))
        with refused(Code.NOT_FOUND):
            await volume.stat(OWNER, p(path))
    for path in ("a", ""):
        with refused(Code.CONFLICT, "folder"):
            await volume.open(OWNER, p(path))
        assert not (await volume.stat(OWNER, p(path))).is_file


@with_volume
async def test_digests_are_trusted_only_for_the_bytes_they_belong_to(volume, root):
    entry = await put(volume, "f", b"abc")
    (root / "f").write_bytes(b"xyz")  # same size, and maybe the same tick of the file system's clock
    changed = await volume.stat(OWNER, p("f"))
    assert changed.sha256 is None and changed.etag != entry.etag
    summed = await volume.stat(OWNER, p("f"), checksum=True)
    assert (summed.sha256, summed.md5) == (hashlib.sha256(b"xyz").digest(), hashlib.md5(b"xyz").digest())
    assert summed.etag == changed.etag  # to know more of a file does not change it
    assert await volume.stat(OWNER, p("f")) == summed
    os.setxattr(root / "f", "user.entrepot.volume", b'{"sha256": "zz", "size": "3", "mtime_ns": 5}')
    assert (await volume.stat(OWNER, p("f"))).sha256 is None


def test_what_a_program_writes_through_a_mapping_never_has_the_digest_of_before(tmp_path_factory):
    async def tell() -> None:
        volume = open_volume(make(root))
        try:
            with open(root / "f", "r+b") as file, mmap.mmap(file.fileno(), 4096) as mapped:
                for byte in b"abc":
                    mapped[0] = byte  # the first of them changes the time, and others when the page went to the disk
                    summed = await volume.stat(OWNER, p("f"), checksum=True)
                    assert summed.sha256 == hashlib.sha256(mapped).digest()
        finally:
            await volume.close()

    root = tmp_path_factory.mktemp("disk") / "data"
    root.mkdir()
    (root / "f").write_bytes(bytes(4096))
    if not _tells_mapped_writes(root / "f"):
        pytest.skip("this file system does not tell of writes through a mapping")
    asyncio.run(tell())


def _tells_mapped_writes(path) -> bool:
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 4096) as mapped:
        mapped[0] = 1
        os.fsync(file.fileno())
        os.utime(path, (1, 1))
        mapped[0] = 0
        return path.stat().st_mtime != 1


@with_volume
async def test_the_checksum_of_a_folder_is_none(volume, root):
    await volume.make_folder(OWNER, p("a"))
    assert (await volume.stat(OWNER, p("a"), checksum=True)).sha256 is None


# Folders


@with_volume
async def test_folders_are_made_with_those_above_and_may_be_there(volume, root):
    for _ in range(2):
        entry = await volume.make_folder(OWNER, p("a/b/c"))
        assert (entry.path, entry.is_file, entry.size, entry.etag) == ("a/b/c", False, 0, "")
    assert (await volume.make_folder(OWNER, p(""))).path == ""
    assert tree(root) == {"a": None, "a/b": None, "a/b/c": None}


# Links and special files


def special_files() -> None:
    os.mkfifo("fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")  # in the current folder: its path must be short


@with_volume
async def test_special_files_are_not_listed_not_opened_and_not_replaced(volume, root, monkeypatch):
    monkeypatch.chdir(root)
    special_files()
    assert await names(volume) == []
    for name in ("fifo", "socket"):
        for deed in (volume.open, volume.stat):
            with refused(Code.VALIDATION_FAILED, "neither"):
                await deed(OWNER, p(name))
        for path in (name, f"{name}/x"):
            with refused(Code.VALIDATION_FAILED if path == name else Code.CONFLICT):
                await put(volume, path, b"x")
        with refused(Code.VALIDATION_FAILED):
            await volume.rename(OWNER, p(name), p("new"))
        with refused(Code.CONFLICT):
            await volume.list(OWNER, p(name))
        await volume.delete(OWNER, p(name))


@pytest.mark.parametrize("by_hand", [False, True], ids=["openat2", "by hand"])
def test_links_that_lead_out_lead_nowhere_for_any_deed(tmp_path, by_hand):
    outside, root = tmp_path / "outside", tmp_path / "data"
    outside.mkdir()
    (outside / "secret").write_text("secret")

    async def test() -> None:
        volume = open_volume(make(root), by_hand=by_hand)
        (root / "out").symlink_to(outside)
        (root / "secret").symlink_to(outside / "secret")
        (root / "private").symlink_to(".entrepot")
        await put(volume, "f", b"x")
        assert await names(volume) == ["f"]
        for path in ("out", "secret", "out/secret", "private", "private/lock", "out/new/x"):
            with refused(Code.NOT_FOUND):
                await volume.stat(OWNER, p(path))
            with refused(Code.NOT_FOUND):
                await volume.open(OWNER, p(path))
            with refused(Code.NOT_FOUND):
                await volume.list(OWNER, p(path))
            with refused(Code.VALIDATION_FAILED):
                await put(volume, path, b"y")
            for deed in (volume.rename, volume.copy):
                with refused(Code.VALIDATION_FAILED):
                    await deed(OWNER, p("f"), p(path))
        for path in ("out/secret", "private/lock"):
            with refused(Code.VALIDATION_FAILED):
                await volume.delete(OWNER, p(path))
            with refused(Code.VALIDATION_FAILED):
                await volume.rename(OWNER, p(path), p("g"))
        with refused(Code.VALIDATION_FAILED):
            await volume.make_folder(OWNER, p("out/new"))
        await volume.rename(OWNER, p("out"), p("moved"))  # the link itself
        await volume.delete(OWNER, p("moved"))
        await volume.delete(OWNER, p("secret"), permanent=True)
        assert sorted(os.listdir(outside)) == ["secret"]
        assert (outside / "secret").read_text() == "secret"
        assert sorted(os.listdir(root)) == [".entrepot", "f", "private"]
        await volume.close()

    asyncio.run(test())


@with_volume
async def test_links_that_stay_inside_are_followed(volume, root):
    if not volume.ground.root.follows_links:
        pytest.skip("this system has no openat2")
    await put(volume, "models/v1/w.bin", b"one")
    (root / "current").symlink_to("models/v1")
    (root / "w").symlink_to("models/v1/w.bin")
    assert await read(volume, "w") == await read(volume, "current/w.bin") == b"one"
    assert await names(volume) == ["models", "w"]  # a linked folder is not listed, a linked file is
    assert await names(volume, recursive=True) == ["models", "models/v1", "models/v1/w.bin", "w"]
    assert await names(volume, "current") == ["current/w.bin"]
    await put(volume, "current/new", b"two")
    assert (root / "models/v1/new").read_bytes() == b"two"
    with refused(Code.CONFLICT, "folder"):
        await put(volume, "current", b"x")
    await put(volume, "w", b"three")  # in the place of the link
    assert not (root / "w").is_symlink() and await read(volume, "models/v1/w.bin") == b"one"
    await volume.delete(OWNER, p("current"))
    assert sorted(os.listdir(root / "models/v1")) == ["new", "w.bin"]


@with_volume
async def test_a_hard_link_to_a_file_elsewhere_is_cut_by_a_write_and_not_written_through(volume, root):
    outside = root.parent / "outside"
    outside.write_bytes(b"theirs")
    os.link(outside, root / "f")
    await put(volume, "f", b"ours")
    assert outside.read_bytes() == b"theirs"


# Rename


@with_volume
async def test_files_and_folders_are_renamed_with_all_they_hold(volume, root):
    before = await put(volume, "a/f", b"x")
    entry = await volume.rename(OWNER, p("a/f"), p("new/deep/g"))
    assert (entry.path, entry.sha256, entry.size) == ("new/deep/g", before.sha256, 1)
    assert await volume.stat(OWNER, p("new/deep/g")) == entry
    entry = await volume.rename(OWNER, p("new"), p("other"))
    assert (entry.path, entry.is_file) == ("other", False)
    assert tree(root) == {"a": None, "other": None, "other/deep": None, "other/deep/g": b"x"}
    assert (await volume.rename(OWNER, p("other"), p("other"))).path == "other"


@with_volume
async def test_a_rename_that_does_not_suit_changes_nothing(volume, root):
    await put(volume, "a/f", b"f")
    await put(volume, "b/g", b"g")
    before = tree(root)
    for source, destination, overwrite, code in [
        ("nothing", "x", True, Code.NOT_FOUND),
        ("a/f/x", "x", True, Code.NOT_FOUND),
        ("nothing/x", "new/y", True, Code.NOT_FOUND),
        ("a/f", "b/g", False, Code.CONFLICT),
        ("a/f", "b", True, Code.CONFLICT),
        ("a", "b", True, Code.CONFLICT),
        ("a", "b/g", True, Code.CONFLICT),
        ("a/f", "b/g/x", True, Code.CONFLICT),
        ("a", "a/x", True, Code.VALIDATION_FAILED),
        ("a", "a/new/x/y", True, Code.VALIDATION_FAILED),
        ("", "x", True, Code.CONFLICT),
        ("a", "", True, Code.CONFLICT),
    ]:
        with refused(code):
            await volume.rename(OWNER, p(source), p(destination), overwrite=overwrite)
    assert tree(root) == before
    await volume.rename(OWNER, p("a/f"), p("b/g"), overwrite=True)
    assert tree(root) == {"a": None, "b": None, "b/g": b"f"}


@with_volume
async def test_a_folder_does_not_get_into_itself_by_a_link(volume, root):
    await volume.make_folder(OWNER, p("a/b"))
    (root / "link").symlink_to("a/b")
    with refused(Code.VALIDATION_FAILED):
        await volume.rename(OWNER, p("a"), p("link/new/x"))
    assert tree(root) == {"a": None, "a/b": None, "link": None}


@with_volume
async def test_of_two_names_of_one_file_a_rename_leaves_one(volume, root):
    await put(volume, "f", b"x")
    os.link(root / "f", root / "g")
    await volume.rename(OWNER, p("f"), p("g"), overwrite=True)
    assert tree(root) == {"g": b"x"}


@with_volume
async def test_a_rename_between_a_file_and_a_link_to_it_never_loses_the_bytes(volume, root):
    await put(volume, "f", b"x")
    (root / "link").symlink_to("f")
    with refused(Code.CONFLICT, "its own bytes"):
        await volume.rename(OWNER, p("link"), p("f"), overwrite=True)
    os.link(root / "f", root / "second")
    await volume.rename(OWNER, p("f"), p("link"), overwrite=True)
    assert tree(root) == {"link": b"x", "second": b"x"}


# Copy and adopt


@with_volume
async def test_nothing_is_copied_to_a_place_that_is_taken(volume, root):
    for path in ("f", "a/f", "taken", "folder/f"):
        await put(volume, path, b"x")
    recorder = Recorder()
    with observe(recorder):
        for path in ("f", "a"):
            for destination in ("taken", "folder"):
                with refused(Code.CONFLICT):
                    await volume.copy(OWNER, p(path), p(destination))
    assert recorder.ops == []


@with_volume
async def test_a_file_that_changes_as_its_copy_begins_never_lends_it_the_digests_of_before(volume, root, monkeypatch):
    def admit(*args, **more):
        (root / "f").write_bytes(b"after!")

    await put(volume, "f", b"before")
    monkeypatch.setattr(volume.staging, "admit", admit)
    with refused(Code.CONFLICT, "changed while"):
        await volume.copy(OWNER, p("f"), p("g"))
    assert tree(root) == {"f": b"after!"} and private(root) == []


@with_volume
async def test_a_copy_is_a_file_of_its_own_with_the_known_digests(volume, root):
    original = await put(volume, "f", *BODY)
    copied = await volume.copy(OWNER, p("f"), p("new/g"))
    assert (copied.sha256, copied.size) == (original.sha256, original.size)
    assert copied.etag != original.etag
    with open(root / "f", "r+b") as file:
        file.write(b"changed")
    assert await read(volume, "new/g") == b"".join(BODY)
    with refused(Code.CONFLICT):
        await volume.copy(OWNER, p("f"), p("new/g"))
    await volume.copy(OWNER, p("f"), p("new/g"), overwrite=True)
    assert (await read(volume, "new/g")).startswith(b"changed")
    assert private(root) == []


@with_volume
async def test_a_folder_is_copied_with_all_that_it_lists(volume, root):
    await put(volume, "a/x/f", b"f")
    await put(volume, "a/g", b"g")
    await volume.make_folder(OWNER, p("a/empty"))
    (root / "a" / "link").symlink_to("g")
    (root / "a" / "out").symlink_to("/etc")
    os.mkfifo(root / "a" / "fifo")
    assert (await volume.copy(OWNER, p("a"), p("b/c"))).path == "b/c"
    assert tree(root / "b" / "c") == {"x": None, "x/f": b"f", "g": b"g", "empty": None, "link": b"g"}
    assert not (root / "b/c/link").is_symlink()
    before = tree(root)
    for source, destination, code in [
        ("a", "b/c", Code.CONFLICT),
        ("a", "b/c/g", Code.CONFLICT),
        ("a", "a/inside", Code.VALIDATION_FAILED),
        ("a", "a", Code.CONFLICT),
        ("nothing", "x", Code.NOT_FOUND),
        ("a/g", "b", Code.CONFLICT),
    ]:
        with refused(code):
            await volume.copy(OWNER, p(source), p(destination), overwrite=True)
    assert tree(root) == before and private(root) == []


@with_volume
async def test_a_folder_is_not_copied_to_where_its_files_could_not_be_named(volume, root):
    deep = "/".join("d" * 40)
    await put(volume, f"a/{deep}/f", b"x")
    with refused(Code.VALIDATION_FAILED, "64"):
        await volume.copy(OWNER, p("a"), p("/".join("b" * 30)))
    assert sorted(os.listdir(root)) == [".entrepot", "a"] and private(root) == []


@with_volume
async def test_runs_of_open_files_become_one_file(volume, root):
    for number, piece in enumerate(BODY[:3]):
        (root.parent / f"s{number}").write_bytes(piece)
    handles = [os.open(root.parent / f"s{number}", os.O_RDONLY) for number in range(3)]
    body = BODY[0] + BODY[1][100:200] + BODY[2]
    extents = [(handles[0], 0, 300_000), (handles[1], 100, 100), (handles[2], 0, 300_000)]
    digest = hashlib.sha256(body).digest()
    entry, created = await volume.adopt(OWNER, p("a/f"), runs(*extents), sha256=digest, size=len(body))
    assert created and entry.sha256 == digest
    assert await read(volume, "a/f") == body
    with refused(Code.SIZE_MISMATCH):
        await volume.adopt(OWNER, p("a/g"), runs(*extents), sha256=digest, size=len(body) + 1)
    with refused(Code.PRECONDITION_FAILED):
        await volume.adopt(OWNER, p("a/f"), runs(*extents), sha256=digest, size=len(body), when=ABSENT)
    with refused(Code.UNAVAILABLE, "shorter"):
        await volume.adopt(OWNER, p("a/g"), runs((handles[0], 0, 300_001)), sha256=None, size=300_001)
    seen = []

    def check(fd: int, at: int) -> None:
        seen.append((os.pread(fd, 1000, at), at))
        if len(seen) == 2:
            raise Problem(Code.INTEGRITY_FAILED, "other bytes")

    with refused(Code.INTEGRITY_FAILED):
        checked = [Run(handles[1], 7, 10, check), Run(handles[2], 0, 5, check), Run(handles[0], 0, 5, check)]
        await volume.adopt(OWNER, p("a/g"), runs(*checked), sha256=None, size=20)
    assert seen == [(BODY[1][7:17], 0), (BODY[2][:5], 10)]
    for fd in handles:
        os.close(fd)
    assert await names(volume, recursive=True) == ["a", "a/f"] and private(root) == []


# Usage


@with_volume
async def test_usage_counts_what_a_folder_holds(volume, root):
    await put(volume, "a/b/f", bytes(1000))
    await put(volume, "a/g", bytes(10))
    os.symlink("g", root / "a" / "link")
    whole, folder, file = [await volume.usage(OWNER, p(path)) for path in ("", "a/b", "a/g")]
    assert (whole.files, whole.folders, whole.size, whole.quota) == (2, 2, 1010, None)
    assert (folder.files, folder.folders, folder.size) == (1, 0, 1000)
    assert (file.files, file.folders, file.size) == (1, 0, 10)
    assert 0 < whole.free <= os.statvfs(root).f_bavail * os.statvfs(root).f_frsize + (1 << 30)
    with refused(Code.NOT_FOUND):
        await volume.usage(OWNER, p("nothing"))
