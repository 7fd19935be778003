"""What goes where in `entrepot files`: paths, patterns and filters against a volume that is a dictionary."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from entrepot.cli import exits
from entrepot.cli.files import changing, fetching, listing, sending, showing, trash
from entrepot.cli.files.remote import Remote
from entrepot.cli.filters import EVERYTHING, Filter
from entrepot.cli.root import parse
from entrepot.cli.screen import Screen
from entrepot.client.entries import Entry, Trashed
from entrepot.client.errors import ServerError

NAMES = ["a.bin", "b*c", "logs/1.txt", "logs/2.txt", "logs/old/0.txt", "logs/.hidden", "odd/[x]/y", "empty/"]


class Shelf:
    """As much of `client.files` as plans need."""

    def __init__(self) -> None:
        self.entries = {name.rstrip("/"): Entry(name.rstrip("/"), not name.endswith("/"), 10) for name in NAMES}
        for name in NAMES:
            parts = name.rstrip("/").split("/")
            for depth in range(1, len(parts)):
                folder = "/".join(parts[:depth])
                self.entries.setdefault(folder, Entry(folder, False, 0))

    def stat(self, path: str, **_: Any) -> Entry:
        if path not in self.entries:
            raise ServerError("No such file.", "", 404, "not_found")
        return self.entries[path]

    def scan(self, path: str = "", *, recursive: bool = False) -> Iterator[Entry]:
        start = f"{path}/" if path else ""
        for name in sorted(self.entries):
            if name.startswith(start) and (recursive or "/" not in name[len(start) :]):
                yield self.entries[name]


@pytest.fixture
def remote() -> Remote:
    return Remote(Shelf())  # type: ignore[arg-type]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("one.txt", "two.txt", "dir/1", "dir/sub/2", "dir/sub/skip.tmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "dir" / "void").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/", [""]),
        ("logs", ["logs"]),
        ("/data/logs/", ["logs"]),
        ("*.bin", ["a.bin"]),
        ("logs/*", ["logs/1.txt", "logs/2.txt", "logs/old"]),
        ("**/*.txt", ["logs/1.txt", "logs/2.txt", "logs/old/0.txt"]),
        ("logs/.*", ["logs/.hidden"]),
        ("b*c", ["b*c"]),  # a name is meant before a pattern
        ("odd/[x]/y", ["odd/[x]/y"]),
        ("od?/*/y", ["odd/[x]/y"]),
    ],
)
def test_a_path_or_a_pattern_stands_for(remote, text, found):
    assert [entry.path for entry in remote.resolve(text)] == found


@pytest.mark.parametrize(("text", "code"), [("no", 3), ("*.no", 3), ("a.bin/", 3), ("", 2), ("/etc", 2), ("..", 2)])
def test_what_stands_for_nothing_is_a_failure(remote, text, code):
    with pytest.raises(exits.Failure) as failed:
        remote.resolve(text)
    assert failed.value.code == code


@pytest.mark.parametrize(
    ("args", "paths"),
    [
        (["one.txt", "new.txt"], ["new.txt"]),
        (["one.txt", "logs"], ["logs/one.txt"]),
        (["one.txt", "new/"], ["new/one.txt"]),
        (["one.txt", "two.txt", "new"], ["new/one.txt", "new/two.txt"]),
        (["*.txt", "new"], ["new/one.txt", "new/two.txt"]),
        (["one.txt", "/data"], ["one.txt"]),
        (["dir", "new"], ["new/1", "new/sub/2", "new/sub/skip.tmp"]),
        (["dir", "logs"], ["logs/1", "logs/sub/2", "logs/sub/skip.tmp"]),  # whether it is there or not
        (["dir", "logs/"], ["logs/dir/1", "logs/dir/sub/2", "logs/dir/sub/skip.tmp"]),
        (["dir/", "logs/"], ["logs/1", "logs/sub/2", "logs/sub/skip.tmp"]),
        (["dir", "/"], ["dir/1", "dir/sub/2", "dir/sub/skip.tmp"]),
        (["-", "new"], ["new"]),
    ],
)
def test_uploads_go_where_copies_would(remote, here, args, paths):
    cargo = sending.load(args[:-1], args[-1], remote, EVERYTHING, Screen(quiet=True))
    assert [way.path for way in cargo.ways] == paths and not cargo.failures


def test_empty_folders_go_too_unless_a_filter_says_what_is_meant(remote, here):
    assert sending.load(["dir"], "new", remote, EVERYTHING, Screen(quiet=True)).folders == ["new/void"]
    cargo = sending.load(["dir"], "new", remote, Filter(exclude=("*.tmp",)), Screen(quiet=True))
    assert ([way.path for way in cargo.ways], cargo.folders) == (["new/1", "new/sub/2"], [])
    assert sending.load(["dir/void"], "new", remote, EVERYTHING, Screen(quiet=True)).folders == ["new"]


@pytest.mark.parametrize("args", [["-", "logs"], ["-", "-", "x"], ["dir/1", "dir/../dir/1", "x/"]])
def test_an_upload_without_a_path_of_its_own_is_a_wrong_usage(remote, here, args):
    with pytest.raises(exits.Failure) as failed:
        sending.load(args[:-1], args[-1], remote, EVERYTHING, Screen(quiet=True))
    assert failed.value.code == exits.USAGE


def test_a_name_that_is_no_unicode_is_one_failure(remote, here):
    Path(os.fsdecode(b"dir/\xff")).write_text("x")
    cargo = sending.load(["dir"], "new", remote, EVERYTHING, Screen(quiet=True))
    assert len(cargo.ways) == 3 and "\\xff: The name is no UTF-8" in cargo.failures[0].message


@pytest.mark.parametrize(
    ("args", "paths"),
    [
        (["a.bin", "new"], ["new"]),
        (["a.bin", "dir"], ["dir/a.bin"]),
        (["a.bin", "new/"], ["new/a.bin"]),
        (["logs", "new"], ["new/.hidden", "new/1.txt", "new/2.txt", "new/old/0.txt"]),
        (["logs/old", "dir"], ["dir/0.txt"]),  # whether it is there or not
        (["logs/old", "dir/"], ["dir/old/0.txt"]),
        (["logs/old/", "dir/"], ["dir/0.txt"]),
        (["logs/*.txt", "new"], ["new/1.txt", "new/2.txt"]),
        (["a.bin", "logs/old", "."], ["./a.bin", "./old/0.txt"]),
    ],
)
def test_downloads_go_where_copies_would(remote, here, args, paths):
    cargo = fetching.load(args[:-1], args[-1], remote, EVERYTHING)
    assert [way.local for way in cargo.ways] == paths


def test_a_whole_volume_is_downloaded_with_its_empty_folders(remote, here):
    cargo = fetching.load(["/"], "new", remote, EVERYTHING)
    assert len(cargo.ways) == 7 and "new/empty" in cargo.folders
    cargo = fetching.load(["/"], "new", remote, Filter(include=("*.txt",), exclude=("/logs/old",)))
    assert ([way.local for way in cargo.ways], cargo.folders) == (["new/logs/1.txt", "new/logs/2.txt"], [])


def test_two_files_for_one_path_are_refused(remote, here):
    remote.files.entries["logs/old/1.txt"] = Entry("logs/old/1.txt", True, 1)
    with pytest.raises(exits.Failure, match="would both become"):
        fetching.load(["**/1.txt"], "new", remote, EVERYTHING)


def test_a_server_that_lists_what_was_not_asked_for_is_not_believed(remote):
    remote.files.entries["elsewhere/x"] = Entry("elsewhere/x", True, 1)
    remote.files.scan = lambda *_, **__: iter([Entry("elsewhere/x", True, 1)])
    with pytest.raises(Exception, match="lists 'elsewhere/x'"):
        fetching.load(["logs"], "new", remote, EVERYTHING)


@pytest.mark.parametrize(
    ("pattern", "path", "met"),
    [
        ("*.tmp", "a/b/c.tmp", True),
        ("*.tmp", "a.tmp/b", True),
        ("b", "a/b/c", True),
        ("a/*.tmp", "a/x.tmp", True),
        ("a/*.tmp", "a/b/x.tmp", False),
        ("/b", "a/b", False),
        ("/a", "a/b", True),
        ("**/c", "a/b/c", True),
        ("a/**/c", "a/c", True),
        ("a/**", "a/b/c", True),
        ("*.TMP", "a.tmp", False),
    ],
)
def test_what_a_filter_says_of_a_folder_it_says_of_all_below(pattern, path, met):
    assert Filter(exclude=(pattern,)).takes(path) is not met
    assert Filter(include=(pattern,)).takes(path) is met


def test_what_goes_with_a_folder_is_not_deleted_by_itself(remote):
    entries = [entry for text in ("logs/1.txt", "logs", "logs/old", "a.bin", "a.bin") for entry in remote.resolve(text)]
    assert [entry.path for entry in changing._topmost(entries)] == ["a.bin", "logs"]


def test_a_tree_is_drawn_by_name_and_names_that_act_on_a_terminal_are_escaped():
    found = [("b", Entry("b", False, 0)), ("b/\x1b[1m", Entry("b/\x1b[1m", True, 1)), ("a", Entry("a", True, 1))]
    lines = [line.replace("|-- ", "├── ").replace("`-- ", "└── ") for line in listing.drawn(found)]
    assert lines == ["├── a", "└── b/", "    └── \\x1b[1m"]


def test_what_a_server_says_of_its_trash_acts_on_no_terminal(monkeypatch):
    one = Trashed("\x1b[31mid", "a\x07", True, 1)
    for is_terminal in (False, True):
        monkeypatch.setattr("sys.stdout.isatty", lambda shown=is_terminal: shown, raising=False)
        assert trash._row(one).startswith("\\x1b[31mid") and trash._row(one).endswith("/data/a\\x07")


def test_a_person_sees_columns_and_a_program_exact_numbers(monkeypatch):
    when = datetime(2024, 2, 3, 4, 5, tzinfo=UTC)
    entry = Entry("a/b\x07", True, 1_234_567, updated_at=when)
    assert showing.row(entry, entry.name, exact=False) == "1234567\t2024-02-03T04:05:00.000+00:00\tb\\x07"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert re.fullmatch(
        r"file        1\.2 MB  \d Feb 2024 \d\d:\d\d  b\\x07", showing.row(entry, entry.name, exact=False)
    )
    assert showing.row(Entry("d", False, 0), "d", exact=True).split() == ["folder", "-", "-", "d/"]


def test_a_script_that_did_not_say_yes_is_not_asked(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(exits.Failure) as failed:
        showing.confirm("Delete it?", yes=False, look="--dry-run")
    assert failed.value.code == exits.USAGE
    showing.confirm("Delete it?", yes=True, look="--dry-run")


@pytest.mark.parametrize(
    ("words", "paths"),
    [
        (["ls"], []),
        (["list", "-l", "models"], ["models"]),
        (["ls", "models", "-l", "more"], ["models", "more"]),
        (["upload", "a", "--json", "-", "b/"], ["a", "-", "b/"]),
        (["rm", "--yes", "--", "-x"], ["-x"]),
        (["mv", "a", "--overwrite", "b"], ["a", "b"]),
    ],
)
def test_flags_may_stand_anywhere(words, paths):
    assert parse(["files", *words]).paths == paths
