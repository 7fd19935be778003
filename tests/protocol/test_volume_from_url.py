"""Upload from URL through both APIs, on a loopback internet: docs/threats.md F as a client of the door sees it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from support.inprocess import InProcess
from support.internet import PUBLIC, Internet, Reply
from support.talk import Reply as Answer

OLD, V1 = "/files/file/url", "/v1/serverless/files/file/url"
URL = "http://files.example.com/a.bin?secret=1"
LIMIT = 1024 * 1024
PNG = b"\x89PNG\r\n\x1a\n" + bytes(1000)


@pytest.fixture(scope="module")
def net() -> Iterator[Internet]:
    with Internet() as net:
        yield net


@pytest.fixture(scope="module")
def app(net: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    folder = tmp_path_factory.mktemp("home")
    with InProcess(folder, net, import_max_size=LIMIT) as app:
        yield app


@pytest.fixture(autouse=True)
def fresh(net: Internet, app: InProcess) -> Iterator[None]:
    """Whatever a test's server says, nothing of it stays but whole files."""
    net.names.clear()
    net.connections.clear()
    yield
    assert leftovers(app) == []


def leftovers(app: InProcess) -> list[Path]:
    return [each for each in (app.root / ".entrepot" / "staging").rglob("*") if each.is_file()]


def serve(net: Internet, reply: Reply) -> None:
    net.serve(lambda request: reply)


def refused(app: InProcess, url: str, code: str, status: int) -> str:
    """Both APIs refuse, nothing is stored, and the message tells no query."""
    old, new = app.post(f"{OLD}/refused", {"url": url}), app.post(f"{V1}/refused", {"url": url})
    assert (old.status, old.json()["code"]) == (status, code)
    assert (new.status, new.json()["error"]["code"]) == (400 if status == 422 else status, code)
    assert new.json()["error"]["type"] == "validation_error"
    assert not (app.root / "refused").exists()
    assert "secret" not in old.body.decode()
    return str(old.json()["message"])


def read(app: InProcess, path: str) -> Answer:
    return app.get(f"/v1/serverless/files/file/{path}")


@pytest.mark.parametrize("base", [OLD, V1])
def test_a_url_becomes_the_file_of_exactly_that_path_and_replaces_what_was_there(app, net, base):
    for body in (PNG, b"", bytes(LIMIT)):
        serve(net, Reply(body))
        reply = app.post(f"{base}/models/new/a%20b.bin", {"url": URL})
        assert (reply.status, reply.body) == (200, b"true")
        assert read(app, "models/new/a%20b.bin").body == body
        assert (app.root / "models" / "new" / "a b.bin").read_bytes() == body


def test_a_page_that_asks_for_a_login_is_stored_as_what_the_url_gives(app, net):
    serve(net, Reply(b"<html>", headers={"Content-Type": "text/html"}))
    assert app.post(f"{OLD}/page", {"url": URL}).status == 200
    assert read(app, "page").body == b"<html>"


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.1.2.3", "::1", "64:ff9b::7f00:1"])
def test_f01_private_addresses_are_blocked_before_a_packet_is_sent(app, net, address):
    net.host("inside.example.com", [PUBLIC, address])
    assert "inside.example.com" in refused(app, "http://inside.example.com/", "blocked_address", 422)
    host = f"[{address}]" if ":" in address else address
    refused(app, f"http://{host}/latest/meta-data", "blocked_address", 422)
    assert net.connections == []


@pytest.mark.parametrize("target", ["http://192.168.0.1/", "file:///etc/passwd", "http://media.example.com/healthz"])
def test_f04_a_redirect_is_followed_to_public_places_only(app, net, target):
    serve(net, Reply(status=302, headers={"Location": target}))
    refused(app, URL, "blocked_address", 422)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 500])
def test_a03_no_advice_is_given_that_a_request_cannot_follow(app, net, status):
    """A URL comes without headers of its own."""
    serve(net, Reply(status=status))
    error = app.post(f"{V1}/refused", {"url": URL}).json()["error"]
    assert error["code"] == "fetch_failed"
    assert error["fix"] and "header" not in error["fix"]


def test_f04_redirects_without_end_are_the_remote_s_fault(app, net):
    serve(net, Reply(status=301, headers={"Location": URL}))
    refused(app, URL, "fetch_failed", 424)


@pytest.mark.parametrize("url", ["http://files.example.com:25/", "http://media.example.com/healthz"])
def test_f06_f08_ports_of_other_protocols_and_our_own_doors_are_blocked(app, url):
    refused(app, url, "blocked_address", 422)


@pytest.mark.parametrize("url", ["", "x", "ftp://files.example.com/", "http://files.example.com/a\r\nHost: b", "//x/"])
def test_f06_what_is_no_url_is_a_field_error(app, url):
    reply = app.post(f"{OLD}/refused", {"url": url})
    assert (reply.status, reply.json()["detail"][0]["loc"]) == (422, ["body", "url"])
    assert app.post(f"{V1}/refused", {"url": url}).status == 400


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=204, length=False),
        Reply(b"part", status=206),
        Reply(b"?", status=404),
        Reply(b"?", status=503),
        Reply(b"x" * 50_000, cut=40_000),
        Reply(b"x", headers={"Content-Encoding": "br"}),
        Reply(raw=b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000),
    ],
)
def test_f07_whatever_is_not_a_whole_200_is_the_remote_s_fault_and_names_it(app, net, reply):
    serve(net, reply)
    assert "files.example.com" in refused(app, URL, "fetch_failed", 424)


@pytest.mark.parametrize("reply", [Reply(bytes(LIMIT + 1)), Reply(bytes(2 * LIMIT), length=False)])
def test_f07_a_file_over_the_limit_is_refused(app, net, reply):
    serve(net, reply)
    refused(app, URL, "too_large", 413)


def test_f07_a_server_that_stalls_is_given_up(net, tmp_path: Path):
    gate = threading.Event()
    serve(net, Reply(b"x" * 50_000, cut=40_000, pause=gate))
    with InProcess(tmp_path, net, stall_timeout=0.3) as impatient:
        refused(impatient, URL, "fetch_failed", 424)
        assert leftovers(impatient) == []
    gate.set()


def test_f08_a_private_object_of_our_own_is_kept_with_the_caller_s_rights_and_not_fetched(app, net):
    lifecycle = '{"initial_acl": {"default": "hide", "rules": []}}'
    made = app.ask("POST", "/files/upload", PNG, {"x-fal-object-lifecycle": lifecycle, "x-fal-file-name": "c d.png"})
    url = made.json()["access_url"]
    assert app.get(url.removeprefix("http://media.example.com"), authorization="").status == 404
    assert app.post(f"{OLD}/mine.png", {"url": f"{url}?download=1"}).body == b"true"
    assert read(app, "mine.png").body == PNG
    assert net.lookups.count("media.example.com") == 0


def test_f11_a_certificate_that_nobody_vouches_for_is_named(app, net):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("tls.example.com").configure_cert(context)
    net.host("tls.example.com", ["93.184.216.35"], lambda request: Reply(b"x"), port=443, tls=context)
    assert "cannot be trusted" in refused(app, "https://tls.example.com/?secret=1", "fetch_failed", 424)


@pytest.mark.parametrize("base", [OLD, V1])
def test_nobody_without_a_key_makes_the_server_fetch(app, net, base):
    for credential in ("", "Key a:b", "Bearer x"):
        assert app.post(f"{base}/refused", {"url": URL}, authorization=credential).status == 401
    assert net.connections == []


@pytest.mark.parametrize("path", ["../x", "a/../../x", ".entrepot/x", "%00", "a%ff"])
def test_b01_a_path_that_is_none_is_refused_before_anything_is_fetched(app, net, path):
    assert app.post(f"{OLD}/{path}", {"url": URL}).status == 422
    assert app.post(f"{V1}/{path}", {"url": URL}).status == 400
    assert net.connections == []


def test_a_folder_is_not_replaced_by_a_file(app, net, tmp_path: Path):
    (app.root / "folder").mkdir()
    serve(net, Reply(b"x"))
    assert app.post(f"{OLD}/folder", {"url": URL}).status == 409
    assert (app.root / "folder").is_dir()
