"""Bodies that come too slowly, readers that take nothing, and what they may not take from others."""

from __future__ import annotations

import contextlib
import json
import select
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from support.inside import add_account
from support.server import Server, running
from support.talk import Line, Reply, Talk, line

FORM = {"content_type": "multipart/form-data; boundary=b"}
TARGETS: list[tuple[str, str, dict[str, str]]] = [
    ("POST", "/files/upload", {}),
    ("POST", "/storage/upload/initiate", {}),
    ("POST", "/files/file/local/slow", FORM),
    ("PUT", "/v1/serverless/files/file/slow", {}),
    ("POST", "/v1/serverless/files/rename/x", {}),
]


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes four bodies at once, cuts those of less than 1000 bytes a second after 0.3 s, and has 32 MiB
    for replies."""
    folder: Path = tmp_path_factory.mktemp("hasty")
    limits = {
        "max_concurrent_bodies": "4",
        "min_body_rate": "1000",
        "body_rate_grace": "0.3",
        "reply_memory": "32M",
        "stall_timeout": "8",
    }
    with running(folder, **limits) as server:
        yield server


def dribbled(lines: Iterable[Line], enough: int) -> list[Reply]:
    """The replies to so many of the lines; meanwhile each gets one byte now and then."""
    waiting = list(lines)
    replies: list[Reply] = []
    while len(replies) < enough:
        for each in select.select([one.socket for one in waiting], [], [], 0)[0]:
            answered = next(one for one in waiting if one.socket is each)
            waiting.remove(answered)
            replies.append(answered.answer("PUT"))
        for one in waiting:
            with contextlib.suppress(OSError):
                one.send(b"1")
        time.sleep(0.05)
    return replies


def opened(stack: contextlib.ExitStack, talk: Talk, method: str, target: str, **headers: str) -> Line:
    one = stack.enter_context(line(talk.server))
    one.send_head(method, target, **talk.key, content_length="30000", **headers)
    one.send(b"--b\r\n" if headers else b"{")
    return one


def test_s3_a_body_slower_than_the_least_rate_is_408_on_every_route(hasty: Server) -> None:
    talk = Talk(hasty)
    upload = talk.post("/files/upload/multipart").json()
    path = f"{upload['access_url'].removeprefix(hasty.url)}/multipart/{upload['uploadId']}"
    with contextlib.ExitStack() as stack:
        parts: list[tuple[str, str, dict[str, str]]] = [("PUT", f"{path}/1", {}), ("POST", f"{path}/complete", {})]
        lines = [opened(stack, talk, method, target, **more) for method, target, more in [*TARGETS, *parts]]
        for reply in dribbled(lines, len(lines)):
            assert (reply.status, b"timed_out" in reply.body) == (408, True)


def test_s3_many_slow_bodies_to_one_url_keep_nobody_out(hasty: Server) -> None:
    talk, other = Talk(hasty), Talk(replace(hasty, key=add_account(hasty, "other")))
    target = talk.initiate()["upload_url"].removeprefix(hasty.url)
    with contextlib.ExitStack() as stack:
        lines = [opened(stack, talk, "PUT", target) for _ in range(24)]
        time.sleep(0.1)
        for each in (talk, other, other):
            assert each.post("/files/upload", b"whole").status == 200
        assert {reply.status for reply in dribbled(lines, 2)} == {408}


@pytest.mark.parametrize("pause", [lambda: time.sleep(0.06), lambda: None], ids=["slow", "fast"])
def test_a24_a_body_above_the_least_rate_comes_whole(hasty: Server, pause: Callable[[], None]) -> None:
    talk, piece = Talk(hasty), bytes(range(250)) * 8
    with line(hasty) as slow:
        slow.send_head("POST", "/files/upload", **talk.key, content_length=str(len(piece) * 9))
        for _ in range(9):
            slow.send(piece)
            pause()
        reply = slow.answer("POST")
    assert reply.status == 200
    assert talk.get(json.loads(reply.body)["access_url"]).body == piece * 9


def test_m6_readers_that_take_nothing_cost_bounded_memory_and_keep_nobody_out(hasty: Server) -> None:
    talk, data = Talk(hasty), bytes(range(256)) * 4096 * 24
    file = "/v1/serverless/files/file/large"
    assert talk.put(file, data, **talk.key).status == 201
    targets = [talk.upload(data).removeprefix(hasty.url), file]
    (worker,) = map(psutil.Process, hasty.workers())
    before = worker.memory_info().rss
    with contextlib.ExitStack() as stack:
        for number in range(100):
            one = stack.enter_context(line(hasty, receive_buffer=4096))
            one.send_head("GET", targets[number % 2], **talk.key)
        for target in targets:
            assert talk.get(target, **talk.key).body == data
        # The allocator keeps up to 64 MiB; without the bound these readers take 400 MiB.
        assert worker.memory_info().rss - before < 160 * 1024 * 1024
