"""Requests on the wire (RFC 9110, RFC 9112): what is well formed is taken for what it says, and what may be read in two
ways is refused. The rows are ours; the questions are those of h1spec and of Http11Probe's scored tests."""

from __future__ import annotations

import contextlib
import json
import random
from typing import NamedTuple

import pytest

from support.rawhttp import Connection
from support.server import Server
from support.talk import Talk

SECONDS = 20.0
HOST = b"Host: localhost\r\n"
GET = b"GET /healthz HTTP/1.1\r\n"
# What a front server that reads a request otherwise would take for the next one.
SMUGGLED = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Row(NamedTuple):
    """A request. `library` says what the ASGI server's library makes of it before we see it, where we cannot refuse."""

    name: str
    data: bytes
    library: str = ""


def get(headers: bytes = b"", line: bytes = GET, host: bytes = HOST) -> bytes:
    return line + host + headers + b"\r\n"


def upload(headers: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    """An upload; the key is filled in later, where the table has `KEY`."""
    return b"POST /files/upload HTTP/" + version + b"\r\n" + HOST + b"Authorization: KEY\r\n" + headers + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    return upload(b"Transfer-Encoding: chunked\r\n", body)


CL5, TE = b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"
UPGRADE = b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: %d\r\n"

READ = [
    Row("a plain GET", get()),
    Row(
        "header names in any case, a tab before a value, an empty value",
        get(b"eMPty:\r\n", host=b"hoSt:\tlocalhost\r\n"),
    ),
    Row("an empty header value", get(b"X-Empty: \r\n")),
    Row("empty lines before the request line", b"\r\n\r\n" + get()),
    Row("a target of 7,900 bytes", get(line=b"GET /healthz?" + b"a" * 7900 + b" HTTP/1.1\r\n")),
    Row("an unknown protocol to upgrade to", get(b"Connection: Upgrade\r\nUpgrade: made-up/1.0\r\n")),
    Row("an upgrade without Connection", get(UPGRADE % 13)),
    Row("an upgrade in HTTP/1.0", get(b"Connection: Upgrade\r\n" + UPGRADE % 13, line=b"GET /healthz HTTP/1.0\r\n")),
    Row("Connection: close", get(b"Connection: close\r\n")),
    Row("HTTP/1.0", get(line=b"GET /healthz HTTP/1.0\r\n")),
]

TAKEN = [
    Row("a body with its length", upload(CL5, b"hello")),
    Row("an empty body with its length", upload(b"Content-Length: 0\r\n")),
    Row("neither length nor coding: no body", upload(b"")),
    Row("a tab before the length", upload(b"Content-Length:\t5\r\n", b"hello")),
    Row("blanks around the length", upload(b"Content-Length:   5 \r\n", b"hello")),
    Row("one chunk", chunked(b"5\r\nhello\r\n" + END)),
    Row("several chunks", chunked(b"2\r\nhe\r\n3\r\nllo\r\n" + END)),
    Row("a size in capitals, with leading zeros", chunked(b"00A\r\nhellohello\r\n" + END)),
    Row("no chunk but the last", chunked(END)),
    Row("a chunk with an extension", chunked(b"5;name=value\r\nhello\r\n" + END)),
    Row("a coding in other case", upload(b"Transfer-Encoding: Chunked\r\n", b"5\r\nhello\r\n" + END)),
    Row("a Range, which means nothing here", upload(CL5 + b"Range: bytes=0-10\r\n", b"hello")),
    Row("Expect: 100-continue, with the body at once", upload(CL5 + b"Expect: 100-continue\r\n", b"hello")),
]
BODIES = {"several chunks": b"hello", "a size in capitals, with leading zeros": b"hellohello"}
EMPTY = {"an empty body with its length", "neither length nor coding: no body", "no chunk but the last"}

REFUSED = [
    # The request line
    Row("no version", b"GET / \r\n\r\n"),
    Row("HTTP/0.9", b"GET /healthz\r\n"),
    Row("version 9.9", get(line=b"GET /healthz HTTP/9.9\r\n")),
    Row("version 1", get(line=b"GET /healthz HTTP/1\r\n")),
    Row("version 01.01", get(line=b"GET /healthz HTTP/01.01\r\n")),
    Row("a blank within the version", get(line=b"GET /healthz HTTP/ 1.1\r\n")),
    Row("a version in small letters", get(line=b"GET /healthz http/1.1\r\n")),
    Row("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Row("something before the method", b"Extra line" + get()),
    Row("a tab for a blank", get(line=b"GET\t/healthz HTTP/1.1\r\n")),
    Row("two blanks before the target", get(line=b"GET  /healthz HTTP/1.1\r\n")),
    Row("no target", get(line=b"GET HTTP/1.1\r\n")),
    Row("a blank within the target", get(line=b"GET /heal thz HTTP/1.1\r\n")),
    Row("a target of 100,000 bytes", get(line=b"GET /" + b"A" * 100_000 + b" HTTP/1.1\r\n")),
    Row("NUL in the target", get(line=b"GET /healthz\0 HTTP/1.1\r\n")),
    Row("an overlong / in the target", get(line=b"GET /\xc0\xaf HTTP/1.1\r\n")),
    Row("CR alone ends the request line", b"GET /healthz HTTP/1.1\rHost: localhost\r\n\r\n"),
    # Headers
    Row("CR within a value", get(b"X-Test: val\rue\r\n")),
    Row("a line that begins with CR", GET + HOST + b"\rX-Test: value\r\n\r\n"),
    Row("a folded value", get(b"X-Test: value\r\n continued\r\n")),
    Row("a blank line before the headers", GET + b" \r\n" + HOST + b"\r\n"),
    Row("a blank before the colon", get(b"X-Test : value\r\n")),
    Row("no colon", get(b"NoColon\r\n")),
    Row("an empty name", get(b": value\r\n")),
    Row("brackets in a name", get(b"X-Bad[]: value\r\n")),
    Row("UTF-8 in a name", get(b"X-\xc3\xab: value\r\n")),
    Row("NUL in a value", get(b"X-Test: val\0ue\r\n")),
    Row("control characters in a value", get(b"X-Test: \x07\x08\x0b\r\n")),
    Row("a value of 2 MiB", get(b"X-Big: " + b"B" * (2 << 20) + b"\r\n")),
    Row("a name of 100,000 bytes", get(b"A" * 100_000 + b": value\r\n")),
    Row("10,000 headers", get(b"".join(b"X-%d: value\r\n" % n for n in range(10_000)))),
    Row("random bytes", random.Random(42).randbytes(256) + b"\r\n\r\n"),
    # Content-Length
    Row("length -1", upload(b"Content-Length: -1\r\n")),
    Row("length -0", upload(b"Content-Length: -0\r\n")),
    Row("length +5", upload(b"Content-Length: +5\r\n", b"hello")),
    Row("length abc", upload(b"Content-Length: abc\r\n")),
    Row("length 0x5", upload(b"Content-Length: 0x5\r\n", b"hello")),
    Row("length 0o5", upload(b"Content-Length: 0o5\r\n", b"hello")),
    Row("length 1_0", upload(b"Content-Length: 1_0\r\n", b"hellohello")),
    Row("length 1 0", upload(b"Content-Length: 1 0\r\n", b"hellohello")),
    Row("length 5, 10", upload(b"Content-Length: 5, 10\r\n", b"hellohello")),
    Row("length 5, 5", upload(b"Content-Length: 5, 5\r\n", b"hello")),
    Row("an empty length", upload(b"Content-Length: \r\n")),
    Row("a length of 20 digits", upload(b"Content-Length: 99999999999999999999\r\n")),
    Row("a negative length of 27 digits", upload(b"Content-Length: -123456789123456789123456789\r\n")),
    Row("two lengths", upload(CL5 + b"Content-Length: 10\r\n", b"hellohello")),
    # Transfer-Encoding
    Row("xchunked", upload(b"Transfer-Encoding: xchunked\r\n" + CL5, b"hello")),
    Row("identity", upload(b"Transfer-Encoding: identity\r\n" + CL5, b"hello")),
    Row("gzip", upload(b"Transfer-Encoding: gzip\r\n")),
    Row("chunked, gzip", upload(b"Transfer-Encoding: chunked, gzip\r\n", END)),
    Row("chunked, chunked", upload(b"Transfer-Encoding: chunked, chunked\r\n" + CL5, b"hello")),
    Row("chunked, then identity", upload(TE + b"Transfer-Encoding: identity\r\n" + CL5, b"hello")),
    Row("a comma before chunked", upload(b"Transfer-Encoding: , chunked\r\n" + CL5, b"hello")),
    Row("a comma behind chunked", upload(b"Transfer-Encoding: chunked,\r\n" + CL5, b"hello")),
    Row("an empty coding", upload(b"Transfer-Encoding: \r\n" + CL5, b"hello")),
    Row("a blank before the colon of the coding", upload(b"Transfer-Encoding : chunked\r\n" + CL5, b"hello")),
    Row("a folded coding", upload(b"Transfer-Encoding:\r\n chunked\r\n" + CL5, b"hello")),
    Row("a vertical tab before chunked", upload(b"Transfer-Encoding: \x0bchunked\r\n" + CL5, b"hello")),
    Row("a form feed before chunked", upload(b"Transfer-Encoding: \x0cchunked\r\n" + CL5, b"hello")),
    Row("NUL behind chunked", upload(b"Transfer-Encoding: chunked\0\r\n" + CL5, b"hello")),
    Row("parameters of chunked", upload(b"Transfer-Encoding: chunked;a=b\r\n", b"5\r\nhello\r\n" + END)),
    Row("chunked in HTTP/1.0", upload(TE, b"5\r\nhello\r\n" + END, b"1.0")),
    # Chunks
    Row("size 0x5", chunked(b"0x5\r\nhello\r\n" + END)),
    Row("size +5", chunked(b"+5\r\nhello\r\n" + END)),
    Row("size -1", chunked(b"-1\r\nhello\r\n" + END)),
    Row("size 1_0", chunked(b"1_0\r\nhello world!!!!!\r\n" + END)),
    Row("a blank before the size", chunked(b" 5\r\nhello\r\n" + END)),
    Row("a size of 17 digits", chunked(b"FFFFFFFFFFFFFFFF0\r\nhello\r\n" + END)),
    Row("no size", chunked(b"\r\nhello\r\n" + END)),
    Row("no line end behind the data", chunked(b"5\r\nhello0\r\n\r\n")),
    Row("more data than the size", chunked(b"5\r\nhello!!\r\n" + END)),
    Row("LF alone behind the data", chunked(b"5\r\nhello\n" + END)),
    Row("LF alone behind the size", chunked(b"5\nhello\r\n" + END)),
    Row("CR alone behind the size", chunked(b"5\rhello\r\n" + END)),
    Row("LF alone in an extension", chunked(b"5;\nhello\r\n" + END)),
    Row("CR alone in an extension", chunked(b"5;a\rX\r\nhello\r\n" + END)),
    Row("an extension of 64 KiB", chunked(b"5;ext=" + b"a" * 65_536 + b"\r\nhello\r\n" + END)),
    Row("LF alone behind the trailers", chunked(b"5\r\nhello\r\n0\r\n\n")),
    Row("trailers", chunked(b"5\r\nhello\r\n0\r\nX-Checksum: abc\r\n\r\n")),
    Row("a length in the trailers", chunked(b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n")),
]

# Refused, and the next request is read from its beginning.
ERRORS = [
    Row("* with GET", get(line=b"GET * HTTP/1.1\r\n")),
    Row("CONNECT", get(line=b"CONNECT other.example:443 HTTP/1.1\r\n")),
    Row("an unknown method", get(line=b"FOOBAR /healthz HTTP/1.1\r\n")),
    Row("a method in small letters", get(line=b"get /healthz HTTP/1.1\r\n")),
    Row("a method of 100,000 bytes", get(line=b"A" * 100_000 + b" /healthz HTTP/1.1\r\n")),
    Row("UTF-8 in the target", get(line=b"GET /caf\xc3\xa9 HTTP/1.1\r\n")),
    Row("no Host", GET + b"\r\n"),
    Row("an empty Host", get(host=b"Host: \r\n")),
    Row("two Hosts", get(b"Host: other.example\r\n")),
    Row("the same Host twice", get(HOST)),
    Row("two hosts in one Host", get(host=b"Host: localhost, other.example\r\n")),
    Row("a Host with a user", get(host=b"Host: user@localhost\r\n")),
    Row("a Host with a path", get(host=b"Host: localhost/path\r\n")),
]

# What the library decides otherwise, before we see it.
LENIENT = [
    Row(
        "a target of another host",
        get(line=b"GET http://other.example/healthz HTTP/1.1\r\n"),
        "the library shows the path alone; no link is made of either host",
    ),
    Row(
        "a fragment in the target",
        get(line=b"GET /healthz#part HTTP/1.1\r\n"),
        "the library drops it, as RFC 3986 has clients do",
    ),
    Row(
        "LF alone ends the request line",
        b"GET /healthz HTTP/1.1\nHost: localhost\r\n\r\n",
        "RFC 9112 section 2.2 allows it; no proxy forwards a line so",
    ),
    Row(
        "LF alone ends a header",
        GET + b"Host: localhost\nX-Test: value\r\n\r\n",
        "RFC 9112 section 2.2 allows it; no proxy forwards a line so",
    ),
    Row(
        "a blank behind the size",
        chunked(b"5 \r\nhello\r\n" + END),
        "the library passes over blanks, which stand for nothing",
    ),
    Row(
        "NUL in an extension",
        chunked(b"5;\0ext\r\nhello\r\n" + END),
        "the library passes over extensions up to the line end",
    ),
    Row(
        "a semicolon and no extension",
        chunked(b"5;\r\nhello\r\n" + END),
        "the library passes over extensions up to the line end",
    ),
    Row(
        "an extension that is no token",
        chunked(b"5;bad[=x\r\nhello\r\n" + END),
        "the library passes over extensions up to the line end",
    ),
]
ENDING = [
    Row(
        "length and chunked",
        upload(CL5 + TE, b"5\r\nhello\r\n" + END),
        "the library hides the length, reads chunks and ends the connection (RFC 9112 section 6.3)",
    ),
    Row(
        "chunked and length",
        upload(TE + CL5, b"5\r\nhello\r\n" + END),
        "the library hides the length, reads chunks and ends the connection (RFC 9112 section 6.3)",
    ),
]

INCOMPLETE = [
    Row(repr(data.decode()), data)
    for data in (
        b"G", b"GET ", b"GET /healthz", b"GET /healthz ", b"GET /healthz HTTP", b"GET /healthz HTTP/1.1",
        b"GET /healthz HTTP/1.1\r", GET, GET + b"Hos", GET + b"Host:", GET + b"Host: ", GET + b"Host: localhost",
        GET + b"Host: localhost\r", GET + HOST, GET + HOST + b"\r", b" \r\n", b"",
    )
] + [
    Row("half a body", upload(b"Content-Length: 10\r\n", b"hello")),
    Row("a large length and no body", upload(b"Content-Length: 999999999\r\n")),
    Row("no last chunk", chunked(b"5\r\nhello\r\n")),
    Row("half a chunk", chunked(b"5\r\nhel")),
]  # fmt: skip


def names(rows: list[Row]) -> list[str]:
    return [row.name for row in rows]


def keyed(server: Server, data: bytes) -> bytes:
    return data.replace(b"KEY", f"Key {server.key}".encode())


@pytest.mark.parametrize("row", READ, ids=names(READ))
def test_http11_what_is_well_formed_is_answered(server: Server, row: Row) -> None:
    with Connection.open(server.port, seconds=SECONDS) as connection:
        reply = connection.ask(row.data)
        assert reply.status == 200
        assert b'"status":"ok"' in reply.body
        assert reply.header("date")
        assert reply.header("content-type") == b"application/json"
        if b"close" in row.data or b"HTTP/1.0" in row.data:
            assert connection.ends_within(SECONDS)


@pytest.mark.parametrize("row", TAKEN, ids=names(TAKEN))
def test_http11_a_body_is_taken_as_framed(server: Server, row: Row) -> None:
    with Connection.open(server.port, seconds=SECONDS) as connection:
        reply = connection.ask(keyed(server, row.data))
        assert reply.status == 200
        # The connection is where it should be: the next request is read from its beginning.
        assert connection.ask(get()).status == 200
    url = json.loads(reply.body)["access_url"]
    assert Talk(server).get(url).body == (b"" if row.name in EMPTY else BODIES.get(row.name, b"hello"))


def outcome(server: Server, data: bytes, *, more: bytes = b"", end: bool = False) -> tuple[int, bytes]:
    """The status of the first reply, 0 for a connection that was closed without one, and all that came."""
    with Connection.open(server.port, seconds=SECONDS) as connection:
        with contextlib.suppress(OSError):  # it may be closed before all is sent
            connection.send(keyed(server, data) + more)
        if end:
            with contextlib.suppress(OSError):
                connection.half_close()
        got = connection.receive_all()
    status = got.split(b" ", 2)[1] if got.startswith(b"HTTP/1.") else b"0"
    return int(status), got


@pytest.mark.parametrize("row", REFUSED, ids=names(REFUSED))
def test_http11_what_can_be_read_in_two_ways_is_refused(server: Server, row: Row) -> None:
    """And nothing behind it is read as a request, since the connection ends."""
    status, got = outcome(server, row.data, more=SMUGGLED)
    assert status == 0 or 400 <= status < 500 or status in (501, 505), got[:200]
    assert b" 200 OK" not in got


@pytest.mark.parametrize("row", ERRORS, ids=names(ERRORS))
def test_http11_what_is_not_served_is_an_error(server: Server, row: Row) -> None:
    with Connection.open(server.port, seconds=SECONDS) as connection:
        assert 400 <= connection.ask(row.data).status < 500
        assert connection.ask(get()).status == 200


@pytest.mark.parametrize("row", LENIENT, ids=names(LENIENT))
def test_http11_what_the_library_takes_is_read_in_one_way(server: Server, row: Row) -> None:
    """If this fails, the library has become stricter: move the row to those that are refused."""
    with Connection.open(server.port, seconds=SECONDS) as connection:
        assert connection.ask(keyed(server, row.data)).status == 200, row.library
        assert connection.ask(get()).status == 200


@pytest.mark.parametrize("row", ENDING, ids=names(ENDING))
def test_http11_nothing_is_read_behind_a_body_framed_twice(server: Server, row: Row) -> None:
    status, got = outcome(server, row.data, more=SMUGGLED)
    assert (status, got.count(b"HTTP/1.1 ")) in ((200, 1), (400, 1)), row.library


@pytest.mark.parametrize("row", INCOMPLETE, ids=names(INCOMPLETE))
def test_http11_half_a_request_is_never_carried_out(server: Server, row: Row) -> None:
    status, got = outcome(server, row.data, end=True)
    assert status in (0, 400, 408, 413), got[:200]
