"""Power loss: record everything that goes to the disk in one log, and make every state that a crash may leave.

The recorder listens at the two doors to the disk: `entrepot.atomic` and SQLite's VFS. So blobs, the home's files and
the catalogue share one order. The disk is a strict reading of POSIX, worse than any real file system:

* bytes, size and facts of a file are safe after a sync of that file, and only what was written before it;
* a name (made, renamed, linked or removed) is safe after a sync of its folder;
* of what is not safe any part may survive, in any order: later writes without earlier ones, a write torn at any byte,
  a size without its bytes, a name without its file's bytes, a removal that did not happen.

What is written and synced at the same time in several threads is logged in the order in which it was announced. Lock
files are made by `entrepot.home` itself: they hold nothing but a pid for messages; their names are seen when their
folder is synced. Any other name that turns up unannounced was written around the doors, and is an error.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import apsw

from entrepot import atomic
from entrepot.atomic import Kind, Op
from entrepot.metadata.sqlite import connect

OF_A_FILE = (Kind.SET_FACTS, Kind.SET_TIME)


class Extra(Enum):
    """What `atomic.Kind` has no word for."""

    SYNC_NAME = "sync_name"  # one name in a folder
    MARK = "mark"


@dataclass(frozen=True, slots=True)
class Event:
    """One operation; `site` is the line of code that asked for a sync, `mark` what a test has to say."""

    kind: Kind | Extra
    path: str = ""
    data: bytes = b""
    offset: int = 0
    target: str = ""
    name: str = ""  # of the attribute
    site: str = ""
    mark: Callable[[Any], None] | None = None


class Recorder:
    """Logs what happens under `root`, which must be empty. Paths in `events` are relative to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events: list[Event] = []
        self.refuse: set[tuple[Kind, str]] = set()  # operations that fail with EIO, once each
        self._known: set[str] = set()
        self._lock = threading.RLock()

    def mark(self, note: Callable[[Any], None]) -> None:
        """Log that from here on `note` is a fact that no crash may undo."""
        self.add(Event(Extra.MARK, mark=note))

    def add(self, event: Event) -> None:
        with self._lock:
            self.events.append(event)
            self._known |= {event.path, event.target}
            if event.kind is Kind.RENAME:
                inside = [path for path in self._known if path.startswith(f"{event.path}/")]
                self._known |= {event.target + path[len(event.path) :] for path in inside}

    def __call__(self, op: Op) -> None:
        """Observe `entrepot.atomic`."""
        path, target = self._inside(op.path), self._inside(op.target)
        if path.startswith("..") or (op.kind is Kind.MAKE_DIR and path == "."):
            assert op.kind in (Kind.MAKE_DIR, Kind.SYNC_DIR), path
            return  # the root and what is above it are there, as safe as the ground
        if (op.kind, path) in self.refuse:
            self.refuse.remove((op.kind, path))
            raise OSError(5, "injected")
        site = _caller() if op.kind in (Kind.SYNC, Kind.SYNC_DIR) else ""
        with self._lock:
            if op.kind is Kind.SYNC_DIR:
                self._see_locks(path)
            self.add(Event(op.kind, path, op.data, op.offset, target, op.name, site))

    def sync_folder(self, folder: Path) -> None:
        """Stands in for the catalogue's own sync of its folder, which may not use `entrepot.atomic`."""
        self(Op(Kind.SYNC_DIR, str(folder)))

    @contextmanager
    def recording(self) -> Iterator[Recorder]:
        real, vfs = connect.sync_folder, RecordingVfs(self)
        connect.sync_folder = self.sync_folder
        try:
            with atomic.observe(self):
                yield self
        finally:
            connect.sync_folder = real
            apsw.set_default_vfs("unix")
            vfs.unregister()

    def _inside(self, path: str) -> str:
        return os.path.relpath(path, self.root) if path else ""

    def _see_locks(self, folder: str) -> None:
        for name in sorted(os.listdir(self.root / folder)):
            path = os.path.normpath(f"{folder}/{name}")
            if path in self._known or name.endswith("-shm"):
                continue
            if not (name == "lock" or name.endswith((".lock", "-lock")) or os.path.basename(folder) == "run"):
                raise AssertionError(f"{path} was written around the doors")
            self.add(Event(Kind.CREATE, path))


def _caller() -> str:
    """The line of ours that asked for this sync: for those in `write_file` and `create_file` not their callers'."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("entrepot.") and frame.f_code.co_name not in ("sync", "_announce"):
            return f"{module.removeprefix('entrepot.')}.{frame.f_code.co_name}:{frame.f_lineno}"
        frame = frame.f_back
    return "tests"


class RecordingVfs(apsw.VFS):
    """The system's VFS as default, with what reaches the disk logged. Shared memory never does, so it is left out."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        super().__init__(f"recorder-{secrets.token_hex(4)}", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        return apsw.VFSFile("unix", name, flags) if path is None else RecordingFile(self._recorder, path, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        path = self._recorder._inside(filename)
        self._recorder.add(Event(Kind.UNLINK, path))
        if syncdir:
            self._recorder.add(Event(Extra.SYNC_NAME, path, site="sqlite: the name of a deleted journal"))
        super().xDelete(filename, syncdir)


class RecordingFile(apsw.VFSFile):
    """One open file of SQLite.

    At the first sync of a journal or log that this handle made, SQLite's unix VFS syncs the folder too (its DIRSYNC
    flag), below the calls that are seen here. The model grants the name of that one file, and no other in the folder.
    """

    def __init__(self, recorder: Recorder, path: str, name: Any, flags: list[int]) -> None:
        self._recorder = recorder
        self._path = recorder._inside(path)
        self._suffix = path.rpartition("-")[2] if path.endswith(("-wal", "-journal")) else "database"
        made = not os.path.exists(path)
        if made and flags[0] & apsw.SQLITE_OPEN_CREATE:
            recorder.add(Event(Kind.CREATE, self._path))
        self._name_is_new = made and self._suffix != "database"
        super().__init__("unix", name, flags)

    def xWrite(self, data: Any, offset: int) -> None:
        self._recorder.add(Event(Kind.WRITE, self._path, bytes(data), offset))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        self._recorder.add(Event(Kind.TRUNCATE, self._path, offset=newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        self._recorder.add(Event(Kind.SYNC, self._path, site=f"sqlite: {self._suffix}"))
        if self._name_is_new:
            self._recorder.add(Event(Extra.SYNC_NAME, self._path, site=f"sqlite: {self._suffix}"))
            self._name_is_new = False
        super().xSync(flags)


# --- the disk -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class About:
    """What a file has beside its bytes: facts (the attribute and what it holds), and a time that was set."""

    facts: tuple[str, bytes] | None = None
    time: int | None = None

    def changed(self, event: Event) -> About:
        if event.kind is Kind.SET_FACTS:
            return replace(self, facts=(event.name, event.data))
        return replace(self, time=event.offset)


@dataclass(slots=True, eq=False)
class File:
    """`now` is what programs see; `safe` survives any crash; `loose` are the changes since."""

    now: bytearray = field(default_factory=bytearray)
    about: About = About()
    safe: bytes = b""
    safe_about: About = About()
    loose: list[Event] = field(default_factory=list)

    def change(self, event: Event) -> None:
        self.loose.append(event)
        if event.kind in OF_A_FILE:
            self.about = self.about.changed(event)
        else:
            _alter(self.now, event)

    def sync(self) -> None:
        self.safe, self.safe_about = bytes(self.now), self.about
        self.loose.clear()


@dataclass(slots=True, eq=False)
class Folder:
    """As `File`, for names. `loose` are the changes that are not safe, in order."""

    now: dict[str, File | Folder] = field(default_factory=dict)
    safe: dict[str, File | Folder] = field(default_factory=dict)
    loose: list[Change] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.loose:
            for folder in change.names.keys() - {self}:
                _rename(folder.safe, change.names[folder])
                folder.loose.remove(change)
        self.safe = dict(self.now)
        self.loose.clear()

    def sync_name(self, name: str) -> None:
        _rename(self.safe, {name: self.now.get(name)})
        self.loose = [change for change in self.loose if name not in change.names[self]]


@dataclass(slots=True, eq=False)
class Change:
    """Names that are set at once, each to a node or to nothing. A rename from one folder into another is one change of
    both: no file system that is in use lets go of a thing without having it elsewhere, nor keeps it twice."""

    names: dict[Folder, dict[str, File | Folder | None]]

    def make(self) -> None:
        for folder, names in self.names.items():
            folder.loose.append(self)
            _rename(folder.now, names)


class Disk:
    """Follows the log. An operation that the system refused (a name that is taken, a folder that is not empty) was
    announced too, and changes nothing here either."""

    def __init__(self, ignored: frozenset[str] = frozenset()) -> None:
        """`ignored` are the sites whose syncs do nothing: as if somebody had taken the line out of the code."""
        self.root = Folder()
        self._ignored = ignored

    def follow(self, event: Event) -> None:
        if event.kind is Extra.MARK or (event.site and event.site in self._ignored):
            return
        if event.kind in (Kind.SYNC, Kind.SYNC_DIR):
            return self._find(event.path).sync()
        above, _, name = event.path.rpartition("/")
        folder = self._find(above)
        assert isinstance(folder, Folder), event.path
        node = folder.now.get(name)
        if event.kind is Extra.SYNC_NAME:
            return folder.sync_name(name)
        if event.kind in (Kind.WRITE, Kind.TRUNCATE, *OF_A_FILE):
            assert isinstance(node, File), event.path
            return node.change(event)
        target = self._find(event.target.rpartition("/")[0]) if event.target else folder
        assert isinstance(target, Folder), event.target
        if names := _changed_names(event, name, node, folder, target):
            Change(names).make()

    def _find(self, path: str) -> File | Folder:
        node: File | Folder = self.root
        for name in filter(lambda part: part not in ("", "."), path.split("/")):
            assert isinstance(node, Folder) and name in node.now, f"{path} was made around the doors"
            node = node.now[name]
        return node


def _changed_names(
    event: Event, name: str, node: File | Folder | None, folder: Folder, target: Folder
) -> dict[Folder, dict[str, File | Folder | None]]:
    """What the operation does to names; nothing when the system refused it."""
    new = event.target.rpartition("/")[2]
    match event.kind:
        case Kind.CREATE if node is None:
            return {folder: {name: File()}}
        case Kind.MAKE_DIR if node is None:
            return {folder: {name: Folder()}}
        case Kind.UNLINK if isinstance(node, File):
            return {folder: {name: None}}
        case Kind.RMDIR if isinstance(node, Folder) and not node.now:
            return {folder: {name: None}}
        case Kind.RENAME if node is not None and folder is target:
            return {folder: {new: node, name: None}}
        case Kind.RENAME if node is not None:
            return {target: {new: node}, folder: {name: None}}
        case Kind.LINK if node is not None and new not in target.now:
            return {target: {new: node}}
    return {}


def _alter(data: bytearray, event: Event, size: int | None = None) -> None:
    """Do a write or truncation; with `size` only that many bytes of a write."""
    if event.kind is Kind.TRUNCATE:
        del data[event.offset :]
        data.extend(bytes(event.offset - len(data)))
        return
    written = event.data[:size]
    if len(data) < event.offset:
        data.extend(bytes(event.offset - len(data)))
    data[event.offset : event.offset + len(written)] = written


def _rename(names: dict[str, File | Folder], change: dict[str, File | Folder | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


# --- crash states ---------------------------------------------------------------------------------------------------

# A path to a file's bytes and what it has beside them, or to None for a folder.
State = dict[str, tuple[bytes, About] | None]
Keep = bool | None  # of what is not safe: all, nothing, or (None) some by chance


@dataclass(frozen=True, slots=True)
class Luck:
    """Which of the loose names and bytes survive."""

    title: str
    names: Keep
    data: Keep


EVERYTHING = Luck("everything survives", True, True)
ONLY_SYNCED = Luck("only what was synced survives", False, False)
NAMES = Luck("names survive, bytes do not", True, False)
TORN = Luck("names survive, and some of the bytes", True, None)
CHANCE = Luck("some of everything survives", None, None)


def crash(disk: Disk, luck: Luck, chance: Random) -> State:
    """What is found after a crash at this moment."""
    state: State = {}
    fates: dict[Change, bool] = {}

    def visit(folder: Folder, above: str) -> None:
        for name, node in _surviving_names(folder, luck.names, fates, chance).items():
            if isinstance(node, Folder):
                state[above + name] = None
                visit(node, f"{above}{name}/")
            else:
                state[above + name] = _surviving_bytes(node, luck.data, chance)

    visit(disk.root, "")
    return state


def _surviving_names(folder: Folder, keep: Keep, fates: dict[Change, bool], chance: Random) -> dict[str, File | Folder]:
    if keep is not None:
        return folder.now if keep else folder.safe
    names = dict(folder.safe)
    for change in folder.loose:
        if fates.setdefault(change, chance.random() < 0.5):
            _rename(names, change.names[folder])
    return names


def _surviving_bytes(file: File, keep: Keep, chance: Random) -> tuple[bytes, About]:
    if keep is True or not file.loose:
        return bytes(file.now), file.about
    if keep is False:
        return file.safe, file.safe_about
    data, about = bytearray(file.safe), file.safe_about
    for event in file.loose:
        fate = chance.choice(["whole", "torn", "size only", "lost"])
        if event.kind in OF_A_FILE:
            about = about.changed(event) if fate == "whole" else about
        elif fate == "whole":
            _alter(data, event)
        elif fate == "torn" and event.data:
            _alter(data, event, chance.randrange(len(event.data)))
        elif fate == "size only" and event.data:
            data.extend(bytes(max(0, event.offset + len(event.data) - len(data))))
    return bytes(data), about


def build(state: State, folder: Path) -> None:
    """Make the state on a real disk, in a folder that is not there yet."""
    folder.mkdir()
    for path, content in state.items():
        if content is None:
            (folder / path).mkdir(0o700)
            continue
        fd = os.open(folder / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(fd, content[0])
            if content[1].facts is not None:
                os.setxattr(fd, *content[1].facts)
            if content[1].time is not None:
                os.utime(fd, ns=(content[1].time,) * 2)
        finally:
            os.close(fd)


def fingerprint(state: State) -> int:
    return hash(frozenset(state.items()))


class Checked:
    """Makes the states that crashes leave of a log, each once (many moments leave the same), and has `look` tell what
    is wrong with each: a folder with the state, and the marks that had been logged."""

    def __init__(self, events: list[Event], place: Path, look: Callable[[Path, list[Event]], list[str]]) -> None:
        self.events = events
        self.states = 0
        self._place = place
        self._look = look
        self._seen: set[tuple[int, int]] = set()

    def moments(self, ignored: frozenset[str] = frozenset()) -> Iterator[tuple[int, Disk, list[Event]]]:
        disk, marks = Disk(ignored), []
        for moment, event in enumerate(self.events):
            disk.follow(event)
            marks += [event] if event.mark else []
            yield moment, disk, marks

    def after(self, disk: Disk, marks: list[Event], luck: Luck, seed: int) -> list[str]:
        """What a crash now breaks."""
        state = crash(disk, luck, Random(seed))
        if (key := (fingerprint(state), len(marks))) in self._seen:
            return []
        self._seen.add(key)
        self.states += 1
        folder = self._place / "state"
        build(state, folder)
        try:
            return self._look(folder, marks)
        finally:
            shutil.rmtree(folder)


@contextmanager
def fast_place(otherwise: Path) -> Iterator[Path]:
    """A folder for states: in memory, when there is such a place, making them takes a tenth of the time."""
    memory = Path("/dev/shm")
    folder = memory / f"entrepot-crash-{os.getpid()}" if memory.is_dir() else otherwise / "states"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
