"""What else may answer, and what a hostile server may say: errors can be read, nothing secret is told."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from entrepot.client.errors import (
    ConfigurationError,
    EntrepotError,
    ServerError,
    TlsFailed,
)
from support.sdk import PART, WORLDS, Sdk, a_file
from support.server import Server, running
from support.stubs import Asked, Stub, fair, said, token

KEY = "id-of-key:secret-of-key"
DATA = bytes(range(256)) * 64


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server")) as shared:
        yield shared


@pytest.fixture(autouse=True)
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENTREPOT_STATE", str(tmp_path / "states"))
    return tmp_path / "states"


# J06: what else answers


PAGE = "<html><head><title>502 Bad\n Gateway &amp; more</title></head>" + "<p>x</p>" * 1000


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (said(502, PAGE, content_type="text/html"), "502 Bad Gateway & more"),
        (said(200, PAGE, content_type="text/html"), "502 Bad Gateway & more"),
        (said(403, "go\x1b[31m away\n"), r"go \[31m away"),
        (said(404), "404"),
        (said(302, location="https://login.example/?secret=1"), "redirects to https://login.example/;"),
        (said(422, {"detail": [{"loc": ["header", "x"], "msg": "bad\x07"}]}), "header.x: bad"),
        (said(200, [1, 2]), "no JSON|cut|no 'token'"),
        (said(200, {"token": 5, "base_url": "x"}), "no 'token'"),
        (said(400, {"message": ["not a text"], "fix": {}, "code": 7, "request_id": []}), "400"),
        (said(200, token("not a url")), "no URL in 'base_url'"),
        (said(200, token("http://[::1")), "no URL in 'base_url'"),
        (said(200, token("ftp://127.0.0.1/")), "no URL in 'base_url'"),
        (said(200, token("http://127.0.0.1:99999/")), "no URL in 'base_url'"),
        (said(200, {**token("http://127.0.0.1:1"), "token": "a\r\nb"}), "no usable 'token'"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\nconnection: close", "broke"),
    ],
)
def test_whatever_answers_the_error_can_be_read(reply, says):
    with Stub(lambda asked: reply) as stub:
        sdk = Sdk("sync", stub.url, KEY)
        with pytest.raises(EntrepotError, match=says) as caught:
            sdk.upload(DATA, fallback_repository=[])
        sdk.close()
        text = str(caught.value)
        assert text.isprintable() and len(text) < 1000
        assert "secret" not in text


def test_a_reply_without_end_is_not_read_to_its_end():
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n"
    with Stub(lambda asked: head + bytes(20 * 1024 * 1024)) as stub:
        sdk = Sdk("sync", stub.url, KEY)
        with pytest.raises(EntrepotError, match="more than"):
            sdk.upload(DATA)
        sdk.close()


@pytest.mark.parametrize(
    "parts",
    [
        None, 5, "x", [None, 5, "x", []], [{}], [{"partNumber": "1", "size": 1, "digest": "sha256:00"}],
        [{"partNumber": 1, "size": PART, "digest": None}, {"partNumber": [], "size": {}, "digest": []}],
        [{"partNumber": 10**30, "size": -1, "digest": "sha256:"}],
    ],
)  # fmt: skip
def test_a_listing_of_parts_that_makes_no_sense_costs_time_and_no_byte(parts, tmp_path):
    path = tmp_path / "listed.bin"
    data = a_file(path, 3 * PART)
    fail = [True]

    def answer(asked: Asked) -> bytes:
        if asked.path.endswith("complete") and fail.pop():
            fail.append(False)
            return said(403)
        if asked.method == "GET":
            fail[:] = [False]
            return said(200, {"state": "open", "parts": parts, "expires_at": ["never"]})
        fail[:] = fail or [False]
        return fair(asked)

    with Stub(answer) as stub:
        sdk = Sdk("sync", stub.url, KEY)
        with pytest.raises(ServerError):
            sdk.in_parts(path)
        stub.kept.clear()
        sdk.in_parts(path)
        sdk.close()
        assert stub.said("GET", "u1")
        assert b"".join(stub.kept[str(n)] for n in (1, 2, 3)) == data


@pytest.mark.parametrize("status", [403, 404, 405])
def test_a_server_that_cannot_tell_what_is_held_is_sent_the_bytes(status):
    """An older one, or one that does not tell this key."""
    data = bytes(1 << 20)
    with Stub(lambda asked: said(status) if asked.path.endswith("existing") else fair(asked)) as stub:
        sdk = Sdk("sync", stub.url, KEY)
        sdk.upload(data, skip_existing=True)
        sdk.close()
        assert [len(each.body) for each in stub.asked] == [2, 0, len(data)]


@pytest.mark.parametrize(
    ("lie", "parts"),
    [({"digest": f"sha256:{'0' * 64}"}, False), ({"size": 5}, False), ({"size": 5}, True)],
    ids=["digest", "size", "size of parts"],
)
def test_a_server_that_stored_something_else_is_not_believed(lie, parts, tmp_path):
    path = tmp_path / "lie.bin"
    a_file(path, 2 * PART)

    def answer(asked: Asked) -> bytes:
        if asked.path.endswith(("complete", "/files/upload")):
            return said(200, {"access_url": "http://127.0.0.1:1/x", **lie})
        return fair(asked)

    with Stub(answer) as stub:
        sdk = Sdk("sync", stub.url, KEY)
        with pytest.raises(EntrepotError) as caught:
            (sdk.in_parts if parts else sdk.upload_file)(path)
        assert caught.value.code == "integrity_failed"


# Secrets


@pytest.mark.parametrize("repository", ["fal_v3", "fal"])
def test_no_secret_is_in_any_error_or_in_what_is_shown(repository, tmp_path, capfd):
    path = tmp_path / "secrets.bin"
    a_file(path, 2 * PART)
    shown: list[str] = []

    def progress(now: Any) -> None:
        shown.append(repr(now))

    def answer(asked: Asked) -> bytes:
        if asked.method == "PUT":
            return said(403, "no")
        return fair(asked)

    with Stub(answer) as stub:
        sdk = Sdk("sync", stub.url, KEY)
        for upload in (sdk.upload_file, sdk.in_parts):
            try:
                upload(path, repository=repository, progress=progress)
            except EntrepotError as error:
                shown += [str(error), repr(error), repr(error.__cause__), repr(vars(error))]
        shown += [repr(sdk.client), repr(sdk.client._context)]
        assert stub.said("PUT", "secrets.bin") or stub.asked
    text = " ".join(shown)
    for secret in ("secret-of-key", "stub-token-9f3c", "stub-signature-77"):
        assert secret not in text
    assert capfd.readouterr() == ("", "")


def echoed(asked: Asked) -> str:
    return f"{asked.method} {asked.target} Authorization: {asked.headers.get('authorization')}"


@pytest.mark.parametrize(
    "echo",
    [
        lambda asked: said(500, echoed(asked), content_type="text/plain"),
        lambda asked: said(400, f"<title>{echoed(asked)}</title>", content_type="text/html"),
        lambda asked: said(403, {"detail": echoed(asked), "code": echoed(asked)}),
        lambda asked: said(200, echoed(asked), content_type="text/html"),
        lambda asked: said(302, location=f"http://elsewhere/{echoed(asked)}", x_debug=echoed(asked)),
    ],
    ids=["text", "page", "detail", "success", "redirect"],
)
@pytest.mark.parametrize("at", ["token", "upload", "file.bin"])
def test_what_a_server_echoes_of_a_request_is_not_told_with_its_secrets(echo, at):
    def answer(asked: Asked) -> bytes:
        return echo(asked) if asked.path.endswith(at) else fair(asked)

    with Stub(answer) as stub:
        sdk = Sdk("sync", stub.url, KEY)
        with pytest.raises(EntrepotError) as caught:
            sdk.upload(DATA, repository="fal" if at == "file.bin" else "fal_v3", fallback_repository=[])
        error = caught.value
        sdk.close()
    text = " ".join([str(error), repr(error), repr(vars(error)), repr(error.__cause__)])
    for secret in ("secret-of-key", "stub-token-9f3c", "stub-signature-77"):
        assert secret not in text


@pytest.mark.parametrize("key", ["id:secret\nx", "id:s\u00e9cret", "id:secret x"])
def test_a_key_with_a_line_break_is_refused_and_not_shown(key):
    sdk = Sdk("sync", "http://127.0.0.1:1", key)
    with pytest.raises(ConfigurationError, match="The key has") as caught:
        sdk.upload(DATA)
    assert "cret" not in str(caught.value)


# TLS


def context_for(authority: trustme.CA, name: str = "127.0.0.1", **more: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **more).configure_cert(context)
    return context


YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


@pytest.mark.parametrize("world", WORLDS)
def test_a_private_authority_is_trusted_through_ssl_cert_file(authority, trusting, world):
    with Stub(fair, context_for(authority)) as stub:
        sdk = Sdk(world, stub.url, KEY)
        assert sdk.upload(DATA).startswith(stub.url)
        sdk.close()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [("stranger", "self-signed|self signed|unable to get"), ("expired", "expired"), ("name", "not valid for")],
)
@pytest.mark.parametrize("world", WORLDS)
def test_a_certificate_that_is_wrong_is_told_and_ends_it(server, authority, trusting, wrong, says, world):
    made = {
        "stranger": lambda: context_for(trustme.CA()),
        "expired": lambda: context_for(authority, not_after=YESTERDAY),
        "name": lambda: context_for(authority, "other.example"),
    }[wrong]()
    connections: list[int] = []

    with Stub(fair, made) as stub:
        own = stub._serve

        def counted(connection: Any) -> None:
            connections.append(1)
            own(connection)

        stub._serve = counted  # type: ignore[method-assign]
        sdk = Sdk(world, [stub.url, server.url], server.key)
        with pytest.raises(TlsFailed, match=says) as caught:
            sdk.upload(DATA)
        sdk.close()
        assert stub.url in caught.value.message and "SSL_CERT_FILE" in caught.value.fix
        assert stub.asked == [] and len(connections) == 1


def test_plain_http_where_tls_was_expected_is_told(server):
    sdk = Sdk("sync", [server.url.replace("http:", "https:"), server.url], server.key)
    with pytest.raises(TlsFailed, match="does not speak TLS"):
        sdk.upload(DATA)


def test_what_was_asked_over_tls_is_not_sent_without_it(authority, trusting):
    with Stub(fair) as plain:
        with Stub(lambda asked: said(200, token(plain.url)), context_for(authority)) as stub:
            sdk = Sdk("sync", stub.url, KEY)
            with pytest.raises(EntrepotError, match="over TLS"):
                sdk.upload(DATA)
        assert plain.asked == []
