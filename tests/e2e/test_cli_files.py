"""`entrepot files` as people and scripts use it, against a real server. Most run inside this process: they are many."""

from __future__ import annotations

import json
import os
import subprocess
import unicodedata
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from entrepot.cli.main import main
from support.server import clean_environ, command

MIB = 1024 * 1024
# B05, B06, B11: each is a name of its own, byte for byte, and acts on nothing.
ODD = [
    unicodedata.normalize("NFC", "café.bin"), unicodedata.normalize("NFD", "café.bin"), "A", "a", "a b", "#x", "a?b=1",
    "100%", "%41", "a+b", "a;b", '"; rm -rf', "<img onerror=x>", "[bold]x[", "=cmd()",
    "-r", "~root", "C:\\x", "...", "日本語", "CON", "a'b\"c", "multipart",
]  # fmt: skip
CONTROL = ["\x1b[31mred", "line\nbreak"]  # of programs on the disk: requests make no such names
ENTRY = ["path", "name", "is_file", "size", "created_at", "updated_at", "etag", "digest"]


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def environ(server, tmp_path, monkeypatch):
    """The environment of a user of the server, in a folder of its own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    env = clean_environ(tmp_path, ENTREPOT_URL=server.url, ENTREPOT_KEY=server.key)
    for name in set(os.environ) - set(env):
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return env


@pytest.fixture
def files(environ, capfd):
    """`files("ls", "-l")`: run a command; what it gave."""

    def run(*words: str) -> Ran:
        try:
            code = main(["files", *words])
        except SystemExit as end:
            code = int(str(end.code))
        return Ran(code, *capfd.readouterr())

    return run


@pytest.fixture
def place() -> str:
    """A folder of the volume that no other test has."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def on_disk(server, place) -> Path:
    """That folder as a program on the server's machine sees it."""
    return server.home / "data" / place


def tree_of(top: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(top)): None if path.is_dir() else path.read_bytes() for path in sorted(top.rglob("*"))}


def test_a_folder_with_odd_names_comes_back_as_it_went(files, place, on_disk):
    top = Path("tree")
    (top / "sub" / "deep").mkdir(parents=True)
    (top / "empty").mkdir()
    for number, name in enumerate(ODD):
        (top / name).write_bytes(name.encode() * number)
    (top / "sub" / "deep" / "large").write_bytes(os.urandom(2 * MIB))
    (top / "link").symlink_to("a")
    sent = files("upload", "tree", place)
    assert (sent.code, len(sent.lines)) == (0, len(ODD) + 1)
    assert sent.err == "skipped: tree/link is a link\n"
    (top / "link").unlink()
    assert tree_of(on_disk) == tree_of(top)
    for name in CONTROL:
        (top / name).write_bytes(b"control")
        refused = files("upload", str(top / name), f"{place}/")
        assert (refused.code, "control characters" in refused.err, "\x1b" in refused.err) == (1, True, False)
        (on_disk / name).write_bytes(b"control")
    came = files("download", place, "back")
    assert (came.code, came.err, len(came.lines)) == (0, "", len(ODD) + 1 + len(CONTROL))
    assert tree_of(Path("back")) == tree_of(top)
    assert all("\x1b" not in each.out for each in (sent, came, files("ls", place), files("tree", place)))


def test_a_file_that_is_named_alone_and_in_its_folder_comes_to_both_places(files, place, on_disk):
    Path("dir").mkdir()
    Path("dir/a").write_text("a")
    assert files("upload", "dir/a", "dir", f"{place}/").lines == [f"/data/{place}/a", f"/data/{place}/dir/a"]
    assert sorted(tree_of(on_disk)) == ["a", "dir", "dir/a"]


def test_the_same_command_brings_only_what_is_missing(files, place):
    for name in ("one", "two", "sub/three"):
        Path("tree", name).parent.mkdir(parents=True, exist_ok=True)
        Path("tree", name).write_bytes(os.urandom(MIB + 1))
    assert [each["sent"] for each in files("upload", "--json", "tree", place).told] == [True, True, True]
    assert [each["fetched"] for each in files("download", "--json", place, "back").told] == [True, True, True]
    Path("tree", "two").write_bytes(b"changed")
    Path("back", "one").unlink()
    again = files("upload", "--json", "tree", place).told
    assert {each["file"]: each["sent"] for each in again} == {
        "tree/one": False,
        "tree/sub/three": False,
        "tree/two": True,
    }
    ran = files("download", "--json", place, "back")
    again = ran.told
    assert ran.err == "1 file was there already with the same bytes\n"
    assert sorted(each["file"] for each in again if each["fetched"]) == ["back/one", "back/two"]
    assert tree_of(Path("back")) == tree_of(Path("tree"))


def test_what_is_printed_is_the_path_alone(files, place):
    Path("note.txt").write_bytes(b"a note")
    sent = files("upload", "note.txt", f"{place}/")
    assert (sent.out, sent.err) == (f"/data/{place}/note.txt\n", "")
    came = files("download", f"/data/{place}/note.txt", "copy.txt")
    assert (came.out, came.err) == ("copy.txt\n", "")
    assert files("cat", f"{place}/note.txt", f"{place}/*").out == "a notea note"
    assert files("download", f"{place}/note.txt", "-").out == "a note"


def test_what_programs_read_has_these_fields(files, place):
    Path("note.txt").write_bytes(b"a note")
    (sent,) = files("upload", "--json", "note.txt", f"{place}/").told
    assert list(sent) == ["file", *ENTRY, "sent"]
    (listed,) = files("ls", "--json", place).told
    assert list(listed) == ENTRY and {**listed, "file": "note.txt", "sent": True} == sent
    assert listed["etag"].startswith('"') and listed["digest"].startswith("sha256:")
    (came,) = files("download", "--json", f"{place}/note.txt", ".").told
    assert list(came) == ["path", "file", "size", "digest", "verified", "fetched"] and came["verified"]
    (used,) = files("du", "--json", place).told
    assert list(used) == ["path", "files", "folders", "size", "quota", "free"] and used["size"] == 6
    (gone,) = files("rm", "--json", f"{place}/note.txt").told
    assert list(gone) == ["path", "trash_id"]
    (kept,) = files("trash", "--json", gone["trash_id"]).told
    assert (
        list(kept) == ["id", "path", "is_file", "size", "deleted_at", "gone_at"] and kept["path"] == f"{place}/note.txt"
    )


def test_a_listing_is_sorted_limited_recursive_and_exact(files, place, on_disk):
    for name, size in (("b", 10), ("a", 3000), ("sub/c", 20)):
        (on_disk / name).parent.mkdir(parents=True, exist_ok=True)
        (on_disk / name).write_bytes(bytes(size))
        os.utime(on_disk / name, (size, size))
    assert files("ls", place).lines == ["a", "b", "sub/"]
    assert files("list", "-r", place).lines == ["a", "b", "sub/", "sub/c"]
    assert files("ls", "--sort", "size", "--limit", "2", place).lines == ["a", "b"]
    assert files("ls", "--sort", "time", "-r", place).lines[1:3] == ["a", "sub/c"]
    assert files("ls", "-l", f"{place}/a").lines == [f"3000\t1970-01-01T00:50:00.000+00:00\t{place}/a"]
    assert files("ls", f"{place}/*", place).lines[:3] == [f"{place}/a", f"{place}/b", f"{place}/sub/"]
    assert json.loads(files("ls", "--json", f"{place}/a").out)["digest"] is None  # a program wrote it
    assert json.loads(files("ls", "--json", "--checksum", f"{place}/a").out)["digest"].startswith("sha256:")
    assert files("tree", place).lines == [f"{place}/", "├── a", "├── b", "└── sub/", "    └── c"]
    assert files("tree", place, "--depth", "1", "-q").err == ""
    assert files("du", f"{place}/sub", f"{place}/a").lines == [
        f"20\t1 file\t/data/{place}/sub", f"3000\t1 file\t/data/{place}/a"
    ]  # fmt: skip


def test_files_are_moved_copied_deleted_and_put_back(files, place, on_disk):
    (on_disk / "dir").mkdir(parents=True)
    for name in ("a", "b", "dir/c"):
        (on_disk / name).write_text(name)
    assert files("mv", f"{place}/a", f"{place}/dir").code == 0 and (on_disk / "dir" / "a").exists()
    assert files("cp", f"{place}/dir/*", f"{place}/new/").code == 0
    assert files("cp", f"{place}/dir", f"{place}/dir2").code == 2  # a folder, and no -r
    assert files("cp", "-r", f"{place}/dir", f"{place}/dir2").code == 0
    assert sorted(tree_of(on_disk)) == [
        "b", "dir", "dir/a", "dir/c", "dir2", "dir2/a", "dir2/c", "new", "new/a", "new/c"
    ]  # fmt: skip
    assert files("mv", f"{place}/b", f"{place}/dir/c").code == 5
    assert files("mv", "--overwrite", f"{place}/b", f"{place}/dir/c").code == 0
    assert (on_disk / "dir" / "c").read_text() == "b"
    gone = files("rm", f"{place}/dir/c")
    assert gone.code == 0 and "entrepot files undelete" in gone.err and not (on_disk / "dir" / "c").exists()
    assert files("undelete", f"{place}/dir/c").lines == [f"/data/{place}/dir/c"]
    assert files("rm", "-r", "--yes", f"{place}/dir", f"{place}/dir/c", f"{place}/dir2").code == 0
    assert files("undelete", f"{place}/dir", "--to", f"{place}/again").code == 0
    assert (on_disk / "again" / "c").read_text() == "b"
    assert files("trash", "--empty", "--yes", f"{place}/dir2").code == 0
    assert files("undelete", f"{place}/dir2").code == 3
    assert files("rm", "-r", "--permanent", "--yes", f"{place}/again").code == 0
    assert files("undelete", f"{place}/again").code == 3
    assert files("mkdir", f"{place}/x/y", f"{place}/x").code == 0 and (on_disk / "x" / "y").is_dir()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["rm", "-r", "/"], 2, "the whole volume"),
        (["rm", "-r", "/data", "--yes"], 2, "the whole volume"),
        (["rm", "-r", ".", "--yes"], 2, "the whole volume"),
        (["rm", ""], 2, "names nothing"),
        (["rm", "-r", "../x", "--yes"], 2, "'.' or '..'"),
        (["rm", "*.nothing", "--yes"], 3, "Nothing matches"),
        (["rm", "no-such-file"], 3, "no such file"),
        (["rm", "PLACE", "--yes"], 2, "is a folder"),
        (["rm", "-r", "PLACE"], 2, "2 files, 2 B"),
        (["rm", "PLACE/*"], 2, "Nobody can be asked"),
        (["rm", "PLACE/a", "--permanent"], 2, "for good"),
        (["mv", "/", "x"], 2, "the whole volume"),
        (["trash", "--empty", "PLACE"], 3, "in the trash"),
    ],
)  # fmt: skip
def test_j07_what_would_destroy_too_much_is_refused_or_asked_for(files, place, on_disk, words, code, says):
    on_disk.mkdir()
    for name in ("a", "b"):
        (on_disk / name).write_text(name[:1])
    ran = files(*(word.replace("PLACE", place) for word in words))
    assert (ran.code, ran.out) == (code, "") and says in ran.err
    assert sorted(tree_of(on_disk)) == ["a", "b"]


def test_to_empty_the_trash_is_asked_for_with_what_is_known_of_it(files, place, on_disk):
    (on_disk / "dir").mkdir(parents=True)
    for name in ("dir/a", "b"):
        (on_disk / name).write_bytes(bytes(1500))
    assert files("rm", "-r", "--yes", f"{place}/dir", f"{place}/b").code == 0
    ran = files("trash", "--empty", f"{place}/dir", f"{place}/b")
    assert ran.code == 2 and "2 deleted paths (1 file, 1.5 kB; 1 folder with all in it)" in ran.err
    assert "entrepot files trash" in ran.err and "--dry-run" not in ran.err
    assert len(files("trash", f"{place}/dir", f"{place}/b").lines) == 2


def test_a_dry_run_says_what_and_how_much_and_does_nothing(files, place, on_disk):
    Path("dir").mkdir()
    Path("dir/a.bin").write_bytes(bytes(1500))
    Path("dir/b.tmp").write_bytes(b"b")
    assert files("upload", "-n", "dir", place, "--exclude", "*.tmp").lines == [
        f"    1.5 kB  dir/a.bin -> /data/{place}/a.bin", "1 file, 1.5 kB; nothing was uploaded"
    ]  # fmt: skip
    assert not on_disk.exists()
    files("upload", "dir", place)
    planned = json.loads(files("download", "-n", "--json", place, "back").out)
    assert (planned["count"], planned["bytes"]) == (2, 1501)
    assert planned["files"][0] == {"path": f"{place}/a.bin", "file": "back/a.bin", "size": 1500}
    assert files("rm", "-n", "-r", place).lines == [
        f"    1.5 kB  /data/{place}",
        "2 files, 1.5 kB; nothing was deleted",
    ]
    for verb, done in (("mv",), "moved"), (("cp", "-r"), "copied"):
        assert files(*verb, "-n", place, f"{place}2").lines == [
            f"    1.5 kB  /data/{place} -> /data/{place}2", f"2 files, 1.5 kB; nothing was {done}"
        ]  # fmt: skip
    planned = json.loads(files("mv", "-n", "--json", place, f"{place}2").out)
    assert planned == {
        "files": [{"path": place, "to": f"{place}2", "size": 1501, "files": 2}], "count": 2, "bytes": 1501
    }  # fmt: skip
    assert (
        files("mv", "-n", f"{place}/*.tmp", f"{place}/x").lines[0].endswith(f"/data/{place}/b.tmp -> /data/{place}/x")
    )
    assert not Path("back").exists() and sorted(tree_of(on_disk)) == ["a.bin", "b.tmp"]


def test_filters_say_which_files_of_a_folder_are_meant(files, place, on_disk):
    for name in ("a.png", "b.txt", "sub/c.png", "sub/d.tmp"):
        Path("dir", name).parent.mkdir(parents=True, exist_ok=True)
        Path("dir", name).write_text(name)
    assert files("upload", "dir", place, "--include", "*.png", "--include", "sub/*.tmp").code == 0
    assert sorted(tree_of(on_disk)) == ["a.png", "sub", "sub/c.png", "sub/d.tmp"]
    assert files("download", place, "back", "--exclude", "sub").code == 0
    assert sorted(tree_of(Path("back"))) == ["a.png"]


def test_a_write_with_a_condition_happens_only_when_it_is_met(files, place, on_disk):
    Path("a").write_text("one")
    (first,) = files("upload", "--json", "a", f"{place}/a").told
    Path("a").write_text("two")
    refused = files("upload", "--no-overwrite", "a", f"{place}/a")
    assert refused.code == 5 and "fix: Choose another name, or let it be replaced." in refused.err
    assert files("upload", "--if-match", '"other"', "a", f"{place}/a").code == 5
    assert (on_disk / "a").read_text() == "one"
    assert files("upload", "--if-match", first["etag"], "a", f"{place}/a").code == 0
    assert files("rm", "--if-match", first["etag"], f"{place}/a").code == 5
    assert files("upload", "--if-match", "x", "a", "a", f"{place}/").code == 2
    ran = files("upload", "--if-match", "x", "missing", f"{place}/a")
    assert ran.code == 3 and "missing: No such file" in ran.err
    ran = files("upload", "--if-match", first["etag"], "a", "missing", f"{place}/")
    assert ran.code == 2 and "here are 2" in ran.err
    assert (on_disk / "a").read_text() == "two"
    Path("mine").write_text("mine")
    assert files("download", "--no-overwrite", f"{place}/a", "mine").code == 5 and Path("mine").read_text() == "mine"


def test_failures_have_codes_causes_and_fixes_and_do_not_stop_the_others(files, place, monkeypatch):
    Path("a").write_text("a")
    ran = files("upload", "a", "missing", "/dev/zero", f"{place}/")
    assert ran.code == 7 and ran.lines == [f"/data/{place}/a"]
    assert "missing: No such file" in ran.err and "/dev/zero is a device" in ran.err
    assert ran.err.endswith("1 of 3 uploaded, 2 failed\n")
    ran = files("download", f"{place}/a", f"{place}/no", "back/")
    assert ran.code == 7 and ran.lines == ["back/a"] and "no such file" in ran.err
    assert files("upload", "a").code == 2 and files("mv", "a").code == 2 and files("ls", "/etc").code == 2
    assert files("cat", place).code == 1 and files("frob").code == 2
    monkeypatch.setenv("ENTREPOT_KEY", "no:key")
    ran = files("ls")
    assert ran.code == 4 and "fix:" in ran.err and "code: unauthorized (request " in ran.err


def test_files_cross_between_the_volume_and_their_urls(server, files, place, on_disk):
    Path("a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    files("upload", "a.png", f"{place}/")
    (told,) = files("publish", "--json", "--expires", "1h", f"{place}/a.png").told
    assert list(told) == ["url", "path", "size", "digest", "content_type", "expires_at"]
    assert (told["size"], told["content_type"]) == (8, "image/png") and told["expires_at"]
    assert told["url"].endswith("_a.png")
    assert files("keep", told["url"], f"{place}/kept/").lines == [f"/data/{place}/kept/a.png"]
    assert (on_disk / "kept" / "a.png").read_bytes() == b"\x89PNG\r\n\x1a\n"
    assert files("keep", told["url"], f"{place}/kept/a.png").code == 5
    assert files("keep", "--overwrite", told["url"], f"{place}/kept/a.png").code == 0
    ran = files("upload-url", "-q", told["url"], f"{place}/got.png")
    assert (ran.code, ran.out, ran.err) == (0, f"/data/{place}/got.png\n", "")
    assert (on_disk / "got.png").read_bytes() == b"\x89PNG\r\n\x1a\n"
    assert files("upload-url", "http://127.0.0.1:22/x", f"{place}/x").code != 0 and not (on_disk / "x").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_what_a_full_standard_output_does_not_take_is_told_of(files, place, monkeypatch):
    for name in ("a", "b"):
        Path(name).write_text(name)

    def full(*words: str) -> Ran:
        with open("/dev/full", "w") as stream, monkeypatch.context() as patch:
            patch.setattr("sys.stdout", stream)
            return files(*words)

    for words in (["upload", "a", "b", f"{place}/"], ["publish", f"{place}/a", f"{place}/b"]):
        ran = full(*words)
        assert (ran.code, ran.err.count("not written: "), ran.err.count("No space left")) == (1, 2, 2)
    for words in (["cat", f"{place}/a"], ["download", f"{place}/a", "-"], ["ls", "-l", place], ["du"]):
        ran = full(*words)
        assert ran.code == 1 and "No space left" in ran.err


def run(environ: dict[str, str], *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command("files", *words), env=environ, input=stdin, capture_output=True, timeout=120)


def test_pipes_go_in_and_out(environ, place, on_disk):
    data = os.urandom(11 * MIB)  # more than a part
    ran = run(environ, "upload", "-", f"{place}/piped", stdin=data)
    assert (ran.returncode, ran.stdout) == (0, f"/data/{place}/piped\n".encode())
    assert (on_disk / "piped").read_bytes() == data
    assert run(environ, "cat", f"{place}/piped").stdout == data
    os.mkfifo("pipe")
    with subprocess.Popen(["sh", "-c", "printf frames > pipe"], env=environ):
        assert run(environ, "upload", "pipe", f"{place}/frames").returncode == 0
    assert (on_disk / "frames").read_bytes() == b"frames"


def test_a_reader_that_leaves_ends_a_cat_without_noise(environ, place, on_disk):
    on_disk.mkdir()
    (on_disk / "large").write_bytes(bytes(3 * MIB))
    line = " ".join([*command("files", "cat", f"{place}/large"), "| head -c 5"])
    ran = subprocess.run(["sh", "-c", line], env=environ, capture_output=True, timeout=120)
    assert (ran.stdout, ran.stderr) == (bytes(5), b"")


def test_a03_an_archive_is_unpacked_with_names_in_its_own_encoding(files, place, on_disk):
    name = "\u7167\u7247.png"
    stored = "x" * len(name.encode("gbk"))
    with zipfile.ZipFile("old.zip", "w") as archive:
        archive.writestr(stored, b"found" * 100_000)
    packed = Path("old.zip").read_bytes().replace(stored.encode(), name.encode("gbk"))
    Path("old.zip").write_bytes(packed + b"\n")
    ran = files("upload", "--unzip", "--encoding", "gbk", "old.zip", f"{place}/pictures")
    assert (ran.code, ran.lines) == (0, [f"/data/{place}/pictures"])
    assert (on_disk / "pictures" / name).read_bytes() == b"found" * 100_000
    wrong = files("upload", "--unzip", "--encoding", "nonsense", "old.zip", f"{place}/none")
    assert (wrong.code, "no encoding" in wrong.err) == (1, True)
    assert not (on_disk / "none").exists()
    for args in (["--encoding", "gbk", "old.zip"], ["--unzip", "-"], ["--unzip", "missing.zip"], ["--unzip"]):
        assert files("upload", *args, f"{place}/none").code == 2
