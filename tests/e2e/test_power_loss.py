"""Power loss at every moment of a day's work (docs/threats.md H02): what was acknowledged is there, the rest is absent
or whole, and no space is lost. Taking any one sync out of the code is noticed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from entrepot import atomic
from entrepot.atomic import Kind
from entrepot.domain.accounts import Account
from entrepot.domain.acl import Principal
from entrepot.domain.lifecycle import Lifecycle
from entrepot.domain.multipart import Cited
from entrepot.domain.objects import Object
from entrepot.domain.uploads import Intent, Part
from entrepot.metadata.sqlite import database
from entrepot.server import bootstrap
from entrepot.service.accounts import Accounts
from entrepot.service.multipart import path_of
from entrepot.service.request_bodies import RequestBody
from entrepot.settings import Settings
from entrepot.storage import segment_folders
from entrepot.storage.base import StorageFailed
from support.metadata import Catalogue
from support.powerloss import (
    CHANCE,
    EVERYTHING,
    NAMES,
    ONLY_SYNCED,
    TORN,
    Checked,
    Event,
    Extra,
    Luck,
    Recorder,
    fast_place,
)
from support.promises import ALONE, HOME, Claims, Deeds, opened, violations
from support.sweeping import sweep

DAY = 1_700_000_000.0
SEGMENT = 4096
ROUNDS = int(os.environ.get("ENTREPOT_CRASH_ROUNDS", "0"))


class Day:
    """A day of a server: its deeds are those of the services, and each that returns is marked in the log."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.root = recorder.root
        self.contents: dict[str, bytes] = {}
        self.who = Principal("", "")
        self.chance = Random(1)

    def make(self, name: str, size: int) -> bytes:
        self.contents[name] = self.chance.randbytes(size)
        return self.contents[name]

    def live(self) -> None:
        """Everything, in the order in which a server does it."""
        self._alone()
        home = self.root / HOME
        lock = bootstrap.take_home(home)
        key = bootstrap.prepare(Settings(home=home)).first_key
        assert key is not None
        self.recorder.mark(lambda claims: setattr(claims, "homes", 1))
        self.recorder.mark(lambda claims: claims.keys.add(key.id))
        lock.share()
        asyncio.run(self._first_process(key.id))
        asyncio.run(self._second_process())
        lock.release()

    def _alone(self) -> None:
        """What `atomic` and the catalogue promise by themselves, with nothing after them that syncs once more."""
        for name, write in (("written", atomic.write_file), ("created", atomic.create_file)):
            write(self.root / name, b"one")
            self._mark_file(name, b"one")
        # Either content is right from here on, until the second one is acknowledged.
        self.recorder.mark(lambda claims: claims.files.pop("written"))
        atomic.write_file(self.root / "written", b"two")
        self._mark_file("written", b"two")
        asyncio.run(self._account())

    async def _account(self) -> None:
        metadata = Catalogue(self.root / ALONE, create=True)
        await metadata.accounts.add(Account("alone", "alone", DAY))
        self.recorder.mark(lambda claims: claims.accounts.append("alone"))
        await metadata.close()

    def _mark_file(self, name: str, data: bytes) -> None:
        self.recorder.mark(lambda claims: claims.files.__setitem__(name, data))

    async def _first_process(self, key_id: str) -> None:
        async with opened(self.root / HOME, DAY, segment_size=SEGMENT, threads=2) as deeds:
            (account,) = await deeds.metadata.accounts.list()
            self.who = Principal(account.id, key_id)
            await self.put(deeds, "empty.txt", 0)
            await self.put(deeds, "small.txt", 100)
            await self.put(deeds, "segments.bin", 3 * SEGMENT + 7)
            await asyncio.gather(self.put(deeds, "left.bin", SEGMENT + 1), self.put(deeds, "right.bin", SEGMENT))
            await self.put(deeds, "brief.bin", 2 * SEGMENT, lifetime=10)
            await self.begin_and_write(deeds, "signed.bin")
            await self.break_off(deeds, "broken.bin")
            await self.make_and_revoke_a_key(deeds)
            await deeds.metadata.database.checkpoint()
            await self.put(deeds, "after.txt", 50)
            await self.let_time_pass(deeds, 20)
            await self.send_in_parts(deeds, "parts.bin")
            await self.abort_in_parts(deeds, "dropped.bin")
            await self.put(deeds, "later.bin", SEGMENT * 2)

    async def _second_process(self) -> None:
        async with opened(self.root / HOME, DAY + 30, segment_size=SEGMENT, threads=2) as deeds:
            self.at(deeds, DAY + 30)
            await self.put_where_a_sync_failed(deeds, "unlucky.bin")
            await self.begin(deeds, "never.bin")
            await self.put(deeds, "second.bin", SEGMENT + 99)
            await asyncio.gather(*(self.put(deeds, f"crowd-{i}.txt", 10 + i) for i in range(5)))
            await deeds.metadata.database.checkpoint()
            await deeds.keeper.collect_orphans()
            await self.put(deeds, "last.bin", SEGMENT)

    async def put(self, deeds: Deeds, name: str, size: int, lifetime: int | None = None) -> None:
        data = self.make(name, size)
        intent = Intent(Lifecycle(lifetime), name, "application/octet-stream")
        self.published(await deeds.uploads.put(self.who, intent, RequestBody(pieces(data))))

    async def begin(self, deeds: Deeds, name: str) -> str:
        begun = await deeds.uploads.begin(self.who, Intent(Lifecycle(), name))
        self.recorder.mark(lambda claims: claims.begun.append(begun.upload.draft.object_id))
        return begun.upload.draft.path

    async def begin_and_write(self, deeds: Deeds, name: str) -> None:
        path = await self.begin(deeds, name)
        right = Principal(self.who.account_id, self.who.key_id, path)
        self.published(await deeds.uploads.write(right, path, RequestBody(pieces(self.make(name, SEGMENT + 5)))))

    async def send_in_parts(self, deeds: Deeds, name: str) -> None:
        """Out of order, and with a second attempt at one part, which is the one that counts."""
        path = path_of((await deeds.multipart.begin(self.who, Intent(Lifecycle(), name))).upload)
        first, second = self.chance.randbytes(SEGMENT + 1), self.chance.randbytes(30)
        self.contents[name] = first + second
        await self.write_part(deeds, path, 2, second)
        await self.write_part(deeds, path, 1, b"a first attempt")
        part = await self.write_part(deeds, path, 1, first)
        await deeds.digester.step()
        self.published(await deeds.multipart.finish(self.who, path, [Cited(2, None), Cited(1, part.etag)]))

    async def abort_in_parts(self, deeds: Deeds, name: str) -> None:
        upload = (await deeds.multipart.begin(self.who, Intent(Lifecycle(), name))).upload
        await self.write_part(deeds, path_of(upload), 1, bytes(SEGMENT * 2))
        await deeds.multipart.abort(self.who, path_of(upload))
        self.recorder.mark(lambda claims: claims.aborted.add(upload.id))

    async def write_part(self, deeds: Deeds, path: str, number: int, data: bytes) -> Part:
        part = await deeds.multipart.write(self.who, path, number, RequestBody(pieces(data)))
        self.recorder.mark(lambda claims: claims.parts.append(part))
        return part

    async def break_off(self, deeds: Deeds, name: str) -> None:
        async def stream() -> AsyncIterator[bytes]:
            yield self.make(name, 2 * SEGMENT + 1)
            raise ConnectionError

        with suppress(ConnectionError):
            await deeds.uploads.put(self.who, Intent(Lifecycle(), name), RequestBody(stream()))

    async def put_where_a_sync_failed(self, deeds: Deeds, name: str) -> None:
        """The folder of this process is made and cannot be synced nor removed; the upload fails. The next one finds
        the folder and must not believe that its name is safe."""
        blobs = f"{HOME}/blobs"
        self.recorder.refuse = {(Kind.SYNC_DIR, blobs), (Kind.RMDIR, f"{blobs}/{deeds.incarnation.id}")}
        with suppress(StorageFailed):
            await self.put(deeds, name, 10)
        assert not self.recorder.refuse

    async def make_and_revoke_a_key(self, deeds: Deeds) -> None:
        accounts = Accounts(deeds.metadata.accounts, deeds.metadata.uploads, deeds.clock, os.urandom)
        kept, lost = await accounts.create_key("kept"), await accounts.create_key("lost")
        self.recorder.mark(lambda claims: claims.keys.update({kept.id, lost.id}))
        await accounts.revoke_key(lost.id)
        self.recorder.mark(lambda claims: claims.revoked.add(lost.id))

    async def let_time_pass(self, deeds: Deeds, seconds: float) -> None:
        self.at(deeds, deeds.now + seconds)
        assert (await sweep(deeds.keeper)).blobs == 1

    def at(self, deeds: Deeds, now: float) -> None:
        deeds.now = now
        self.recorder.mark(lambda claims: setattr(claims, "clock", now))

    def published(self, obj: Object) -> None:
        self.recorder.mark(lambda claims: claims.objects.append(obj))


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 3000):
        yield data[start : start + 3000]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """The log of one day. Small buckets and logs, so that there are several buckets and the log is cut back."""
    bucket_size, long_log = segment_folders.BUCKET_SIZE, database.LONG_LOG
    segment_folders.BUCKET_SIZE, database.LONG_LOG = 8, 30
    recorder = Recorder(tmp_path_factory.mktemp("day"))
    try:
        with recorder.recording():
            day = Day(recorder)
            day.live()
        yield day
    finally:
        segment_folders.BUCKET_SIZE, database.LONG_LOG = bucket_size, long_log


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    with fast_place(tmp_path) as folder:
        yield folder


def checked(day: Day, place: Path) -> Checked:
    def look(folder: Path, marks: list[Event]) -> list[str]:
        claims = Claims(day.contents, DAY)
        for event in marks:
            assert event.mark
            event.mark(claims)
        return violations(folder, claims)

    return Checked(day.recorder.events, place, look)


@pytest.mark.parametrize("luck", [EVERYTHING, ONLY_SYNCED, NAMES, TORN, CHANCE], ids=lambda luck: luck.title)
def test_no_power_cut_breaks_a_promise_when(day: Day, place: Path, luck: Luck) -> None:
    crashes = checked(day, place)
    events = crashes.events
    for round_ in range(1 + (ROUNDS if luck in (TORN, CHANCE) else 0)):
        for moment, disk, marks in crashes.moments():
            if round_ == 0 and _is_amid_writes(events, moment):
                continue
            found = crashes.after(disk, marks, luck, moment + 1_000_003 * round_)
            assert not found, (moment, events[moment], round_, found)
    assert crashes.states > 100


def _is_amid_writes(events: list[Event], moment: int) -> bool:
    """Of a run of writes only each fourth moment is looked at, and the last: what may be lost in between may be lost
    at the end too."""
    return moment % 4 != 0 and all(event.kind is Kind.WRITE for event in events[moment : moment + 2])


# What SQLite syncs before it has a log: the file is still empty, and an empty catalogue is what its loss leaves.
OF_NO_USE = {"sqlite: journal"}


def test_every_sync_is_needed(day: Day, place: Path) -> None:
    """With any one line that syncs taken out, some crash breaks a promise."""
    sites = {event.site for event in day.recorder.events if event.site} - OF_NO_USE
    assert {"sqlite: wal", "sqlite: database"} < sites
    missed = {site: _first_loss(checked(day, place), site) for site in sorted(sites)}
    for site, loss in missed.items():
        print(f"without {site}: {loss}")
    assert all(missed.values())
    assert len(missed) >= 12


def _first_loss(crashes: Checked, site: str) -> list[str]:
    """Looks first at the moments after something was acknowledged, where a lost sync shows best."""
    events = crashes.events
    for luck, only_marks in ((ONLY_SYNCED, True), (NAMES, False), (ONLY_SYNCED, False), (CHANCE, False)):
        for moment, disk, marks in crashes.moments(frozenset({site})):
            if only_marks and events[moment].kind is not Extra.MARK:
                continue
            if found := crashes.after(disk, marks, luck, moment):
                return found
    return []
