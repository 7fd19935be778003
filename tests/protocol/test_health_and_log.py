"""`/healthz`, `/readyz`, and the log: one JSON line a request, and no secret in any of them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from entrepot import __version__
from support.server import Server
from support.talk import Reply, Talk, eventually, line

DATA = b"bytes"


def lines_of(talk: Talk, reply: Reply) -> list[dict[str, Any]]:
    """The access lines of one request; a line may come a moment after its reply."""
    request_id = reply.headers["x-request-id"]
    return eventually(lambda: [e for e in talk.server.log_lines() if e.get("request_id") == request_id])


def test_a_living_server_says_so_to_anybody(talk: Talk) -> None:
    reply = talk.get("/healthz")
    assert (reply.status, reply.json()) == (200, {"status": "ok", "version": __version__})
    assert reply.headers["cache-control"] == "no-store"


def test_a_server_that_can_do_its_work_is_ready(talk: Talk) -> None:
    reply = talk.get("/readyz")
    assert (reply.status, reply.json()["status"]) == (200, "ready")


def test_a_server_whose_storage_was_replaced_is_alive_but_not_ready(serve: Callable[..., Server]) -> None:
    talk = Talk(serve())
    blobs = talk.server.home / "blobs"
    blobs.rename(blobs.with_name("away"))
    blobs.mkdir()
    assert talk.get("/healthz").status == 200
    reply = talk.get("/readyz")
    assert (reply.status, reply.json()["code"]) == (503, "unavailable")
    refused = talk.post("/files/upload", DATA)
    assert refused.status == 503
    assert list(blobs.iterdir()) == []
    blobs.rmdir()
    blobs.with_name("away").rename(blobs)
    assert talk.get("/readyz").status == 200
    assert talk.post("/files/upload", DATA).status == 200


def test_each_request_has_an_id_of_its_own_in_reply_error_body_and_log(talk: Talk) -> None:
    replies = [talk.get("/healthz"), talk.get("/nothing"), talk.get("/files/b/x/y"), talk.post("/files/upload", DATA)]
    replies += [talk.ask("OPTIONS", "/files/upload"), talk.ask("DELETE", "/files/upload"), talk.get("/%ff")]
    assert len({reply.headers["x-request-id"] for reply in replies}) == len(replies)
    for reply in replies:
        (entry,) = lines_of(talk, reply)
        assert entry["status"] == reply.status
        if reply.status >= 400:
            assert reply.json()["request_id"] == reply.headers["x-request-id"]


def test_a_client_does_not_choose_the_id(talk: Talk) -> None:
    reply = talk.get("/healthz", x_request_id="mine")
    assert re.fullmatch("[0-9a-f]{16}", reply.headers["x-request-id"])


def test_a_line_says_who_asked_for_what_and_what_became_of_it(talk: Talk) -> None:
    url = talk.upload(DATA)
    reply = talk.get(url, **talk.key)
    (entry,) = lines_of(talk, reply)
    expected = {
        "level": "info",
        "logger": "entrepot.access",
        "client": "127.0.0.1",
        "method": "GET",
        "path": urlsplit(url).path,
        "status": 200,
        "bytes": len(DATA),
        "key": talk.server.key.partition(":")[0],
    }
    assert entry == {**entry, **expected}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["time"])
    assert entry["ms"] >= 0


def test_a_head_sends_no_bytes_and_its_line_says_so(talk: Talk) -> None:
    for target in (talk.upload(DATA), "/healthz", "/nothing"):
        (entry,) = lines_of(talk, talk.head(target))
        assert entry["bytes"] == 0


def test_an_error_names_its_code_in_the_log(talk: Talk) -> None:
    (entry,) = lines_of(talk, talk.get("/files/b/x/y"))
    assert (entry["status"], entry["outcome"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/a%0a{%22status%22:1}", "/a%1b[31m", "/%e2%80%ae", "/<script>", '/"x"'])
def test_b06_every_line_of_the_log_is_one_json_object_whatever_the_path(talk: Talk, path: str) -> None:
    with line(talk.server) as wire:
        wire.send_head("GET", path, user_agent="a\x1b[31mb")
        reply = wire.answer()
    if "x-request-id" in reply.headers:  # the server below us refuses some such bytes itself
        (entry,) = lines_of(talk, reply)
        assert entry["path"] == path
    structured = [each for each in talk.server.log().splitlines()[1:] if each]
    assert all(each.startswith("{") and each.endswith("}") for each in structured)
    assert len(talk.server.log_lines()) >= len(structured)
    assert talk.server.log().replace("\n", "").isprintable()


def test_d09_no_key_token_or_signature_is_ever_in_the_log(serve: Callable[..., Server]) -> None:
    talk = Talk(serve())
    key_id, _, secret = talk.server.key.partition(":")
    token, urls = talk.token(), talk.initiate()
    bearer = token.removeprefix("Bearer ")
    signature = urlsplit(urls["upload_url"]).query.partition("=")[2]
    private = talk.upload(DATA, x_fal_object_lifecycle='{"initial_acl": {"default": "forbid"}}')
    secrets = {"key": secret, "token": bearer, "signature": signature}
    for text in secrets.values():
        for target in (private, "/healthz", "/nothing", "/storage/upload/initiate"):
            for query in (f"?key={text}", f"?signature={text}", f"?token={text}&a=%ff"):
                talk.get(target + query)
                talk.put(target + query, DATA)
            talk.get(target, referer=f"http://x/?{text}", cookie=text, user_agent=text, x_api_key=text)
            for scheme in (f"Key {key_id}:{text}", f"Bearer {text}", f"Basic {text}", text, f"Key {text}"):
                talk.get(target, authorization=scheme)
                talk.post(target, b"{}", authorization=scheme)
        with line(talk.server) as wire, contextlib.suppress(OSError):
            wire.send(b"GET / HTTP/1.1\r\nbroken header\r\nauthorization: " + text.encode() + b"\r\n\r\n")
            wire.rest()
        with line(talk.server) as wire:
            wire.send_head("POST", "/files/upload", authorization=f"Key {key_id}:{secret}", content_length="10")
            wire.send(b"cut")
    talk.put(urls["upload_url"], DATA)
    assert talk.server.stop() == 0
    log = talk.server.log()
    assert '"status"' in log
    for kind, text in secrets.items():
        assert text not in log, kind


def test_the_exit_after_sigterm_is_clean_and_says_nothing_alarming(serve: Callable[..., Server]) -> None:
    talk = Talk(serve())
    talk.upload(DATA)
    assert talk.server.stop() == 0
    assert not [entry for entry in talk.server.log_lines() if entry["level"] in ("error", "critical")]
    assert "Traceback" not in talk.server.log()
