"""Threads, forks, cancellation and callbacks: nothing is left behind, and the next call works."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entrepot.client.clients import AsyncClient, SyncClient
from entrepot.client.errors import AllFailed, EntrepotError
from entrepot.client.types import Progress
from support.sdk import HURRY, PART, WORLDS, Sdk, a_file, fetched, in_a_hurry, open_handles, threads_of_uploads
from support.server import Server, clean_environ, running
from support.stubs import Asked, Stub, fair
from support.talk import eventually

SIZE = 5 * PART - 7
SMALL: Any = {"multipart_threshold": 0, "part_size": PART, "concurrency": 3, "fallback_repository": []}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server")) as shared:
        yield shared


@pytest.fixture(autouse=True)
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENTREPOT_STATE", str(tmp_path / "states"))
    return tmp_path / "states"


def nothing_is_left(tmp_path: Path) -> None:
    """No thread, no handle of the file, no lock of a state."""
    eventually(lambda: not threads_of_uploads())
    assert [each for each in open_handles().values() if each.startswith(str(tmp_path))] == []


# Callbacks


class Odd(BaseException):
    pass


@pytest.mark.parametrize("error", [ZeroDivisionError, StopIteration, EntrepotError, Odd])
@pytest.mark.parametrize("parts", [True, False])
@pytest.mark.parametrize("world", WORLDS)
def test_what_a_callback_raises_comes_out_and_the_next_upload_works(server, world, parts, error, tmp_path):
    path = tmp_path / f"raises-{world}-{parts}-{error.__name__}.bin"
    data = a_file(path, SIZE)

    def fail(now: Progress) -> None:
        if now.done > PART:
            raise error("from the callback")

    sdk = Sdk(world, server.url, server.key)
    upload = sdk.in_parts if parts else sdk.upload_file
    with pytest.raises((error, RuntimeError)):
        upload(path, progress=fail)
    nothing_is_left(tmp_path)
    assert fetched(server, upload(path)) == data
    sdk.close()


@pytest.mark.parametrize("parts", [True, False])
def test_a_callback_may_upload_something_with_the_same_client(server, parts, tmp_path):
    path = tmp_path / f"inner-{parts}.bin"
    data = a_file(path, SIZE)
    sdk = Sdk("sync", server.url, server.key)
    inner: list[str] = []

    def more(now: Progress) -> None:
        if len(inner) < 3:
            inner.append(sdk.upload(f"inner {len(inner)}".encode(), "text/plain"))

    url = (sdk.in_parts if parts else sdk.upload_file)(path, progress=more)
    sdk.close()
    assert fetched(server, url) == data
    assert [fetched(server, each) for each in inner] == [b"inner %d" % n for n in range(len(inner))] != []


@pytest.mark.parametrize("world", WORLDS)
def test_progress_counts_up_to_the_size_and_is_told_by_one_thread_at_a_time(server, world, tmp_path):
    path = tmp_path / f"counts-{world}.bin"
    a_file(path, SIZE)
    told: list[Progress] = []
    inside: list[int] = []

    def progress(now: Progress) -> None:
        inside.append(1)
        assert len(inside) == 1
        told.append(now)
        inside.pop()

    sdk = Sdk(world, server.url, server.key)
    sdk.in_parts(path, progress=progress)
    sdk.close()
    assert [now.safe for now in told] == sorted(now.safe for now in told)
    assert (told[-1].phase.value, told[-1].done, told[-1].safe, told[-1].total) == ("publishing", SIZE, SIZE, SIZE)
    assert all(now.done <= SIZE for now in told)
    assert told[-1].until is not None


# Interruption


def test_ctrl_c_while_parts_are_sent_ends_at_once_and_the_upload_goes_on_later(server, tmp_path):
    path = tmp_path / "interrupted.bin"
    data = a_file(path, SIZE)
    main = threading.main_thread().ident

    def interrupt(now: Progress) -> None:
        if now.safe >= 2 * PART and not seen:
            seen.append(now.safe)
            signal.pthread_kill(main or 0, signal.SIGINT)

    seen: list[int] = []
    sdk = Sdk("sync", server.url, server.key)
    with pytest.raises(KeyboardInterrupt):
        sdk.in_parts(path, progress=interrupt, concurrency=2)
    nothing_is_left(tmp_path)
    resumed: list[int] = []
    url = sdk.in_parts(path, progress=lambda now: resumed.append(now.resumed))
    sdk.close()
    assert fetched(server, url) == data
    assert resumed[-1] >= 2 * PART


def test_ctrl_c_while_the_server_is_silent_ends_at_once(tmp_path):
    path = tmp_path / "silent.bin"
    a_file(path, SIZE)
    first = threading.Lock()

    def answer(asked: Asked) -> bytes | None:
        if asked.method == "PUT":
            if first.acquire(blocking=False):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            asked.stub.stopping.wait()
        return fair(asked)

    with Stub(answer) as stub:
        sdk = Sdk("sync", stub.url, "id:secret", stall=60.0)
        with pytest.raises(KeyboardInterrupt):
            sdk.in_parts(path)
        nothing_is_left(tmp_path)


# Forks


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_is_forked_while_threads_upload_can_upload_too(server, tmp_path):
    client = in_a_hurry(SyncClient(server.key, url=server.url))
    stop = threading.Event()
    failures: list[Exception] = []

    def busy() -> None:
        while not stop.is_set():
            try:
                client.upload(os.urandom(100_000), "image/png")
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    context = multiprocessing.get_context("fork")
    try:
        for number in range(5):
            results = context.Queue()

            def child(number: int = number, results: Any = results) -> None:
                results.put(str(client.upload(f"child {number}".encode(), "text/plain")))

            process = context.Process(target=child)
            process.start()
            url = results.get(timeout=120)
            process.join(60)
            assert process.exitcode == 0
            assert fetched(server, url) == f"child {number}".encode()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    client.close()


def test_a_child_that_outlives_its_parents_upload_holds_no_lock_of_it(server, tmp_path):
    path = tmp_path / "parent.bin"
    data = a_file(path, SIZE)
    children: list[int] = []
    read, write = os.pipe()

    def fork_and_fail(now: Progress) -> None:
        if now.safe >= 2 * PART:
            if not children:
                child = os.fork()
                if child == 0:
                    os.close(write)
                    os.read(read, 1)
                    os._exit(0)
                children.append(child)
            raise ZeroDivisionError

    sdk = Sdk("sync", server.url, server.key)
    try:
        with pytest.raises(ZeroDivisionError):
            sdk.in_parts(path, progress=fork_and_fail)
        resumed: list[int] = []
        url = sdk.in_parts(path, progress=lambda now: resumed.append(now.resumed))
        assert fetched(server, url) == data
        assert resumed[-1] >= 2 * PART
    finally:
        os.close(write)
        os.close(read)
        for child in children:
            os.waitpid(child, 0)
    sdk.close()


def test_an_error_passes_between_processes():
    sdk = Sdk("sync", ["http://127.0.0.1:1", "http://127.0.0.1:2"], "id:secret")
    with pytest.raises(AllFailed) as caught:
        sdk.upload(b"x", "text/plain")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), type(again), again.fix) == (str(caught.value), type(caught.value), caught.value.fix)
    assert [each.url for each in again.attempts] == [each.url for each in caught.value.attempts]


# Cancellation


async def cancelled_after(turns: int, client: AsyncClient, path: Path, parts: bool, twice: bool) -> bool:
    """Begin an upload and cancel it after so many turns of the loop; whether it was still under way."""
    options = SMALL if parts else {"fallback_repository": []}
    task = asyncio.ensure_future(client.upload_file(path, **options))
    for _ in range(turns):
        if task.done():
            return False
        await asyncio.sleep(0)
        await asyncio.sleep(0.0005)
    task.cancel()
    if twice:
        await asyncio.sleep(0)
        task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    else:
        return False
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return True


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("parts", [True, False])
def test_an_upload_that_is_cancelled_at_any_await_leaves_nothing(server, parts, twice, tmp_path):
    path = tmp_path / f"cancelled-{parts}-{twice}.bin"
    data = a_file(path, SIZE)

    async def main() -> None:
        client = in_a_hurry(AsyncClient(server.key, url=server.url))
        under_way, turns = True, 0
        while under_way:
            under_way = await cancelled_after(turns, client, path, parts, twice)
            assert [each for each in open_handles().values() if each.startswith(str(tmp_path))] == []
            turns += 1 + turns // 8
        options = SMALL if parts else {}
        assert await asyncio.to_thread(fetched, server, await client.upload_file(path, **options)) == data
        await client.close()
        assert turns > 3

    asyncio.run(main(), debug=False)
    nothing_is_left(tmp_path)
    gc.collect()


def test_who_waits_for_a_token_and_is_cancelled_holds_nobody_up():
    asked_first = threading.Event()
    answer_now = threading.Event()

    def answer(asked: Asked) -> bytes:
        if asked.path.endswith("token") and not asked_first.is_set():
            asked_first.set()
            answer_now.wait(30)
        return fair(asked)

    async def main(stub: Stub) -> None:
        client = in_a_hurry(AsyncClient("id:secret", url=stub.url))
        first = asyncio.ensure_future(client.upload(b"1", "text/plain"))
        await asyncio.to_thread(asked_first.wait)
        second = asyncio.ensure_future(client.upload(b"2", "text/plain"))
        third = asyncio.ensure_future(client.upload(b"3", "text/plain"))
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        answer_now.set()
        assert (await third).size == 1
        await asyncio.gather(first, second, return_exceptions=True)
        assert first.cancelled() and second.cancelled()
        await client.close()

    with Stub(answer) as stub:
        asyncio.run(main(stub))


def test_a_client_serves_several_loops_and_module_functions_leave_no_warning(server, tmp_path):
    code = (
        "import asyncio, sys, entrepot\n"
        "async def main(): return await entrepot.upload_async(b'x', 'text/plain')\n"
        "print(asyncio.run(main())); print(asyncio.run(main())); print(entrepot.upload(b'y', 'text/plain'))\n"
    )
    environ = clean_environ(tmp_path, ENTREPOT_URL=server.url, ENTREPOT_KEY=server.key)
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(set(done.stdout.split())) == 3


@pytest.mark.parametrize("world", WORLDS)
def test_many_failing_uploads_leave_no_handle_and_no_thread(world, tmp_path):
    path = tmp_path / "failing.bin"
    a_file(path, SIZE)
    with Stub(lambda asked: None) as stub:
        for _ in range(5):
            sdk = Sdk(world, stub.url, "id:secret", policy=HURRY)
            with pytest.raises(EntrepotError):
                sdk.in_parts(path)
            sdk.close()
        nothing_is_left(tmp_path)
