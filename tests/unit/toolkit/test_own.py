"""Private files of the configured server: who gets the token, and who does not."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from entrepot.fetch import Fetcher, FetchError, Policy, origins
from entrepot.fetch.errors import BlockedAddress
from entrepot.toolkit.download import Wish, download
from entrepot.toolkit.own import Keyed
from support.internet import OTHER, Internet, Reply, Request, Site

CDN = "http://cdn.example.com"
FILE = f"{CDN}/files/b/0123abcd/x.bin"
BODY = bytes(range(256)) * 8


class Server:
    """The server that the client is configured for: it gives tokens t1, t2, ...; the last one opens its files."""

    url: str
    files: Site

    def __init__(self) -> None:
        self.count = 0
        self.base_url = CDN
        self.status = 200
        self.closed = 403
        self.expires = "2999-01-01T00:00:00+00:00"

    def give(self, request: Request) -> Reply:
        assert (request.path.partition("?")[0], request.headers["authorization"]) == ("/storage/auth/token", "Key a:b")
        self.count += 1
        told = {"token": f"t{self.count}", "token_type": "Bearer", "base_url": self.base_url,
                "created_at": "2026-01-01T00:00:00+00:00", "expires_at": self.expires}  # fmt: skip
        return Reply(json.dumps(told).encode(), self.status)

    def file(self, request: Request) -> Reply:
        shown = request.headers.get("authorization")
        if shown == f"Bearer t{self.count}":
            return Reply(BODY, headers={"ETag": '"1"'})
        return Reply(status=401 if shown else self.closed)


@pytest.fixture
def net():
    with Internet() as net:
        yield net


@pytest.fixture
def server(net, monkeypatch):
    server = Server()
    files = net.host("cdn.example.com", ["10.0.0.7"], server.file)
    assert files
    server.files = files
    with Site(server.give) as site:
        monkeypatch.setenv("ENTREPOT_URL", site.url)
        monkeypatch.setenv("ENTREPOT_KEY", "a:b")
        server.url = site.url
        yield server


@pytest.fixture
def opener(net, server):
    return Keyed(Fetcher(Policy(own_origins=origins([server.url])), net))


def status(opener: Keyed, url: str) -> int:
    with opener.open(url) as response:
        return response.status


@pytest.mark.parametrize("closed", [403, 404])
def test_a_private_file_is_opened_where_the_server_says_that_its_files_are(net, server, opener, closed):
    server.closed = closed
    net.names["cdn.example.com"] = [[OTHER]]
    net.sites[OTHER, 80] = server.files
    assert (status(opener, FILE), server.count) == (200, 1)
    assert status(opener, FILE) == 200
    assert Counter(request.headers.get("authorization") for request in server.files.requests) == {
        None: 1,
        "Bearer t1": 2,
    }


def test_its_files_may_be_at_a_private_address_and_those_of_others_not(net, server, opener):
    net.host("other.example.com", ["10.0.0.8"], server.file)
    assert status(opener, FILE) == 200
    for url in ("http://other.example.com/files/b/0123abcd/x.bin", f"{CDN}/users/current"):
        with pytest.raises(BlockedAddress):
            opener.open(url)


def test_what_is_public_is_read_without_asking_for_a_token(net, server, opener):
    net.serve(lambda request: Reply(BODY), "public.example.com", OTHER)
    assert status(opener, "http://public.example.com/files/b/0123abcd/x.bin") == 200
    assert server.count == 0


@pytest.mark.parametrize("path", ["/files/b/0123abcd/x.bin", "/other"])
def test_another_server_never_sees_the_token(net, server, opener, path):
    other = net.serve(lambda request: Reply(status=403), "other.example.com", OTHER)
    assert status(opener, f"http://other.example.com{path}") == 403
    net.serve(lambda request: Reply(status=302, headers={"Location": FILE}), "leads.example.com")
    with pytest.raises(FetchError):
        opener.open(f"http://leads.example.com{path}")
    assert not any("authorization" in request.headers for request in [*other.requests, *server.files.requests])


def test_a_token_that_is_refused_is_renewed_once(server, opener):
    assert status(opener, FILE) == 200
    server.count += 1  # the first one is over before its time
    assert (status(opener, FILE), server.count) == (200, 3)
    server.files.handler = lambda request: Reply(status=401)
    assert (status(opener, FILE), server.count) == (401, 4)


def test_where_no_token_is_to_be_had_it_is_as_without_a_key(net, server, opener, monkeypatch):
    net.names["cdn.example.com"] = [[OTHER]]
    net.sites[OTHER, 80] = server.files
    server.status = 401
    assert status(opener, FILE) == 403
    monkeypatch.delenv("ENTREPOT_KEY")
    assert status(opener, FILE) == 403
    assert server.count == 1


def test_a_private_file_is_downloaded_and_gone_on_with(server, opener, tmp_path, monkeypatch):
    def cut(request: Request) -> Reply:
        if asked := request.headers.get("range"):
            at = int(asked.removeprefix("bytes=").rstrip("-"))
            span = {"ETag": '"1"', "Content-Range": f"bytes {at}-{len(BODY) - 1}/{len(BODY)}"}
            return Reply(BODY[at:], 206, span) if "authorization" in request.headers else Reply(status=404)
        reply = server.file(request)
        reply.cut = 100
        return reply

    server.files.handler = cut
    assert download(Wish(FILE, tmp_path), opener).read_bytes() == BODY
    assert download(Wish(FILE, tmp_path), opener).read_bytes() == BODY
    assert (server.count, server.files.count("HEAD")) == (1, 1)
