"""A state machine that does whatever can be done to a volume, at its two doors and on its disk, and holds answers and
disk against a dictionary. One example is one life of a volume; the server lives on."""

from __future__ import annotations

import itertools
import shutil
from hashlib import md5, sha256
from random import Random
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from support.server import Server
from support.talk import Reply
from support.volumedoors import OWN, Doors, comes_clean, listed_on_disk, root_of
from support.volumemodel import BAD, CONFLICT, DONE, MISSING, Dropped, Model, ServerContext, When

# Two spellings of one word, letters that differ in case only, what URLs, shells, terminals, pages and Windows take for
# more than a name, the words of our own routes, and the longest there is.
NAMES = [
    "a", "A", "b.bin", "caf\u00e9", "cafe\u0301", "a#b", "a?b=c", "100%", "%2e%2e", "%2F", "a+b c", ";x;", "..a", "...",
    "....", " before", "after ", "after.", "CON", "a:b", "C:\\x", "..\\..\\x", "~root", "data", OWN + ".old", "=cmd()",
    "<img onerror=x>", "[bold]x[/]", '"; rm -rf', "\u202etxt", "\u540d\u524d", "\U0001f642",
    "initiate", "complete", "cancel", "local", "url", "multipart", "exists", "1", "x" * 255, "\u00e9" * 127,
]  # fmt: skip

# A place by the numbers of its names, or by the number of what is there (`FILES`: of the files), so that deeds meet.
NAMED = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple)
THERE = st.integers(0, 40)
FILES = st.integers(-40, -1)
PLACES = st.one_of(THERE, FILES, NAMED)
SIZES = st.sampled_from([0, 1, 30, 1000, 70_000, 300_000])
Place = int | tuple[int, ...]
READ_A_FOLDER = CONFLICT


class Upload:
    """An upload in parts: which are to be sent yet, and of the others the last attempt, as (bytes, etag)."""

    def __init__(self, path: str, old: bool, order: list[int]) -> None:
        self.path = path
        self.old = old  # begun and sent at the legacy door
        self.order = order
        self.parts: dict[int, tuple[bytes, str]] = {}


class VolumeMachine(RuleBasedStateMachine):
    """One client after the other, each on its own connection, so that both workers answer."""

    server: ClassVar[Server]

    def __init__(self) -> None:
        super().__init__()
        self.root = root_of(self.server)
        self.clients = [Doors(self.server, "/"), Doors(self.server, "%2F"), Doors(self.server, "/")]
        self.turn = itertools.cycle(self.clients)
        self.model = Model()
        self.uploads: dict[str, Upload] = {}
        self.names = NAMES[:4]
        self.etags: dict[str, tuple[ServerContext, str]] = {}  # of files that nothing has happened to since
        self.told: dict[tuple[str, str], ServerContext] = {}  # the bytes for which an ETag was ever told
        self.made = 0

    @property
    def files(self) -> Doors:
        return next(self.turn)

    def teardown(self) -> None:
        try:
            for upload_id, upload in self.uploads.items():
                self.files.cancel(upload.path, upload_id)
            for item in self.files.trash():
                self.files.drop_trash(item["id"])
            comes_clean(self.root)
        finally:
            for path in [*self.root.iterdir(), *(self.root / OWN / "staging").iterdir()]:
                if path.name != OWN:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            for client in self.clients:
                client.close()

    # What the rules speak of

    def at(self, place: Place) -> str:
        if isinstance(place, tuple):
            return "/".join(self.names[index % len(self.names)] for index in place)
        there = sorted(path for path, node in self.model.nodes.items() if place >= 0 or node is not None)
        return there[place % len(there)] if there else self.names[0]

    def content(self, size: int) -> bytes:
        """Bytes that were never written before."""
        self.made += 1
        mark = b"%d;" % self.made
        return (mark + Random(self.made).randbytes(max(0, size - len(mark))))[: max(size, len(mark))] if size else b""

    def etag_of(self, path: str) -> str:
        if not self.model.is_file(path):
            return '"there-is-no-file-here"'
        reply = self.files.stat(path)
        assert reply.status == DONE
        return str(reply.json()["etag"])

    def condition(self, path: str, when: When) -> dict[str, str]:
        match when:
            case When.ALWAYS:
                return {}
            case When.RIGHT:
                return {"if_match": self.etag_of(path)}
            case When.STALE:
                told = [(etag, node) for (of, etag), node in self.told.items() if of == path]
                stale = [etag for etag, node in told if node is not self.model.nodes.get(path)]
                return {"if_match": ", ".join([*stale, '"never"'])}
            case When.THERE:
                return {"if_match": "*"}
            case When.ABSENT:
                return {"if_none_match": "*"}

    def knows(self, path: str, etag: str) -> None:
        """An ETag stands for one content for ever, and stays as long as nothing happens to the file."""
        node = self.model.nodes[path]
        assert self.told.setdefault((path, etag), node) == node
        assert self.etags.setdefault(path, (node, etag)) == (node, etag)

    def agree(self, reply: Reply, status: int, *, old: bool = False) -> bool:
        """Whether it was done; the status must be the dictionary's."""
        wanted = {BAD: 422}.get(status, min(status, DONE) if status < 300 else status) if old else status
        assert reply.status == wanted, (wanted, reply.status, reply.body)
        if status >= 300 and not old:
            error = reply.json()["error"]
            assert error["type"] in ("validation_error", "not_found") and error["message"] and error["code"]
        return status < 300

    def same_entry(self, entry: dict[str, Any], path: str) -> None:
        node = self.model.nodes[path]
        assert entry["path"] == path
        assert entry["name"] == path.rpartition("/")[2]
        assert entry["is_file"] == (node is not None)
        assert entry["size"] == len(node or b"")
        if node is not None and "checksum_sha256" in entry:
            assert entry["checksum_sha256"] == sha256(node).hexdigest()
        if node is not None and "checksum_md5" in entry:
            assert entry["checksum_md5"] == md5(node).hexdigest()

    def gone(self, path: str, dropped: Dropped | None, trash_id: str | None) -> None:
        """A deed took this from its place."""
        assert dropped is not None
        self.etags.clear()
        if trash_id:
            self.model.trash[trash_id] = dropped

    # Rules

    @initialize(names=st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True))
    def choose_names(self, names: list[str]) -> None:
        """Some names, and a few files to begin with."""
        self.names = names
        for place in ((0,), (1, 0), (1, 1, 0)):
            self.program_writes(place, 100)

    @rule(place=PLACES, size=SIZES, when=st.sampled_from([When.ALWAYS, *When]))
    def put(self, place: Place, size: int, when: When) -> None:
        path, data = self.at(place), self.content(size)
        headers = self.condition(path, when)
        reply = self.files.put(path, data, **headers)
        if self.agree(reply, self.model.put(path, data, when)):
            self.etags.pop(path, None)
            self.same_entry(reply.json(), path)
            assert reply.json()["checksum_sha256"] == sha256(data).hexdigest()
            self.knows(path, reply.json()["etag"])

    @rule(place=PLACES, size=SIZES)
    def old_put(self, place: Place, size: int) -> None:
        path, data = self.at(place), self.content(size)
        if self.agree(self.files.old_put(path, data), self.model.put(path, data), old=True):
            self.etags.pop(path, None)

    @rule(place=PLACES)
    def make_folder(self, place: Place) -> None:
        path = self.at(place)
        reply = self.files.make_folder(path)
        if self.agree(reply, self.model.make_folder(path)):
            self.same_entry(reply.json(), path)

    @rule(place=PLACES, destination=PLACES, overwrite=st.sampled_from([None, False, True]))
    def rename(self, place: Place, destination: Place, overwrite: bool | None) -> None:
        path, new = self.at(place), self.at(destination)
        reply = self.files.rename(path, new, overwrite=overwrite)
        if self.agree(reply, self.model.rename(path, new, overwrite=bool(overwrite))):
            self.etags.clear()
            self.same_entry(reply.json(), new)

    @rule(place=PLACES, destination=PLACES)
    def old_rename(self, place: Place, destination: Place) -> None:
        path, new = self.at(place), self.at(destination)
        if self.agree(self.files.old_rename(path, new), self.model.rename(path, new, overwrite=True), old=True):
            self.etags.clear()

    @rule(place=PLACES, destination=PLACES, overwrite=st.sampled_from([None, False, True]))
    def copy(self, place: Place, destination: Place, overwrite: bool | None) -> None:
        path, new = self.at(place), self.at(destination)
        reply = self.files.copy(path, new, overwrite=overwrite)
        if self.agree(reply, self.model.copy(path, new, overwrite=bool(overwrite))):
            self.etags.pop(new, None)
            self.same_entry(reply.json(), new)

    @rule(place=PLACES, recursive=st.sampled_from([None, True, False]), permanent=st.sampled_from([None, False, True]))
    def delete(self, place: Place, recursive: bool | None, permanent: bool | None) -> None:
        path = self.at(place)
        reply = self.files.delete(path, permanent=permanent, recursive=recursive)
        status, dropped = self.model.delete(path, recursive=recursive is not False)
        if self.agree(reply, status):
            assert reply.json()["path"] == path
            assert bool(reply.json()["trash_id"]) == (not permanent)
            self.gone(path, dropped, reply.json()["trash_id"])

    @rule(place=st.one_of(FILES, PLACES), when=st.sampled_from([When.RIGHT, When.STALE]))
    def delete_on_condition(self, place: Place, when: When) -> None:
        path = self.at(place)
        reply = self.files.delete(path, if_match=self.condition(path, when)["if_match"])
        status, dropped = self.model.delete(path, when=when)
        if self.agree(reply, status):
            self.gone(path, dropped, reply.json()["trash_id"])

    @rule(place=PLACES)
    def old_delete(self, place: Place) -> None:
        path = self.at(place)
        reply = self.files.old_delete(path)
        status, dropped = self.model.delete(path)
        if self.agree(reply, status, old=True):
            (found,) = {item["id"] for item in self.files.trash()} - self.model.trash.keys()
            self.gone(path, dropped, found)

    @precondition(lambda self: self.model.trash)
    @rule(number=st.integers(0, 5), destination=st.one_of(st.none(), PLACES))
    def restore(self, number: int, destination: Place | None) -> None:
        trash_id = list(self.model.trash)[number % len(self.model.trash)]
        back_to = self.model.trash[trash_id].path
        new = None if destination is None else self.at(destination)
        reply = self.files.restore(trash_id, new)
        if self.agree(reply, self.model.restore(trash_id, new)):
            self.etags.clear()
            self.same_entry(reply.json(), back_to if new is None else new)

    @precondition(lambda self: self.model.trash)
    @rule(number=st.integers(0, 5))
    def drop_trash(self, number: int) -> None:
        trash_id = list(self.model.trash)[number % len(self.model.trash)]
        assert self.agree(self.files.drop_trash(trash_id), self.model.drop_trash(trash_id))

    @rule()
    def read_trash(self) -> None:
        items = self.files.trash()
        assert {item["id"]: (item["path"], item["is_file"]) for item in items} == {
            trash_id: (dropped.path, dropped.nodes[""] is not None) for trash_id, dropped in self.model.trash.items()
        }

    # In parts

    @rule(place=PLACES, old=st.booleans(), order=st.permutations([1, 2, 3]), count=st.integers(1, 3))
    def begin_parts(self, place: Place, old: bool, order: list[int], count: int) -> None:
        path = self.at(place)
        reply = self.files.old_initiate(path) if old else self.files.initiate(path)
        refused = not self.model.has_way_to(path) or self.model.is_folder(path)
        if self.agree(reply, (BAD if old else CONFLICT) if refused else DONE, old=old):
            self.uploads[reply.json()["upload_id"]] = Upload(path, old, [n for n in order if n <= count])

    def upload_at(self, which: int) -> tuple[str, Upload]:
        upload_id = list(self.uploads)[which % len(self.uploads)]
        return upload_id, self.uploads[upload_id]

    @precondition(lambda self: self.uploads)
    @rule(which=st.integers(0, 5), size=SIZES, same=st.booleans())
    def send_part(self, which: int, size: int, same: bool) -> None:
        """The next one; when all were sent, one once more, with the same bytes or others."""
        upload_id, upload = self.upload_at(which)
        number = upload.order.pop(0) if upload.order else which % max(len(upload.parts), 1) + 1
        data = self.content(max(size, 1))
        if same and number in upload.parts:
            data, _ = upload.parts[number]
        send = self.files.old_part if upload.old else self.files.part
        reply = send(upload.path, upload_id, number, data)
        assert reply.status == DONE, (reply.status, reply.body)
        assert (reply.json()["part_number"], reply.json()["etag"]) == (number, sha256(data).hexdigest())
        upload.parts[number] = (data, reply.json()["etag"])
        self._same_parts(upload_id, upload)

    def _same_parts(self, upload_id: str, upload: Upload) -> None:
        reply = self.files.parts(upload.path, upload_id)
        assert reply.status == DONE, (reply.status, reply.body)
        found = {part["part_number"]: (part["size"], part["etag"]) for part in reply.json()["parts"]}
        assert found == {number: (len(data), etag) for number, (data, etag) in upload.parts.items()}

    @precondition(lambda self: self.uploads)
    @rule(which=st.integers(0, 5))
    def complete(self, which: int) -> None:
        upload_id, upload = self.upload_at(which)
        cited = [(number, etag) for number, (_, etag) in sorted(upload.parts.items())]
        finish = self.files.old_complete if upload.old else self.files.complete
        reply = finish(upload.path, upload_id, cited)
        if [number for number, _ in cited] != list(range(1, len(cited) + 1)) or not cited:
            self.agree(reply, BAD, old=upload.old)
            return
        data = b"".join(upload.parts[number][0] for number, _ in cited)
        status = self.model.put(upload.path, data)
        if status == CONFLICT and upload.old:  # which the stock client takes for a success
            status = BAD
        if self.agree(reply, min(status, DONE) if status < 300 else status, old=upload.old):
            self.etags.pop(upload.path, None)
            assert reply.json()["etag"] in ("", md5(data).hexdigest())
            again = finish(upload.path, upload_id, cited)
            assert (again.status, again.json()["etag"]) == (DONE, reply.json()["etag"])
            del self.uploads[upload_id]

    @precondition(lambda self: self.uploads)
    @rule(which=st.integers(0, 5))
    def cancel(self, which: int) -> None:
        upload_id, upload = self.upload_at(which)
        end = self.files.old_cancel if upload.old else self.files.cancel
        assert end(upload.path, upload_id).status == DONE
        assert self.files.part(upload.path, upload_id, 1, b"late").status == MISSING
        del self.uploads[upload_id]

    @rule(
        place=PLACES, old=st.booleans(), sizes=st.lists(SIZES, min_size=1, max_size=4), order=st.permutations(range(4)),
        again=st.integers(0, 3),
    )  # fmt: skip
    def put_in_parts(self, place: Place, old: bool, sizes: list[int], order: list[int], again: int) -> None:
        """All of it at once; the last one to be sent, or not, a second time with other bytes."""
        path = self.at(place)
        self.begin_parts(place, old, [], 0)
        if not self.uploads or list(self.uploads.values())[-1].path != path:
            return
        which = len(self.uploads) - 1
        numbers = [number + 1 for number in order if number < len(sizes)]
        self.upload_at(which)[1].order = numbers + [number for number in numbers if number == again]
        for size in [*sizes, 5][: len(self.upload_at(which)[1].order)]:
            self.send_part(which, size, False)
        self.complete(which)

    # Reading

    @rule(place=st.one_of(FILES, PLACES), old=st.booleans())
    def get(self, place: Place, old: bool) -> None:
        path = self.at(place)
        reply = self.files.old_get(path) if old else self.files.get(path)
        if not self.model.is_file(path):
            self.agree(reply, READ_A_FOLDER if self.model.is_folder(path) else MISSING, old=old)
            return
        assert (reply.status, reply.body) == (DONE, self.model.nodes[path])
        assert reply.headers["content-length"] == str(len(reply.body))
        if not old:
            self.knows(path, reply.headers["etag"])
            assert self.files.get(path, if_none_match=reply.headers["etag"]).status == 304

    @rule(place=FILES, start=st.sampled_from([0, 1, 500, 69_999]), length=st.sampled_from([1, 100, 1 << 20]))
    def get_range(self, place: Place, start: int, length: int) -> None:
        path = self.at(place)
        if (data := self.model.nodes.get(path)) is None:
            return
        reply = self.files.get(path, range=f"bytes={start}-{start + length - 1}")
        if start >= len(data):
            assert (reply.status, reply.headers["content-range"]) == (416, f"bytes */{len(data)}")
        else:
            end = min(start + length, len(data))
            assert (reply.status, reply.body) == (206, data[start:end])
            assert reply.headers["content-range"] == f"bytes {start}-{end - 1}/{len(data)}"

    @rule(place=PLACES, checksum=st.sampled_from([None, False, True]))
    def stat(self, place: Place, checksum: bool | None) -> None:
        path = self.at(place)
        reply = self.files.stat(path, checksum=checksum)
        if self.agree(reply, DONE if self.model.exists(path) else MISSING):
            self.same_entry(reply.json(), path)
            if self.model.is_file(path):
                self.knows(path, reply.json()["etag"])
                assert not checksum or "checksum_sha256" in reply.json()

    @rule(place=PLACES)
    def old_exists(self, place: Place) -> None:
        path = self.at(place)
        reply = self.files.old_exists(path)
        if self.agree(reply, DONE if self.model.exists(path) else MISSING, old=True):
            self.same_entry({**reply.json(), "path": reply.json()["path"].removeprefix("/data/")}, path)

    @rule(place=st.one_of(st.none(), PLACES), limit=st.sampled_from([None, 1, 2, 3, 100]))
    def read_folder(self, place: Place | None, limit: int | None) -> None:
        path = "" if place is None else self.at(place)
        if not self.model.is_folder(path):
            self.agree(self.files.listing(path, limit=limit), CONFLICT if self.model.is_file(path) else MISSING)
            return
        found = self._listed(path, limit, recursive=None)
        assert [entry["name"] for entry in found] == self.model.children(path)
        for entry in found:
            self.same_entry(entry, f"{path}/{entry['name']}" if path else entry["name"])

    @rule(place=st.one_of(st.none(), PLACES), limit=st.sampled_from([None, 1, 2, 5, 100]))
    def read_tree(self, place: Place | None, limit: int | None) -> None:
        path = "" if place is None else self.at(place)
        if self.model.is_folder(path):
            found = self._listed(path, limit, recursive=True)
            paths = [entry["path"] for entry in found]
            assert len(paths) == len(set(paths))
            assert set(paths) == {f"{path}/{name}" if path else name for name in self.model.below(path) if name}
            for entry in found:
                self.same_entry(entry, entry["path"])

    def _listed(self, path: str, limit: int | None, recursive: bool | None) -> list[dict[str, Any]]:
        if limit is None:
            reply = self.files.listing(path, recursive=recursive)
            assert reply.status == DONE, (reply.status, reply.body)
            assert "x-entrepot-next-cursor" not in reply.headers
            return list(reply.json())
        pages = list(self.files.pages(path, limit, recursive=recursive))
        assert all(len(page) == limit for page in pages[:-1]) and len(pages[-1]) <= limit
        return list(itertools.chain.from_iterable(pages))

    @rule(place=st.one_of(st.none(), PLACES))
    def old_list(self, place: Place | None) -> None:
        path = "" if place is None else self.at(place)
        reply = self.files.old_list(path)
        assert reply.status == DONE
        names = self.model.children(path) if self.model.is_folder(path) else []
        above = f"/data/{path}/" if path else "/data/"
        assert sorted(entry["path"] for entry in reply.json()) == sorted(above + name for name in names)
        for entry in reply.json():
            self.same_entry(
                {**entry, "path": entry["path"].removeprefix("/data/")}, entry["path"].removeprefix("/data/")
            )

    @rule(place=st.one_of(st.none(), PLACES))
    def usage(self, place: Place | None) -> None:
        path = "" if place is None else self.at(place)
        reply = self.files.usage(path)
        if self.agree(reply, DONE if self.model.exists(path) else MISSING):
            held = self.model.below(path).items()
            files = [node for _, node in held if node is not None]
            folders = [name for name, node in held if node is None and name]
            told = reply.json()
            assert (told["path"], told["files"], told["folders"]) == (path, len(files), len(folders))

    # A program on the disk

    @rule(place=PLACES, size=SIZES)
    def program_writes(self, place: Place, size: int) -> None:
        """It writes beside the volume, on the same file system, and renames."""
        path, data = self.at(place), self.content(size)
        if self.model.put(path, data) < 300:
            self.etags.pop(path, None)
            beside = self.root.parent / "of-a-program"
            beside.write_bytes(data)
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            beside.rename(self.root / path)

    @rule(place=PLACES)
    def program_removes(self, place: Place) -> None:
        path = self.at(place)
        if self.model.delete(path)[0] == DONE:
            self.etags.clear()
            lost = self.root / path
            shutil.rmtree(lost) if lost.is_dir() else lost.unlink()

    @rule(place=PLACES)
    def program_makes_a_folder(self, place: Place) -> None:
        path = self.at(place)
        if self.model.make_folder(path) == DONE:
            (self.root / path).mkdir(parents=True, exist_ok=True)

    # What always holds

    @invariant()
    def the_disk_is_what_the_model_says(self) -> None:
        assert listed_on_disk(self.root) == self.model.nodes

    @invariant()
    def nothing_is_staged_but_parts(self) -> None:
        assert self.uploads or comes_clean(self.root)
