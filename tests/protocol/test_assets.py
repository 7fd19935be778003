"""`POST /v1/assets/uploads`: a URL becomes a file of the CDN."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.files import Files
from support.inprocess import InProcess
from support.internet import Internet, Reply
from support.talk import Reply as Answer
from support.talk import line

URL = "http://files.example.com/cat%20one.png?secret=1"
LIMIT = 1024 * 1024
PNG = b"\x89PNG\r\n\x1a\n" + bytes(1000)


@pytest.fixture(scope="module")
def net() -> Iterator[Internet]:
    with Internet() as net:
        yield net


@pytest.fixture(scope="module")
def app(net: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with InProcess(tmp_path_factory.mktemp("home"), net, import_max_size=LIMIT) as app:
        yield app


def serve(net: Internet, reply: Reply) -> None:
    net.connections.clear()
    net.serve(lambda request: reply)


def add(app: InProcess, body: Any = None, **headers: str) -> Answer:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.post("/v1/assets/uploads", {"url": URL, "type": "image", **(body or {})}, **headers)


def read(app: InProcess, url: str) -> Answer:
    return app.get(urlsplit(url).path)


def test_w5_a_url_becomes_a_file_of_the_cdn(app, net):
    serve(net, Reply(PNG, headers={"Content-Type": "image/png"}))
    lifecycle = '{"expiration_duration_seconds": 3600}'
    got = add(app, {"prompt": "a cat"}, x_fal_object_lifecycle=lifecycle)
    assert got.status == 200
    asset = got.json()["asset"]
    assert (asset["type"], asset["content_type"], asset["title"], asset["prompt"]) == (
        "image", "image/png", "cat one.png", "a cat",
    )  # fmt: skip
    assert asset["vector_id"] in asset["url"]
    assert asset["url"].endswith("_cat%20one.png")
    reply = read(app, asset["url"])
    assert (reply.body, "x-entrepot-expires-at" in reply.headers) == (PNG, True)


def test_w5_a_repeated_key_gives_the_same_file_without_a_fetch(app, net):
    serve(net, Reply(PNG))
    first = add(app, idempotency_key="w5").json()
    serve(net, Reply(status=404))
    assert add(app, idempotency_key="w5").json() == first
    assert net.connections == []
    other = add(app, {"url": URL + "&other"}, idempotency_key="w5")
    assert (other.status, other.json()["error"]["code"]) == (400, "validation_failed")
    serve(net, Reply(PNG))
    assert add(app).json() != first


def test_w5_a_file_of_this_server_is_the_asset_itself(app, net):
    serve(net, Reply(PNG))
    url = add(app).json()["asset"]["url"]
    net.connections.clear()
    assert add(app, {"url": url, "type": "3d"}).json()["asset"]["url"] == url
    assert net.connections == []
    assert add(app, {"url": url + "x"}).status == 404
    assert add(app, {"url": "http://media.example.com/healthz"}).json()["error"]["code"] == "blocked_address"


def test_w5_what_only_a_library_could_keep_is_named(app, net):
    serve(net, Reply(PNG))
    got = add(app, {"collection_id": "c", "favorite": True, "tag_ids": ["t"]})
    assert got.headers["x-entrepot-warning"] == "; ".join(
        f"body: {field} is not kept here" for field in ("collection_id", "favorite", "tag_ids")
    )
    assert "x-entrepot-warning" not in add(app, {"favorite": False, "tag_ids": [], "prompt": None}).headers


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"url": None}, 400, "validation_failed"), ({"url": ""}, 400, "validation_failed"),
        ({"url": "ftp://files.example.com/"}, 400, "validation_failed"), ({"url": 7}, 400, "validation_failed"),
        ({"url": "http://files.example.com/" + "x" * 9000}, 400, "validation_failed"),
        ({"url": "http://127.0.0.1/"}, 400, "blocked_address"), ({"url": "http://[::1]/"}, 400, "blocked_address"),
        ({"type": "html"}, 400, "validation_failed"), ({"type": None}, 400, "validation_failed"),
        ({"type": ["image"]}, 400, "validation_failed"), ({"more": 1}, 400, "validation_failed"),
        ({"prompt": "x" * 2001}, 400, "validation_failed"), ({"tag_ids": "t"}, 400, "validation_failed"),
        ({"favorite": "yes"}, 400, "validation_failed"), ({"prompt": "x" * 40_000}, 413, "too_large"),
    ],
)  # fmt: skip
def test_w5_a_request_that_is_not_right_fetches_nothing(app, net, body, status, code):
    serve(net, Reply(PNG))
    got = add(app, body)
    assert (got.status, got.json()["error"]["code"]) == (status, code)
    assert net.connections == []


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (Reply(status=404), 424, "fetch_failed"),
        (Reply(bytes(LIMIT + 1)), 413, "too_large"),
        (Reply(status=302, headers={"Location": "http://10.0.0.1/"}), 400, "blocked_address"),
    ],
)
def test_w5_what_cannot_be_fetched_leaves_nothing(app, net, reply, status, code):
    serve(net, reply)
    got = add(app, idempotency_key=f"failed {status}")
    assert (got.status, got.json()["error"]["code"]) == (status, code)
    assert "secret" not in got.body.decode()
    serve(net, Reply(PNG))
    assert add(app, idempotency_key=f"failed {status}").status == 200, "it may be tried again"


def test_w5_credentials_come_first_and_the_rest_of_the_library_is_404(files: Files) -> None:
    for headers in ({}, {"authorization": files.token()}, {"authorization": "Key a:b"}):
        with line(files.server) as wire:
            wire.send_head("POST", "/v1/assets/uploads", content_length="1000", **headers)
            assert wire.answer("POST").status == 401
    for method, path in (("GET", "/v1/assets"), ("GET", "/v1/assets?limit=60"), ("POST", "/v1/assets/characters"),
                         ("DELETE", "/v1/assets/uploads/x"), ("GET", "/v1/assets/")):  # fmt: skip
        got = files.ask(method, path, files.key)
        assert (got.status, b"no library of assets" in got.body) == (404, True)
    assert files.ask("GET", "/v1/assets/uploads", files.key).status == 405
    assert b"no library" not in files.ask("GET", "/v1/assetsx", files.key).body
