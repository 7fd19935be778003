"""Power loss at every moment of a day's work on the volume (docs/threats.md H01, H02): each deed is done or not, what
was acknowledged stays done, and only staging ever has a part of something."""

from __future__ import annotations

import asyncio
import copy
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest

from entrepot.atomic import Kind, Op
from entrepot.domain.multipart import Cited
from entrepot.volume import follower
from entrepot.volume.multipart import Parts
from entrepot.volume.volume import Volume
from support.powerloss import CHANCE, EVERYTHING, NAMES, ONLY_SYNCED, TORN, Checked, Event, Luck, Recorder, fast_place
from support.volumedoors import OWN, listed_on_disk
from support.volumemodel import Model, stands_between
from support.volumes import OWNER, make, open_volume, p

MONTH = 30 * 86_400.0
ROUNDS = int(os.environ.get("ENTREPOT_CRASH_ROUNDS", "0"))


@dataclass
class Claims:
    """What was acknowledged: `now`. A deed is under way: it may have come to `wanted`."""

    now: Model = field(default_factory=Model)
    wanted: Model | None = None
    halfway: Model | None = None  # what another program did before it
    parts: dict[int, bytes] = field(default_factory=dict)  # of the upload that is open
    sending: tuple[int, bytes] | None = None
    upload: str = ""

    def may_hold(self, number: int, data: bytes) -> None:
        self.sending = (number, data)

    def holds(self, number: int, data: bytes) -> None:
        self.parts[number], self.sending = data, None

    def came_to(self, model: Model) -> None:
        self.now, self.wanted, self.halfway = model, None, None


class Day:
    """What one process does, one thing after the other; what each deed comes to is marked in the log."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.model = Model()
        self.chance = Random(1)

    async def live(self) -> None:
        root = self.recorder.root / "data"
        make(root)
        async with opened(root) as (volume, parts):
            await self.write(volume)
            await self.move(volume)
            await self.delete_and_undo(volume)
            await self.send_in_parts(volume, parts)
            await self.write_where_a_program_was(volume)
            await self.write_where_a_program_moved(volume)

    async def write(self, volume: Volume) -> None:
        await self.put(volume, "a.bin", 10_000)
        await self.put(volume, "a.bin", 300)
        await self.put(volume, "deep/er/b.bin", 5000)
        await self.put(volume, "deep/er/empty", 0)
        await self.does(lambda model: model.make_folder("x/y"), volume.make_folder(OWNER, p("x/y")))

    async def put(self, volume: Volume, path: str, size: int) -> None:
        data = self.chance.randbytes(size)
        await self.does(lambda model: model.put(path, data), volume.put(OWNER, p(path), pieces(data)))

    async def move(self, volume: Volume) -> None:
        await self.rename(volume, "a.bin", "x/y/c.bin")
        await self.rename(volume, "x/y/c.bin", "deep/er/b.bin")
        await self.rename(volume, "deep/er", "new/place/er")
        await self.does(
            lambda model: model.copy("new/place", "copied", overwrite=False),
            volume.copy(OWNER, p("new/place"), p("copied")),
        )
        await self.does(
            lambda model: model.copy("copied/er/b.bin", "copied/er/empty", overwrite=True),
            volume.copy(OWNER, p("copied/er/b.bin"), p("copied/er/empty"), overwrite=True),
        )

    async def rename(self, volume: Volume, path: str, new: str) -> None:
        await self.does(
            lambda model: model.rename(path, new, overwrite=True), volume.rename(OWNER, p(path), p(new), overwrite=True)
        )

    async def delete_and_undo(self, volume: Volume) -> None:
        first = await self.delete(volume, "copied/er/b.bin")
        folder = await self.delete(volume, "new")
        await self.does(lambda model: model.restore(first), volume.restore(OWNER, first))
        await self.does(lambda model: model.restore(folder, "back"), volume.restore(OWNER, folder, p("back")))
        await self.does(
            lambda model: model.delete("copied"), volume.delete(OWNER, p("copied"), permanent=True)
        )  # fmt: skip
        last = await self.delete(volume, "back/place/er/empty")
        await self.does(lambda model: model.drop_trash(last), volume.drop_trash(OWNER, last))
        await self.put(volume, "back/place/er/empty", 77)
        await self.delete(volume, "back/place")

    async def delete(self, volume: Volume, path: str) -> str:
        """Into the trash; the id."""
        return str((await self.does(lambda model: drop(model, path), volume.delete(OWNER, p(path)))).id)

    async def send_in_parts(self, volume: Volume, parts: Parts) -> None:
        """Out of order; parts that the keeper had put together come once more with other bytes. Another upload is
        given up."""
        path, other = p("parts/big.bin"), p("parts/other.bin")
        upload = await parts.begin(OWNER, path)
        self.recorder.mark(lambda claims: setattr(claims, "upload", upload))
        sent: dict[int, bytes] = {}
        for number, size in ((2, 4000), (1, 9000), (3, 50), (2, 600), (4, 7000)):
            sent[number] = data = self.chance.randbytes(size)
            self.recorder.mark(partial(Claims.may_hold, number=number, data=data))
            await parts.write(OWNER, path, upload, number, pieces(data))
            self.recorder.mark(partial(Claims.holds, number=number, data=data))
            while await parts.step():
                pass
        given_up = await parts.begin(OWNER, other)
        await parts.write(OWNER, other, given_up, 1, pieces(bytes(5000)))
        await parts.abort(OWNER, other, given_up)
        whole = b"".join(sent[number] for number in sorted(sent))
        cited = [Cited(number, sha256(data).hexdigest()) for number, data in sent.items()]
        await self.does(lambda model: model.put(str(path), whole), parts.finish(OWNER, path, upload, cited))

    async def write_where_a_program_was(self, volume: Volume) -> None:
        """Other programs make folders too, and sync nothing."""
        folder = self.recorder.root / "data/found"

        async def deed() -> None:
            self.recorder(Op(Kind.MAKE_DIR, str(folder)))
            folder.mkdir()
            await volume.put(OWNER, p("found/file"), pieces(b"1234"))

        await self.does(lambda model: model.put("found/file", b"1234"), deed())

    async def write_where_a_program_moved(self, volume: Volume) -> None:
        """A folder that we know to be safe under one name is not under the name that another program gave it."""
        known, moved = self.recorder.root / "data/known", self.recorder.root / "data/moved"
        await self.does(lambda model: model.make_folder("known"), volume.make_folder(OWNER, p("known")))

        async def deed() -> None:
            self.recorder(Op(Kind.RENAME, str(known), target=str(moved)))
            known.rename(moved)
            await volume.put(OWNER, p("moved/file"), pieces(b"5678"))

        halfway = copy.deepcopy(self.model)
        halfway.rename("known", "moved", overwrite=False)
        self.recorder.mark(lambda claims: setattr(claims, "halfway", halfway))
        await self.does(
            lambda model: (model.rename("known", "moved", overwrite=False), model.put("moved/file", b"5678")), deed()
        )

    async def does(self, change: Callable[[Model], Any], deed: Awaitable[Any]) -> Any:
        """From here on the model may have changed so; when the deed returns it has."""
        after = copy.deepcopy(self.model)
        change(after)
        self.recorder.mark(lambda claims: setattr(claims, "wanted", after))
        result = await deed
        if NOT_TOLD in after.trash:
            after.trash[result.id] = after.trash.pop(NOT_TOLD)
        self.model = after
        self.recorder.mark(lambda claims: claims.came_to(after))
        return result


NOT_TOLD = "an id that is not told yet"


def drop(model: Model, path: str) -> None:
    _, dropped = model.delete(path)
    assert dropped is not None
    model.trash[NOT_TOLD] = dropped


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 3000):
        yield data[start : start + 3000]


@asynccontextmanager
async def opened(root: Path, later: float = 0.0) -> AsyncIterator[tuple[Volume, Parts]]:
    volume = open_volume(root, clock=lambda: time.time() + later)
    try:
        yield volume, Parts(volume, 10)
    finally:
        await volume.close()


def violations(folder: Path, marks: list[Event]) -> list[str]:
    """What is wrong with the volume that a crash left."""
    claims = Claims()
    for event in marks:
        assert event.mark
        event.mark(claims)
    try:
        make(folder / "data")
        return asyncio.run(_look(folder / "data", claims))
    except Exception as error:  # whatever it is, a start after a power cut must not meet it
        return [f"the start fails: {error!r}"]


async def _look(root: Path, claims: Claims) -> list[str]:
    found = listed_on_disk(root)
    wanted = claims.wanted or claims.now
    before = [claims.now] + ([claims.halfway] if claims.halfway else [])
    right = any(stands_between(found, model, wanted) for model in before)
    wrong = [] if right else [f"I1, I2: {_difference(found, claims.now)}"]
    done = found == wanted.nodes
    async with opened(root) as (volume, parts):
        page = await volume.list(OWNER, p(""), recursive=True)
        wrong += [] if {entry.path for entry in page.entries} == found.keys() else ["it lists something else"]
        for entry in page.entries:
            if entry.sha256 not in (None, sha256(found.get(entry.path) or b"").digest()):
                wrong.append(f"{entry.path} has another digest")
        wrong += await _trash(root, volume, claims, done)
        wrong += await _unfinished(root, parts, claims, done)
        await volume.sweep(volume.clock())
    async with opened(root, MONTH) as (volume, parts):
        await parts.sweep()
        await volume.sweep(volume.clock())
    return wrong + _left(root)


def _difference(found: dict[str, bytes | None], now: Model) -> str:
    changed = {path for path in found.keys() & now.nodes.keys() if found[path] != now.nodes[path]}
    return f"lost {now.nodes.keys() - found.keys()}, came {found.keys() - now.nodes.keys()}, changed {changed}"


async def _trash(root: Path, volume: Volume, claims: Claims, done: bool) -> list[str]:
    """What can come back is whole, and is what was deleted; of a deed under way it may be there or not, but not there
    and in its place, nor in neither."""
    listed = {item.id: item.path for item in (await volume.list_trash(OWNER)).entries}
    now, wanted = claims.now.trash, (claims.wanted or claims.now).trash
    may_be = [wanted] if done else [now]
    if claims.wanted is not None and claims.wanted.nodes == claims.now.nodes:  # only the trash is changed
        may_be = [now, wanted]
    wrong = [] if listed.keys() in [trash.keys() for trash in may_be] else [f"I1: the trash has {listed}"]
    for trash_id, path in listed.items():
        known = now.get(trash_id) or wanted.get(trash_id)
        if known is None or (known.path, known.nodes) != (path, _taken(root / OWN / "trash" / trash_id / "item")):
            wrong.append(f"the trash has something else of {path}")
    return wrong


def _taken(item: Path) -> dict[str, bytes | None]:
    return listed_on_disk(item) | {"": None} if item.is_dir() else {"": item.read_bytes()}


async def _unfinished(root: Path, parts: Parts, claims: Claims, done: bool) -> list[str]:
    """An acknowledged part is held until its upload ends."""
    published = claims.now.is_file("parts/big.bin") or (done and claims.wanted is not None)
    if not claims.upload or published:
        return []
    listing = await parts.list(OWNER, p("parts/big.bin"), claims.upload)
    held = {part.number: (part.size, part.etag) for part in listing.parts}
    known = {number: _as_held(data) for number, data in claims.parts.items()}
    if claims.sending is not None and held.get(claims.sending[0]) == _as_held(claims.sending[1]):
        known[claims.sending[0]] = _as_held(claims.sending[1])
    if held != known:
        return [f"I1: of the parts {known.keys()} are held {held.keys()}, or with other bytes"]
    return await _finished(root, parts, claims, held)


async def _finished(root: Path, parts: Parts, claims: Claims, held: dict[int, tuple[int, str]]) -> list[str]:
    """The parts that are told to be held are: the upload can be finished with their bytes."""
    if list(held) != list(range(1, len(held) + 1)) or not held:
        return []
    cited = [Cited(number, etag) for number, (_, etag) in held.items()]
    await parts.finish(OWNER, p("parts/big.bin"), claims.upload, cited)
    data, wanted = (root / "parts/big.bin").read_bytes(), b""
    for number, known in held.items():
        sent = [claims.parts.get(number), claims.sending[1] if claims.sending else None]
        wanted += next(each for each in sent if each is not None and _as_held(each) == known)
    return [] if data == wanted else ["I1: the parts have other bytes"]


def _as_held(data: bytes) -> tuple[int, str]:
    return len(data), sha256(data).hexdigest()


def _left(root: Path) -> list[str]:
    """When everything has had its time the store's own folder holds nothing of any deed (I8)."""
    own = root / OWN
    return [
        f"I8: {path.relative_to(own)} stays" for name in ("staging", "trash", "gone") for path in (own / name).glob("*")
    ]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """The log of one day. The keeper puts parts together as soon as they are there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follower, "QUIET", 0.0)
        patch.setattr(follower, "IDLE", 0)
        recorder = Recorder(tmp_path_factory.mktemp("day"))
        with recorder.recording():
            day = Day(recorder)
            asyncio.run(day.live())
    assert listed_on_disk(recorder.root / "data") == day.model.nodes
    yield day


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    with fast_place(tmp_path) as folder:
        yield folder


@pytest.mark.parametrize("luck", [EVERYTHING, ONLY_SYNCED, NAMES, TORN, CHANCE], ids=lambda luck: luck.title)
def test_no_power_cut_leaves_half_a_deed_when(day: Day, place: Path, luck: Luck) -> None:
    crashes = Checked(day.recorder.events, place, violations)
    for round_ in range(1 + (ROUNDS if luck in (TORN, CHANCE) else 0)):
        for moment, disk, marks in crashes.moments():
            found = crashes.after(disk, marks, luck, moment + 1_000_003 * round_)
            assert not found, (moment, crashes.events[moment], round_, found)
    assert crashes.states > 80


def test_every_sync_is_needed(day: Day, place: Path) -> None:
    """With the syncs of any one function taken out, some crash breaks a promise. (A rename is safe with the sync of
    either folder: the two stand in for each other.)"""
    sites = {event.site for event in day.recorder.events if event.site}
    functions = sorted({site.partition(":")[0] for site in sites})
    missed = {
        name: _first_loss(day, place, frozenset(s for s in sites if s.startswith(f"{name}:"))) for name in functions
    }
    for name, loss in missed.items():
        print(f"without those of {name}: {loss}")
    assert all(missed.values())
    assert len(missed) >= 12


def _first_loss(day: Day, place: Path, ignored: frozenset[str]) -> list[str]:
    """Looks first at the moments after something was acknowledged, where a lost sync shows best."""
    crashes = Checked(day.recorder.events, place, violations)
    for luck, only_marks in ((ONLY_SYNCED, True), (NAMES, False), (CHANCE, False)):
        for moment, disk, marks in crashes.moments(ignored):
            if only_marks and crashes.events[moment].mark is None:
                continue
            if found := crashes.after(disk, marks, luck, moment):
                return found
    return []
