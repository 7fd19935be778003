"""Parts on disk: whatever order they come in, whoever is killed where, what was acknowledged is there once."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.atomic import Folder, observe
from entrepot.volume.assembly import (
    PARTS,
    STATE_LOCK,
    WHOLE,
    WHOLE_LOCK,
    Assembly,
    AssemblyPart,
    Attempt,
    Record,
    locked,
    try_lock,
)
from support import powerloss
from support.disk import FailAt, Killed, Recorder


def begun(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / PARTS).mkdir()
    return path


def put(path: Path, number: int, data: bytes) -> AssemblyPart:
    """What a worker does with a part until it is acknowledged."""
    with Folder.open(path) as folder:
        attempt = Attempt(folder, number)
        try:
            attempt.file.write([data])
            attempt.seal(hashlib.sha256(data).digest())
            with locked(folder, STATE_LOCK):
                attempt.accept()
            attempt.folder.sync()
            return attempt.part
        finally:
            attempt.drop()


def advance(path: Path, budget: int = 1 << 30, times: int | None = None) -> None:
    """What the keeper does, to the end or so many times."""
    with Folder.open(path) as folder:
        while (times is None or times > 0) and Assembly(folder).advance(budget):
            times = times if times is None else times - 1


def held(path: Path) -> dict[int, bytes]:
    """The bytes of each part, wherever they lie, checked against their ETags."""
    with Folder.open(path) as folder:
        found, whole = {}, (path / WHOLE).read_bytes() if (path / WHOLE).exists() else b""
        assembly, at = Assembly(folder), 0
        for part in assembly.record().parts:
            found[part.number] = whole[at : at + part.size]
            at += part.size
        for number in assembly.pending(range(1, 10)):
            found[number] = (path / PARTS / str(number)).read_bytes()[:-32]
        assert {n: hashlib.sha256(data).hexdigest() for n, data in found.items()} == {
            n: part.etag for n, part in assembly.held().items()
        }
        return found


def whole_of(path: Path) -> bytes:
    advance(path)
    return (path / WHOLE).read_bytes()


def test_parts_are_put_together_as_they_come_and_their_files_go(tmp_path):
    path = begun(tmp_path / "u")
    for number, data in ((2, b"two"), (4, b"four"), (1, b"one")):
        put(path, number, data)
        advance(path)
    assert (path / WHOLE).read_bytes() == b"onetwo"
    assert [p.name for p in (path / PARTS).iterdir()] == ["4"]
    put(path, 3, b"three")
    assert whole_of(path) == b"onetwothreefour"
    assert list((path / PARTS).iterdir()) == []


def test_the_same_bytes_again_change_nothing(tmp_path):
    path = begun(tmp_path / "u")
    first = put(path, 1, b"one")
    put(path, 2, b"two")
    advance(path)
    with Folder.open(path) as folder:
        version = Assembly(folder).record().version
        assert put(path, 1, b"one") == first
        advance(path)
        assert Assembly(folder).record().version == version
    assert held(path) == {1: b"one", 2: b"two"}
    assert list((path / PARTS).iterdir()) == []


@pytest.mark.parametrize("data", [b"TWO", b"longer than before", b""], ids=["same size", "longer", "empty"])
def test_other_bytes_take_the_place_of_those_that_were_put_together(tmp_path, data):
    path = begun(tmp_path / "u")
    for number, each in enumerate((b"one", b"two", b"three", b"four"), 1):
        put(path, number, each)
    advance(path)
    put(path, 2, data)
    assert held(path) == {1: b"one", 2: data, 3: b"three", 4: b"four"}
    assert whole_of(path) == b"one" + data + b"threefour"


def test_parts_that_come_out_again_take_one_part_of_room_at_a_time(tmp_path):
    path = begun(tmp_path / "u")
    for number in range(1, 9):
        put(path, number, bytes([number]) * 100_000)
    advance(path)
    put(path, 1, b"other")
    with Folder.open(path) as folder:
        while Assembly(folder).advance(1):
            assert sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) < 1_000_000
    assert held(path)[1] == b"other"


def test_a_budget_bounds_what_is_moved_at_once(tmp_path):
    path = begun(tmp_path / "u")
    for number in range(1, 6):
        put(path, number, b"12345")
    with Folder.open(path) as folder:
        assert [Assembly(folder).advance(6) for _ in range(4)] == [10, 10, 5, 0]


def test_a_try_that_breaks_off_leaves_the_part_before(tmp_path):
    path = begun(tmp_path / "u")
    put(path, 1, b"one")
    with Folder.open(path) as folder:
        attempt = Attempt(folder, 1)
        attempt.file.write([b"ot"])
        attempt.drop()
    assert held(path) == {1: b"one"}
    assert [p.name for p in (path / PARTS).iterdir()] == ["1"]


def test_a_list_of_ten_thousand_parts_comes_back():
    parts = tuple(AssemblyPart(n, hashlib.sha256(b"%d" % n).hexdigest(), n) for n in range(1, 10_001))
    assert Record.decode(Record(7, parts).encode()) == Record(7, parts)
    assert Record(7, parts).key != Record(8, parts).key != Record(8, parts[:-1]).key


def test_a_lock_keeps_the_others_out_until_it_is_let_go(tmp_path):
    path = begun(tmp_path / "u")
    with Folder.open(path) as folder:
        fd = try_lock(folder, WHOLE_LOCK)
        assert fd is not None and try_lock(folder, WHOLE_LOCK) is None
        os.close(fd)
        again = try_lock(folder, WHOLE_LOCK)
        assert again is not None
        os.close(again)


def test_a_staged_file_that_lost_bytes_is_an_error_and_takes_no_part_along(tmp_path):
    path = begun(tmp_path / "u")
    put(path, 1, b"one")
    advance(path)
    os.truncate(path / WHOLE, 1)
    put(path, 2, b"two")
    with pytest.raises(OSError, match="lost bytes"):
        advance(path)
    assert (path / PARTS / "2").exists()


DEEDS = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 5), st.binary(max_size=6)),  # a part
        st.integers(1, 3),  # so many steps of the keeper
    ),
    max_size=14,
)


@settings(max_examples=60)
@given(DEEDS, st.integers(1, 30))
def test_in_any_order_the_last_of_each_number_is_what_it_is_made_of(quick_folder, deeds, budget):
    path = begun(Path(tempfile.mkdtemp(dir=quick_folder)) / "u")
    model: dict[int, bytes] = {}
    for deed in deeds:
        if isinstance(deed, int):
            advance(path, budget, deed)
        else:
            put(path, *deed)
            model[deed[0]] = deed[1]
        assert held(path) == model
    expected = [model[n] for n in range(1, 6) if all(m in model for m in range(1, n + 1))]
    advance(path)
    whole = (path / WHOLE).read_bytes() if (path / WHOLE).exists() else b""
    assert whole == b"".join(expected)


def scripted(path: Path, model: dict[int, bytes], under_way: list[tuple[int, bytes]]) -> None:
    """Everything that can happen to the bytes: gaps, replaced parts, parts that come out again."""
    for deed in ((1, b"one"), (3, b"three"), None, (2, b"two"), None, (2, b"TWO and more"), None, (1, b""), (4, b"4")):
        if deed is None:
            advance(path)
        else:
            under_way[:] = [deed]
            put(path, *deed)
            model[deed[0]] = deed[1]
            under_way.clear()
    advance(path)


ENDED = {1: b"one again", 2: b"2", 3: b"three", 4: b"four"}


def operations(path: Path) -> int:
    """How many operations on the disk there are in all."""
    recorder = Recorder()
    with observe(recorder):
        scripted(begun(path), {}, [])
    return len(recorder.ops)


def after(path: Path, *allowed: dict[int, bytes]) -> None:
    """What must hold after a death: what was acknowledged is there, and everything can go on."""
    now = held(path)
    assert now in allowed
    advance(path)
    assert held(path) == now
    for number, data in ENDED.items():
        put(path, number, data)
    assert whole_of(path) == b"".join(ENDED.values())
    assert [p.name for p in (path / PARTS).iterdir() if p.name.isdigit()] == []


def test_killed_at_any_moment_nothing_that_was_acknowledged_is_lost(tmp_path):
    for k in range(1, operations(tmp_path / "all") + 1):
        path, model, under_way = begun(tmp_path / str(k)), dict[int, bytes](), list[tuple[int, bytes]]()
        with observe(Killed(k)), pytest.raises(Killed.Now):
            scripted(path, model, under_way)
        after(path, model, {**model, **dict(under_way)})


def test_a_disk_that_fails_at_any_moment_costs_nothing_that_was_acknowledged(tmp_path):
    for k in range(1, operations(tmp_path / "all") + 1):
        path, model, under_way = begun(tmp_path / str(k)), dict[int, bytes](), list[tuple[int, bytes]]()
        with observe(FailAt(k, errno.EIO)), pytest.raises(OSError, match="Input/output"):
            scripted(path, model, under_way)
        after(path, model, {**model, **dict(under_way)})


def test_with_power_lost_at_any_moment_nothing_that_was_acknowledged_is_lost(tmp_path):
    recorder = powerloss.Recorder(tmp_path / "run")
    recorder.root.mkdir()
    with observe(recorder), Folder.open(recorder.root) as root:
        root.make_dir("u")
        with root.descend("u") as folder:
            folder.make_dir(PARTS)
            folder.sync()
        root.sync()
        started = len(recorder.events)
        scripted(recorder.root / "u", Marking(recorder), [])
    disk, model, seen, chance = powerloss.Disk(), dict[int, bytes](), set[int](), Random(1)
    for place, event in enumerate(recorder.events):
        if event.mark:
            event.mark(model)
        disk.follow(event)
        coming = next((e.mark for e in recorder.events[place + 1 :] if e.mark), None)
        for luck in (powerloss.ONLY_SYNCED, powerloss.NAMES, *[powerloss.CHANCE] * 4) if place >= started else ():
            state = powerloss.crash(disk, luck, chance)
            if powerloss.fingerprint(state) not in seen:
                seen.add(powerloss.fingerprint(state))
                powerloss.build(state, path := tmp_path / f"{place}-{len(seen)}")
                more = dict(model)
                if coming:
                    coming(more)
                after(path / "u", model, more)


class Marking(dict[int, bytes]):
    """Notes in the log of the disk what was acknowledged."""

    def __init__(self, recorder: powerloss.Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __setitem__(self, number: int, data: bytes) -> None:
        self._recorder.mark(lambda model: model.__setitem__(number, data))
