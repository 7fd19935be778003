"""The unmodified stock `fal files` command of `fal` 1.83.0 against a real server (docs/protocol.md 1.3, 6.6 to 6.8)."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.internet import Reply, Site
from support.server import Server, clean_environ

BIN = Path(__file__).parents[2] / ".venv-fal" / "bin"
pytestmark = pytest.mark.skipif(not BIN.exists(), reason=f"the stock command is not installed in {BIN}: make setup")
MIB = 1024 * 1024
# No `#` and `?`: the stock client cuts paths at them before it sends anything.
ODD_NAMES = [
    "two words.txt",
    "50% off.txt",  # the stock client sends `%41` as it is, which is an A to every server
    "plus+and;semi.txt",
    "quote\"and'.txt",
    "=cmd().csv",
    "-dash.txt",
    "ünïcode 文件.txt",
    "cafe\u0301.txt",
    "caf\u00e9.txt",
    "back\\slash.txt",
    "a:b.txt",
    ".hidden",
    "trailing.",
    "<img onerror=x>.html",
]


# A start of the command takes more than a second, most of it imports: this runs its `main` for one line after another.
# A new process would know no listings of the one before, so what the command keeps of them is dropped.
COMMANDS = """
import contextlib, io, json, os, sys
from fal.cli import main
from fal.files import FalFileSystem
for line in sys.stdin:
    folder, argv = json.loads(line)
    os.chdir(folder)
    FalFileSystem.clear_instance_cache()
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(argv) or 0
        except SystemExit as error:
            code = error.code or 0
    print(json.dumps([code, said.getvalue()]), flush=True)
"""


def surroundings(server: Server, folder: Path) -> dict[str, str]:
    """Nothing but the variables that point the command at the server."""
    own = {"ISOLATE_TEST_MODE": "1", "FAL_GRPC_HOST": f"127.0.0.1:{server.port}", "FAL_KEY": server.key}
    return clean_environ(folder, **own, COLUMNS="200", NO_COLOR="1")


@dataclass(frozen=True)
class Stock:
    """The command, run in a folder of its own."""

    server: Server
    folder: Path
    process: subprocess.Popen[str]

    @property
    def volume(self) -> Path:
        return self.server.home / "data"

    def run(self, *args: str) -> tuple[int, str]:
        """Exit code, and what was said on both streams."""
        assert self.process.stdin and self.process.stdout
        print(json.dumps([str(self.folder), ["files", *args]]), file=self.process.stdin, flush=True)
        code, said = json.loads(self.process.stdout.readline())
        return code, said

    def does(self, *args: str) -> str:
        code, said = self.run(*args)
        assert code == 0, said
        return said

    def says(self, program: str) -> Any:
        """What a program in the stock environment prints last, as JSON."""
        command = [str(BIN / "python"), "-I", "-c", program]
        env = surroundings(self.server, self.folder)
        done = subprocess.run(command, env=env, cwd=self.folder, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"workers": "2", "fetch_allow": "127.0.0.0/8"}
    with Server(tmp_path_factory.mktemp("files"), settings) as server:
        yield server


@pytest.fixture(scope="module")
def commands(shared: Server) -> Iterator[subprocess.Popen[str]]:
    command, env = [str(BIN / "python"), "-I", "-c", COMMANDS], surroundings(shared, shared.folder)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=env, text=True, **pipes) as process:  # type: ignore[call-overload]
        yield process
        process.stdin.close()


@pytest.fixture
def stock(shared: Server, commands: subprocess.Popen[str], tmp_path: Path) -> Stock:
    return Stock(shared, tmp_path, commands)


def test_a_small_file_an_empty_one_and_one_in_parts_arrive_as_they_were(stock: Stock) -> None:
    files = {"small.bin": os.urandom(70_001), "empty.bin": b"", "parts.bin": os.urandom(25 * MIB + 3)}
    for name, data in files.items():
        (stock.folder / name).write_bytes(data)
        stock.does("upload", name, f"up/deep/{name}")
        assert (stock.volume / "up" / "deep" / name).read_bytes() == data
    listed = stock.does("list", "up/deep").split()
    assert listed == sorted(files)
    for name, data in files.items():
        stock.does("download", f"/data/up/deep/{name}", f"back-{name}")
        assert (stock.folder / f"back-{name}").read_bytes() == data


def test_a_file_of_300_mb_goes_up_in_parts_with_its_md5_compared(stock: Stock) -> None:
    path, block = stock.folder / "large.bin", os.urandom(MIB)
    with path.open("wb") as file:
        for number in range(300):
            file.write(number.to_bytes(8, "big") + block[8:])
    stock.does("upload", "large.bin", "large/large.bin")
    kept = stock.volume / "large" / "large.bin"
    assert kept.stat().st_size == path.stat().st_size
    with kept.open("rb") as a, path.open("rb") as b:
        assert hashlib.file_digest(a, "sha256").digest() == hashlib.file_digest(b, "sha256").digest()
    left = [path for path in (stock.volume / ".entrepot" / "staging").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in left) < 16 * 1024  # what was finished is on record, without its bytes


def test_odd_names_go_both_ways(stock: Stock) -> None:
    source = stock.folder / "odd"
    source.mkdir()
    for name in ODD_NAMES:
        (source / name).write_text(f"I am {name}")
    stock.does("upload", "odd", "/data/odd")
    assert {path.name for path in (stock.volume / "odd").iterdir()} == set(ODD_NAMES)
    stock.does("download", "/data/odd", "back")
    for name in ODD_NAMES:
        assert (stock.folder / "back" / name).read_text() == f"I am {name}"


def test_folders_go_both_ways_and_keep_their_structure(stock: Stock) -> None:
    tree = {"a.txt": "a", "one/b.txt": "b", "one/two/c.txt": "c", "one/two/d.txt": ""}
    for name, text in tree.items():
        path = stock.folder / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    stock.does("upload", "tree", "trees/first")
    stock.does("upload", "tree", "trees/first")  # into the folder that is there now, as the client decides
    assert (stock.volume / "trees" / "first" / "one" / "two" / "c.txt").read_text() == "c"
    stock.does("download", "/data/trees/first/one", "back")
    assert (stock.folder / "back" / "two" / "c.txt").read_text() == "c"
    assert (stock.folder / "back" / "two" / "d.txt").read_text() == ""


def test_uploading_again_replaces_the_file(stock: Stock) -> None:
    for text in ("first", "second, longer"):
        (stock.folder / "same.txt").write_text(text)
        stock.does("upload", "same.txt", "again/same.txt")
        assert (stock.volume / "again" / "same.txt").read_text() == text


def test_listing_shows_folders_and_files_and_nothing_of_what_is_hidden(stock: Stock) -> None:
    assert stock.does("list").split() == ["data"]
    (stock.folder / "x").write_text("x")
    stock.does("upload", "x", "listed/sub/x")
    assert "listed" in stock.does("list", "/data").split()
    assert ".entrepot" not in stock.does("list", "/data")
    assert stock.does("list", "listed/").split() == ["sub"]
    assert stock.does("list", "no/such/folder").strip() == ""
    assert stock.does("list", "listed/sub/x").strip() == ""


def test_moving_and_removing_files_and_folders(stock: Stock) -> None:
    (stock.folder / "m").write_text("m")
    stock.does("upload", "m", "moving/a/m")
    stock.does("mv", "moving/a/m", "moving/b/n")
    stock.does("mv", "moving/b", "moved")
    assert (stock.volume / "moved" / "n").read_text() == "m"
    assert not (stock.volume / "moving" / "b").exists()
    stock.does("rm", "moved")
    assert not (stock.volume / "moved").exists()
    code, said = stock.run("mv", "moving/none", "x")
    assert code != 0
    assert "there is nothing at moving/none" in said.lower()


def test_an_upload_from_a_url_is_there_when_the_command_returns(stock: Stock) -> None:
    data = os.urandom(3 * MIB + 1)
    site = Site(lambda request: Reply(data))
    try:
        stock.does("upload-url", f"{site.url}/weights.bin", "fetched/weights.bin")
        assert (stock.volume / "fetched" / "weights.bin").read_bytes() == data
        code, said = stock.run("upload-url", "http://192.168.1.1/x", "fetched/private.bin")
    finally:
        site.close()
    assert code != 0
    assert "non-routable address" in said
    assert not (stock.volume / "fetched" / "private.bin").exists()


def test_a_path_out_of_the_volume_is_refused_with_a_reason(stock: Stock) -> None:
    (stock.folder / "evil").write_text("evil")
    for target in ("/etc/evil", "../evil", "a/../../evil", ".entrepot/evil"):
        code, _ = stock.run("upload", "evil", target)
        assert code != 0, target
        assert not (stock.server.home / "evil").exists()
    assert not Path("/etc/evil").exists()


def test_the_installed_script_itself_works_and_says_when_a_key_is_wrong(shared: Server, tmp_path: Path) -> None:
    env = surroundings(shared, tmp_path)
    command = [str(BIN / "fal"), "files", "list"]
    done = subprocess.run([*command, "/data"], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    env["FAL_KEY"] = "0" * 32 + ":" + "0" * 64
    done = subprocess.run([*command, "/data"], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "unknown, wrong or revoked" in (done.stdout + done.stderr)


def test_app_files_are_sent_once_by_their_content(stock: Stock) -> None:
    """What `fal run` and `fal deploy` do with an app's files (docs/protocol.md 6.7)."""
    (stock.folder / "app.py").write_text("print('app')")
    (stock.folder / "empty.txt").write_text("")
    program = """
import json
from pathlib import Path
from fal.file_sync import FileMetadata, FileSync
sync = FileSync("app.py")
found = [FileMetadata.from_path(Path(n), relative=n, absolute=n) for n in ("app.py", "empty.txt")]
hashes = [each.hash for each in found]
before = sync.check_hashes_on_server(hashes)
files, errors = sync.sync_files(["app.py", "empty.txt"])
after = sync.check_hashes_on_server(hashes)
again = [sync.upload_file_multipart(each.absolute_path, each) for each in found]
print(json.dumps({"hashes": hashes, "before": before, "errors": [str(e) for e in errors], "after": after,
                  "again": again}))
"""
    told = stock.says(program)
    assert sorted(told["before"]) == sorted(told["hashes"])
    assert told["errors"] == []
    assert told["after"] == []
    assert told["again"] == ["", ""]  # a 409, which the client takes for a success


def test_a_folder_is_synchronised_as_a_zip_and_only_when_it_changed(stock: Stock) -> None:
    """`fal.sync.sync_dir` (docs/protocol.md 6.8)."""
    (stock.folder / "pack" / "sub").mkdir(parents=True)
    (stock.folder / "pack" / "a.txt").write_text("a")
    (stock.folder / "pack" / "sub" / "b.txt").write_text("b")
    program = """
import json
import fal.sync as sync
sent = []
upload = sync._upload_file
sync._upload_file = lambda *args, **kwargs: (sent.append(1), upload(*args, **kwargs))
where = [sync.sync_dir("pack", "/data/synced/pack") for _ in range(2)]
print(json.dumps({"sent": len(sent), "where": [str(each) for each in where]}))
"""
    told = stock.says(program)
    assert told["sent"] == 1
    assert (stock.volume / "synced" / "pack" / "a.txt").read_text() == "a"
    assert (stock.volume / "synced" / "pack" / "sub" / "b.txt").read_text() == "b"
