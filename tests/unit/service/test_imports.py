"""Upload from URL: what remote servers and clients can do wrong, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from entrepot.domain.accounts import Account
from entrepot.domain.acl import ANONYMOUS, Principal
from entrepot.domain.digests import Expected
from entrepot.domain.errors import Code, Problem
from entrepot.service import jobs
from entrepot.service.access import Keys, require_account
from entrepot.service.import_jobs import FETCHES, ImportBounds, ImportJobs
from entrepot.service.imports import VOLUME_IMPORT, Imports
from entrepot.service.job_pool import BUSY_POLL, BUSY_SECONDS, IDLE_POLL, JobPool
from entrepot.service.jobs import Jobs
from entrepot.service.leases import ProcessLeases
from support.internet import Handler, Internet, Reply, Request
from support.metadata import Catalogue

WHO = Principal("account", "key", by_key=True)
OTHER = Principal("other", "key2", by_key=True)
URL = "http://files.example.com/a.bin"
OWN = "http://media.example.com"
MIB = 1024 * 1024


@dataclass
class Shelf:
    """A sink and a shelf of our own objects: `files` are published, `begun` counts streams that were asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    begun: int = 0
    seen: dict[str, Any] = field(default_factory=dict)
    fails: Problem | None = None

    def of(self, who: Principal) -> Shelf:
        require_account(who)
        return self

    async def take(
        self, who: Principal, path: str, stream: AsyncIterator[bytes], *,
        length: int | None, expected: tuple[Expected, ...], when: None,
        confirm: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> tuple[str, bool]:  # fmt: skip
        self.begun += 1
        self.seen = {"length": length, "expected": expected}
        data = b""
        async for piece in stream:
            data += piece
            if self.fails:
                raise self.fails
        if confirm:
            await confirm(hashlib.sha256(data).digest())
        self.files[path] = data
        return path, True

    async def holds(self, who: Principal, path: str, sha256: bytes) -> bool:
        return path in self.files and hashlib.sha256(self.files[path]).digest() == sha256

    async def keep(self, who: Principal, path: str, url_path: str, when: None) -> str:
        self.files[path] = url_path.encode()
        return path


class Scene:
    """An internet, and imports of it: the requests of one process, and the pool of another."""

    def __init__(self, net: Internet, catalogue: Catalogue, **changes: Any) -> None:
        self.net = net
        self.catalogue = catalogue
        self.shelf = Shelf()
        fields = {"max_size": 4 * MIB, "timeout": 20.0, "stall": 10.0, "per_account": 2, "own": (OWN,), **changes}
        self.bounds = ImportBounds(**fields)
        self.alive = {"worker", "keeper"}
        self.clock: Callable[[], float] = time.time
        self.jobs = Jobs(catalogue.jobs, lambda: self.clock(), secrets.token_bytes, "worker")
        self.imports = Imports(
            self.shelf.of, self.shelf, self.bounds.policy(), self.jobs, lambda path, when: {"path": path}
        )
        self.pool = self.a_pool("keeper")

    def a_pool(self, process: str) -> JobPool:
        """The pool of a keeper."""
        unused: Any = None
        handlers = ImportJobs(
            self.shelf.of, self.shelf, unused, unused, Keys(self.catalogue.accounts, time.time), self.bounds,
            lambda fields: (fields["path"], None), self.net,
        )  # fmt: skip
        leases = ProcessLeases(self.catalogue.leases, process, lambda: self.clock(), 15.0, lambda: self.alive)
        return JobPool(
            self.catalogue.jobs, leases, {VOLUME_IMPORT: handlers.to_volume}, lambda: self.clock(), {},
            lambda: self.alive, size=FETCHES, per_account=self.bounds.per_account,
        )  # fmt: skip

    async def keep(self) -> None:
        """What the keeper does."""
        while True:
            await self.pool.start_due(0)
            await self.pool.end_abandoned(0)
            await asyncio.sleep(0.001)

    async def run(self, url: str = URL, path: str = "a.bin", who: Principal = WHO) -> str:
        await self.imports.run(who, path, url, None)
        return path

    async def refusal(self, url: str = URL) -> Problem:
        with pytest.raises(Problem) as refused:
            await self.run(url)
        assert self.shelf.files == {}
        return refused.value


def play(test: Callable[[Scene], Awaitable[None]], handler: Handler | None = None, **changes: Any) -> None:
    async def run(net: Internet) -> None:
        catalogue = Catalogue()
        for name in ("account", "other"):
            await catalogue.accounts.add(Account(name, name, 1.0))
        scene = Scene(net, catalogue, **changes)
        keeping = asyncio.create_task(scene.keep())
        try:
            await asyncio.wait_for(test(scene), 120)
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
            await scene.pool.close()
            await catalogue.close()

    with Internet() as net:
        if handler:
            net.serve(handler)
        asyncio.run(run(net))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.002)


def sends(reply: Reply) -> Handler:
    return lambda request: reply


def test_what_a_url_gives_becomes_the_file_with_its_length_and_digest_declared() -> None:
    body = bytes(range(256)) * 8192  # several pieces
    digest = bytes(32)

    async def test(scene: Scene) -> None:
        assert await scene.run() == "a.bin"
        assert scene.shelf.files == {"a.bin": body}
        assert scene.shelf.seen == {"length": len(body), "expected": (Expected("sha-256", digest),)}

    play(test, sends(Reply(body, headers={"Repr-Digest": f"sha-256=:{'A' * 43}=:"})))


@pytest.mark.parametrize("body", [b"", b"<html><form>Log in</form>"])
def test_nothing_is_demanded_of_what_comes_with_200(body: bytes) -> None:
    async def test(scene: Scene) -> None:
        await scene.run()
        assert scene.shelf.files == {"a.bin": body}

    play(test, sends(Reply(body, headers={"Content-Type": "text/html"})))


def test_nobody_without_an_account_imports_and_no_packet_is_sent() -> None:
    async def test(scene: Scene) -> None:
        with pytest.raises(Problem) as refused:
            await scene.run(who=ANONYMOUS)
        assert refused.value.code is Code.UNAUTHORIZED
        assert scene.net.lookups == []

    play(test)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "0.0.0.0", "::1", "169.254.169.254", "10.0.0.1", "100.64.0.1", "fd00::1", "fe80::1", "224.0.0.1",
     "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1"],
)  # fmt: skip
def test_f01_a_private_address_is_refused_and_no_packet_is_sent(address: str) -> None:
    async def test(scene: Scene) -> None:
        scene.net.host("files.example.com", [address], sends(Reply()))
        problem = await scene.refusal()
        assert problem.code is Code.BLOCKED_ADDRESS
        assert "files.example.com" in problem.message
        assert scene.net.connections == []

    play(test)


@pytest.mark.parametrize("target", ["http://10.0.0.1/", "//127.0.0.1/", "file:///etc/passwd", "gopher://x/", "data:,x"])
def test_f04_a_redirect_to_where_nobody_may_go_is_refused_at_the_hop(target: str) -> None:
    async def test(scene: Scene) -> None:
        assert (await scene.refusal()).code is Code.BLOCKED_ADDRESS
        assert len(scene.net.connections) == 1

    play(test, sends(Reply(status=302, headers={"Location": target})))


@pytest.mark.parametrize(
    "url, code",
    [
        ("http://files.example.com:22/", Code.BLOCKED_ADDRESS),
        ("http://files.example.com:6379/", Code.BLOCKED_ADDRESS),
        ("http://files.example.com/a\r\nX: y", Code.VALIDATION_FAILED),
        ("file:///etc/passwd", Code.VALIDATION_FAILED),
        ("", Code.VALIDATION_FAILED),
        ("http://user:s3cret@files.example.com/", Code.VALIDATION_FAILED),
        (f"{OWN}/healthz", Code.BLOCKED_ADDRESS),
        (f"{OWN}/v1/serverless/files/list", Code.BLOCKED_ADDRESS),
    ],
)
def test_f06_f08_a_url_that_leads_to_no_file_is_refused(url: str, code: Code) -> None:
    async def test(scene: Scene) -> None:
        problem = await scene.refusal(url)
        assert problem.code is code
        assert "s3cret" not in problem.message
        assert scene.net.lookups == []

    play(test)


def test_no_url_however_odd_is_our_fault() -> None:
    draw = random.Random(6)
    marks = [*"/@:[]?#% \\\0\n\ud800é", "http://", "https:", "//", "..", "xn--", "0x7f", "65536", "a" * 300]
    marks += ["files.example.com", "media.example.com", "/files/b/0123abcd/"]

    async def test(scene: Scene) -> None:
        codes = {Code.VALIDATION_FAILED, Code.BLOCKED_ADDRESS, Code.FETCH_FAILED, Code.NOT_FOUND}
        for _ in range(500):
            url = draw.choice(["http://", "http://media.example.com/files/b/0123abcd/", ""])
            url += "".join(draw.choices(marks, k=draw.randrange(6)))
            try:
                await scene.run(url)
            except Problem as problem:
                assert problem.code in codes, url
                problem.message.encode()
        assert set(scene.shelf.files) <= {"a.bin"}

    play(test, sends(Reply(b"x")))


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"", status=204, length=False),
        Reply(b"half", status=206, headers={"Content-Range": "bytes 0-3/8"}),
        Reply(b"no", status=403),
        Reply(b"gone", status=500),
        Reply(b"x" * 100, cut=40),
        Reply(b"x" * MIB, cut=MIB - 1),
        Reply(b"x", headers={"Content-Encoding": "gzip"}),
        Reply(raw=b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000 + b"\r\n"),
        Reply(raw=b"SSH-2.0-OpenSSH\r\n"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        Reply(status=302, headers={"Location": URL}),
    ],
    ids=["204", "206", "403", "500", "cut", "cut later", "gzip", "headers", "no http", "no end", "loop"],
)
def test_f07_what_is_not_a_whole_file_is_no_success_and_the_remote_s_fault(reply: Reply) -> None:
    async def test(scene: Scene) -> None:
        problem = await scene.refusal()
        assert problem.code is Code.FETCH_FAILED
        assert "files.example.com" in problem.message

    play(test, sends(reply))


@pytest.mark.parametrize("reply", [Reply(bytes(4 * MIB + 1)), Reply(bytes(5 * MIB), length=False)])
def test_f07_a_file_over_the_limit_is_refused_announced_or_not(reply: Reply) -> None:
    async def test(scene: Scene) -> None:
        assert (await scene.refusal()).code is Code.TOO_LARGE
        assert scene.shelf.begun == (0 if reply.length else 1)

    play(test, sends(reply))


@pytest.mark.parametrize("sent", [0, 10])
def test_f07_a_server_that_never_ends_meets_the_limit_of_the_whole(sent: int) -> None:
    gate = threading.Event()

    async def test(scene: Scene) -> None:
        problem = await scene.refusal()
        assert problem.code is Code.FETCH_FAILED
        gate.set()
        await until(lambda: not scene.pool._running)

    def handler(request: Request) -> Reply:
        if not sent:
            gate.wait(60)
        return Reply(b"x" * 100, cut=sent, pause=gate)

    play(test, handler, timeout=0.2)


def test_f08_a_file_of_our_own_is_kept_with_the_callers_rights_and_not_fetched() -> None:
    async def test(scene: Scene) -> None:
        await scene.run(f"{OWN}/files/b/0123abcd/id_caf%C3%A9%20x.png?download=1")
        assert scene.shelf.files == {"a.bin": "/files/b/0123abcd/id_café x.png".encode()}
        assert scene.net.lookups == []

    play(test)


def test_f09_a_client_that_gives_up_ends_the_fetch_and_frees_its_turn() -> None:
    gate = threading.Event()

    async def test(scene: Scene) -> None:
        for _ in range(3):  # as many as have a turn, and one more
            task = asyncio.create_task(scene.run())
            scene.shelf.begun = 0
            await until(lambda: scene.shelf.begun)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await until(lambda: not scene.pool._running)
        assert scene.shelf.files == {}
        gate.set()

    play(test, sends(Reply(bytes(4 * MIB), cut=MIB, pause=gate)))


def test_f09_a_server_that_stops_ends_what_runs() -> None:
    gate = threading.Event()

    async def test(scene: Scene) -> None:
        task = asyncio.create_task(scene.refusal())
        await until(lambda: scene.shelf.begun)
        scene.jobs.close()
        assert (await task).code is Code.UNAVAILABLE
        gate.set()

    play(test, sends(Reply(bytes(4 * MIB), cut=MIB, pause=gate)))


def test_f10_five_hundred_imports_of_one_account_do_not_hold_up_another(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def handler(request: Request) -> Reply:
        if request.path == "/slow":
            gate.wait(60)
        return Reply(b"ok")

    async def test(scene: Scene) -> None:
        slow = [asyncio.create_task(scene.run("http://files.example.com/slow", f"s{n}")) for n in range(500)]
        assert await scene.run("http://files.example.com/fast", "fast", OTHER) == "fast"
        await until(lambda: len(scene.pool._running) == 2)
        monkeypatch.setattr(jobs, "MAX_QUEUE_SECONDS", 0.0)
        await until(lambda: sum(task.done() for task in slow) == 498)
        gate.set()
        outcomes = await asyncio.gather(*slow, return_exceptions=True)
        refused = [each for each in outcomes if isinstance(each, Problem)]
        assert len(refused) == 498
        assert {(each.code, each.retry_after) for each in refused} == {(Code.RATE_LIMITED, jobs.RETRY_SECONDS)}

    play(test, handler)


def test_f11_a_certificate_that_nobody_trusts_is_refused_and_named() -> None:
    import ssl

    import trustme

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("files.example.com").configure_cert(context)

    async def test(scene: Scene) -> None:
        scene.net.host("files.example.com", ["93.184.216.34"], sends(Reply(b"x")), port=443, tls=context)
        problem = await scene.refusal("https://files.example.com/a.bin")
        assert problem.code is Code.FETCH_FAILED
        assert "cannot be trusted" in problem.message

    play(test)


def test_what_the_sink_refuses_ends_the_fetch() -> None:
    async def test(scene: Scene) -> None:
        scene.shelf.fails = Problem(Code.QUOTA_EXCEEDED, "full")
        assert (await scene.refusal()).code is Code.QUOTA_EXCEEDED
        await until(lambda: not scene.pool._running)

    play(test, sends(Reply(bytes(4 * MIB))))


def test_a_slow_sink_slows_the_sender_down() -> None:
    async def test(scene: Scene) -> None:
        site = scene.net.sites["93.184.216.34", 80]
        hold, reached = asyncio.Event(), asyncio.Event()
        sizes: list[int] = []

        async def take(who: Principal, path: str, stream: AsyncIterator[bytes], **_: Any) -> tuple[str, bool]:
            sizes.append(len(await anext(stream)))
            reached.set()
            await hold.wait()
            sizes.append(sum([len(piece) async for piece in stream]))
            return path, True

        scene.shelf.take = take  # type: ignore[method-assign]
        task = asyncio.create_task(scene.run())
        await reached.wait()
        assert site.sent < 48 * MIB  # what fits into the buffers of the system
        hold.set()
        await task
        assert sum(sizes) == 64 * MIB

    play(test, sends(Reply(bytes(64 * MIB))), max_size=64 * MIB)


def test_a_run_whose_lease_was_lost_publishes_nothing_and_the_next_one_does_once() -> None:
    gate = threading.Event()

    async def test(scene: Scene) -> None:
        task = asyncio.create_task(scene.run())
        await until(lambda: scene.shelf.begun)
        first, scene.pool = scene.pool, scene.a_pool("another keeper")
        scene.alive |= {"another keeper"}
        now = time.time() + 60
        scene.clock = lambda: now  # the first keeper was paused for so long
        await until(lambda: scene.pool._running)
        gate.set()
        await task
        await until(lambda: not first._running)
        assert scene.shelf.begun == 2
        assert scene.shelf.files == {"a.bin": bytes(MIB)}
        (job,) = await scene.jobs.list(WHO, 9)
        assert (job.attempts, job.done, job.total) == (2, MIB, MIB)

    replies = [Reply(bytes(MIB)), Reply(bytes(MIB), cut=10, pause=gate)]
    play(test, lambda request: replies.pop())


@pytest.mark.parametrize("published", [True, False])
def test_a_run_after_one_that_was_lost_while_it_published_makes_the_file_once(published: bool) -> None:
    async def test(scene: Scene) -> None:
        real, lost = scene.shelf.take, asyncio.Event()

        async def take(*args: Any, **named: Any) -> tuple[str, bool]:
            confirm = named.pop("confirm")

            async def last(sha256: bytes) -> None:
                await confirm(sha256)
                if not published:
                    lost.set()
                    await asyncio.Event().wait()

            result = await real(*args, confirm=last, **named)
            lost.set()
            await asyncio.Event().wait()
            return result

        scene.shelf.take = take  # type: ignore[method-assign]
        task = asyncio.create_task(scene.run())
        await lost.wait()
        scene.shelf.take = real  # type: ignore[method-assign]
        first, scene.pool = scene.pool, scene.a_pool("another keeper")
        scene.alive = {"worker", "another keeper"}  # the first was killed
        await task
        await first.close()
        assert scene.shelf.files == {"a.bin": b"bytes"}
        assert scene.shelf.begun == (1 if published else 2)
        assert len(scene.net.connections) == scene.shelf.begun

    play(test, sends(Reply(b"bytes")))


def test_an_import_that_nobody_waits_for_is_done_and_shows_no_secret() -> None:
    async def test(scene: Scene) -> None:
        job = await scene.imports.start(WHO, "b", URL + "?signature=secret", None)
        await until(lambda: "b" in scene.shelf.files)
        await until(lambda: not scene.pool._running)
        job = await scene.jobs.get(WHO, job.id)
        assert (job.state.value, job.target, job.result) == ("done", {"path": "b", "url": URL}, {"path": "b"})
        assert "secret" not in repr(job)
        with pytest.raises(Problem) as refused:
            await scene.jobs.get(OTHER, job.id)
        assert refused.value.code is Code.NOT_FOUND

    play(test, sends(Reply(b"x")))


def test_a_job_is_cancelled_by_its_owner_and_when_its_waiting_process_is_gone() -> None:
    gate = threading.Event()

    async def test(scene: Scene) -> None:
        task = asyncio.create_task(scene.run())
        await until(lambda: scene.shelf.begun)
        (job,) = await scene.jobs.list(WHO, 9)
        await scene.jobs.cancel(WHO, job.id)
        with pytest.raises(Problem) as refused:
            await task
        assert refused.value.code is Code.CONFLICT
        waiting = asyncio.create_task(scene.run(path="b"))
        await until(lambda: scene.pool._running)
        scene.alive.discard("worker")
        with pytest.raises(Problem):
            await waiting
        await until(lambda: not scene.pool._running)
        assert scene.shelf.files == {}
        gate.set()

    play(test, sends(Reply(bytes(4 * MIB), cut=MIB, pause=gate)))


def _is_over(scene: Scene, runs: int) -> bool:
    return scene.shelf.begun == runs and not scene.pool._running


def test_a_job_that_the_server_could_not_do_is_tried_again_and_then_fails() -> None:
    async def test(scene: Scene) -> None:
        ahead = 0.0
        scene.clock = lambda: time.time() + ahead
        scene.shelf.fails = Problem(Code.UNAVAILABLE, "no disk", retry_after=7)
        task = asyncio.create_task(scene.run())
        for runs in (1, 2, 3):
            await until(partial(_is_over, scene, runs))
            ahead += 10
        with pytest.raises(Problem) as refused:
            await task
        assert (refused.value.code, refused.value.message, refused.value.retry_after) == (
            Code.UNAVAILABLE,
            "no disk",
            7,
        )
        assert scene.shelf.begun == 3

    play(test, sends(Reply(b"x")))


def test_a_defect_in_a_handler_fails_its_job_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def test(scene: Scene) -> None:
        async def take(*args: Any, **named: Any) -> tuple[str, bool]:
            raise RuntimeError("a defect")

        scene.shelf.take = take  # type: ignore[method-assign]
        assert (await scene.refusal()).code is Code.INTERNAL

    play(test, sends(Reply(b"x")))
    assert "met a defect" in caplog.text


def test_the_pool_looks_for_jobs_more_often_while_they_come() -> None:
    async def test(scene: Scene) -> None:
        now = 1000.0
        scene.clock = lambda: now
        assert scene.pool.pause() == IDLE_POLL
        await scene.run()
        assert scene.pool.pause() == BUSY_POLL
        now += BUSY_SECONDS
        assert scene.pool.pause() == IDLE_POLL

    play(test, lambda request: Reply(b"ok"))
