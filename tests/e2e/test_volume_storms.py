"""Many clients and a program on the disk at the same few names of the volume at once (docs/threats.md I01, I03,
B13)."""

from __future__ import annotations

import itertools
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from support.history import History, content, value_of
from support.server import Server
from support.volumedoors import Doors, comes_clean, listed_on_disk, root_of

# `make storm EXAMPLES=2000` is twenty times as long as the plain run.
TIMES = max(1, int(os.environ.get("ENTREPOT_STORM_EXAMPLES", "0")) // 100)
pytestmark = pytest.mark.timeout(300 + 120 * TIMES)
DAWDLING = Path(__file__).parents[1] / "support/dawdling"
SIZES = [100, 5000, 200_000, 1_500_000]  # the last one is read in several pieces


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It dawdles before it changes a name, so that whoever relies on luck is found out."""
    environ = {"PYTHONPATH": str(DAWDLING), "ENTREPOT_TEST_DAWDLE": "1"}
    with Server(tmp_path_factory.mktemp("storms"), {"workers": "2"}, environ) as shared:
        yield shared
        assert comes_clean(root_of(shared))
        assert not any(line.get("status", 0) >= 500 for line in shared.log_lines())


def all_at_once(deeds: Sequence[Callable[[], Any]]) -> list[Any]:
    """What they return; all begin together, and the first error is raised when all have ended."""
    gate = threading.Barrier(len(deeds))

    def run(deed: Callable[[], Any]) -> Any:
        gate.wait()
        return deed()

    with ThreadPoolExecutor(len(deeds)) as pool:
        return [future.result() for future in [pool.submit(run, deed) for deed in deeds]]


def crowd(server: Server, count: int, deed: Callable[[Doors, int], Any]) -> list[Any]:
    """Many clients at once, each on a connection of its own: they are spread over the workers."""

    def act(number: int) -> Any:
        with Doors(server) as files:
            return deed(files, number)

    return all_at_once([partial(act, number) for number in range(count)])


# --- one name ---------------------------------------------------------------------------------------------------------


class Writer:
    """One client that writes, deletes and reads a few names, and notes all of it."""

    def __init__(self, server: Server, number: int, histories: dict[str, History]) -> None:
        self.files = Doors(server)
        self.root = root_of(server)
        self.number = number
        self.histories = histories
        self.chance = Random(number)
        self.values = (f"{number}-{count}" for count in itertools.count())

    def run(self, times: int) -> None:
        deeds = [self.put, self.put, self.old_put, self.in_parts, self.delete, self.read, self.read, self.look]
        with self.files:
            for _ in range(times):
                self.chance.choice(deeds)(self.chance.choice(list(self.histories)))

    def run_on_disk(self, times: int) -> None:
        """As a program that knows nothing of us: it writes beside the volume and renames."""
        for _ in range(times):
            path = self.chance.choice(list(self.histories))
            value, beside = next(self.values), self.root.parent / "of-a-program"
            beside.write_bytes(content(value, self.chance.choice(SIZES)))
            with self.histories[path].writing(value):
                beside.rename(self.root / path)

    def put(self, path: str) -> None:
        value = next(self.values)
        with self.histories[path].writing(value):
            assert self.files.put(path, content(value, self.chance.choice(SIZES))).status in (200, 201)

    def old_put(self, path: str) -> None:
        value = next(self.values)
        with self.histories[path].writing(value):
            assert self.files.old_put(path, content(value, self.chance.choice(SIZES))).status == 200

    def in_parts(self, path: str) -> None:
        value = next(self.values)
        data = content(value, 50_000)
        upload_id = self.files.begin(path)
        parts = [(n, self.files.part(path, upload_id, n, data[(n - 1) * 30_000 :][:30_000])) for n in (1, 2)]
        cited = [(n, reply.json()["etag"]) for n, reply in parts]
        with self.histories[path].writing(value):
            assert self.files.complete(path, upload_id, cited).status == 200

    def delete(self, path: str) -> None:
        """When nothing was there, that is what was read."""
        history = self.histories[path]
        with history.reading() as read, history.writing(None) as write:
            reply = self.files.delete(path, permanent=self.chance.random() < 0.5)
            assert reply.status in (200, 404)
            if reply.status == 404:
                history.forget(write)
                read.value = None
        if reply.status == 200:
            history.reads.remove(read)

    def read(self, path: str) -> None:
        with self.histories[path].reading() as read:
            reply = self.files.get(path) if self.chance.random() < 0.7 else self.files.old_get(path)
            assert reply.status in (200, 404)
            read.value = value_of(reply.body) if reply.status == 200 else None

    def read_all(self) -> None:
        with self.files:
            for path in self.histories:
                self.read(path)

    def look(self, path: str) -> None:
        reply = self.files.listing(path.partition("/")[0])
        assert reply.status == 200
        names = [entry["path"] for entry in reply.json()]
        assert len(names) == len(set(names)) and set(names) <= set(self.histories)


def test_i01_whatever_is_read_is_one_of_the_whole_contents_and_not_an_old_one(server: Server) -> None:
    histories = {f"one/{name}": History() for name in ("a", "b", "c")}
    with Doors(server) as files:
        assert files.make_folder("one").status == 200
    writers = [Writer(server, number, histories) for number in range(7)]
    program = partial(writers[6].run_on_disk, 60 * TIMES)
    all_at_once([*(partial(writer.run, 80 * TIMES) for writer in writers[:6]), program])
    Writer(server, 8, histories).read_all()
    for path, history in histories.items():
        assert history.unexplained() == [], path


def test_i01_of_many_that_create_one_name_one_does_and_the_others_are_told(server: Server) -> None:
    for turn in range(4 * TIMES):
        path = f"race/new-{turn}"

        def create(files: Doors, number: int, path: str = path) -> int:
            return files.put(path, content(str(number), 1000), if_none_match="*").status

        statuses = crowd(server, 8, create)
        won = [number for number, status in enumerate(statuses) if status == 201]
        assert len(won) == 1 and Counter(statuses) == {201: 1, 412: 7}
        with Doors(server) as files:
            assert value_of(files.get(path).body) == str(won[0])


def test_i01_no_increment_is_lost_when_each_names_what_it_read(server: Server) -> None:
    """A lost update is a write over something that its writer had not read."""
    with Doors(server) as files:
        files.put("race/counter", b"0")

    def count(files: Doors, _: int) -> int:
        done = 0
        for _ in range(15 * TIMES):
            read = files.get("race/counter")
            reply = files.put("race/counter", b"%d" % (int(read.body) + 1), if_match=read.headers["etag"])
            assert reply.status in (200, 412)
            done += reply.status == 200
        return done

    done = crowd(server, 6, count)
    with Doors(server) as files:
        assert int(files.get("race/counter").body) == sum(done) > 0


def test_no_two_contents_of_a_name_share_an_etag(server: Server) -> None:
    """However fast they follow each other and however alike in size: an ETag that came back would let a conditional
    write go over what its writer never saw."""
    with Doors(server) as files:
        told = [files.put("race/fast", b"%06d" % number).json()["etag"] for number in range(100)]
    assert len(set(told)) == len(told)


def test_i03_of_many_renames_to_one_name_one_succeeds_and_no_file_is_lost(server: Server) -> None:
    with Doors(server) as files:
        for turn in range(3 * TIMES):
            for number in range(6):
                files.put(f"renames/{turn}/from-{number}", content(str(number), 1000))

            def rename(files: Doors, number: int, turn: int = turn) -> int:
                return files.rename(f"renames/{turn}/from-{number}", f"renames/{turn}/to").status

            assert Counter(crowd(server, 6, rename)) == {200: 1, 409: 5}
            found = [value_of(files.get(e["path"]).body) for e in files.listing(f"renames/{turn}").json()]
            assert sorted(found) == [str(number) for number in range(6)]


# --- many names -------------------------------------------------------------------------------------------------------

PLACES = ["x", "y", "x/in", "y/in", "x/in/deep", "z"]


class Mover:
    """One client that moves things about, deletes to the trash and takes back from it. It never destroys anything, so
    whatever it does, each token is somewhere."""

    def __init__(self, server: Server, number: int, top: str, tokens: int) -> None:
        self.files = Doors(server)
        self.top = top
        self.tokens = tokens
        self.chance = Random(number)

    def run(self, times: int) -> None:
        deeds = [self.move, self.move, self.move_folder, self.make, self.delete, self.restore, self.restore, self.look]
        with self.files:
            for _ in range(times):
                self.chance.choice(deeds)()

    def place(self) -> str:
        return f"{self.top}/{self.chance.choice(PLACES)}"

    def token(self) -> str:
        return f"{self.place()}/token-{self.chance.randrange(self.tokens)}"

    def move(self) -> None:
        assert self.files.rename(self.token(), self.token()).status in (200, 404, 409)

    def move_folder(self) -> None:
        assert self.files.rename(self.place(), self.place()).status in (200, 400, 404, 409)

    def make(self) -> None:
        assert self.files.make_folder(self.place()).status in (200, 409)

    def delete(self) -> None:
        path = self.token() if self.chance.random() < 0.7 else self.place()
        assert self.files.delete(path).status in (200, 404)

    def restore(self) -> None:
        for item in self.files.trash()[:3]:
            if item["path"].startswith(f"{self.top}/"):
                assert self.files.restore(item["id"]).status in (200, 404, 409)

    def look(self) -> None:
        reply = self.files.listing(self.top, recursive=True)
        assert reply.status in (200, 404)
        for entry in reply.json() if reply.status == 200 else []:
            parts = entry["path"].removeprefix(f"{self.top}/").split("/")
            assert all(part in ("x", "y", "z", "in", "deep") for part in parts[: -1 if entry["is_file"] else None])
            assert not entry["is_file"] or (parts[-1].startswith("token-") and entry["size"] > 64)


def test_i03_in_a_storm_of_moves_deletes_and_undos_no_file_is_lost_or_doubled(server: Server) -> None:
    top, tokens, root = "storm", 12, root_of(server)
    with Doors(server) as files:
        for number in range(tokens):
            files.put(f"{top}/{PLACES[number % len(PLACES)]}/token-{number}", content(f"token-{number}", 500))
        all_at_once([partial(Mover(server, number, top, tokens).run, 100 * TIMES) for number in range(6)])
        held = Counter(value_of(data) for data in tokens_in(root) if data is not None)
        assert held == Counter(f"token-{number}" for number in range(tokens))
        told = {e["path"]: e["is_file"] for e in files.listing("", recursive=True).json() if e["path"].startswith(top)}
        there = {path: data is not None for path, data in listed_on_disk(root).items() if path.startswith(top)}
        assert told == there


def tokens_in(root: Path) -> list[bytes | None]:
    """Doors of the storm, in their places and in the trash."""
    places = [data for path, data in listed_on_disk(root).items() if path.startswith("storm/")]
    trash = [path.read_bytes() for path in (root / ".entrepot" / "trash").glob("*/item/**/*") if path.is_file()]
    items = [path.read_bytes() for path in (root / ".entrepot" / "trash").glob("*/item") if path.is_file()]
    return [*places, *(data for data in trash + items if data.startswith(b"token-"))]


# --- pages ------------------------------------------------------------------------------------------------------------


def test_b13_pages_of_a_changing_folder_have_each_unchanged_entry_once(server: Server) -> None:
    """Entries come and go before, between and behind those that stay, by the door and on the disk."""
    folder = root_of(server) / "busy"
    folder.mkdir()
    stay = [f"{number:03}-stays" for number in range(0, 300, 2)]
    for name in stay:
        (folder / name).write_bytes(b"x")
    done = threading.Event()

    def churn(name: Callable[[int], str], add: Callable[[str], object], remove: Callable[[str], object]) -> int:
        chance, count = Random(5), 0
        while not done.is_set():
            names = [name(chance.randrange(300)) for _ in range(8)]
            for each in dict.fromkeys(names):
                add(each)
            for each in dict.fromkeys(names):
                remove(each)
            count += len(names)
        return count

    def by_the_door() -> int:
        with Doors(server) as files:
            return churn(
                lambda n: f"busy/{n:03}-door", lambda n: files.put(n, b""), lambda n: files.delete(n, permanent=True)
            )

    def on_the_disk() -> int:
        return churn(lambda n: f"{n:03}-disk", lambda n: (folder / n).write_bytes(b""), lambda n: (folder / n).unlink())

    def read_pages() -> None:
        try:
            with Doors(server) as files:
                for limit in (7, 10, 50) * TIMES:
                    names = [entry["name"] for page in files.pages("busy", limit) for entry in page]
                    assert names == sorted(names, key=str.encode)
                    assert len(names) == len(set(names))
                    assert [name for name in names if name.endswith("stays")] == stay
        finally:
            done.set()

    counts = all_at_once([by_the_door, on_the_disk, read_pages])
    assert all(count for count in counts[:2])
