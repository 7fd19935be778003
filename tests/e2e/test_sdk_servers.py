"""Servers that are down, slow, wrong or hostile: where an upload goes instead, and what the error says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from entrepot.client.clients import SyncClient
from entrepot.client.errors import (
    AllFailed,
    ConnectionFailed,
    ServerError,
    Stalled,
)
from support.sdk import HURRY, PART, WORLDS, Sdk, a_file, fetched, in_a_hurry, objects_named, requests, rest_of
from support.server import Server, free_port, running
from support.stubs import Asked, Stub, fair, said, token

KEY = "id-of-key:secret-of-key"
DATA = bytes(range(256)) * 64


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server")) as shared:
        yield shared


@pytest.fixture(autouse=True)
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENTREPOT_STATE", str(tmp_path / "states"))
    return tmp_path / "states"


def hang(asked: Asked) -> None:
    asked.stub.stopping.wait()


def failing(status: int) -> Callable[[Asked], bytes]:
    return lambda asked: said(status, {"detail": f"no, {status}"})


# J05: several servers


BROKEN: dict[str, Callable[[Asked], bytes | None]] = {
    "answers 500": failing(500),
    "answers 503": failing(503),
    "hangs": hang,
    "hangs up": lambda asked: None,
    "hangs at parts": lambda asked: hang(asked) if asked.method == "PUT" else fair(asked),
    "fails at parts": lambda asked: said(502) if asked.method == "PUT" else fair(asked),
    "fails at the end": lambda asked: said(500) if asked.path.endswith("complete") else fair(asked),
}


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("how", [each for each in BROKEN if not each.startswith("hangs")])
@pytest.mark.parametrize("world", WORLDS)
def test_the_next_server_is_taken_when_one_fails(server, world, how, size, tmp_path):
    path = tmp_path / f"next-{world}-{how}-{size}.bin"
    data = a_file(path, 4 * PART + 5)
    with Stub(BROKEN[how]) as broken:
        sdk = Sdk(world, [broken.url, server.url], server.key)
        upload = sdk.in_parts if size == "large" else sdk.upload_file
        if size == "small" and ("parts" in how or "end" in how):
            pytest.skip("a small file has no parts")
        url = upload(path)
        sdk.close()
        assert broken.asked
    assert fetched(server, url) == data
    assert objects_named(server, path.name) == 1


@pytest.mark.parametrize(("how", "size"), [("hangs", "small"), ("hangs", "large"), ("hangs at parts", "large")])
def test_the_next_server_is_taken_when_one_is_silent(server, how, size, tmp_path):
    path = tmp_path / f"silent-{how}-{size}.bin"
    data = a_file(path, 2 * PART)
    with Stub(BROKEN[how]) as broken:
        # Who is not silent has so long for an answer, too.
        sdk = Sdk("sync", [broken.url, server.url], server.key, stall=1.0, policy=replace(HURRY, attempts=3))
        url = (sdk.in_parts if size == "large" else sdk.upload_file)(path, fallback_repository=[])
        sdk.close()
    assert fetched(server, url) == data


@pytest.mark.parametrize("world", WORLDS)
def test_the_next_server_is_taken_when_one_cannot_be_reached(server, world):
    sdk = Sdk(world, [f"http://127.0.0.1:{free_port()}", server.url], server.key)
    assert fetched(server, sdk.upload(DATA)) == DATA
    sdk.close()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
@pytest.mark.parametrize("world", WORLDS)
def test_a_server_that_refuses_is_the_last_one_asked(world, status):
    with Stub(failing(status)) as refusing, Stub(fair) as other:
        sdk = Sdk(world, [refusing.url, other.url], KEY)
        with pytest.raises(ServerError) as caught:
            sdk.upload(DATA)
        sdk.close()
        assert caught.value.status_code == status
        assert len(refusing.asked) <= 2, "a refusal is not repeated; a 401 is, once"
        assert other.asked == []


@pytest.mark.parametrize("world", WORLDS)
def test_when_all_are_down_the_error_lists_every_attempt(world):
    with Stub(failing(500)) as first, Stub(failing(503)) as second:
        sdk = Sdk(world, [first.url, second.url], KEY)
        with pytest.raises(AllFailed) as caught:
            sdk.upload(DATA)
        sdk.close()
        tried = [(each.url, each.repository, each.error.code) for each in caught.value.attempts]
        assert tried == [
            (first.url, "fal_v3", "http_500"),
            (first.url, "fal", "http_500"),
            (second.url, "fal_v3", "http_503"),
            (second.url, "fal", "http_503"),
        ]
        assert first.url in str(caught.value) and second.url in str(caught.value)
        assert len(second.said("POST", "/initiate")) == HURRY.attempts


def test_a_refusal_after_a_failure_is_listed_with_it():
    with Stub(failing(500)) as first, Stub(failing(401)) as second:
        sdk = Sdk("sync", [first.url, second.url], KEY)
        with pytest.raises(AllFailed) as caught:
            sdk.upload(DATA, fallback_repository=[])
        assert [each.error.code for each in caught.value.attempts] == ["http_500", "http_401"]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
@pytest.mark.parametrize("world", WORLDS)
def test_c2_the_other_repository_is_tried_after_three_attempts(world, status):
    """Also when it has troubles of its own, which are waited for as ever."""
    troubles = iter([said(502)] * 5)

    def answer(asked: Asked) -> bytes:
        if asked.path == "/files/upload":
            return said(status)
        return next(troubles, None) or fair(asked) if asked.path.endswith("/initiate") else fair(asked)

    with Stub(answer) as stub:
        sdk = Sdk(world, stub.url, KEY)
        sdk.upload(DATA)
        sdk.close()
        tried = [asked.path for asked in stub.asked if asked.path != "/storage/auth/token"]
        assert tried[:9] == ["/files/upload"] * 3 + ["/storage/upload/initiate"] * 6
        assert len(tried) == 10 and stub.asked[-1].method == "PUT"


# Retries


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_ten_times(status):
    with Stub(failing(status)) as stub:
        sdk = Sdk("sync", stub.url, KEY)
        with pytest.raises(ServerError):
            sdk.upload(DATA, fallback_repository=[])
        assert len(stub.asked) == 10


def test_retry_after_is_waited_for():
    replies = iter([said(429, retry_after="1"), said(503, retry_after="Thu, 01 Jan 2015 00:00:00 GMT")])
    times: list[str] = []

    def answer(asked: Asked) -> bytes:
        times.append(asked.path)
        return next(replies, None) or fair(asked)

    with Stub(answer) as stub:
        sdk = Sdk("sync", stub.url, KEY)
        sdk.upload(DATA)
        sdk.close()
    assert times[:4] == ["/storage/auth/token"] * 3 + ["/files/upload"]


@pytest.mark.parametrize("at", ["token", "upload", "multipart", "initiate", "existing"])
def test_a_server_that_is_busy_is_waited_for_at_every_step_because_nobody_goes_elsewhere_for_it(at):
    replies = [said(429, {"detail": "busy"})] * 8

    def answer(asked: Asked) -> bytes:
        return replies.pop() if replies and asked.path.endswith(f"/{at}") else fair(asked)

    with Stub(answer) as stub:
        sdk = Sdk("sync", [stub.url, "http://127.0.0.1:1"], KEY)
        options = {"multipart_threshold": 0} if at == "multipart" else {"skip_existing": at == "existing"}
        url = sdk.upload(bytes(1024 * 1024), repository="fal" if at == "initiate" else "fal_v3", **options)
        sdk.close()
        assert url.startswith(stub.url) and not replies


def test_a_server_that_asks_to_be_left_alone_is_left_for_the_next_one():
    asks = Stub(lambda asked: said(503, {"detail": "closed"}, retry_after="60"))
    with asks, Stub(fair) as stub:
        sdk = Sdk("sync", [asks.url, stub.url], KEY)
        assert sdk.upload(DATA).startswith(stub.url)
        sdk.close()
        assert len(asks.asked) == 2, "once for each repository"


def test_who_asks_for_an_hour_is_believed_and_not_waited_for():
    with Stub(lambda asked: said(429, {"detail": "later"}, retry_after="3600")) as stub:
        sdk = Sdk("sync", stub.url, KEY)
        with pytest.raises(ServerError) as caught:
            sdk.upload(DATA)
        assert caught.value.retry_after == 3600 and len(stub.asked) == 1


def test_a_reply_that_ends_at_any_byte_is_asked_for_again():
    """E05 and A25."""
    whole = said(200, {"access_url": "http://127.0.0.1:1/files/b/0/x", "uploaded": True})
    for end in range(len(whole)):
        cut = iter([whole[:end]])

        def answer(asked: Asked, cut: Iterator[bytes] = cut) -> bytes | None:
            if asked.path != "/files/upload":
                return fair(asked)
            if (part := next(cut, None)) is None:
                return whole
            asked.stub.say(part)
            return None

        with Stub(answer) as stub:
            sdk = Sdk("sync", stub.url, KEY)
            assert sdk.upload(b"small", fallback_repository=[]) == "http://127.0.0.1:1/files/b/0/x"
            keys = {each.headers["idempotency-key"] for each in stub.said("POST", "/files/upload")}
            assert len(keys) == 1, "all attempts are one upload"
            sdk.close()


def test_json_that_ends_too_early_is_asked_for_again_when_no_length_was_told():
    body = b'{"access_url": "http://127.0.0.1:1/x'
    cut = iter([b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n" + body])

    def answer(asked: Asked) -> bytes:
        return next(cut, None) or fair(asked) if asked.path == "/files/upload" else fair(asked)

    with Stub(answer) as stub:
        sdk = Sdk("sync", stub.url, KEY)
        assert sdk.upload(b"small", fallback_repository=[]).endswith("file.bin")
        sdk.close()
        assert len(stub.said("POST", "/files/upload")) == 2


# Tokens


@pytest.mark.parametrize("world", WORLDS)
def test_a_token_that_ends_in_the_middle_of_many_parts_is_renewed_once(server, world, tmp_path):
    """A29: by its own clock the client renews before the end."""
    path = tmp_path / f"clock-{world}.bin"
    data = a_file(path, 12 * PART)
    sdk = Sdk(world, server.url, server.key)
    ahead: list[float] = [0.0]
    own = sdk.client._context.clock
    sdk.client._context.clock = lambda: own() + ahead[0]
    before = rest_of(lambda: len(requests(server, "POST", "/storage/auth/token")))

    def later(now: Any) -> None:
        if now.safe >= 5 * PART:
            ahead[0] = 40 * 86_400.0

    url = sdk.in_parts(path, progress=later)
    sdk.close()
    assert fetched(server, url) == data
    assert rest_of(lambda: len(requests(server, "POST", "/storage/auth/token"))) == before + 2


@pytest.mark.parametrize("world", WORLDS)
def test_a_token_that_is_refused_in_the_middle_is_renewed_once(world, tmp_path):
    """All parts under way hear of it; one asks for another."""
    path = tmp_path / "refused.bin"
    data = a_file(path, 12 * PART)
    made: list[str] = []
    lock = threading.Lock()

    def answer(asked: Asked) -> bytes:
        if asked.path.endswith("token"):
            made.append(f"token-{len(made)}")
            return said(200, token(asked.stub.url, token=made[-1]))
        with lock:
            over = len(asked.stub.kept) >= 4
        if over and asked.headers["authorization"] == "Bearer token-0":
            return said(401, {"detail": "over"})
        return fair(asked)

    with Stub(answer) as stub:
        sdk = Sdk(world, stub.url, KEY)
        sdk.in_parts(path)
        sdk.close()
        assert made == ["token-0", "token-1"]
        assert b"".join(stub.kept[str(n)] for n in range(1, 13)) == data
        assert len(stub.said("POST", "multipart")) == 1


def test_fifty_threads_ask_for_one_token_and_after_its_end_for_one_more(server):
    """I05"""
    client = in_a_hurry(SyncClient(server.key, url=server.url))
    ahead = [0.0]
    own = client._context.clock
    client._context.clock = lambda: own() + ahead[0]
    for expected in (1, 1):
        before = rest_of(lambda: len(requests(server, "POST", "/storage/auth/token")))
        gate = threading.Barrier(50)

        def upload(number: int, gate: threading.Barrier = gate) -> bool:
            gate.wait()
            data = f"thread {number}".encode()
            return fetched(server, client.upload(data, "text/plain")) == data

        with ThreadPoolExecutor(50) as threads:
            assert all(threads.map(upload, range(50)))
        assert rest_of(lambda: len(requests(server, "POST", "/storage/auth/token"))) == before + expected
        ahead[0] = 40 * 86_400.0
    client.close()


def test_fifty_tasks_ask_for_one_token(server):
    before = rest_of(lambda: len(requests(server, "POST", "/storage/auth/token")))
    sdk = Sdk("async", server.url, server.key)

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(sdk.client.upload(b"task", "text/plain") for _ in range(50)))

    assert len(set(asyncio.run(all_of_them()))) == 50
    sdk.close()
    assert rest_of(lambda: len(requests(server, "POST", "/storage/auth/token"))) == before + 1


def test_a_program_that_changes_its_key_gets_another_token(monkeypatch):
    with Stub(fair) as stub:
        client = in_a_hurry(SyncClient(url=stub.url))
        for key in ("a:1", "a:2", "a:1"):
            monkeypatch.setenv("ENTREPOT_KEY", key)
            client.upload(DATA, "text/plain")
        client.close()
        assert [each.headers["authorization"] for each in stub.said("POST", "/token")] == ["Key a:1", "Key a:2"]


def test_a_stall_counts_from_the_last_byte_and_no_whole_body_has_a_limit():
    """Ten pieces of a reply, each in less than the time-out, together in more."""
    reply = said(200, {"access_url": "http://127.0.0.1:1/x", "uploaded": True, "padding": "x" * 1000})

    def answer(asked: Asked) -> bytes | None:
        if asked.path != "/files/upload":
            return fair(asked)
        for start in range(0, len(reply), len(reply) // 10):
            asked.stub.say(reply[start : start + len(reply) // 10])
            asked.stub.stopping.wait(0.25)
        return b""

    with Stub(answer) as stub:
        sdk = Sdk("sync", stub.url, KEY, stall=2.0)
        assert sdk.upload(DATA, fallback_repository=[]) == "http://127.0.0.1:1/x"
        assert len(stub.said("POST", "/files/upload")) == 1
        sdk.close()


def test_a_silent_server_is_given_up_as_stalled():
    with Stub(hang) as stub:
        sdk = Sdk("sync", stub.url, KEY, stall=0.05)
        with pytest.raises(Stalled) as caught:
            sdk.upload(DATA, fallback_repository=[])
        assert isinstance(caught.value, ConnectionFailed) and isinstance(caught.value, TimeoutError)
        assert rest_of(lambda: len(stub.asked)) == 10  # it may hear the last one late
