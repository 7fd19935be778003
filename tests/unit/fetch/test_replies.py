"""What a stranger's server may send, and what is made of it."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from entrepot.fetch import Call, Fetcher, Policy
from entrepot.fetch.call import Dripping
from entrepot.fetch.errors import (
    BadReply,
    BadStatus,
    BlockedAddress,
    Cancelled,
    ConnectionFailed,
    FetchError,
    Stalled,
    TlsFailed,
    TooLarge,
    TooSlow,
    Truncated,
)
from support.internet import PUBLIC, Internet, Reply, Request, body_of

URL = "http://files.example.com/x"


@pytest.fixture
def net():
    with Internet() as net:
        yield net


def read(net: Internet, reply: Reply, max_bytes: int | None = None, **policy: float) -> bytes:
    net.serve(lambda request: reply)
    with Fetcher(Policy(**policy), net).open(URL, max_bytes=max_bytes) as response:  # type: ignore[arg-type]
        response.expect(200)
        return body_of(response)


def raw(text: bytes) -> Reply:
    return Reply(raw=text)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"hello"),
        raw(CHUNKED + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: x\r\n\r\n"),
        raw(b"HTTP/1.0 200 OK\r\n\r\nhello"),
        raw(b"HTTP/1.1 200\nContent-Length: 5\n\nhello"),
        raw(b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 H\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello and more"),
    ],
)
def test_every_way_to_tell_the_end_is_understood(net, reply):
    assert read(net, reply) == b"hello"


@pytest.mark.parametrize(
    "text",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 999 x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"2\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"5" * 5000,
        CHUNKED + b"0\r\n" + b"A: b\r\n" * 100,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
    ],
)
def test_f07_what_is_no_sound_reply_is_refused(net, text):
    with pytest.raises(BadReply):
        read(net, raw(text))


@pytest.mark.parametrize("headers", [b"A: b\r\n" * 1000, b"A: " + b"x" * 100_000 + b"\r\n", b"A: b\r\n" * 1_000_000])
def test_f07_headers_without_end_are_refused(net, headers):
    with pytest.raises((BadReply, ConnectionFailed)) as caught:
        read(net, raw(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n"))
    assert isinstance(caught.value, BadReply)


def test_f07_a_body_without_end_stops_at_the_limit(net):
    with pytest.raises(TooLarge):
        read(net, raw(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(3_000_000)), max_bytes=1_000_000)
    with pytest.raises(TooLarge):
        read(net, raw(CHUNKED + b"FFFFFFF\r\n" + bytes(3_000_000)), max_bytes=1_000_000)


def test_a_body_over_the_limit_is_refused_before_a_byte_of_it_is_read(net):
    net.serve(lambda request: Reply(bytes(2000)))
    with Fetcher(Policy(), net).open(URL, max_bytes=1999) as response, pytest.raises(TooLarge, match="2000"):
        response.check_size()


def test_a_body_of_exactly_the_limit_is_read(net):
    assert len(read(net, Reply(bytes(2000)), max_bytes=2000)) == 2000
    assert len(read(net, Reply(bytes(2000), length=False), max_bytes=2000)) == 2000


def test_f07_a_server_that_stands_still_is_given_up(net):
    pause = threading.Event()
    try:
        with pytest.raises(Stalled):
            read(net, Reply(bytes(100), cut=50, pause=pause), stall_seconds=0.1)
    finally:
        pause.set()


def test_f07_a_reply_that_never_begins_is_given_up(net):
    pause = threading.Event()
    try:
        with pytest.raises(Stalled):
            read(net, Reply(raw=b"HTTP/1.1 200 OK\r\nA", pause=pause), stall_seconds=0.1)
    finally:
        pause.set()


def test_f07_the_whole_can_be_bounded_in_time(net):
    with pytest.raises(Stalled, match="the whole"):
        read(net, Reply(b"x"), total_seconds=0.0)
    with pytest.raises(Stalled):
        read(net, Reply(b"x" * 10_000, drip=0.001), total_seconds=0.1)


HOUR = 3600


@pytest.mark.parametrize(
    ("count", "every", "lasts"),
    [
        (1, 60, False),  # E17, F07: a byte a minute
        (1, 10, False),
        (900, 1, False),
        (20_000, 1, True),  # A24: an honest slow line
        (1500, 1, True),
        (40_000, 29, True),  # in bursts
    ],
)
def test_f07_a_drip_is_cut_and_a_slow_line_goes_on_for_hours(count, every, lasts):
    pace, waited = Policy().pace(), 0
    try:
        while waited < 10 * HOUR:
            pace.add(count, every)
            waited += every
    except Dripping:
        assert not lasts and waited <= 2 * 60
    else:
        assert lasts


def test_f07_a_fast_beginning_does_not_pay_for_a_drip_later():
    pace = Policy().pace()
    pace.add(10**9, 61)
    pace.add(1, 30)
    with pytest.raises(Dripping, match="1 bytes came in 60 seconds"):
        pace.add(0, 30)


def test_seconds_in_which_nobody_waits_for_bytes_do_not_count():
    pace = Policy().pace()
    for _ in range(10**4):
        pace.add(1, 0.0)


@pytest.mark.parametrize("chunked", [False, True])
def test_f07_a_server_that_drips_is_cut_and_one_that_is_fast_enough_is_not(net, chunked):
    body = b"400\r\n" + b"x" * 1024 + b"\r\n1\r\nx\r\n0\r\n\r\n" if chunked else b"x" * 1060
    headers = {"Transfer-Encoding": "chunked"} if chunked else {}
    reply = Reply(body, headers=headers, length=not chunked, drip=0.001)
    assert len(read(net, reply, min_rate=0.1, rate_seconds=0.005)) == (1025 if chunked else 1060)
    with pytest.raises(TooSlow, match="too slow"):
        read(net, reply, min_rate=1e9, rate_seconds=0.002)


def test_f07_chunks_that_are_more_wrapping_than_content_are_refused(net):
    honest = b"1;" + b"x" * 14 + b"\r\nx\r\n"
    assert read(net, raw(CHUNKED + honest * 9000 + b"0\r\n\r\n")) == b"x" * 9000
    with pytest.raises(BadReply, match="wrapping"):
        read(net, raw(CHUNKED + (b"1;" + b"x" * 4000 + b"\r\nx\r\n") * 9 + b"0\r\n\r\n"))


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "gzip, gzip"])
def test_f07_a_coding_that_was_not_asked_for_is_refused(net, coding):
    bomb = gzip.compress(bytes(1_000_000))
    with pytest.raises(BadReply, match="encoded"):
        read(net, Reply(bomb, headers={"Content-Encoding": coding}))


@pytest.mark.parametrize(
    "reply", [Reply(b"hello", cut=3), raw(CHUNKED + b"5\r\nhel"), raw(CHUNKED + b"5\r\nhello\r\n")]
)
def test_f07_a_body_shorter_than_announced_is_truncated(net, reply):
    with pytest.raises(Truncated):
        read(net, reply)


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "credentials"), (404, "Check the URL"), (500, "later"), (503, "later"), (599, "later")]
)
def test_a_status_is_told_with_what_to_do_about_it(net, status, advice):
    with pytest.raises(BadStatus) as caught:
        read(net, Reply(status=status))
    assert advice in caught.value.fix


@pytest.mark.parametrize("status", [204, 206, 304, 404, 500])
def test_f07_another_status_is_no_success(net, status):
    with pytest.raises(BadStatus) as caught:
        read(net, Reply(status=status, headers={"Content-Type": "text/html"}))
    assert caught.value.status == status
    assert "text/html" in str(caught.value)


def test_a_call_that_is_cancelled_wakes_who_reads(net):
    call, pause = Call(), threading.Event()
    net.serve(lambda request: Reply(bytes(100), cut=50, pause=pause))
    try:
        with Fetcher(Policy(), net).open(URL, call=call) as response:
            threading.Timer(0.05, call.cancel).start()
            with pytest.raises(Cancelled):
                body_of(response)
        with pytest.raises(Cancelled):
            Fetcher(Policy(), net).open(URL, call=call)
    finally:
        pause.set()


def test_the_digest_of_the_whole_is_read(net):
    digest = "sha-512=:AAAA:, sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:"
    net.serve(lambda request: Reply(b"test", headers={"Repr-Digest": digest, "ETag": 'W/"x"'}))
    with Fetcher(Policy(), net).open(URL) as response:
        assert response.sha256 and response.sha256.hex().startswith("9f86d081")
        assert (response.etag, response.strong_etag) == ('W/"x"', "")


CA = trustme.CA()


def tls(name: str, ca: trustme.CA = CA, **options: datetime) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name, **options).configure_cert(context)  # type: ignore[arg-type]
    return context


@pytest.fixture
def trusted(tmp_path, monkeypatch):
    CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def read_tls(net: Internet, context: ssl.SSLContext) -> bytes:
    net.host("files.example.com", [PUBLIC], lambda request: Reply(b"hello"), 443, context)
    with Fetcher(Policy(), net).open("https://files.example.com/") as response:
        return body_of(response)


def test_tls_is_checked_against_the_name_and_not_the_address(net, trusted):
    assert read_tls(net, tls("files.example.com")) == b"hello"


def test_f04_http_to_https_to_a_private_host_is_refused_at_the_last_hop(net, trusted):
    def back(request: Request) -> Reply:
        return Reply(status=302, headers={"Location": "http://169.254.169.254/latest"})

    net.serve(lambda request: Reply(status=302, headers={"Location": "https://secure.example.com/"}))
    net.host("secure.example.com", ["151.101.1.69"], back, 443, tls("secure.example.com"))
    with pytest.raises(BlockedAddress, match=r"169\.254\.169\.254"):
        Fetcher(Policy(), net).open(URL)
    assert net.connections == [(PUBLIC, 80), ("151.101.1.69", 443)]


def test_credentials_do_not_go_from_https_to_http(net, trusted):
    plain = net.serve(lambda request: Reply(b"hello"))
    down = lambda request: Reply(status=302, headers={"Location": URL})  # noqa: E731
    net.host("secure.example.com", ["151.101.1.69"], down, 443, tls("secure.example.com"))
    with Fetcher(Policy(), net).open("https://secure.example.com/", {"Authorization": "Bearer s"}) as response:
        assert body_of(response) == b"hello"
    assert "authorization" not in plain.requests[0].headers


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: tls("other.example.com"), "files.example.com"),
        (lambda: tls("files.example.com", trustme.CA()), "self-signed|local issuer"),
        (lambda: tls("files.example.com", not_after=datetime.now(UTC) - timedelta(days=1)), "expired"),
    ],
)
def test_f11_a_certificate_that_cannot_be_trusted_is_refused_and_the_reason_named(net, trusted, make, reason):
    with pytest.raises(TlsFailed, match=reason):
        read_tls(net, make())


def test_f11_a_server_that_does_not_speak_tls_is_told(net, trusted):
    net.host("files.example.com", [PUBLIC], lambda request: Reply(b"hello"), 443)
    with pytest.raises(FetchError) as caught:
        Fetcher(Policy(connect_seconds=0.2), net).open("https://files.example.com/")
    assert caught.value.code in ("tls_failed", "stalled", "truncated")


def test_f07_a_header_of_blanks_is_read_in_no_time(net):
    begun = time.process_time()
    assert (
        read(net, raw(b"HTTP/1.1 200 OK\r\nA: a" + b" " * 60_000 + b"b\r\nContent-Length: 5\r\n\r\nhello")) == b"hello"
    )
    assert time.process_time() - begun < 3


@pytest.mark.parametrize("name", [b"Content-Type", b"Content-Encoding"])
def test_what_a_server_says_is_told_short_and_without_what_a_terminal_obeys(net, name):
    text = b"HTTP/1.1 404 x\r\n" + name + b": \x1b]0;x\x07" + b"x" * 9000 + b"\r\n\r\n"
    with pytest.raises((BadStatus, BadReply)) as caught:
        read(net, raw(text))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
