"""Files of the volume in and out while lines break, processes die, servers start again and files change."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from entrepot.client.clients import AsyncClient, SyncClient
from entrepot.client.datauri import encode_file
from entrepot.client.errors import SourceChanged
from entrepot.client.types import Progress
from support.faultproxy import DOWN, UP, Cut, Direction, Duplicate, FaultProxy, Faults, Replay, Reset, Stall
from support.files import Files
from support.sdk import PART, STUBBORN, Line, a_file, in_a_hurry, lined, threads_of_uploads
from support.server import Server, clean_environ, command, running
from support.talk import eventually

MIB = 1024 * 1024
SEED = int(os.environ.get("ENTREPOT_TEST_SEED", "600"))
SIZE = 5 * PART + 321
SMALL: dict[str, Any] = {"multipart_threshold": 0, "part_size": PART, "concurrency": 3}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with lined(tmp_path_factory.mktemp("line")) as one:
        yield one


def client_of(line: Line) -> SyncClient:
    client: SyncClient = in_a_hurry(SyncClient(line.server.key, 20.0, url=line.url), STUBBORN)
    return client


def stored(line: Line, path: str) -> bytes | None:
    return Files(line.server).read(path)


def test_lines_that_break_at_random_cost_no_byte_in_either_direction(line, tmp_path):
    for seed in range(SEED, SEED + 6):
        print(f"ENTREPOT_TEST_SEED={seed}")
        chance = random.Random(seed)
        data = a_file(tmp_path / "a.bin", SIZE, seed)
        faults: list[Faults] = [_fault(chance, UP) for _ in range(chance.randrange(1, 6))]
        if seed % 3 == 0:
            faults += [Replay(), Duplicate(UP, chance.randrange(1000, SIZE), 100)]
        line.plan(*faults)
        options = SMALL if seed % 2 else {}  # in parts, in one request
        with client_of(line) as client:
            assert client.files.upload(tmp_path / "a.bin", f"random/{seed}", **options).size == SIZE
        assert stored(line, f"random/{seed}") == data
        line.plan(*[_fault(chance, DOWN) for _ in range(chance.randrange(1, 6))])
        with client_of(line) as client:
            assert client.files.download(f"random/{seed}", tmp_path / "b.bin").verified
        assert (tmp_path / "b.bin").read_bytes() == data
    line.plan()
    assert eventually(lambda: not bytes_left(line))


def bytes_left(line: Line) -> list[Path]:
    """Bytes of files in staging: the notes of finished uploads are none."""
    return [path for path in Files(line.server).leftovers() if path.exists() and path.stat().st_size >= PART // 2]


def _fault(chance: random.Random, where: Direction) -> Faults:
    return chance.choice((Cut, Reset))(where, chance.randrange(SIZE))


def test_an_argument_that_there_is_not_is_refused_and_replaces_nothing(line):
    Files(line.server).store("misspelt/a", b"first")
    line.plan()
    with client_of(line) as client:
        with pytest.raises(TypeError, match="overwite"):
            client.files.write("misspelt/a", b"second", overwite=False)  # type: ignore[call-arg]
        assert client.files.read("misspelt/a") == b"first"


def test_deeds_whose_replies_are_lost_are_done_once(line):
    here = Files(line.server)
    here.store("lost/a", b"a")
    with client_of(line) as client:
        client.files.stat("lost/a")
    for deed in (
        lambda files: files.copy("lost/a", "lost/b"),
        lambda files: files.rename("lost/b", "lost/c"),
        lambda files: files.write("lost/d", b"d", overwrite=False),
        lambda files: files.delete("lost/c"),
    ):
        line.plan(Cut(DOWN, 0) if deed.__code__.co_names[0] != "rename" else Cut(DOWN, 600))
        with client_of(line) as client:
            assert deed(client.files)
    line.plan()
    assert here.names("lost") == ["a", "d"]
    with client_of(line) as client:
        assert [each.path for each in client.files.trash() if each.path.startswith("lost/")] == ["lost/c"]


def test_a_server_that_is_killed_and_starts_again_is_outlasted_both_ways(tmp_path):
    with lined(tmp_path / "line", drain_timeout="1") as line:
        data = a_file(tmp_path / "a.bin", 40 * PART)
        restarts: list[int] = []

        def restart(progress: Progress) -> None:
            if progress.done > 12 * PART and len(restarts) < limit:
                restarts.append(progress.done)
                line.server.kill()
                line.server.start()

        with client_of(line) as client:
            limit = 1
            client.files.upload(tmp_path / "a.bin", "a", progress=restart, **SMALL)
            assert stored(line, "a") == data
            limit = 2
            client.files.download("a", tmp_path / "b.bin", progress=restart)
        assert (tmp_path / "b.bin").read_bytes() == data and len(restarts) == 2


@pytest.mark.parametrize("options", [SMALL, {}], ids=["in parts", "in one request"])
def test_a_file_that_changes_while_it_is_uploaded_is_not_stored(line, tmp_path, options):
    path = tmp_path / "a.bin"
    a_file(path, 20 * PART)

    def change(progress: Progress) -> None:
        if progress.done > 2 * PART:
            with path.open("r+b") as file:
                file.write(b"changed")

    with client_of(line) as client, pytest.raises(SourceChanged):
        client.files.upload(path, "changing", progress=change, **options)
    assert stored(line, "changing") is None and eventually(lambda: not bytes_left(line))


def test_a_file_that_is_replaced_while_it_is_downloaded_comes_as_one_or_the_other(line, tmp_path):
    here = Files(line.server)
    old, new = (random.Random(seed).randbytes(4 * MIB) for seed in (1, 2))
    here.store("replaced", old)
    done: list[bool] = []

    def replace(progress: Progress) -> None:
        if progress.done > MIB and not done:
            done.append(True)
            (here.root / "beside").write_bytes(new)
            os.rename(here.root / "beside", here.root / "replaced")

    line.plan(Cut(DOWN, 3 * MIB))
    with client_of(line) as client:
        client.files.download("replaced", tmp_path / "a.bin", progress=replace)
    assert done and (tmp_path / "a.bin").read_bytes() == new  # the rest of the old one is nowhere any more


def test_a_download_that_is_cancelled_leaves_nothing_running_and_is_gone_on_with(server, tmp_path):
    data = os.urandom(12 * MIB)
    Files(server).store("cancelled", data)

    async def whole(url: str) -> Progress:
        async with AsyncClient(server.key, url=url) as client:
            reached, loop = asyncio.Event(), asyncio.get_running_loop()
            told: list[Progress] = []

            def tell(progress: Progress) -> None:
                if progress.done > 6 * MIB:
                    loop.call_soon_threadsafe(reached.set)

            task = asyncio.create_task(client.files.download("cancelled", tmp_path / "a.bin", progress=tell))
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            eventually(lambda: not threads_of_uploads())  # one that told its end may still be ending
            await client.files.download("cancelled", tmp_path / "a.bin", progress=told.append)
            return told[-1]

    with FaultProxy(server.port, [Stall(DOWN, 8 * MIB, 60.0)]) as proxy:
        assert asyncio.run(whole(f"http://127.0.0.1:{proxy.port}")).resumed > 6 * MIB
    assert (tmp_path / "a.bin").read_bytes() == data and os.listdir(tmp_path) == ["a.bin"]


def cut_short(
    line: Callable[[int], Faults], server: Server, folder: Path, words: list[str], how: signal.Signals
) -> tuple[subprocess.CompletedProcess[str], FaultProxy, subprocess.CompletedProcess[str]]:
    """Run a command, end it when its line stands still, and run it again with a line that does not."""
    stalls = True
    with FaultProxy(server.port, lambda number: line(number) if stalls else None) as proxy:
        env = clean_environ(folder, ENTREPOT_URL=f"http://127.0.0.1:{proxy.port}", ENTREPOT_KEY=server.key)
        start = command("files", *words)
        first = subprocess.Popen(
            start,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 90
        while not any(passage.met for passage in proxy.passages):
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        first.send_signal(how)
        out, err = first.communicate(timeout=90)
        ended = subprocess.CompletedProcess(start, first.returncode, out, err)
        stalls, proxy.passages[:] = False, []
        again = subprocess.run(start, cwd=folder, env=env, capture_output=True, text=True, timeout=90)
        return ended, proxy, again


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_an_upload_that_was_ended_goes_on_where_it_was(server, tmp_path, how):
    data = a_file(tmp_path / "a.bin", 28 * MIB)
    words = ["upload", "--part-size", "8M", "--concurrency", "1", "a.bin", f"cut-{how.name}"]
    stall = Stall(UP, 17 * MIB, 60.0)  # two parts are there, the third is not
    ended, proxy, again = cut_short(lambda _: stall, server, tmp_path, words, how)
    if how is signal.SIGINT:
        assert (ended.returncode, ended.stdout) == (130, "")
        assert re.search(r"16\.8 of 29\.4 MB kept until .+\. Run the same command to continue\.", ended.stderr)
    assert (again.returncode, again.stdout) == (0, f"/data/cut-{how.name}\n")
    assert "resuming at 16.8 MB of 29.4 MB" in again.stderr
    assert 12 * MIB <= sum(passage.passed[UP] for passage in proxy.passages) < 13 * MIB
    assert Files(server).read(f"cut-{how.name}") == data


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_a_download_that_was_ended_goes_on_where_it_was(server, tmp_path, how):
    data = os.urandom(40 * MIB)
    Files(server).store(f"down-{how.name}", data)
    stall = Stall(DOWN, 30 * MIB, 60.0)
    ended, proxy, again = cut_short(lambda _: stall, server, tmp_path, ["download", f"down-{how.name}", "a.bin"], how)
    if how is signal.SIGINT:
        assert (ended.returncode, ended.stdout) == (130, "")
        assert re.search(r"\d\d\.\d of 41\.9 MB kept\. Run the same command to continue\.", ended.stderr)
    assert (again.returncode, again.stdout) == (0, "a.bin\n")
    assert re.search(r"resuming at \d\d\.\d MB of 41\.9 MB", again.stderr)
    assert 10 * MIB <= sum(passage.passed[DOWN] for passage in proxy.passages) < 25 * MIB
    assert (tmp_path / "a.bin").read_bytes() == data
    assert [name for name in os.listdir(tmp_path) if "entrepot" in name] == []


def test_a_path_in_bytes_is_a_path_both_ways(server, tmp_path):
    ours, theirs = (os.fsencode(tmp_path) + name for name in (b"/\xffours", b"/\xfftheirs"))
    with open(ours, "wb") as file:
        file.write(b"text")
    with SyncClient(url=server.url, key=server.key) as client:
        client.files.upload(ours, "bytes/a")  # type: ignore[arg-type]
        client.files.download("bytes/a", theirs)  # type: ignore[arg-type]
    with open(theirs, "rb") as file:
        assert file.read() == b"text"
    assert encode_file(ours) == "data:application/octet-stream;base64,dGV4dA=="  # type: ignore[arg-type]


def test_the_asynchronous_face_does_all_that_the_other_does(server, tmp_path):
    async def whole() -> list[Any]:
        async with AsyncClient(server.key, url=server.url) as client:
            files = client.files
            (tmp_path / "a").write_bytes(b"a" * 100)
            await files.upload(tmp_path / "a", "face/a")

            async def pieces():
                yield b"one"
                yield b"two"

            await files.write("face/b", pieces())
            await files.make_folder("face/sub")
            await files.copy("face/a", "face/sub/c")
            await files.rename("face/sub/c", "face/sub/d")
            found = [entry.path async for entry in files.scan("face", recursive=True)]
            came = await files.download("face/b", tmp_path / "b")
            trash_id = await files.delete("face/sub", recursive=True)
            assert trash_id and any(each.id == trash_id for each in await files.trash())
            await files.undelete(trash_id, "face/again")
            url = await files.publish("face/a", file_name="x.txt")
            await files.keep(url, "face/kept")
            await files.upload_url(url, "face/url")
            usage = await files.usage("face")
            given = bytearray()
            await files.stream("face/kept", given.extend, 90)
            gone = await files.delete("face", recursive=True)
            assert gone is not None
            await files.drop(gone)
            return [found, came.path.read_bytes(), usage.files, usage.size, bytes(given), await files.list("")]

    found, came, count, size, given, left = asyncio.run(whole())
    assert found == ["face/a", "face/b", "face/sub", "face/sub/d"]
    assert (came, count, size, given) == (b"onetwo", 5, 406, b"a" * 10)
    assert "face" not in [each.path for each in left]


def test_a_server_with_the_smallest_pages_is_listed_whole(tmp_path):
    with (
        running(tmp_path, volume_max_page_entries="1000") as server,
        SyncClient(url=server.url, key=server.key) as client,
    ):
        for n in range(2500):
            (server.home / "data" / f"{n:04}").touch()
        assert [entry.name for entry in client.files.list()] == [f"{n:04}" for n in range(2500)]
        assert client.files.trash() == []
