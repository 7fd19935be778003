"""Where links come from, which hosts are answered, and what pages of other origins may do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from urllib.parse import urlsplit

import pytest

from support.server import Server, free_port, running
from support.talk import Talk, eventually, line

DATA = b"some bytes"
EVIL = {
    "x-forwarded-host": "evil.example",
    "x-forwarded-proto": "https",
    "x-forwarded-for": "6.6.6.6",
    "x-forwarded-port": "666",
    "x-original-url": "/evil",
    "forwarded": "host=evil.example;proto=https;for=6.6.6.6",
    "host": "evil.example",
    "x-real-ip": "6.6.6.6",
}


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    """A server with public names of its own."""
    with running(
        tmp_path_factory.mktemp("named"),
        public_url="https://media.example.com",
        cdn_url="https://cdn.example.com:8443",
        accepted_hosts="v3.fal.media, old.example.com",
    ) as server:
        yield Talk(server)


def test_c05_links_come_from_the_settings_whatever_a_request_claims(talk: Talk) -> None:
    origin = talk.server.url
    for header, value in EVIL.items():
        told = talk.post_json("/storage/upload/initiate", {"file_name": "a"}, **{header: value}).json()
        assert told["file_url"].startswith(f"{origin}/files/b/")
        assert told["upload_url"].startswith(f"{origin}/files/b/")
        assert talk.upload(DATA, **{header: value}).startswith(f"{origin}/files/b/")
        assert talk.post("/storage/auth/token", b"", **{header: value}).json()["base_url"] == origin
        assert talk.get("/openapi.json", **{header: value}).json()["servers"] == [{"url": origin}]


def test_c05_the_log_names_the_peer_and_not_whom_it_claims_to_speak_for(talk: Talk) -> None:
    reply = talk.get("/healthz", x_forwarded_for="6.6.6.6")
    request_id = reply.headers["x-request-id"]
    (entry,) = eventually(lambda: [e for e in talk.server.log_lines() if e.get("request_id") == request_id])
    assert entry["client"] == "127.0.0.1"


def test_c05_an_absolute_form_target_is_the_path_on_this_server(talk: Talk) -> None:
    url = talk.upload(DATA)
    with line(talk.server) as raw:
        raw.send_head("GET", f"http://evil.example{urlsplit(url).path}", host="evil.example")
        reply = raw.answer()
    assert (reply.status, reply.body) == (200, DATA)
    with line(talk.server) as raw:
        raw.send_head("POST", "http://evil.example/files/upload", **talk.key, content_length="2")
        raw.send(b"hi")
        assert raw.answer("POST").json()["access_url"].startswith(talk.server.url)


@pytest.mark.parametrize("path", ["//evil.example/files/upload", "//files/upload", "/files//upload", "/files/upload/"])
def test_c05_double_slashes_are_no_other_spelling_and_redirect_nowhere(talk: Talk, path: str) -> None:
    with line(talk.server) as raw:
        raw.send_head("POST", path, **talk.key, content_length="0")
        reply = raw.answer("POST")
    assert reply.status == 404
    assert "location" not in reply.headers


def test_files_are_named_by_the_cdn_url_and_the_api_by_the_public_url(named: Talk) -> None:
    urls = named.initiate(host="media.example.com")
    assert urls["file_url"].startswith("https://cdn.example.com:8443/files/b/")
    assert urls["upload_url"].startswith("https://cdn.example.com:8443/files/b/")
    token = named.post("/storage/auth/token", b"{}", host="media.example.com").json()
    assert token["base_url"] == token["base_upload_url"] == "https://cdn.example.com:8443"
    assert named.put(urls["upload_url"], DATA, host="cdn.example.com:8443").status == 200
    assert named.get(urls["file_url"], host="cdn.example.com:8443").body == DATA
    document = named.get("/openapi.json", host="media.example.com").json()
    assert document["servers"] == [{"url": "https://media.example.com"}]


def test_c3_every_route_answers_on_every_accepted_name_with_the_same_token(named: Talk) -> None:
    token = named.token(host="media.example.com")
    for host in ("media.example.com", "cdn.example.com:8443", "cdn.example.com", "v3.fal.media", "OLD.example.com:80"):
        url = named.upload(DATA, host=host, authorization=token)
        for other in ("media.example.com", "cdn.example.com", "v3.fal.media", "localhost:8000"):
            assert named.get(url, host=other).body == DATA


@pytest.mark.parametrize(
    "host", ["evil.example", "media.example.com.evil.example", "", "media.example.com@evil.example", "a:b:c"]
)
def test_a_foreign_host_name_is_421_when_names_are_set(named: Talk, host: str) -> None:
    for method, path in (("GET", "/healthz"), ("POST", "/files/upload"), ("OPTIONS", "/files/upload")):
        reply = named.ask(method, path, {**named.key, "host": host}, b"" if method == "POST" else None)
        assert (reply.status, reply.json()["code"]) == (421, "misdirected")


def test_health_is_answered_by_address_for_who_watches_the_process(named: Talk) -> None:
    assert named.get("/healthz", host=f"127.0.0.1:{named.server.port}").status == 200


def test_a_wildcard_address_without_a_public_url_refuses_to_start(tmp_path_factory: pytest.TempPathFactory) -> None:
    for host in ("0.0.0.0", "::", ""):
        refused = Server(tmp_path_factory.mktemp("wildcard"), {"host": host} if host else {"host": "0"})
        done = refused.run(*refused.arguments(), check=False)
        assert done.returncode == 2
        assert "--public-url" in done.stderr
        assert not refused.home.exists()


@pytest.mark.parametrize(
    "url",
    ["media.example.com", "https://a.example/path", "ftp://a", "https://a?x", "https://u:p@a", "https://é.example"],
)
def test_a_url_that_is_no_origin_refuses_to_start(tmp_path_factory: pytest.TempPathFactory, url: str) -> None:
    refused = Server(tmp_path_factory.mktemp("origin"), {"public_url": url})
    done = refused.run(*refused.arguments(), check=False)
    assert done.returncode == 2
    assert "--public-url" in done.stderr


def test_a_trailing_slash_of_an_origin_is_dropped(serve: Callable[..., Server]) -> None:
    port = str(free_port())
    server = serve(cdn_url=f"http://127.0.0.1:{port}/")
    assert Talk(server).post("/storage/auth/token").json()["base_url"] == f"http://127.0.0.1:{port}"


# CORS (docs/protocol.md 3.6, docs/threats.md C10, C11)

WRITES = {"/files/upload": "POST", "/storage/auth/token": "POST", "/storage/upload/initiate": "POST"}
ASKED = "authorization,content-type,x-fal-object-lifecycle,x-fal-file-name,idempotency-key"


def granted(value: str) -> set[str]:
    return {each.strip().lower() for each in value.split(",")}


def test_c10_a_preflight_is_granted_on_every_route(talk: Talk) -> None:
    signed = talk.initiate()["upload_url"]
    for target, method in {**WRITES, signed: "PUT", "/healthz": "GET", "/nothing": "DELETE"}.items():
        reply = talk.ask(
            "OPTIONS",
            target,
            {
                "origin": "https://app.example",
                "access-control-request-method": method,
                "access-control-request-headers": ASKED,
            },
        )
        assert (reply.status, reply.body) == (204, b"")
        assert reply.headers["access-control-allow-origin"] == "*"
        assert method in reply.headers["access-control-allow-methods"].split(", ")
        assert granted(ASKED) <= granted(reply.headers["access-control-allow-headers"])
        assert int(reply.headers["access-control-max-age"]) > 0
        assert "content-length" not in reply.headers or reply.headers["content-length"] == "0"


def test_c10_a_preflight_cannot_inject_headers(talk: Talk) -> None:
    asked = "x-a\t, x b, \xe9, " + ", ".join(f"x-{n}" for n in range(900))
    reply = talk.ask("OPTIONS", "/files/upload", {"access-control-request-headers": asked.encode("latin-1")})
    assert reply.status == 204
    assert len(reply.headers["access-control-allow-headers"]) <= 2000
    assert reply.headers["access-control-allow-headers"].isascii()


@pytest.mark.parametrize("origin", [None, "null", "https://app.example", "http://127.0.0.1", "*"])
@pytest.mark.parametrize("credentialed", [False, True])
def test_c11_any_origin_may_read_and_none_with_credentials(talk: Talk, origin: str | None, credentialed: bool) -> None:
    url = talk.upload(DATA)
    headers = {} if origin is None else {"origin": origin}
    if credentialed:
        headers |= {"cookie": "session=1", **talk.key}
    for target in (url, url + "nope", "/healthz", "/openapi.json", "/files/upload", "/nothing"):
        reply = talk.ask("GET", target, headers)
        assert [v for k, v in reply.pairs if k == "access-control-allow-origin"] == ["*"]
        assert "access-control-allow-credentials" not in reply.headers


def test_replies_expose_what_players_and_uploaders_read(talk: Talk) -> None:
    url = talk.upload(DATA)
    needed = """etag content-range accept-ranges content-length last-modified repr-digest x-request-id retry-after
        x-fal-request-id x-fal-request-timeout-type content-disposition"""
    put = talk.put(talk.initiate()["upload_url"], DATA)
    read = [talk.get(url), talk.get(url, range="bytes=0-1"), talk.get(url + "x")]
    for reply in (*read, put, talk.post("/files/upload")):
        assert set(needed.split()) <= granted(reply.headers["access-control-expose-headers"])


def test_redirects_are_never_sent(talk: Talk) -> None:
    paths = "/ /files /files/ /files/upload/ /storage/upload/initiate/ /storage/auth/token/ /healthz/"
    for method, path in product(("GET", "POST", "PUT"), paths.split()):
        reply = talk.ask(method, path, talk.key, b"" if method != "GET" else None)
        assert not 300 <= reply.status < 400
