"""Uploads in parts to the volume: any order, any process, one file (docs/threats.md A10 to A20, H01, H03, I10)."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path as Folder
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.atomic import Kind, observe
from entrepot.domain.acl import Principal
from entrepot.domain.digests import Expected
from entrepot.domain.errors import Code, Problem
from entrepot.domain.multipart import Cited
from entrepot.volume import finishing, follower
from entrepot.volume.assembly import Assembly, AssemblyPart
from entrepot.volume.entries import Conditions
from entrepot.volume.paths import Path, parse
from support.disk import FailAt, Killed, Recorder
from support.inparts import OWNER, PLACE, Process, broken, files, played, refuses, stream

RECORDS = {"upload.json", "end.json", "state.lock", "whole.lock"}  # what may stay of an upload that has ended
ONE, TWO, THREE = b"one" * 1000, b"two" * 2000, b"three"


@pytest.fixture
def root(tmp_path) -> Folder:
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def no_wait(monkeypatch) -> None:
    """The keeper runs when a test lets it."""
    monkeypatch.setattr(finishing, "DIGEST_WAIT", 0.0)
    monkeypatch.setattr(follower, "QUIET", 0.0)
    monkeypatch.setattr(follower, "IDLE", 0)


def test_parts_in_any_order_become_one_file(root):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        three, one = await p.put(upload, 3, THREE), await p.put(upload, 1, ONE)
        await p.keep()
        two = await p.put(upload, 2, TWO)
        assert two.etag == hashlib.sha256(TWO).hexdigest() and two.size == len(TWO)
        assert (await p.parts.list(OWNER, PLACE, upload)).parts == [one, two, three]
        assert files(root) == {}
        done = await p.finish(upload, [two, three, one])
        data = ONE + TWO + THREE
        assert done.md5 == hashlib.md5(data).hexdigest()
        assert done.entry == await p.volume.stat(OWNER, PLACE)
        assert done.entry.sha256 == hashlib.sha256(data).digest()
        assert files(root) == {"models/a.bin": data}
        assert p.staged() < 2000

    played(act, Process(root))


SIZES = st.lists(st.integers(1, 300), min_size=1, max_size=6)


@settings(max_examples=20)
@given(SIZES, st.randoms(use_true_random=False), st.data())
def test_whatever_the_order_and_whoever_works_the_bytes_are_those_of_the_parts(quick_folder, sizes, random, data):
    contents = [random.randbytes(size) for size in sizes]
    order = data.draw(st.permutations(range(len(sizes))))
    again = data.draw(st.lists(st.sampled_from(range(len(sizes))), max_size=3))

    async def act(*processes: Process) -> None:
        upload, held = await processes[0].parts.begin(OWNER, PLACE), {}
        for index in [*order, *again]:
            if index in held:
                contents[index] = random.randbytes(random.choice([sizes[index], 7]))
            held[index] = await random.choice(processes).put(upload, index + 1, contents[index])
            if random.random() < 0.5:
                await random.choice(processes).keep()
        parts = list(held.values())
        random.shuffle(parts)
        done = await random.choice(processes).finish(upload, parts)
        assert done.md5 == hashlib.md5(b"".join(contents)).hexdigest()
        assert files(processes[0].root) == {"models/a.bin": b"".join(contents)}

    root = Folder(tempfile.mkdtemp(dir=quick_folder)) / "data"
    played(act, Process(root), Process(root))


def test_a13_a_part_that_is_sent_again_is_the_last_one_sent(root):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        first = await p.put(upload, 1, ONE)
        assert await p.put(upload, 1, ONE) == first
        await p.keep()
        other = await p.put(upload, 1, TWO)
        with pytest.raises(ConnectionResetError):
            await p.parts.write(OWNER, PLACE, upload, 1, broken(ONE))
        wrong = Expected("sha-256", bytes(32))
        await refuses(Code.DIGEST_MISMATCH, p.parts.write(OWNER, PLACE, upload, 1, stream(THREE), expected=[wrong]))
        await refuses(Code.INVALID_REQUEST, p.parts.write(OWNER, PLACE, upload, 1, stream(THREE), length=3))
        assert (await p.parts.list(OWNER, PLACE, upload)).parts == [other]
        await refuses(Code.INVALID_PARTS, p.finish(upload, [first]))
        await p.finish(upload, [other])
        assert files(root) == {"models/a.bin": TWO}

    played(act, Process(root))


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([], "uploaded and not listed: 1, 2, 3"),
        ([1, 2, 2, 3], "listed twice: 2"),
        ([1, 2, 3, 4], "never uploaded: 4"),
        ([1, 3], "uploaded and not listed: 2"),
        ([1, 2, -3], "uploaded with another ETag: 3"),
        ([2, 3], "missing before the last: 1"),
        ([1, 2, 3, 10**9], "never uploaded: 1000000000"),
    ],
)
def test_a14_a_list_that_is_wrong_is_refused_with_what_is_wrong(root, numbers, said):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        etags = {n: (await p.put(upload, n, bytes([n]))).etag for n in (1, 2, 3)}
        cited = [Cited(abs(n), "0" * 64 if n < 0 else etags.get(n, "0" * 64)) for n in numbers]
        assert said in await refuses(Code.INVALID_PARTS, p.parts.finish(OWNER, PLACE, upload, cited))
        quoted = [Cited(n, f'"{etag}"') for n, etag in etags.items()]
        await p.parts.finish(OWNER, PLACE, upload, quoted)
        assert files(root) == {"models/a.bin": b"\1\2\3"}

    played(act, Process(root))


def test_a12_an_empty_part_among_others_is_refused_and_alone_it_is_an_empty_file(root):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        parts = [await p.put(upload, 1, ONE), await p.put(upload, 2, b"")]
        assert "2" in await refuses(Code.EMPTY_PART, p.finish(upload, parts))
        await p.finish(upload, [parts[0], await p.put(upload, 2, TWO)])
        empty = await p.parts.begin(OWNER, PLACE)
        done = await p.finish(empty, [await p.put(empty, 1, b"")])
        assert (done.entry.size, done.md5) == (0, hashlib.md5(b"").hexdigest())
        assert files(root) == {"models/a.bin": b""}

    played(act, Process(root))


def test_a09_what_is_declared_of_the_whole_is_compared(root):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        parts = [await p.put(upload, 1, ONE), await p.put(upload, 2, TWO)]
        await refuses(Code.SIZE_MISMATCH, p.finish(upload, parts, size=1))
        await refuses(Code.DIGEST_MISMATCH, p.finish(upload, parts, sha256=bytes(32)))
        whole = ONE + TWO
        facts: dict[str, Any] = {"size": len(whole), "sha256": hashlib.sha256(whole).digest()}
        assert await p.finish(upload, parts, **facts) == await p.finish(upload, parts, **facts)
        await refuses(Code.DIGEST_MISMATCH, p.finish(upload, parts, sha256=bytes(32)))

    played(act, Process(root))


def test_parts_that_are_too_large_together_are_refused(root):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        parts = [await p.put(upload, n, bytes(600)) for n in (1, 2)]
        await refuses(Code.TOO_LARGE, p.finish(upload, parts))
        await refuses(Code.TOO_LARGE, p.put(upload, 2, bytes(1001)))
        await p.finish(upload, [parts[0], await p.put(upload, 2, bytes(400))])

    played(act, Process(root, max_file=1000))


@pytest.mark.parametrize("number", [0, 10_001, -1])
def test_a_number_that_no_part_has_is_refused(root, number):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        await refuses(Code.VALIDATION_FAILED, p.put(upload, number, ONE))
        await p.finish(upload, [await p.put(upload, 1, ONE)])

    played(act, Process(root))


def test_a16_twenty_that_finish_at_once_publish_one_file_and_give_one_answer(root):
    async def act(*processes: Process) -> None:
        upload = await processes[0].parts.begin(OWNER, PLACE)
        parts = [await processes[n % 2].put(upload, n, bytes([n]) * 5000) for n in range(1, 9)]
        recorder = Recorder()
        with observe(recorder):
            done = await asyncio.gather(
                *(processes[n % 2].finish(upload, parts) for n in range(20)), processes[0].keep()
            )
        assert len(set(done[:20])) == 1
        target = str(processes[0].root / "models/a.bin")
        assert [op.target for op in recorder.ops if op.kind is Kind.RENAME].count(target) == 1
        assert files(processes[0].root) == {"models/a.bin": b"".join(bytes([n]) * 5000 for n in range(1, 9))}

    played(act, Process(root), Process(root))


def test_i10_a_finish_is_remembered_by_every_process_and_nothing_changes_the_file_any_more(root):
    async def act(first: Process, second: Process) -> None:
        upload = await first.parts.begin(OWNER, PLACE)
        parts = [await first.put(upload, 1, ONE)]
        done = await first.finish(upload, parts)
        await second.volume.put(OWNER, PLACE, stream(TWO))
        assert await second.finish(upload, parts) == done
        await refuses(Code.ALREADY_PUBLISHED, second.put(upload, 1, TWO))
        await refuses(Code.ALREADY_PUBLISHED, second.parts.abort(OWNER, PLACE, upload))
        await refuses(Code.ALREADY_PUBLISHED, second.parts.list(OWNER, PLACE, upload))
        assert files(second.root) == {"models/a.bin": TWO}

    played(act, Process(root), Process(root))


def test_what_was_aborted_is_gone_and_may_be_aborted_again(root):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        parts = [await p.put(upload, 1, ONE), await p.put(upload, 3, TWO)]
        await p.keep()
        for _ in range(2):
            await p.parts.abort(OWNER, PLACE, upload)
        assert p.staged() < 2000
        await refuses(Code.NOT_FOUND, p.put(upload, 1, ONE))
        await refuses(Code.NOT_FOUND, p.finish(upload, parts))
        await refuses(Code.NOT_FOUND, p.parts.list(OWNER, PLACE, upload))
        assert files(root) == {}

    played(act, Process(root))


def test_an_upload_that_is_aborted_while_the_keeper_puts_it_together_leaves_nothing(root, monkeypatch):
    async def act(p: Process, other: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        await p.put(upload, 1, ONE)
        advance = Assembly.advance

        def abort_first(assembly: Assembly, budget: int) -> int:
            other.parts.uploads._abort("owner", f"/{PLACE}", upload)
            return advance(assembly, budget)

        monkeypatch.setattr(Assembly, "advance", abort_first)
        await p.keep()
        assert {path.name for path in (root / ".entrepot/staging" / upload).iterdir()} <= RECORDS

    played(act, Process(root), Process(root))


def test_a_part_that_is_on_its_way_when_its_upload_is_aborted_is_refused_and_leaves_nothing(root):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)

        async def slow():
            yield ONE
            await p.parts.abort(OWNER, PLACE, upload)
            yield TWO

        await refuses(Code.NOT_FOUND, p.parts.write(OWNER, PLACE, upload, 1, slow()))
        assert p.staged() < 2000

    played(act, Process(root))


@pytest.mark.parametrize("upload_id", ["", "..", "../apps", "0" * 32, "brief-" + "0" * 32, "x" * 10_000])
def test_a19_an_upload_that_is_not_there_is_not_found(root, upload_id):
    async def act(p: Process) -> None:
        for deed in (
            p.put(upload_id, 1, ONE),
            p.finish(upload_id, [Cited(1, None)]),
            p.parts.list(OWNER, PLACE, upload_id),
            p.parts.abort(OWNER, PLACE, upload_id),
        ):
            await refuses(Code.NOT_FOUND, deed)

    played(act, Process(root))


def test_a19_an_upload_is_found_by_its_own_path_and_account_only(root):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        other = parse("models/b.bin", legacy=False)
        await refuses(Code.NOT_FOUND, p.put(upload, 1, ONE, other))
        await refuses(Code.NOT_FOUND, p.finish(upload, [Cited(1, None)], other))
        await refuses(Code.NOT_FOUND, p.parts.abort(OWNER, other, upload))
        for who, code in (
            (Principal(), Code.UNAUTHORIZED),
            (Principal("owner", "key"), Code.UNAUTHORIZED),
            (Principal("other", "key", by_key=True), Code.FORBIDDEN),
        ):
            await refuses(code, p.parts.begin(who, PLACE))
            await refuses(code, p.put(upload, 1, ONE, who=who))
            await refuses(code, p.parts.list(who, PLACE, upload))
            await refuses(code, p.parts.finish(who, PLACE, upload, [Cited(1, None)]))
            await refuses(code, p.parts.abort(who, PLACE, upload))

    played(act, Process(root))


def test_what_nothing_happens_to_is_over_and_then_forgotten(root):
    now = 0.0

    async def act(p: Process) -> None:
        nonlocal now
        upload, kept = await p.parts.begin(OWNER, PLACE), await p.parts.begin(OWNER, PLACE)
        part = await p.put(upload, 1, ONE)
        finished = await p.parts.begin(OWNER, PLACE)
        done = await p.finish(finished, [await p.put(finished, 1, ONE)])
        assert await p.parts.sweep() == 0
        now = 10_001.0
        for _ in range(2):
            await refuses(Code.GONE, p.put(upload, 1, ONE))
            await refuses(Code.GONE, p.finish(upload, [part]))
            await refuses(Code.GONE, p.parts.list(OWNER, PLACE, upload))
            await p.parts.sweep()
        assert p.staged() < 3000
        now = 30_000.0
        await p.parts.sweep()
        await p.volume.threads.run(lambda: [None for _ in p.volume.gone.sweep()])
        for each in (upload, kept, finished):
            await refuses(Code.NOT_FOUND, p.put(each, 1, ONE))
        assert p.staged() == 0
        assert await p.volume.stat(OWNER, PLACE) == done.entry

    played(act, Process(root, upload_ttl=10_000, ahead=lambda: now))


def test_an_upload_that_is_damaged_keeps_no_other_from_being_swept(root, caplog):
    now = 0.0

    async def act(p: Process) -> None:
        nonlocal now
        for upload in sorted([await p.parts.begin(OWNER, PLACE) for _ in range(2)])[:1]:
            (root / ".entrepot/staging" / upload / "upload.json").write_text("{")
        now = 10_001.0
        assert await p.parts.sweep() == 1
        assert upload in caplog.text

    played(act, Process(root, upload_ttl=10_000, ahead=lambda: now))


def test_h01_a_begin_that_was_cut_short_is_forgotten_though_the_keeper_came_by(root):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        folder = root / ".entrepot/staging" / upload
        (folder / "upload.json").unlink()
        os.utime(folder, (time.time() - 7200,) * 2)
        await p.keep()
        await p.parts.sweep()
        assert not folder.exists()

    played(act, Process(root))


def test_parts_that_still_come_keep_an_upload_open(root):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        folder = root / ".entrepot/staging" / upload
        facts = json.loads((folder / "upload.json").read_text())
        (folder / "upload.json").write_text(json.dumps({**facts, "created_at": facts["created_at"] - 20_000}))
        part = await p.put(upload, 1, ONE)
        await p.parts.sweep()
        assert (await p.parts.list(OWNER, PLACE, upload)).expires_at > time.time() + 9000
        os.utime(folder / "parts", (0, 0))
        await refuses(Code.GONE, p.parts.list(OWNER, PLACE, upload))
        os.utime(folder / "parts")
        await p.finish(upload, [part])

    played(act, Process(root, upload_ttl=10_000))


def test_a20_too_many_open_uploads_are_refused_at_the_begin_only(root):
    async def act(p: Process) -> None:
        uploads = [await p.parts.begin(OWNER, PLACE) for _ in range(3)]
        await refuses(Code.RATE_LIMITED, p.parts.begin(OWNER, PLACE))
        await p.finish(uploads[0], [await p.put(uploads[0], 1, ONE)])
        uploads.append(await p.parts.begin(OWNER, PLACE))
        await refuses(Code.RATE_LIMITED, p.parts.begin(OWNER, PLACE))
        await p.parts.abort(OWNER, PLACE, uploads[1])
        await p.parts.begin(OWNER, PLACE)

    played(act, Process(root, most=3))


class _Keys:
    """Keys of the owner, some of which are revoked."""

    def __init__(self, *live: str) -> None:
        self.valid = set(live)

    def check(self, who: Principal) -> None:
        if who.key_id not in self.valid:
            raise Problem(Code.UNAUTHORIZED, "This key was revoked.")

    def live(self, account_id: str) -> set[str]:
        return self.valid


def test_s2_a_key_cannot_begin_the_uploads_of_the_other_keys(root):
    async def act(p: Process) -> None:
        p.volume.ground.keys = _Keys("key", "other")
        for _ in range(6):
            await p.parts.begin(OWNER, PLACE)
        await refuses(Code.RATE_LIMITED, p.parts.begin(OWNER, PLACE))
        other = replace(OWNER, key_id="other")
        for _ in range(2):
            await p.parts.begin(other, PLACE)
        await refuses(Code.RATE_LIMITED, p.parts.begin(other, PLACE))

    played(act, Process(root, most=8))


def test_s2_the_uploads_of_a_revoked_key_end(root):
    async def act(p: Process) -> None:
        keys = p.volume.ground.keys = _Keys("key", "other")
        upload = await p.parts.begin(OWNER, PLACE)
        await p.put(upload, 1, ONE)
        kept = await p.parts.begin(replace(OWNER, key_id="other"), PLACE)
        assert [(draft.id, size) for draft, _, size in await p.parts.uploads.list_open() if size] == [
            (upload, len(ONE))
        ]
        keys.valid.remove("key")
        await refuses(Code.UNAUTHORIZED, p.parts.begin(OWNER, PLACE))
        await p.parts.sweep()
        assert [draft.id for draft, _, _ in await p.parts.uploads.list_open()] == [kept]
        assert p.staged() < len(ONE)

    played(act, Process(root))


def test_h04_a_begin_that_fails_is_no_open_upload(root):
    async def act(p: Process) -> None:
        for k in range(1, 9):  # two folders, one file that is synced and renamed, two folders that are synced
            with observe(FailAt(k, errno.ENOSPC)):
                await refuses(Code.INSUFFICIENT_STORAGE, p.parts.begin(OWNER, PLACE))
            assert os.listdir(root / ".entrepot/staging") == []
        await p.parts.begin(OWNER, PLACE)

    played(act, Process(root, most=1))


def test_staged_parts_count_for_the_quota_once_each(root):
    async def act(p: Process) -> None:
        await p.volume.put(OWNER, PLACE, stream(bytes(4000)))
        upload = await p.parts.begin(OWNER, PLACE)
        parts = [await p.put(upload, 1, bytes(3000)), await p.put(upload, 2, bytes(2500))]
        await p.keep()
        await refuses(Code.QUOTA_EXCEEDED, p.put(upload, 3, bytes(1000)))
        assert await p.put(upload, 1, bytes(3000)) == parts[0]  # as large as what it replaces
        await refuses(Code.QUOTA_EXCEEDED, p.volume.put(OWNER, Path(("b",)), stream(bytes(1000))))
        await p.finish(upload, parts)  # takes the place of 4,000 bytes
        await p.volume.put(OWNER, Path(("b",)), stream(bytes(4000)))
        other = await p.parts.begin(OWNER, PLACE)
        await refuses(Code.QUOTA_EXCEEDED, p.put(other, 1, bytes(1000)))

    # What the count itself and the facts of uploads take is not counted, but for a while after a count of the disk.
    played(act, Process(root, quota=10_000))


def test_an_aborted_upload_gives_its_quota_back(root):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        for number in (1, 2):
            await p.put(upload, number, bytes(4000))
        await p.parts.abort(OWNER, PLACE, upload)
        await p.volume.put(OWNER, PLACE, stream(bytes(8000)))

    played(act, Process(root, quota=10_000))


def test_conditions_of_the_begin_hold_at_the_finish_and_the_upload_stays_open(root):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE, Conditions(if_none_match=True))
        parts = [await p.put(upload, 1, ONE)]
        entry, _ = await p.volume.put(OWNER, PLACE, stream(TWO))
        await refuses(Code.PRECONDITION_FAILED, p.finish(upload, parts))
        await refuses(Code.PRECONDITION_FAILED, p.parts.begin(OWNER, PLACE, Conditions(if_none_match=True)))
        assert files(root) == {"models/a.bin": TWO}
        (root / "models/a.bin").unlink()
        await p.finish(upload, parts)
        assert files(root) == {"models/a.bin": ONE}
        second = await p.parts.begin(OWNER, PLACE, Conditions(if_match=frozenset({"*"})))
        (root / "models/a.bin").unlink()
        await refuses(Code.PRECONDITION_FAILED, p.finish(second, [await p.put(second, 1, TWO)]))
        assert entry.etag

    played(act, Process(root))


def test_a_folder_in_the_place_is_a_conflict_at_the_begin_and_at_the_finish(root):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        parts = [await p.put(upload, 1, ONE)]
        (root / "models/a.bin").mkdir(parents=True)
        await refuses(Code.CONFLICT, p.finish(upload, parts))
        await refuses(Code.CONFLICT, p.parts.begin(OWNER, PLACE))
        await refuses(Code.CONFLICT, p.parts.begin(OWNER, Path()))
        (root / "models/a.bin").rmdir()
        (root / "models").rmdir()
        (root / "models").write_bytes(b"a file")
        await refuses(Code.CONFLICT, p.finish(upload, parts))
        (root / "models").unlink()
        await p.finish(upload, parts)
        assert files(root) == {"models/a.bin": ONE}

    played(act, Process(root))


def test_the_keeper_computes_the_digests_of_what_is_too_large_for_the_finish(root, monkeypatch):
    monkeypatch.setattr(finishing, "SMALL", 0)

    async def act(worker: Process, keeper: Process) -> None:
        data, parts = ONE + TWO + THREE, []
        upload = await worker.parts.begin(OWNER, PLACE)
        for number, each in enumerate((ONE, TWO, THREE), 1):
            parts.append(await worker.put(upload, number, each))
            await keeper.keep()
        done = await worker.finish(upload, parts)
        assert done.md5 == hashlib.md5(data).hexdigest()
        assert done.entry.sha256 == hashlib.sha256(data).digest()
        await keeper.keep()
        # Without a keeper nobody is kept waiting, unless there is something to compare.
        for declared, known in ((None, False), (hashlib.sha256(ONE).digest(), True)):
            upload = await worker.parts.begin(OWNER, PLACE)
            done = await worker.finish(upload, [await worker.put(upload, 1, ONE)], sha256=declared)
            assert (done.md5 is not None) is known

    played(act, Process(root), Process(root))


def test_the_finish_waits_a_moment_for_a_keeper_that_is_behind(root, monkeypatch):
    monkeypatch.setattr(finishing, "SMALL", 0)
    monkeypatch.setattr(finishing, "DIGEST_WAIT", 60.0)

    async def act(worker: Process, keeper: Process) -> None:
        upload = await worker.parts.begin(OWNER, PLACE)
        parts = [await worker.put(upload, 1, ONE), await worker.put(upload, 2, TWO)]
        finishes = [asyncio.create_task(worker.finish(upload, parts)) for _ in range(2)]
        while not all(task.done() for task in finishes):
            await keeper.parts.step()
        assert {(await task).md5 for task in finishes} == {hashlib.md5(ONE + TWO).hexdigest()}

    played(act, Process(root), Process(root))


def test_a_keeper_that_starts_anew_goes_on_with_what_the_one_before_put_together(root, monkeypatch):
    monkeypatch.setattr(finishing, "SMALL", 0)

    async def act(worker: Process, first: Process, second: Process) -> None:
        upload = await worker.parts.begin(OWNER, PLACE)
        parts = [await worker.put(upload, 1, ONE), await worker.put(upload, 2, TWO)]
        await first.keep()
        parts[1] = await worker.put(upload, 2, THREE)
        parts.append(await worker.put(upload, 3, ONE))
        await second.keep()
        assert (await worker.finish(upload, parts)).md5 == hashlib.md5(ONE + THREE + ONE).hexdigest()

    played(act, Process(root), Process(root), Process(root))


def test_the_keeper_waits_for_more_to_do_and_passes_over_what_is_damaged(root, monkeypatch, caplog):
    monkeypatch.setattr(follower, "QUIET", 3600.0)
    monkeypatch.setattr(follower, "BATCH", len(ONE) + len(TWO))

    async def act(p: Process) -> None:
        damaged, upload = sorted([await p.parts.begin(OWNER, PLACE), await p.parts.begin(OWNER, PLACE)])
        await p.put(upload, 1, ONE)
        await p.keep()
        assert list(root.glob(".entrepot/staging/*/whole")) == []
        await p.put(upload, 2, TWO)
        await p.put(damaged, 1, ONE + TWO)
        (root / ".entrepot/staging" / damaged / "parts/1").write_bytes(b"")
        for _ in range(3):
            await p.keep()
        assert len(list(root.glob(".entrepot/staging/*/whole"))) == 1
        assert caplog.text.count("lost bytes") == 1
        await refuses(Code.UNAVAILABLE, p.finish(damaged, [Cited(1, None)]))

    played(act, Process(root))


def test_many_at_once_in_two_processes_while_the_keeper_puts_together(root):
    async def act(*processes: Process) -> None:
        upload = await processes[0].parts.begin(OWNER, PLACE)
        contents = {number: os.urandom(10_000 + number) for number in range(1, 41)}
        ended = threading.Event()

        async def keep() -> None:
            while not ended.is_set():
                await processes[2].parts.step(), await processes[0].parts.step()

        keeping = asyncio.create_task(keep())
        parts = await asyncio.gather(
            *(processes[n % 2].put(upload, n, data) for n, data in contents.items()),
            *(processes[(n + 1) % 2].put(upload, n, data) for n, data in contents.items() if n % 3 == 0),
        )
        done = await asyncio.gather(*(each.finish(upload, parts[:40]) for each in processes))
        ended.set()
        await keeping
        assert len(set(done)) == 1
        assert files(root) == {"models/a.bin": b"".join(contents.values())}

    played(act, Process(root), Process(root), Process(root))


async def scenario(p: Process, upload: str) -> list[AssemblyPart]:
    parts = [await p.put(upload, 2, TWO), await p.put(upload, 1, ONE)]
    await p.keep()
    parts.append(await p.put(upload, 3, THREE))
    return parts


def operations(path: Folder) -> int:
    recorder = Recorder()

    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        parts = await scenario(p, upload)
        with observe(recorder):
            await p.finish(upload, parts)

    played(act, Process(path))
    return len(recorder.ops)


@pytest.mark.parametrize("trouble", [Killed, lambda k: FailAt(k, errno.EIO)], ids=["killed", "disk error"])
def test_h01_h03_a_finish_that_breaks_off_anywhere_can_be_done_again(tmp_path, trouble):
    for k in range(1, operations(tmp_path / "all") + 1):

        async def act(first: Process, second: Process, fails=k) -> None:
            upload = await first.parts.begin(OWNER, PLACE)
            parts, whole = await scenario(first, upload), ONE + TWO + THREE
            try:
                with observe(trouble(fails)):
                    done = await first.finish(upload, parts)
            except (Killed.Now, Problem):
                assert files(first.root) in ({}, {"models/a.bin": whole})
                done = None
            again = await second.finish(upload, parts)
            assert again == (done or again) == await second.finish(upload, parts)
            assert files(first.root) == {"models/a.bin": whole}
            assert again.md5 == hashlib.md5(whole).hexdigest()
            assert again.entry == await second.volume.stat(OWNER, PLACE)
            await second.parts.sweep()
            assert second.staged() < 3000

        root = tmp_path / str(k)
        played(act, Process(root), Process(root))


@pytest.mark.parametrize("instead", ["a file", "a link that leads out", "nothing"])
def test_a_finish_is_said_although_the_way_to_its_file_was_changed_before_it_could_be(root, instead):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        parts = [await p.put(upload, 1, ONE)]

        def die_afterwards(op):
            if op.kind is Kind.CREATE and (root / "models/a.bin").exists():
                raise Killed.Now

        with observe(die_afterwards), pytest.raises(Killed.Now):
            await p.finish(upload, parts)
        (root / "models").rename(root / "elsewhere")
        match instead:
            case "a file":
                (root / "models").touch()
            case "a link that leads out":
                (root / "models").symlink_to("/")
        assert (await p.finish(upload, parts)).md5 == hashlib.md5(ONE).hexdigest()

    played(act, Process(root))


def test_a_finish_whose_file_was_replaced_before_it_could_be_said_is_said_all_the_same(root):
    async def act(first: Process, second: Process) -> None:
        upload = await first.parts.begin(OWNER, PLACE)
        parts = [await first.put(upload, 1, ONE)]
        placed: list[str] = []

        def die_afterwards(op):
            placed.extend(op.path for _ in [1] if op.kind is Kind.RENAME and op.target.endswith("models/a.bin"))
            if placed and op.kind is not Kind.RENAME and op.kind is not Kind.SYNC_DIR:
                raise Killed.Now

        with observe(die_afterwards), pytest.raises(Killed.Now):
            await first.finish(upload, parts)
        await second.volume.put(OWNER, PLACE, stream(TWO))
        done = await second.finish(upload, parts)
        assert (done.entry.path, done.entry.size, done.md5) == ("models/a.bin", 3000, hashlib.md5(ONE).hexdigest())
        assert files(root) == {"models/a.bin": TWO}

    played(act, Process(root), Process(root))


HOLDS_ALL_LOCKS = """
import os, sys
from entrepot.atomic import Folder
from entrepot.volume.assembly import STATE_LOCK, WHOLE_LOCK, Assembly, Attempt, locked, try_lock
with Folder.open(sys.argv[1]) as folder:
    lock, attempt = try_lock(folder, WHOLE_LOCK), Attempt(folder, 2)
    attempt.file.write([b"half of a part"])
    Assembly(folder).advance(1)
    with locked(folder, STATE_LOCK):
        print("ready", flush=True)
        os.read(0, 1)
"""


def test_h01_a_process_that_is_killed_with_every_lock_in_its_hands_holds_up_nobody(root):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        parts = [await p.put(upload, n, data) for n, data in ((1, ONE), (2, TWO), (3, THREE))]
        folder = str(root / ".entrepot/staging" / upload)
        command = [sys.executable, "-c", HOLDS_ALL_LOCKS, folder]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout and other.stdout.readline() == b"ready\n"
            finish, again = asyncio.create_task(p.finish(upload, parts)), asyncio.create_task(p.put(upload, 1, ONE))
            await asyncio.sleep(0)
            assert not await p.parts.step()
            other.kill()
            assert (await again) == parts[0]
            assert (await finish).md5 == hashlib.md5(ONE + TWO + THREE).hexdigest()
        await refuses(Code.ALREADY_PUBLISHED, p.put(upload, 1, TWO))

    played(act, Process(root))


def test_h05_nothing_is_taken_in_when_the_volume_was_replaced(root):
    async def act(p: Process) -> None:
        upload = await p.parts.begin(OWNER, PLACE)
        part = await p.put(upload, 1, ONE)
        root.rename(root.parent / "elsewhere")
        root.mkdir()
        for deed in (p.put(upload, 2, TWO), p.finish(upload, [part]), p.parts.begin(OWNER, PLACE)):
            await refuses(Code.UNAVAILABLE, deed)
        assert list(root.iterdir()) == []

    played(act, Process(root))


def test_what_ended_processes_left_of_tries_is_removed_and_a_try_under_way_is_not(root):
    now = 0.0

    async def act(p: Process) -> None:
        nonlocal now
        upload = await p.parts.begin(OWNER, PLACE)
        parts = root / ".entrepot/staging" / upload / "parts"
        (parts / ".left").write_bytes(ONE)

        async def slow():
            nonlocal now
            yield ONE
            for _ in range(2):  # the first batch is on the disk when the third is gathered
                yield bytes(1 << 20)
            now = 5000.0
            await p.parts.sweep()
            yield TWO

        assert (await p.parts.write(OWNER, PLACE, upload, 1, slow())).size == len(ONE) + (2 << 20) + len(TWO)
        assert [each.name for each in parts.iterdir()] == ["1"]

    played(act, Process(root, ahead=lambda: now))
