"""Multipart uploads that are interrupted, crowded or forgotten (docs/threats.md A20, A25, A29, A30; resume)."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from entrepot.home import living_pids
from support.faultproxy import DOWN, Cut, FaultProxy
from support.inside import add_account, rows, segment_files, segments_of, unnamed_files
from support.parts import DOORS, Upload, alike, begin
from support.server import Server, clean_environ
from support.talk import Line, Reply, Talk, eventually, line

MIB = 1024 * 1024
PIECES = [hashlib.sha256(b"%d" % n).digest() * 20_000 + b"%d" % n for n in range(1, 6)]
WHOLE = b"".join(PIECES)
Serve = Callable[..., Server]


def began(server: Server, upload: Upload, number: int, size: int) -> Line:
    """A connection on which a part has begun and not ended; two thirds of it are on their way."""
    raw = line(server)
    raw.send_head("PUT", urlsplit(upload.address(number)).path, host="x", **upload.talk.key, content_length=str(size))
    raw.send(b"z" * (size * 2 // 3))
    return raw


def repr_digest(talk: Talk, url: str) -> str | None:
    return talk.head(url).headers.get("repr-digest")


# Resume


def test_uploads_go_on_after_the_server_was_killed(serve: Serve) -> None:
    server = serve(workers="2")
    talk = Talk(server)
    uploads = [begin(talk, door, name=f"{door} é.bin") for door in DOORS]
    for upload in uploads:
        upload.part(2, PIECES[1])
        upload.part(1, b"an attempt that was replaced")
        upload.part(1, PIECES[0])
    with began(server, uploads[0], 3, 3 * MIB):
        eventually(lambda: unnamed_files(server))
        server.kill()
    server.start()
    for upload in uploads:
        held = {part["partNumber"]: part for part in upload.listing().json()["parts"]}
        assert {number: part["size"] for number, part in held.items()} == {1: len(PIECES[0]), 2: len(PIECES[1])}
        upload.finished([*held.values(), *(upload.part(n, PIECES[n - 1]) for n in (5, 3, 4))], size=len(WHOLE))
        assert talk.get(upload.url).body == WHOLE
    for upload in uploads:
        assert_whole(talk, upload.url, WHOLE)
    eventually(lambda: not unnamed_files(server))


def test_an_end_that_the_server_did_not_survive_can_be_asked_again(serve: Serve) -> None:
    server = serve()
    talk = Talk(server)
    upload = begin(talk, "rest")
    parts = upload.parts(PIECES)
    told = upload.finished(parts)
    server.kill()
    server.start()
    assert alike(told, upload.finished(parts))
    assert talk.get(upload.url).body == WHOLE


CLIENT = textwrap.dedent("""
    import http.client, json, sys, time
    port, path, query, folder, stop_after = sys.argv[1:]
    connection = http.client.HTTPConnection("127.0.0.1", int(port))
    def ask(method, tail, body=None):
        connection.request(method, f"{path}{tail}?{query}", body)
        reply = connection.getresponse()
        text = reply.read()
        assert reply.status == 200, (reply.status, text)
        return json.loads(text)
    held = {part["partNumber"]: part for part in ask("GET", "")["parts"]}
    sent = 0
    for number in range(1, 6):
        if number not in held:
            if sent == int(stop_after):
                connection.putrequest("PUT", f"{path}/{number}?{query}")
                connection.putheader("content-length", "4000000")
                connection.endheaders(b"z" * 3_000_000)
                print("in the middle", flush=True)
                time.sleep(600)
            with open(f"{folder}/{number}", "rb") as file:
                held[number] = ask("PUT", f"/{number}", file.read())
            sent += 1
    print(json.dumps([sent, ask("POST", "/complete", json.dumps({"parts": list(held.values())}))]))
""")


def test_a_client_that_was_killed_goes_on_with_what_the_server_lists(server: Server, tmp_path: Path) -> None:
    for number, data in enumerate(PIECES, 1):
        (tmp_path / str(number)).write_bytes(data)
    talk = Talk(server)
    upload = begin(talk, "rest")
    parts = urlsplit(upload.target())

    def client(stop_after: int) -> subprocess.Popen[str]:
        arguments = [str(server.port), parts.path, parts.query, str(tmp_path), str(stop_after)]
        return subprocess.Popen(
            [sys.executable, "-c", CLIENT, *arguments], env=clean_environ(tmp_path), stdout=subprocess.PIPE, text=True
        )

    with client(3) as first:
        assert first.stdout
        assert first.stdout.readline() == "in the middle\n"
        first.send_signal(signal.SIGKILL)
    eventually(lambda: not unnamed_files(server))
    with client(99) as second:
        sent, told = json.loads(second.communicate(timeout=120)[0])
    assert (sent, told["size"]) == (2, len(WHOLE))
    assert talk.get(upload.url).body == WHOLE


def test_a25_what_a_client_did_not_hear_it_is_told_again(server: Server) -> None:
    talk = Talk(server)
    with FaultProxy(server.port, [Cut(DOWN, 0)] * 4) as proxy:
        deaf = Talk(replace(server, port=proxy.port))

        def unheard(act: Callable[[], Reply]) -> None:
            try:
                act()
            except (http.client.HTTPException, OSError):
                return
            raise AssertionError("the answer arrived")

        wish = {"content-type": "a/b", "x-fal-file-name": "a.bin", "idempotency-key": "unheard"}
        unheard(lambda: deaf.ask("POST", "/files/upload/multipart", {**talk.key, **wish}, b""))
        upload = begin(talk, name="a.bin", kind="a/b", idempotency_key="unheard")
        assert rows(server, "SELECT count(*) FROM uploads WHERE idempotency_key = 'unheard'") == [(1,)]
        through = replace(upload, talk=deaf)
        unheard(lambda: through.put(1, PIECES[0]))
        eventually(lambda: upload.listing().json()["parts"])
        parts = upload.parts(PIECES)
        assert len(upload.listing().json()["parts"]) == len(PIECES)
        unheard(lambda: through.finish(parts))
        first = eventually(lambda: talk.get(upload.url).status == 200 and upload.finished(parts))
        unheard(lambda: through.finish(parts))
        assert alike(first, upload.finished(parts))
    assert talk.get(upload.url).body == WHOLE


def test_a29_an_upload_outlives_the_token_it_was_begun_with(server: Server) -> None:
    """Its signature lives as long as itself, and a fresh token of the account is as good as the first."""
    talk = Talk(server)
    upload = begin(talk, authorization=talk.token())
    first = upload.part(1, PIECES[0])
    renewed = replace(upload, credential={"authorization": talk.token()})
    renewed.finished([first, renewed.part(2, PIECES[1])])
    assert talk.get(upload.url).body == PIECES[0] + PIECES[1]


# What is unfinished is bounded


def test_a20_an_account_has_so_many_unfinished_uploads_and_429_comes_at_their_begin_only(serve: Serve) -> None:
    server = serve(max_unfinished_uploads="6", sweep_interval="0.2")
    talk = Talk(server)
    other = add_account(server, "other")
    open_ = [begin(talk, door) for door in (*DOORS, *DOORS)]
    wish = {"file_name": "a.bin"}

    def refused() -> list[Reply]:
        return [
            talk.post_json("/storage/upload/initiate", wish),
            talk.post_json("/storage/upload/initiate?storage_type=gcs", wish),
            talk.post_json("/storage/upload/initiate-multipart", wish),
            talk.post_json("/storage/upload/initiate-multipart?storage_type=gcs", wish),
            talk.post("/files/upload/multipart"),
            talk.post("/files/upload/multipart", authorization=talk.token()),
        ]

    for reply in refused():
        assert (reply.status, reply.json()["code"]) == (429, "rate_limited")
        assert int(reply.headers["retry-after"]) > 0
        assert "6" in reply.json()["message"]
    assert begin(talk, authorization=f"Key {other}").part(1, b"x")
    assert talk.get(talk.upload(b"whole")).body == b"whole"
    for upload in open_[:3]:
        assert upload.finished(upload.parts(PIECES[:2]))["size"] == len(PIECES[0] + PIECES[1])
    assert open_[3].abort().status == 204
    for _ in range(4):
        begin(talk)
    assert {reply.status for reply in refused()} == {429}


def test_a20_time_frees_what_was_begun_and_left(serve: Serve) -> None:
    server = serve(max_unfinished_uploads="3", upload_ttl="3", multipart_ttl="3", sweep_interval="0.1")
    talk = Talk(server)
    left = begin(talk, "rest")
    left.put(1, PIECES[0])

    def statuses() -> set[int]:
        single = talk.post_json("/storage/upload/initiate", {"file_name": "a"}).status
        return {single, talk.post("/files/upload/multipart").status}

    eventually(lambda: 429 in statuses())
    eventually(lambda: left.listing().status != 200)
    eventually(lambda: not segment_files(server))
    # Each look begins some, so that they would end one by one: all must have ended before the next look.
    eventually(lambda: not rows(server, "SELECT 1 FROM uploads WHERE state = 'open'"))
    assert statuses() == {200}
    for reply in (left.put(1, b"x"), left.finish([])):
        assert reply.status in (403, 410), "its signature is over, as it is itself"
    own = Upload(talk, "cdn", left.url, f"{left.url}/multipart/{left.id}", "", talk.key)
    assert (own.put(1, b"x").status, own.finish([]).status) == (410, 410)
    assert talk.get(left.url).status == 404


def test_a20_begins_without_end_leave_the_memory_flat(serve: Serve) -> None:
    server = serve(max_unfinished_uploads="100")
    (worker,) = server.workers()

    def begins(count: int) -> set[int]:
        found = set()
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)) as connection:
            for n in range(count):
                target = ("/storage/upload/initiate-multipart", "/files/upload/multipart")[n % 2]
                connection.request("POST", target, b'{"file_name": "a"}', Talk(server).key)
                reply = connection.getresponse()
                reply.read()
                found.add(reply.status)
        return found

    assert begins(500) == {200, 429}
    before = psutil.Process(worker).memory_info().rss
    assert begins(3000) == {429}
    assert psutil.Process(worker).memory_info().rss - before < 8 * MIB
    assert rows(server, "SELECT count(*) FROM uploads") == [(100,)]


def test_an_end_is_remembered_as_long_as_its_upload_could_have_lived(serve: Serve) -> None:
    server = serve(tombstone_ttl="0", sweep_interval="0.1")
    talk = Talk(server)
    upload = begin(talk)
    parts = upload.parts(PIECES)
    told = upload.finished(parts)
    for _ in range(2):  # a whole sweep passes after the end
        left = begin(talk)
        left.part(1, b"left")
        left.abort()
        eventually(lambda: segment_files(server) == set(segments_of(server, upload.url)))
    assert alike(told, upload.finished(parts))


def test_a_part_above_the_account_s_room_is_413_quota_exceeded(serve: Serve) -> None:
    server = serve(account_quota="2M", sweep_interval="0.2")
    talk = Talk(server)
    upload = begin(talk)
    parts = [upload.part(1, b"x" * MIB)]
    for body in (b"y" * (MIB + 1), iter([b"y" * 600_000] * 2)):
        reply = upload.put(2, body)
        assert (reply.status, reply.json()["code"]) == (413, "quota_exceeded")
    eventually(lambda: not unnamed_files(server))
    parts.append(upload.part(2, b"y" * MIB))
    upload.finished(parts)
    full = begin(talk)
    assert full.put(1, b"z").status == 413


# Overload


@contextmanager
def trickling(raw: Line, left: int) -> Iterator[None]:
    """Send a little of what is left ever again, so that the connection does not stand still, and the rest at the end of
    the block."""
    end = threading.Event()

    def trickle() -> None:
        rest = left
        while rest > 1000 and not end.wait(0.3):
            raw.send(b"z" * 1000)
            rest -= 1000
        raw.send(b"z" * rest)

    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(trickle)
        try:
            yield
        finally:
            end.set()
        sent.result()


def test_a30_parts_wait_their_turn_and_are_never_refused(serve: Serve) -> None:
    server = serve(max_concurrent_bodies="1", stall_timeout="2")
    talk = Talk(server)
    first, signed, other = begin(talk), begin(talk, "rest"), begin(talk)
    finished_parts = other.parts(PIECES[:2])
    single = talk.initiate()
    size = 3 * MIB
    with began(server, first, 1, size) as raw, ThreadPoolExecutor(12) as pool:
        eventually(lambda: unnamed_files(server))
        waiting: list[Future[Reply]] = [
            *(pool.submit(first.put, n, data) for n, data in enumerate(PIECES[1:], 2)),
            *(pool.submit(signed.put, n, data) for n, data in enumerate(PIECES, 1)),
            pool.submit(talk.put, single["upload_url"], b"single"),
        ]
        with trickling(raw, size - size * 2 // 3):
            refused = talk.post("/files/upload", b"whole")
            assert (refused.status, refused.json()["code"]) == (429, "rate_limited")
            assert int(refused.headers["retry-after"]) > 0
            # Whatever has no body passes by: tokens, begins, lists, ends, reads.
            assert talk.token()
            assert other.listing().status == begin(talk).abort().status - 4 == 200
            assert talk.get(other.url).status == 404
            assert other.finished(finished_parts)["size"] == len(PIECES[0] + PIECES[1])
            time.sleep(3.0)  # longer than a connection may stand still
            assert not any(future.done() for future in waiting)
        assert raw.answer("PUT").status == 200
        assert [future.result().status for future in waiting] == [200] * len(waiting)
    signed.finished(signed.listing().json()["parts"])
    assert talk.get(signed.url).body == WHOLE
    assert talk.get(single["file_url"]).body == b"single"


def test_a30_a_client_that_goes_while_it_waits_leaves_nothing(serve: Serve) -> None:
    server = serve(max_concurrent_bodies="1")
    talk = Talk(server)
    upload = begin(talk)
    with began(server, upload, 1, 3 * MIB) as raw:
        eventually(lambda: unnamed_files(server))
        for n in range(2, 6):
            began(server, upload, n, 90_000).close()
        raw.send(b"z" * MIB)
        assert raw.answer("PUT").status == 200
    assert upload.part(2, PIECES[1])
    eventually(lambda: not unnamed_files(server))
    assert [part["partNumber"] for part in upload.listing().json()["parts"]] == [1, 2]


# The keeper


def keepers(server: Server) -> list[int]:
    """The processes that have the home open and do not listen."""
    return sorted(set(living_pids(server.home)) - set(server.workers()))


def restart_keeper(server: Server, meanwhile: Callable[[], object] = lambda: None) -> None:
    (keeper,) = eventually(lambda: keepers(server))
    os.kill(keeper, signal.SIGKILL)
    meanwhile()
    eventually(lambda: keepers(server) not in ([], [keeper]))


def test_the_digest_of_the_whole_is_right_though_the_keeper_was_killed(serve: Serve) -> None:
    server = serve()
    talk = Talk(server)
    upload = begin(talk)
    parts = upload.parts(PIECES[:2])
    eventually(lambda: rows(server, "SELECT 1 FROM uploads WHERE digest IS NOT NULL"))
    restart_keeper(server, lambda: parts.extend(upload.part(n, PIECES[n - 1]) for n in (4, 3)))
    parts.append(upload.part(5, PIECES[4]))
    upload.finished(parts)
    assert_whole(talk, upload.url, WHOLE)


def assert_whole(talk: Talk, url: str, data: bytes) -> None:
    right = f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"
    assert eventually(lambda: repr_digest(talk, url)) == right
    got = talk.get(url)
    assert (got.body, got.headers["repr-digest"]) == (data, right)


def test_the_digest_of_the_whole_is_right_though_the_keeper_was_dead_at_the_end(serve: Serve) -> None:
    server = serve()
    talk = Talk(server)
    upload = begin(talk)
    parts = upload.parts(PIECES)
    restart_keeper(server, lambda: upload.finished(parts))
    assert_whole(talk, upload.url, WHOLE)


def test_the_digest_of_the_whole_is_right_though_attempts_were_replaced(serve: Serve) -> None:
    server = serve()
    talk = Talk(server)
    for cited in ("old", "new"):
        upload = begin(talk)
        parts = {n: upload.part(n, data) for n, data in enumerate(PIECES, 1)}
        noted = partial(rows, server, "SELECT 1 FROM uploads WHERE id = ? AND digest_of IS NOT NULL", upload.id)
        eventually(noted)
        replaced = upload.part(2, b"another second")
        data = WHOLE
        if cited == "new":
            parts[2] = replaced
            data = PIECES[0] + b"another second" + b"".join(PIECES[2:])
        told = upload.finished(list(parts.values()))
        assert told["digest"] in (None, f"sha256:{hashlib.sha256(data).hexdigest()}")
        assert_whole(talk, upload.url, data)


def test_a_damaged_part_does_not_keep_the_keeper_from_its_work(serve: Serve) -> None:
    server = serve(sweep_interval="0.1")
    talk = Talk(server)
    upload = begin(talk)
    parts = upload.parts(PIECES)
    eventually(lambda: rows(server, "SELECT 1 FROM uploads WHERE digest IS NOT NULL"))
    for file in segment_files(server):
        file.write_bytes(b"\x00" + file.read_bytes()[1:])
    restart_keeper(server)
    before = segment_files(server)
    other = begin(talk)
    other.finished(other.parts(PIECES[:3]))
    eventually(lambda: repr_digest(talk, other.url))
    left = begin(talk)
    left.part(1, b"left")
    left.abort()
    eventually(lambda: segment_files(server) == before | set(segments_of(server, other.url)))
    reply = upload.finish(parts)
    assert (reply.status, reply.json()["code"]) == (500, "integrity_failed")
    assert b"damaged: 1." in reply.body
    assert upload.parts(PIECES) == parts, "sent again, each takes the place of the damaged one"
    upload.finished(parts)
    assert_whole(talk, upload.url, b"".join(PIECES))
    assert "Traceback" not in server.log()
