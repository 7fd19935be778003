"""A ZIP into the volume: all of it in its place, or nothing; nothing outside (docs/threats.md G01, G02, G04, B01)."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from dataclasses import replace
from pathlib import Path as Folder

import pytest

from entrepot.archive.entries import Limits
from entrepot.atomic import Kind, observe
from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem
from entrepot.volume.hashes import check_hash
from entrepot.volume.paths import Path, parse
from entrepot.volume.unpack import Unpacking
from support.archives import HOSTILE_NAMES, overlapping, tarred, zipped
from support.disk import FailAt, Killed, Recorder
from support.inparts import OWNER, Process, files, played, refuses, stream

INTO = parse("sync/folder", legacy=False)
TREE = (("top.txt", b"top"), ("a/b/c.bin", bytes(range(256)) * 500), ("a/empty", b""), ("d/", b""))
WHOLE = {name: data for name, data in TREE if not name.endswith("/")}


@pytest.fixture
def root(tmp_path) -> Folder:
    return tmp_path / "data"


def archive(*entries: tuple[str, bytes], **options) -> bytes:
    return zipped(*entries, **options).getvalue()


def below(where: str, found: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{where}/{name}": data for name, data in found.items()}


def everything(root: Folder) -> set[str]:
    """Every name in the volume and beside it, what lies in the private folder too."""
    return {os.path.relpath(path, root.parent) for path in root.parent.rglob("*")}


def test_an_archive_appears_whole_by_one_rename_where_nothing_was(root):
    async def act(p: Process) -> None:
        before = everything(root)
        recorder = Recorder()
        with observe(recorder):
            await p.unpacking.unpack(OWNER, INTO, stream(archive(*TREE)))
        assert files(root) == below("sync/folder", WHOLE)
        assert (root / "sync/folder/d").is_dir()
        assert len([op for op in recorder.ops if op.target.startswith(f"{root}/sync")]) == 1
        assert {path for path in everything(root) - before if ".entrepot" in path} == set()
        mode = {path: stat.S_IMODE((root / "sync/folder" / path).stat().st_mode) for path in ("top.txt", "a", "d")}
        assert mode == {"top.txt": 0o644, "a": 0o755, "d": 0o755}

    umask = os.umask(0o077)
    try:
        played(act, Process(root))
    finally:
        os.umask(umask)


def test_an_archive_is_merged_into_what_is_there(root):
    async def act(p: Process) -> None:
        for name, data in (("a/b/c.bin", b"old"), ("a/b/kept", b"kept"), ("kept", b"kept")):
            await p.volume.put(OWNER, parse(f"sync/folder/{name}", legacy=False), stream(data))
        await p.unpacking.unpack(OWNER, INTO, stream(archive(*TREE, ("a/new/x", b"x"))))
        kept = {"a/b/kept": b"kept", "kept": b"kept", "a/new/x": b"x"}
        assert files(root) == below("sync/folder", {**WHOLE, **kept})
        await p.unpacking.unpack(OWNER, INTO, stream(archive(*TREE)))
        assert files(root) == below("sync/folder", {**WHOLE, **kept})
        await p.unpacking.unpack(OWNER, Path(), stream(archive(("x", b"at the top"))))
        assert (root / "x").read_bytes() == b"at the top"
        assert p.staged() == 0

    played(act, Process(root))


@pytest.mark.parametrize(
    ("there", "entry"), [("sync/folder/a", "a/x"), ("sync/folder/a/x/y", "a/x"), ("sync/folder", "x"), ("sync", "x")]
)
def test_a_file_in_place_of_a_folder_or_the_other_way_round_is_a_conflict_before_anything_is_moved(root, there, entry):
    async def act(p: Process) -> None:
        await p.volume.put(OWNER, parse(there, legacy=False), stream(b"mine"))
        for first in ("0", "zz"):
            packed = archive((first, b"first"), (entry, b"new"))
            await refuses(Code.CONFLICT, p.unpacking.unpack(OWNER, INTO, stream(packed)))
        assert files(root) == {there: b"mine"}
        assert p.staged() == 0

    played(act, Process(root))


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"PK\3\4 and so on", tarred(("x", b"x")).getvalue(), tarred(("x", b"x"), mode="w:gz").getvalue()],
    ids=["empty", "text", "cut", "tar", "tar.gz"],
)
def test_what_is_no_zip_is_refused_and_nothing_is_kept(root, data):
    async def act(p: Process) -> None:
        before = everything(root)
        await refuses(Code.VALIDATION_FAILED, p.unpacking.unpack(OWNER, INTO, stream(data)))
        assert everything(root) == before

    played(act, Process(root))


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "../folder/x", "../../.entrepot/apps/x"], ids=ascii)
def test_g01_a_name_that_leads_elsewhere_is_refused_and_nothing_is_kept(root, name):
    async def act(p: Process) -> None:
        before = everything(root)
        packed = archive(("fine", b"fine"), (name, b"evil"))
        await refuses(Code.VALIDATION_FAILED, p.unpacking.unpack(OWNER, INTO, stream(packed)))
        assert everything(root) == before

    played(act, Process(root))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_g01_a_link_or_device_is_refused(root, kind):
    async def act(p: Process) -> None:
        before = everything(root)
        packed = archive(("fine", b"fine"), ("l", b"/etc"), mode=kind | 0o777)
        await refuses(Code.VALIDATION_FAILED, p.unpacking.unpack(OWNER, INTO, stream(packed)))
        assert everything(root) == before

    played(act, Process(root))


def test_g01_links_that_other_programs_made_are_not_followed_out(root, tmp_path):
    async def act(p: Process) -> None:
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside/secret").write_bytes(b"secret")
        (root / "sync/folder").mkdir(parents=True)
        (root / "sync/folder/out").symlink_to(tmp_path / "outside")
        (root / "sync/folder/nowhere").symlink_to("gone")
        (root / "sync/folder/secret").symlink_to(tmp_path / "outside/secret")
        for name in ("out/x", "nowhere/x", "secret"):
            with pytest.raises(Problem) as caught:
                await p.unpacking.unpack(OWNER, INTO, stream(archive(("0", b"0"), (name, b"evil"))))
            assert caught.value.code in (Code.VALIDATION_FAILED, Code.CONFLICT)
        (root / "link").symlink_to(tmp_path / "outside")
        for into in ("link", "link/deeper"):
            with pytest.raises(Problem):
                await p.unpacking.unpack(OWNER, parse(into, legacy=False), stream(archive(("x", b"evil"))))
        assert [path.name for path in (tmp_path / "outside").rglob("*")] == ["secret"]
        assert not (root / "sync/folder/0").exists()

    played(act, Process(root))


@pytest.mark.parametrize("name", [".entrepot/apps/x", ".ENTREPOT/x"])
def test_b01_our_own_folder_is_no_place_to_unpack_to(root, name):
    async def act(p: Process) -> None:
        before = everything(root)
        await refuses(Code.VALIDATION_FAILED, p.unpacking.unpack(OWNER, Path(), stream(archive((name, b"evil")))))
        assert everything(root) == before

    played(act, Process(root))


def test_a_path_that_would_be_too_deep_in_the_end_is_refused(root):
    async def act(p: Process) -> None:
        into = parse("/".join("d" * 40), legacy=False)
        packed = archive(("/".join("e" * 30), b"x"))
        await refuses(Code.VALIDATION_FAILED, p.unpacking.unpack(OWNER, into, stream(packed)))
        assert files(root) == {}

    played(act, Process(root))


def test_g02_bombs_stop_at_a_limit_and_leave_nothing(root):
    async def act(p: Process) -> None:
        before = everything(root)
        for data in (overlapping(50, quoted=False), overlapping(50, quoted=True)):
            await refuses(Code.VALIDATION_FAILED, p.unpacking.unpack(OWNER, INTO, stream(data)))
        small = Unpacking(p.volume, Limits(size=1000, entries=10, depth=5))
        for packed in (
            archive(("a", bytes(500)), ("b", bytes(501))),
            archive(*((str(n), b"") for n in range(11))),
            archive(("/".join("d" * 6), b"")),
        ):
            await refuses(Code.TOO_LARGE, small.unpack(OWNER, INTO, stream(packed)))
        assert everything(root) == before

    played(act, Process(root))


def test_what_comes_out_counts_for_the_quota_and_stops_there(root):
    async def act(p: Process) -> None:
        await refuses(Code.TOO_LARGE, p.unpacking.unpack(OWNER, INTO, stream(archive(("a", bytes(20_000))))))
        await p.unpacking.unpack(OWNER, INTO, stream(archive(("a", bytes(6000)))))
        await p.unpacking.unpack(OWNER, INTO, stream(archive(("a", bytes(2000)))))
        await p.unpacking.unpack(OWNER, INTO, stream(archive(("b", bytes(6000)))))
        await refuses(Code.QUOTA_EXCEEDED, p.volume.put(OWNER, Path(("c",)), stream(bytes(3000))))
        assert sum(map(len, files(root).values())) == 8000

    played(act, Process(root, quota=10_000))


def test_g04_names_in_no_known_encoding_are_refused_or_readable(root):
    async def act(p: Process) -> None:
        packed = archive(("nn", b"x")).replace(b"nn", "é".encode("cp437") + b"x")
        await p.unpacking.unpack(OWNER, INTO, stream(packed))
        assert files(root) == {"sync/folder/éx": b"x"}

    played(act, Process(root))


def test_who_may_not_write_may_not_unpack(root):
    async def act(p: Process) -> None:
        other = Principal("other", "key", by_key=True)
        await refuses(Code.FORBIDDEN, p.unpacking.unpack(other, INTO, stream(archive(*TREE))))
        await refuses(Code.UNAUTHORIZED, p.unpacking.unpack(Principal(), INTO, stream(archive(*TREE))))
        await refuses(Code.UNAUTHORIZED, check_hash(p.volume, Principal(), INTO, "ab"))
        assert files(root) == {}

    played(act, Process(root))


def test_two_that_unpack_into_the_same_folder_at_once_both_get_there(root):
    async def act(*processes: Process) -> None:
        packed = [archive((f"{n}", b"x" * n), ("both/x", b"%d" % n), (f"own{n}/x", b"")) for n in range(1, 9)]
        await asyncio.gather(
            *(processes[n % 2].unpacking.unpack(OWNER, INTO, stream(data)) for n, data in enumerate(packed))
        )
        found = files(root)
        assert {f"sync/folder/{n}" for n in range(1, 9)} <= found.keys()
        assert found["sync/folder/both/x"] in {b"%d" % n for n in range(1, 9)}
        assert len(found) == 17

    played(act, Process(root), Process(root))


SMALL = archive(("a/x", b"new"), ("a/y", b"y"), ("b/z", b"z"))


async def merged(p: Process) -> None:
    await p.volume.put(OWNER, INTO.child("a").child("x"), stream(b"old"))


@pytest.mark.parametrize("merges", [False, True], ids=["new", "merged"])
@pytest.mark.parametrize("trouble", [Killed, lambda k: FailAt(k, errno.ENOSPC)], ids=["killed", "disk full"])
def test_h01_h04_one_that_breaks_off_anywhere_leaves_whole_files_only(tmp_path, merges, trouble):
    recorder = Recorder()

    async def count(p: Process) -> None:
        if merges:
            await merged(p)
        with observe(recorder):
            await p.unpacking.unpack(OWNER, INTO, stream(SMALL))

    played(count, Process(tmp_path / "all"))
    last = max(k for k, op in enumerate(recorder.ops, 1) if op.target.startswith(f"{tmp_path}/all/sync"))
    for k in range(1, last + 1):

        async def act(p: Process, fails=k) -> None:
            if merges:
                await merged(p)
            with observe(trouble(fails)), pytest.raises((Killed.Now, Problem)):
                await p.unpacking.unpack(OWNER, INTO, stream(SMALL))
            new = below("sync/folder", {"a/x": b"new", "a/y": b"y", "b/z": b"z"})
            found = files(p.root)
            assert found.pop("sync/folder/a/x", None) in ((b"old", b"new") if merges else (None,))
            assert found.items() <= new.items() if merges else found == {}
            await p.unpacking.unpack(OWNER, INTO, stream(SMALL))
            assert files(p.root) == new

        played(act, Process(tmp_path / str(k)))


def test_every_file_is_durable_before_it_gets_its_name(root):
    async def act(p: Process) -> None:
        await merged(p)
        recorder = Recorder()
        with observe(recorder):
            await p.unpacking.unpack(OWNER, INTO, stream(SMALL))
        ops = [replace(op, path=os.path.normpath(op.path)) for op in recorder.ops]
        first = next(n for n, op in enumerate(ops) if op.target.startswith(f"{root}/sync"))
        written = {op.path for op in ops[:first] if op.kind is Kind.CREATE and op.path.endswith(("/x", "/y", "/z"))}
        assert len(written) == 3
        for path in written:
            wrote = max(n for n, op in enumerate(ops) if op.path == path and op.kind is Kind.WRITE)
            assert any(op.path == path and op.kind is Kind.SYNC for op in ops[wrote:first])
            assert any(op.path == os.path.dirname(path) and op.kind is Kind.SYNC_DIR for op in ops[wrote:first])
        synced = {op.path for op in ops[first:] if op.kind is Kind.SYNC_DIR}
        assert {f"{root}/sync/folder", f"{root}/sync/folder/a"} <= synced

    played(act, Process(root))


def test_a_folder_has_the_hash_that_its_client_left_in_it(root):
    async def act(p: Process) -> None:
        digest = "ab" * 32
        assert not await check_hash(p.volume, OWNER, INTO, digest)
        await p.unpacking.unpack(OWNER, INTO, stream(archive((".fal_hash", digest.encode()), ("x", b"x"))))
        assert await check_hash(p.volume, OWNER, INTO, digest)
        assert await check_hash(p.volume, OWNER, INTO, digest.upper())
        for other in ("", "cd" * 32, digest[:-1], digest + "0"):
            assert not await check_hash(p.volume, OWNER, INTO, other)
        assert not await check_hash(p.volume, OWNER, INTO.child("x"), digest)
        (root / "sync/folder/.fal_hash").write_bytes(b"")
        assert not await check_hash(p.volume, OWNER, INTO, "")
        (root / "sync/folder/.fal_hash").unlink()
        (root / "sync/folder/.fal_hash").mkdir()
        assert not await check_hash(p.volume, OWNER, INTO, digest)

    played(act, Process(root))
