"""What fal tries of its file inputs and of its guard against private addresses, tried here: the rows are ours."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from entrepot.fetch import Fetcher, Policy
from entrepot.fetch.errors import (
    BadStatus,
    BlockedAddress,
    BlockedScheme,
    FetchError,
    TooLarge,
    TooManyRedirects,
    Truncated,
)
from entrepot.toolkit import DownloadError, FileInput, download_file
from support.internet import OTHER, PUBLIC, Internet, Reply, Request, Site

LONGEST_URL, LONGEST_URI = 2048, 10 * 1024 * 1024
INPUT: TypeAdapter[str] = TypeAdapter(FileInput)

GOOD = {
    "a host": ("https://example.com", None),
    "a path": ("https://example.com/path/to/resource", None),
    "a query": ("https://example.com/search?q=test&page=1", None),
    "a host below": ("https://sub.example.com", None),
    "a port": ("https://example.com:8443", None),
    "blanks around a URL": ("  https://example.com  ", "https://example.com"),
    "base64 text": ("data:text/plain;base64,SGVsbG8gV29ybGQ=", None),
    "a base64 picture": ("data:image/png;base64,iVBORw0KGgo=", None),
    "blanks around a data URI": ("  data:text/plain,Hello World  ", "data:text/plain,Hello World"),
    "the longest URL": ("https://example.com/".ljust(LONGEST_URL, "a"), None),
    "the longest data URI": ("data:text/plain,".ljust(LONGEST_URI, "a"), None),
}
BAD = {
    "plain http": "http://example.com",
    "no URL": "not-a-url",
    "no data URI": "invalid-data-uri",
    "an empty text": "",
    "nothing": None,
    "a URL that is one too long": "https://example.com/".ljust(LONGEST_URL + 1, "a"),
    "a data URI that is one too long": "data:text/plain,".ljust(LONGEST_URI + 1, "a"),
}
PRIVATE = [
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "100.64.0.1",
    "::1", "fe80::1", "::ffff:169.254.169.254",
    # 6to4, Teredo and NAT64, with a private address within
    "2002:7f00:1::", "2002:a00:1::", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "2001:0:a00:1:8000:63bf:c000:2d2",
    "64:ff9b::10.0.0.1", "64:ff9b::100.64.0.1", "64:ff9b::169.254.169.254",
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_fal_inputs_that_are_taken(name: str) -> None:
    given, read = GOOD[name]
    assert INPUT.validate_python(given) == (read or given)


@pytest.mark.parametrize("name", BAD)
def test_fal_inputs_that_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        INPUT.validate_python(BAD[name])


@pytest.fixture
def net() -> Iterator[Internet]:
    with Internet() as found:
        yield found


def always(body: bytes = b"hello", status: int = 200, **headers: str) -> Callable[[Request], Reply]:
    return lambda request: Reply(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


def got(net: Internet, url: str, headers: dict[str, str] | None = None, policy: Policy | None = None) -> bytes:
    with Fetcher(policy or Policy(), net).open(url, headers) as response:
        response.expect(200)
        return b"".join(bytes(chunk) for chunk in response.chunks())


@pytest.mark.parametrize("address", PRIVATE)
def test_fal_guard_refuses_addresses_that_are_not_public(net: Internet, address: str) -> None:
    net.host("host.example", [address], always())
    with pytest.raises(BlockedAddress, match="non-routable"):
        got(net, "http://host.example/file")
    assert net.connections == []


def test_fal_guard_takes_a_public_address_behind_nat64(net: Internet) -> None:
    net.host("host.example", ["64:ff9b::808:808"], always())
    assert got(net, "http://host.example/file") == b"hello"


def test_fal_guard_connects_to_the_address_that_was_checked(net: Internet) -> None:
    site = net.serve(always())
    assert got(net, "http://files.example.com/file") == b"hello"
    assert (net.lookups, net.connections) == (["files.example.com"], [(PUBLIC, 80)])
    assert site.requests[0].headers["host"] == "files.example.com"


def test_fal_guard_tries_the_next_address_of_a_name(net: Internet) -> None:
    net.host("host.example", [OTHER], always())
    net.names["host.example"] = [["2001:4860:4860::8888", OTHER]]
    assert got(net, "http://host.example/file") == b"hello"


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("http://inner.example/secrets", BlockedAddress),
        ("http://169.254.169.254/latest", BlockedAddress),
        ("file:///etc/passwd", BlockedScheme),
    ],
)
def test_fal_guard_checks_every_redirect(net: Internet, location: str, error: type[FetchError]) -> None:
    net.host("inner.example", ["10.0.0.1"])
    net.serve(always(b"", 302, Location=location))
    with pytest.raises(error):
        got(net, "http://files.example.com/file")
    assert net.connections == [(PUBLIC, 80)]


def test_fal_guard_follows_no_more_redirects_than_it_may(net: Internet) -> None:
    net.serve(lambda request: Reply(status=302, headers={"Location": request.path + "x"}))
    with pytest.raises(TooManyRedirects):
        got(net, "http://files.example.com/", policy=Policy(max_hops=1))


def test_fal_guard_keeps_secrets_from_another_origin(net: Internet) -> None:
    """fal sends them again when a redirect leads back; here they stay away, as in curl."""
    last = net.host("last.example", [OTHER], always())
    first = net.serve(always(b"", 302, Location="http://last.example/file"))
    got(net, "http://files.example.com/", {"Authorization": "token", "Cookie": "a=b"})
    assert first.requests[0].headers["authorization"] == "token"
    assert last is not None
    assert not {"authorization", "cookie"} & last.requests[0].headers.keys()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(b"hello", cut=3), Truncated),
        (Reply(b"gone", 404), BadStatus),
        (Reply(b"", 304), BadStatus),
        (Reply(b"", headers={"Content-Length": "2097152"}, length=False), TooLarge),
    ],
    ids=["a short body", "404", "304 that nobody asked for", "a length beyond the limit"],
)
def test_fal_replies_that_are_no_file_are_errors(net: Internet, reply: Reply, error: type[FetchError]) -> None:
    net.serve(lambda request: reply)
    with pytest.raises(error):
        got(net, "http://files.example.com/file", policy=Policy(max_bytes=1 << 20))


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Reply], Site]]:
    """A server on the loopback that `download_file` may read."""
    monkeypatch.setenv("ENTREPOT_FETCH_ALLOW", "127.0.0.0/8")
    started: list[Site] = []

    def start(reply: Reply) -> Site:
        started.append(Site(lambda request: reply))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.mark.parametrize("reply", [Reply(b"hello", cut=3), Reply(b"no", 500), Reply(b"no", 404)])
def test_fal_downloads_that_fail_leave_the_file(site: Callable[[Reply], Site], tmp_path: Path, reply: Reply) -> None:
    (tmp_path / "safe.txt").write_bytes(b"before")
    with pytest.raises(DownloadError):
        download_file(f"{site(reply).url}/safe.txt", tmp_path)
    assert (tmp_path / "safe.txt").read_bytes() == b"before"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="safe.txt"', "safe.txt"),
        ("attachment; filename*=UTF-8''na%C3%AFve.txt", "naïve.txt"),
        ('attachment; filename="../../safe.txt"', "safe.txt"),
    ],
)
def test_fal_downloads_are_named_by_the_reply(
    site: Callable[[Reply], Site], tmp_path: Path, disposition: str, name: str
) -> None:
    found = download_file(f"{site(Reply(b'hello', headers={'Content-Disposition': disposition})).url}/file", tmp_path)
    assert (found, found.read_bytes()) == (tmp_path / name, b"hello")


def test_fal_downloads_beyond_a_limit_are_refused(site: Callable[[Reply], Site], tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="over the limit"):
        download_file(f"{site(Reply(bytes(2 << 20))).url}/file", tmp_path, filesize_limit=1)
    assert list(tmp_path.iterdir()) == []


def test_fal_downloads_of_a_data_uri_are_made_again_when_cut(tmp_path: Path) -> None:
    uri = f"data:text/plain;base64,{base64.b64encode(b'hello').decode()}"
    path = download_file(uri, tmp_path)
    path.write_bytes(b"hel")
    assert download_file(uri, tmp_path) == path
    assert path.read_bytes() == b"hello"
