"""A server killed or stopped with work on the volume under way (docs/threats.md H01, H12): what was acknowledged is
there, the rest is as it was before or as it would be after, and never between."""

from __future__ import annotations

import copy
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from entrepot.home import living_pids
from support.crashing import CUT
from support.server import Server
from support.talk import Line, eventually
from support.volumedoors import OWN, Doors, comes_clean, listed_on_disk, root_of, spelled, staged
from support.volumemodel import DONE, Model, stands_between

# As many rounds as `make crash ROUNDS=100` wants; a plain run makes a few.
ROUNDS = int(os.environ.get("ENTREPOT_CRASH_ROUNDS", "8")) // 4 + 1
MIB = 1024 * 1024


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server", {"sweep_interval": "0.2", "drain_timeout": "3"})
    yield server
    if server.process is not None:
        server.kill()


class Client:
    """One client that has a folder to itself, does one thing after the other, and knows what must be there: `model`, or
    when its last deed was never answered perhaps `wanted`."""

    def __init__(self, number: int) -> None:
        self.top = f"client-{number}"
        self.model = Model({self.top: None})
        self.wanted: Model | None = None
        self.chance = Random(number)
        self.upload: tuple[str, str, dict[int, tuple[bytes, str]]] | None = None  # path, id and parts
        self.finishing = False
        self.answered = 0

    def run(self, server: Server, stop: threading.Event) -> None:
        deeds = [self.put, self.put, self.old_put, self.rename, self.copy, self.delete, self.restore, self.parts]
        with Doors(server) as files:
            while not stop.is_set():
                try:
                    self.chance.choice(deeds)(files)
                except CUT:
                    return
                if self.wanted is not None:
                    self.model, self.wanted = self.wanted, None
                self.answered += 1

    def path(self) -> str:
        return f"{self.top}/{self.chance.choice('abc')}/{self.chance.choice('xyz')}"

    def folder(self) -> str:
        return f"{self.top}/{self.chance.choice('abc')}"

    def content(self) -> bytes:
        return self.chance.randbytes(self.chance.choice([0, 100, 50_000, 2 * MIB]))

    def trying(self) -> Model:
        """A model to change: what the deed wants."""
        self.wanted = copy.deepcopy(self.model)
        return self.wanted

    def put(self, files: Doors) -> None:
        path, data = self.path(), self.content()
        status = self.trying().put(path, data)
        assert files.put(path, data).status == status

    def old_put(self, files: Doors) -> None:
        path, data = self.path(), self.content()
        self.trying().put(path, data)
        assert files.old_put(path, data).status == DONE

    def rename(self, files: Doors) -> None:
        of = self.chance.choice([self.path, self.folder])
        path, new = of(), of()
        status = self.trying().rename(path, new, overwrite=True)
        assert files.rename(path, new, overwrite=True).status == status

    def copy(self, files: Doors) -> None:
        of = self.chance.choice([self.path, self.folder])
        path, new = of(), of()
        status = self.trying().copy(path, new, overwrite=True)
        assert files.copy(path, new, overwrite=True).status == status

    def delete(self, files: Doors) -> None:
        path = self.chance.choice([self.path, self.folder])()
        status, dropped = self.trying().delete(path)
        reply = files.delete(path)
        assert reply.status == status
        if dropped and self.wanted:
            self.wanted.trash[reply.json()["trash_id"]] = dropped

    def restore(self, files: Doors) -> None:
        for trash_id in list(self.model.trash)[:1]:
            status = self.trying().restore(trash_id)
            assert files.restore(trash_id).status == status
            if status == 409 and self.wanted:
                self.wanted.trash.pop(trash_id)
                assert files.drop_trash(trash_id).status == DONE

    def parts(self, files: Doors) -> None:
        """One step of an upload in parts, which lives through crashes."""
        if self.upload is None:
            path = self.path()
            self.upload = (path, files.begin(path), {})
            return
        path, upload_id, parts = self.upload
        if len(parts) < 3:
            data = self.content() + b"."
            reply = files.part(path, upload_id, len(parts) + 1, data)
            assert reply.status == DONE, reply.body
            parts[len(parts) + 1] = (data, reply.json()["etag"])
            return
        self.trying().put(path, b"".join(data for data, _ in parts.values()))
        self.finishing = True
        self._finish(files)

    def _finish(self, files: Doors) -> None:
        assert self.upload is not None
        path, upload_id, parts = self.upload
        reply = files.complete(path, upload_id, [(number, etag) for number, (_, etag) in parts.items()])
        assert reply.status == DONE, reply.body
        self.upload, self.finishing = None, False

    def check(self, files: Doors, root: Path) -> None:
        """After a crash and a start."""
        found = {path: data for path, data in listed_on_disk(root).items() if (path + "/").startswith(f"{self.top}/")}
        wanted = self.wanted or self.model
        assert stands_between(found, self.model, wanted), self._difference(found)
        trash = {item["id"]: item["path"] for item in files.trash() if item["path"].startswith(f"{self.top}/")}
        if found == wanted.nodes:
            self.model = wanted
        else:
            self.model.nodes, self.finishing = found, False
        self.wanted = None
        self._check_trash(files, trash)
        if self.finishing:  # it was published, and its answer was lost: it is told again
            self._finish(files)
        if self.upload is not None:
            self._check_parts(files)

    def _difference(self, found: dict[str, bytes | None]) -> str:
        told = self.model.nodes
        changed = {path for path in found.keys() & told.keys() if found[path] != told[path]}
        return f"missing {told.keys() - found.keys()}, not expected {found.keys() - told.keys()}, changed {changed}"

    def _check_trash(self, files: Doors, trash: dict[str, str]) -> None:
        """What is known to be there is there; one more or less may be of the deed that was cut."""
        known = {trash_id: dropped.path for trash_id, dropped in self.model.trash.items()}
        unknown = trash.keys() - known.keys()
        assert len(unknown) + len(known.keys() - trash.keys()) <= 1
        self.model.trash = {trash_id: dropped for trash_id, dropped in self.model.trash.items() if trash_id in trash}
        for trash_id in unknown:
            assert files.drop_trash(trash_id).status == DONE

    def _check_parts(self, files: Doors) -> None:
        assert self.upload is not None
        path, upload_id, parts = self.upload
        reply = files.parts(path, upload_id)
        assert reply.status == DONE, reply.body
        told = {part["part_number"]: part["etag"] for part in reply.json()["parts"]}
        known = {number: etag for number, (_, etag) in parts.items()}
        assert known.items() <= told.items()
        assert told.keys() - known.keys() <= {len(parts) + 1}


@pytest.mark.timeout(300 + 40 * ROUNDS)
def test_h01_kills_at_random_moments_keep_what_was_acknowledged_and_leave_no_half_deed(server: Server) -> None:
    clients, chance = [Client(number) for number in range(4)], Random(3)
    server.start()
    root = root_of(server)
    with Doors(server) as files:
        for client in clients:
            assert files.make_folder(client.top).status == DONE
    rounds = 0
    while rounds < ROUNDS or sum(client.answered for client in clients) <= 10 * ROUNDS:  # a slow machine takes more
        rounds += 1
        stop = threading.Event()
        with ThreadPoolExecutor(len(clients)) as pool:
            running = [pool.submit(client.run, server, stop) for client in clients]
            stop.wait(chance.uniform(0.05, 0.8))
            server.kill()
            stop.set()
            for each in running:
                each.result()
        server.start()
        with Doors(server) as files:
            for client in clients:
                client.check(files, root)
            assert {e["path"] for e in files.listing("", recursive=True).json()} == listed_on_disk(root).keys()
    _nothing_is_left(server)


def _nothing_is_left(server: Server) -> None:
    """When the uploads in parts have ended, also those of which no client was told, and time has passed, the sweep
    leaves nothing in staging (I8)."""
    with Doors(server) as files:
        for record in (root_of(server) / OWN / "staging").glob("*/upload.json"):
            if not record.with_name("end.json").exists():
                path = json.loads(record.read_bytes())["target"].removeprefix("/")
                assert files.cancel(path, record.parent.name).status == DONE
    swept_after_hours(server)


def swept_after_hours(server: Server) -> None:
    """Start the server again as if everything in staging had been written two hours ago."""
    assert server.stop() == 0
    root = root_of(server)
    for path in (root / OWN / "staging").rglob("*"):
        os.utime(path, (time.time() - 7200,) * 2)
    server.start()
    comes_clean(root)


class InFlight:
    """A PUT of which the first half was sent."""

    def __init__(self, server: Server, target: str, data: bytes) -> None:
        self.data = data
        self.line = Line.open(server.port)
        head = {"Authorization": f"Key {server.key}", "Content-Length": str(len(data))}
        self.line.send_head("PUT", f"/v1/serverless/files/file/{target}", **head)
        self.line.send(data[: len(data) // 2])

    def finish(self) -> int:
        with self.line:
            self.line.send(self.data[len(self.data) // 2 :])
            return self.line.answer("PUT").status

    def is_cut(self) -> bool:
        """Whether the connection ended without a success."""
        with self.line:
            return not self.line.rest().startswith(b"HTTP/1.1 2")


def told_to_stop(server: Server, count: int) -> None:
    """When so many things are staged: it takes no new connections."""
    assert server.process
    eventually(lambda: len(staged(root_of(server))) >= count)
    server.process.send_signal(signal.SIGTERM)
    eventually(lambda: not server.workers())


def test_h12_a_stop_lets_writes_finish_and_what_it_cuts_is_not_there_or_can_go_on(server: Server) -> None:
    server.settings["drain_timeout"] = "90"
    server.start()
    assert server.process
    root, data = root_of(server), os.urandom(2 * MIB)
    with Doors(server) as files:
        files.put("kept.bin", b"old")
        upload_id = files.begin("parts.bin")
        etags = [files.part("parts.bin", upload_id, n, data).json()["etag"] for n in (1, 2)]
    parts = f"multipart/{spelled('parts.bin')}/{upload_id}"
    before = len(staged(root))
    quick = [InFlight(server, f"quick-{n}.bin", data) for n in range(8)]
    quick_part = InFlight(server, f"{parts}/3", data)
    never = ("stuck.bin", "kept.bin", f"{parts}/4", f"{parts}/1")
    stuck = [InFlight(server, name, data) for name in never]
    told_to_stop(server, before + len([*quick, quick_part, *stuck]))
    assert [each.finish() for each in quick] == [201] * len(quick), server.log()
    assert quick_part.finish() == 200
    assert server.process.poll() is None
    for each in stuck:
        each.line.close()
    assert server.process.wait(60) == 0  # sooner than its deadline: nothing is left to wait for
    server.settings["drain_timeout"] = "1"
    server.start()
    before = len(staged(root))
    stuck = [InFlight(server, name, data) for name in never]
    told_to_stop(server, before + len(stuck))
    assert server.process.wait(60) == 0
    assert all(each.is_cut() for each in stuck)
    assert living_pids(server.home) == []
    assert listed_on_disk(root) == {f"quick-{n}.bin": data for n in range(8)} | {"kept.bin": b"old"}
    server.start()
    with Doors(server) as files:
        told = files.parts("parts.bin", upload_id).json()["parts"]
        assert [(part["part_number"], part["size"]) for part in told] == [(n, len(data)) for n in (1, 2, 3)]
        assert [part["etag"] for part in told[:2]] == etags
        assert (
            files.complete("parts.bin", upload_id, [(n, part["etag"]) for n, part in enumerate(told, 1)]).status == 200
        )
        assert files.get("parts.bin").body == data * 3
    swept_after_hours(server)
