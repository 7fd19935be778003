"""What is uploaded, and what happens to it meanwhile: a file is stored as it was, or an error says why not."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from entrepot.client.errors import SourceChanged, SourceError
from entrepot.client.multipart import STREAM_CONCURRENCY
from entrepot.client.types import Phase, Progress, StorageACL, StorageSettings
from support.sdk import PART, WORLDS, Sdk, a_file, fetched, objects_named, open_handles, uploads_named
from support.server import Server, clean_environ, running
from support.stubs import Stub, fair
from support.talk import eventually

TESTS = Path(__file__).parents[1]
SIZE = 6 * PART - 99
BIG = 8 * 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server"), max_upload_size="64M") as shared:
        yield shared


@pytest.fixture(autouse=True)
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENTREPOT_STATE", str(tmp_path / "states"))
    return tmp_path / "states"


@pytest.fixture(params=WORLDS)
def sdk(request: Any, server: Server) -> Iterator[Sdk]:
    made = Sdk(request.param, server.url, server.key)
    yield made
    made.close()


# J01: it changes meanwhile


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def vanish(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(bytes(path.stat().st_size))
    os.replace(other, path)


def modify(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(PART)
        file.write(b"!" * PART)


def modify_and_set_the_time_back(path: Path) -> None:
    facts = path.stat()
    modify(path)
    with path.open("r+b") as file:  # a byte of the first part, which is hashed and sent by then
        file.write(b"\0\0\0\0")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


CHANGES = (grow, shrink, vanish, replace, modify)
changing = pytest.mark.parametrize("change", CHANGES)


def once(change: Callable[[Path], None], path: Path, when: Callable[[Progress], bool]) -> Callable[[Progress], None]:
    """A progress callback that changes the file when the upload is so far."""
    done: list[bool] = []

    def progress(now: Progress) -> None:
        if when(now) and not done:
            done.append(True)
            change(path)

    return progress


@changing
@pytest.mark.parametrize("phase", [Phase.HASHING, Phase.SENDING])
def test_a_file_that_changes_during_a_single_request_is_not_published(server, sdk, change, phase, tmp_path):
    path = tmp_path / f"single-{sdk.world}-{change.__name__}-{phase.value}.bin"
    a_file(path, BIG)
    progress = once(change, path, lambda now: now.phase is phase)
    with pytest.raises(SourceChanged) as caught:
        sdk.upload_file(path, progress=progress)
    assert caught.value.code == "source_changed" and path.name in caught.value.message
    assert objects_named(server, path.name) == 0


@changing
@pytest.mark.parametrize("safe", [0, 3], ids=["at the first part", "after three parts"])
def test_a_file_that_changes_between_its_parts_is_not_published_and_given_up(server, sdk, change, safe, tmp_path):
    path = tmp_path / f"parts-{sdk.world}-{change.__name__}-{safe}.bin"
    a_file(path, SIZE)
    progress = once(change, path, lambda now: now.phase is Phase.SENDING and now.safe >= safe * PART)
    with pytest.raises(SourceChanged):
        sdk.in_parts(path, concurrency=2, progress=progress)
    assert objects_named(server, path.name) == 0
    assert uploads_named(server, path.name) == ["aborted"]
    assert list((tmp_path / "states").iterdir()) == []


@changing
def test_a_file_that_changes_before_it_is_published_is_not(server, sdk, change, tmp_path):
    path = tmp_path / f"end-{sdk.world}-{change.__name__}.bin"
    a_file(path, SIZE)
    with pytest.raises(SourceChanged):
        sdk.in_parts(path, progress=once(change, path, lambda now: now.safe == SIZE))
    assert objects_named(server, path.name) == 0
    assert uploads_named(server, path.name) == ["aborted"]


def test_a_change_whose_time_was_set_back_is_seen_before_publishing(server, sdk, tmp_path):
    path = tmp_path / f"back-{sdk.world}.bin"
    a_file(path, SIZE)
    progress = once(modify_and_set_the_time_back, path, lambda now: now.safe >= 4 * PART)
    with pytest.raises(SourceChanged):
        sdk.in_parts(path, concurrency=1, progress=progress)
    assert objects_named(server, path.name) == 0


def test_rights_and_links_of_a_file_may_change_meanwhile(server, sdk, tmp_path):
    path = tmp_path / f"rights-{sdk.world}.bin"
    data = a_file(path, SIZE)

    def touch(path: Path) -> None:
        path.chmod(0o600)
        os.link(path, path.with_suffix(".link"))

    url = sdk.in_parts(path, progress=once(touch, path, lambda now: now.safe >= 2 * PART))
    assert fetched(server, url) == data


def test_a_changed_file_is_no_reason_to_try_another_way(server, sdk, tmp_path):
    path = tmp_path / f"way-{sdk.world}.bin"
    a_file(path, SIZE)
    progress = once(modify, path, lambda now: now.safe >= 2 * PART)
    with pytest.raises(SourceChanged):
        sdk.in_parts(path, fallback_repository=["fal"], progress=progress)
    assert uploads_named(server, path.name) == ["aborted"]


# J02: what it is


def test_a_pipe_with_a_name_is_uploaded_to_its_end(server, sdk, tmp_path):
    path = tmp_path / f"pipe-{sdk.world}"
    os.mkfifo(path)
    data = os.urandom(300_000)
    writer = threading.Thread(target=path.write_bytes, args=(data,))
    writer.start()
    url = sdk.upload_file(path, part_size=PART)
    writer.join()
    assert fetched(server, url) == data
    assert str(path) not in open_handles().values()


@pytest.mark.parametrize(
    ("what", "says"), [("/dev/zero", "device"), (".", "folder"), ("missing", "No such file"), ("a\0b", "null")]
)
def test_what_cannot_be_uploaded_is_refused_with_its_reason(sdk, what, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=says):
        sdk.upload_file(what)


def test_a_file_that_may_not_be_read_is_refused_with_its_reason(server, tmp_path):
    path = tmp_path / "secret.bin"
    path.write_bytes(b"secret")
    path.chmod(0)
    code = (
        "import os, sys; os.getuid() or os.setuid(65534)\n"
        "from entrepot.client.clients import SyncClient\n"
        "from entrepot.client.errors import SourceError\n"
        "try: SyncClient(sys.argv[2], url=sys.argv[1]).upload_file(sys.argv[3], resume=False)\n"
        "except SourceError as error: print(error)\n"
    )
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    environ = clean_environ(tmp_path)
    command = [sys.executable, "-c", code, server.url, server.key, str(path)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    if "ModuleNotFoundError" in done.stderr or "PermissionError" in done.stderr:
        pytest.skip("another user cannot read this checkout")
    assert "Permission denied" in done.stdout, done.stderr


def test_the_standard_input_is_uploaded_to_its_end(server, tmp_path):
    code = (
        "import sys\nfrom entrepot.client.clients import SyncClient\n"
        "print(SyncClient(sys.argv[2], url=sys.argv[1]).upload_file('-', part_size=65536, file_name='in.bin'))"
    )
    data = os.urandom(200_000)
    path = tmp_path / "in"
    path.write_bytes(data)
    command = [sys.executable, "-W", "error", "-c", code, server.url, server.key]
    environ = clean_environ(tmp_path)
    with path.open("rb") as file:
        for given in ({"input": data}, {"stdin": file}):
            done = subprocess.run(command, env=environ, capture_output=True, timeout=120, check=True, **given)
            assert fetched(server, done.stdout.decode().strip()) == data
            assert done.stderr == b""


def pieces(data: bytes, size: int = 10_000) -> Iterator[bytes]:
    yield b""
    for start in range(0, len(data), size):
        yield data[start : start + size]


class Unseekable(io.RawIOBase):
    """A file object that gives little at a time and cannot go back."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(min(size, 7_777))


def from_a_temporary_file(data: bytes) -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - who uploads it closes it
    file.write(b"before" + data)
    file.seek(6)
    return file


MAKERS: dict[str, Callable[[bytes], Any]] = {
    "bytes": lambda data: data,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "scattered view": lambda data: memoryview(bytes(byte for each in data for byte in (each, 0)))[::2],
    "iterator": pieces,
    "list": lambda data: list(pieces(data)),
    "memory file": io.BytesIO,
    "unseekable file": Unseekable,
    "temporary file": from_a_temporary_file,
}


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 3 * PART], ids=str)
@pytest.mark.parametrize("kind", MAKERS)
def test_whatever_gives_bytes_is_uploaded_whole(server, kind, size):
    data = os.urandom(size)
    sdk = Sdk("sync", server.url, server.key)
    source = MAKERS[kind](data)
    url = sdk.upload(source, part_size=PART, multipart_threshold=PART)
    sdk.close()
    assert fetched(server, url) == data
    assert (url.size, url.digest) == (size, f"sha256:{hashlib.sha256(data).hexdigest()}")
    if hasattr(source, "close"):
        source.close()


def test_a_path_in_bytes_is_a_path(server, sdk, tmp_path):
    path = os.fsencode(tmp_path / "in") + b"\xff.txt"
    with open(path, "wb") as file:
        file.write(b"text")
    url = sdk.upload_file(path)
    assert fetched(server, url) == b"text" and url.endswith("_in%EF%BF%BD.txt")


def test_of_a_stream_no_more_than_a_few_parts_are_held():
    held: list[int] = []

    def flowing() -> Iterator[bytes]:
        for number in range(40):
            held.append(number + 1 - len(stub.kept))
            yield bytes(PART)

    with Stub(fair) as stub:
        sdk = Sdk("sync", stub.url, "id:secret")
        sdk.upload(flowing(), part_size=PART, concurrency=10)
        sdk.close()
        assert len(stub.kept) == 40 and max(held) <= STREAM_CONCURRENCY + 2


@pytest.mark.parametrize("size", [0, 1, PART, 3 * PART + 5], ids=str)
def test_an_asynchronous_iterator_is_uploaded_whole(server, size):
    data = os.urandom(size)

    async def flowing() -> Any:
        for piece in pieces(data):
            await asyncio.sleep(0)
            yield piece

    sdk = Sdk("async", server.url, server.key)
    url = sdk.upload(flowing(), part_size=PART)
    sdk.close()
    assert fetched(server, url) == data


def test_a_synchronous_client_says_that_it_takes_no_asynchronous_iterator(server):
    async def flowing() -> Any:
        yield b""

    sdk = Sdk("sync", server.url, server.key)
    with pytest.raises(SourceError, match="AsyncClient"):
        sdk.upload(flowing())


class Silent(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> Any:
        return None


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (io.StringIO("text"), "open as text"),
        (["text"], "gives str"),
        ([1, 2], "gives int"),
        (5, "int cannot be uploaded"),
        (None, "NoneType cannot be uploaded"),
        (Path("a"), "Path cannot be uploaded"),
        (Silent(), "gives NoneType"),
    ],
    ids=["text file", "texts", "numbers", "number", "nothing", "path", "file that does not wait"],
)
def test_what_gives_no_bytes_is_refused(sdk, data, says):
    with pytest.raises(SourceError, match=says):
        sdk.upload(data)


def test_an_argument_that_there_is_not_is_refused_and_nothing_is_sent(server, sdk, tmp_path):
    path = tmp_path / "misspelt.txt"
    path.write_bytes(b"private")
    private = StorageSettings("immediate", StorageACL("forbid"))
    with pytest.raises(TypeError, match="lifecyle"):
        sdk.upload(b"private", file_name=path.name, lifecyle=private)
    with pytest.raises(TypeError, match="lifecyle"):
        sdk.upload_file(path, lifecyle=private)
    assert objects_named(server, path.name) == 0


def test_what_an_iterator_raises_comes_out_and_the_upload_is_given_up(server, sdk):
    def failing() -> Iterator[bytes]:
        yield bytes(3 * PART)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sdk.upload(failing(), part_size=PART, file_name=f"failing-{sdk.world}.bin")
    assert uploads_named(server, f"failing-{sdk.world}.bin") == ["aborted"]


@pytest.mark.parametrize("world", WORLDS)
def test_what_the_account_holds_already_is_not_sent_again(server, world, tmp_path):
    path = tmp_path / f"held-{world}.bin"
    data = a_file(path, 2 * 1024 * 1024, WORLDS.index(world) + 50)
    sdk = Sdk(world, server.url, server.key)
    first = sdk.upload_file(path)
    phases: list[Phase] = []
    again = sdk.upload_file(path, skip_existing=True, progress=lambda now: phases.append(now.phase))
    fresh = sdk.upload(os.urandom(1024 * 1024), skip_existing=True)
    sdk.close()
    assert again != first and again.digest == first.digest and fetched(server, again) == data
    assert Phase.SENDING not in phases
    assert fresh.size == 1024 * 1024
    eventually(lambda: any(each.get("path") == "/files/upload/existing" for each in server.log_lines()))
