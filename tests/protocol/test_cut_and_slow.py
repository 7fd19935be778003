"""Bodies that are cut, endless, slow or announced too large, and readers that do not read.

The server called `small` takes 32 MiB at most and waits two seconds for a silent client.
"""

from __future__ import annotations

import contextlib
import time

import psutil
import pytest

from support.inside import rows, unnamed_files
from support.server import Server
from support.talk import Talk, eventually, line

MIB = 1024 * 1024
LIMIT = 32 * MIB  # more than the buffers between two processes hold


@pytest.fixture
def tiny(small: Server) -> Talk:
    return Talk(small)


def published(server: Server) -> int:
    return int(rows(server, "SELECT count(*) FROM objects")[0][0])


def outcomes(server: Server) -> list[str | None]:
    return [entry.get("outcome") for entry in server.log_lines() if entry["logger"] == "entrepot.access"]


def ended(server: Server, path: str) -> int:
    """How many requests of a path are over. What is logged of one that was cut hangs on who was first: our patience, or
    the word that the kernel gave its connection up."""
    return sum(entry.get("path") == path for entry in server.log_lines())


def nothing_is_left(server: Server) -> bool:
    return not unnamed_files(server)


def blobs_open(server: Server) -> list[str]:
    """What the workers have open of the files on the disk."""
    handles = [file.path for pid in server.workers() for file in psutil.Process(pid).open_files()]
    return [path for path in handles if "/blobs/" in path]


@contextlib.contextmanager
def one_more_outcome(server: Server, outcome: str):
    """Within the block a request ends in this way; wait for it, and for its bytes to be gone."""
    before = outcomes(server).count(outcome)
    objects = published(server)
    yield
    eventually(lambda: outcomes(server).count(outcome) > before)
    eventually(lambda: nothing_is_left(server))
    assert published(server) == objects


# A01: a body that ends before its length


@pytest.mark.parametrize("way", ["close", "reset", "half_close"])
@pytest.mark.parametrize("sent", [0, 1, 3 * MIB])
def test_a01_a_body_cut_short_of_its_length_publishes_nothing_and_leaves_no_bytes(
    tiny: Talk, way: str, sent: int
) -> None:
    with one_more_outcome(tiny.server, "client_gone"), line(tiny.server) as cut:
        cut.send_head("POST", "/files/upload", **tiny.key, content_length="4000000")
        cut.send(b"x" * sent)
        eventually(lambda: sent < MIB or not nothing_is_left(tiny.server))  # it has begun
        getattr(cut, way)()


@pytest.mark.parametrize("last", [b"", b"5\r\nab", b"5\r\nabcde", b"5\r\nabcde\r\n", b"0", b"0\r\n"])
def test_a01_a_chunked_body_without_its_end_publishes_nothing(tiny: Talk, last: bytes) -> None:
    with one_more_outcome(tiny.server, "client_gone"), line(tiny.server) as cut:
        cut.send_head("POST", "/files/upload", **tiny.key, transfer_encoding="chunked")
        cut.send_chunk(b"hello")
        cut.send(last)
        cut.close()


def test_a01_after_a_cut_signed_put_the_same_url_can_be_written(tiny: Talk) -> None:
    urls = tiny.initiate()
    path = urls["upload_url"].partition(str(tiny.server.port))[2]
    with one_more_outcome(tiny.server, "client_gone"), line(tiny.server) as cut:
        cut.send_head("PUT", path, content_length="100")
        cut.send(b"half")
        cut.close()
    assert tiny.get(urls["file_url"]).status == 404
    assert tiny.put(urls["upload_url"], b"whole").status == 200
    assert tiny.get(urls["file_url"]).body == b"whole"


@pytest.mark.parametrize(
    "path",
    ["/storage/upload/initiate", "/storage/auth/token", "/files/upload", "/files/rename/x",
     "/v1/serverless/files/rename/x"],
)  # fmt: skip
def test_a_request_cut_in_its_body_or_chunked_wrong_is_no_fault_of_the_server(tiny: Talk, path: str) -> None:
    framings: list[dict[str, str]] = [{"content_length": "100"}, {"transfer_encoding": "chunked"}]
    for framing, body in zip(framings, (b'{"file_name"', b"-3\r\nabc\r\n0\r\n\r\n"), strict=True):
        with line(tiny.server) as cut:
            cut.send_head("POST", path, **tiny.key, **framing)
            cut.send(body)
            with contextlib.suppress(OSError):  # it may have been closed at once
                cut.half_close()
            reply = cut.answer("POST")
        assert reply.status == 400
        assert "invalid_request" in reply.body.decode()
    assert "defect" not in tiny.server.log()
    assert "ClientDisconnect" not in tiny.server.log()


# A05, A08: the limit


def test_a05_an_endless_body_without_length_is_413_at_the_limit_with_flat_memory(tiny: Talk) -> None:
    pids = tiny.server.workers()
    before = sum(psutil.Process(pid).memory_info().rss for pid in pids)
    peak = 0
    with one_more_outcome(tiny.server, "too_large"), line(tiny.server) as endless:
        endless.send_head("POST", "/files/upload", **tiny.key, transfer_encoding="chunked")
        piece = b"\0" * MIB
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(256):
                endless.send_chunk(piece)
                peak = max(peak, sum(psutil.Process(pid).memory_info().rss for pid in pids))
            pytest.fail("256 MiB were taken, 32 are the limit")
        reply = endless.answer("POST")
    assert (reply.status, reply.json()["code"]) == (413, "too_large")
    assert peak - before < 64 * MIB


@pytest.mark.parametrize("chunked", [False, True])
def test_a08_the_limit_is_exact_to_the_byte(tiny: Talk, chunked: bool) -> None:
    for size in (LIMIT - 1, LIMIT):
        data = bytes(size)
        assert tiny.ask("POST", "/files/upload", tiny.key, iter([data]) if chunked else data).status == 200
    with line(tiny.server) as over:
        framing = {"transfer_encoding": "chunked"} if chunked else {"content_length": str(LIMIT + 1)}
        over.send_head("POST", "/files/upload", **tiny.key, **framing)
        if chunked:
            over.send_chunk(bytes(LIMIT))
            over.send_chunk(b"1")
        assert over.answer("POST").status == 413


def test_a_length_beyond_any_number_is_refused(tiny: Talk) -> None:
    for length in ("9" * 30, "-1", "1e3", "0x10", "+5", "5, 5", ""):
        with line(tiny.server) as strange:
            strange.send_head("POST", "/files/upload", **tiny.key, content_length=length)
            strange.send(b"12345")
            with contextlib.suppress(OSError):  # it may have been closed at once
                strange.half_close()
            answer = strange.rest()
        assert not answer.startswith(b"HTTP/1.1 5"), length


# A06: Expect: 100-continue


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"content_length": str(LIMIT + 1)}, 413), ({"content_length": "5", "authorization": "Key a:b"}, 401)],
)
def test_a06_a_client_that_asks_first_gets_the_refusal_instead_of_100(
    tiny: Talk, headers: dict[str, str], status: int
) -> None:
    with line(tiny.server) as asking:
        asking.send_head("POST", "/files/upload", **{**tiny.key, **headers}, expect="100-continue")
        answer = asking.rest()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a06_a_signed_put_with_a_wrong_signature_is_refused_before_its_body(tiny: Talk) -> None:
    path = tiny.initiate()["file_url"].partition(str(tiny.server.port))[2]
    with line(tiny.server) as asking:
        asking.send_head("PUT", path + "?signature=x", content_length="5", expect="100-continue")
        assert asking.rest().startswith(b"HTTP/1.1 403 ")


def test_a06_a_client_that_asks_first_and_may_is_told_to_go_on(tiny: Talk) -> None:
    with line(tiny.server) as asking:
        asking.send_head("POST", "/files/upload", **tiny.key, content_length="5", expect="100-continue")
        assert asking.receive_exactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        asking.send(b"hello")
        assert asking.answer("POST").status == 200


@pytest.mark.parametrize("size", [MIB // 2, 100 * MIB], ids=["small", "the largest of stock clients"])
def test_a_client_that_writes_first_and_reads_later_still_sees_the_refusal(tiny: Talk, size: int) -> None:
    with line(tiny.server) as writer:
        writer.send_head("POST", "/files/upload", authorization="Key a:b", content_length=str(size))
        writer.send(bytes(size))
        assert writer.answer("POST").status == 401


@pytest.mark.parametrize("target", ["GET /v1/serverless/files/stat/", "POST /files/file/exists//data",
                                    "POST /files/upload/multipart", "GET /files/b/x/y"])  # fmt: skip
def test_a_reply_to_a_body_that_is_not_read_says_that_it_is_the_last(tiny: Talk, target: str) -> None:
    with line(tiny.server) as asking:
        asking.send_head(*target.split(), **tiny.key, content_length="10")
        answer = asking.answer()
        assert (answer.status in (200, 404), answer.headers.get("connection")) == (True, "close")


# Slow clients


def test_a24_a_slow_but_honest_sender_succeeds_however_long_it_takes(tiny: Talk) -> None:
    with line(tiny.server) as slow:
        slow.send_head("POST", "/files/upload", **tiny.key, content_length="8")
        for i in range(8):
            time.sleep(0.4)  # 3.2 seconds in all: longer than the time-out for one silence
            slow.send(b"%d" % i)
        reply = slow.answer("POST")
    assert reply.status == 200
    assert tiny.get(reply.json()["access_url"]).body == b"01234567"


def test_a_sender_that_falls_silent_gets_408_and_leaves_no_bytes(tiny: Talk) -> None:
    with one_more_outcome(tiny.server, "timed_out"), line(tiny.server) as silent:
        silent.send_head("POST", "/files/upload", **tiny.key, content_length="4000000")
        silent.send(b"x" * 3 * MIB)
        reply = silent.answer("POST")
    assert (reply.status, reply.json()["code"]) == (408, "timed_out")


def test_e17_readers_that_take_nothing_are_cut_while_others_are_served(tiny: Talk) -> None:
    url = tiny.upload(bytes(LIMIT))
    path = url.partition(str(tiny.server.port))[2]
    readers = [line(tiny.server, receive_buffer=4096) for _ in range(40)]
    try:
        for reader in readers:
            reader.send_head("GET", path)
        for reader in readers:
            assert reader.receive_exactly(12) == b"HTTP/1.1 200"
        assert tiny.get("/healthz").status == 200
        assert tiny.get(url, range="bytes=0-9").body == bytes(10)
        eventually(lambda: ended(tiny.server, path) > len(readers))
        eventually(lambda: not blobs_open(tiny.server))
        assert max(len(reader.rest()) for reader in readers) < LIMIT
    finally:
        for reader in readers:
            reader.close()


def test_a_body_that_was_cut_for_its_reader_never_ends_as_if_whole(tiny: Talk) -> None:
    url = tiny.upload(bytes(LIMIT))
    path = url.partition(str(tiny.server.port))[2]
    with line(tiny.server, receive_buffer=4096) as reader:
        reader.send_head("GET", path)
        reader.receive_exactly(100)
        eventually(lambda: ended(tiny.server, path) == 1)
        assert len(reader.rest()) < LIMIT


def test_a_large_upload_and_its_download_leave_the_memory_flat(talk: Talk) -> None:
    pids = talk.server.workers()
    processes = [psutil.Process(pid) for pid in pids]
    size, piece = 256 * MIB, bytes(range(256)) * 4096
    before = sum(p.memory_info().rss for p in processes)
    peak = 0

    def measured():
        nonlocal peak
        for _ in range(size // MIB):
            peak = max(peak, sum(p.memory_info().rss for p in processes))
            yield piece

    reply = talk.ask("POST", "/files/upload", talk.key, measured())
    assert (reply.status, reply.json()["size"]) == (200, size)
    path = reply.json()["access_url"].partition(str(talk.server.port))[2]
    with line(talk.server) as reader:
        reader.send_head("GET", path)
        received = 0
        while received < size and (more := reader.receive(MIB)):
            received += len(more)
            peak = max(peak, sum(p.memory_info().rss for p in processes))
    assert received >= size
    assert peak - before < 100 * MIB
