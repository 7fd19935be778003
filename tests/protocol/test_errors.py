"""One kind of error body on every door, and no input that makes a 5xx (docs/threats.md I11)."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.talk import Reply, Talk, line

DATA = b"bytes"

Ask = Callable[[Talk], Reply]
ERRORS: dict[str, tuple[int, str, Ask]] = {
    "no key": (401, "unauthorized", lambda t: t.ask("POST", "/files/upload", {}, DATA)),
    "wrong key, control plane": (401, "unauthorized", lambda t: t.post("/storage/auth/token", authorization="Key a:b")),
    "forbidden": (
        403,
        "forbidden",
        lambda t: t.get(t.upload(DATA, x_fal_object_lifecycle='{"initial_acl": {"default": "forbid"}}')),
    ),
    "no such file": (404, "not_found", lambda t: t.get("/files/b/00000000/x")),
    "no such route": (404, "not_found", lambda t: t.get("/nothing/here")),
    "wrong method, byte path": (405, "method_not_allowed", lambda t: t.get("/files/upload")),
    "wrong method, control plane": (405, "method_not_allowed", lambda t: t.get("/storage/auth/token")),
    "bad field": (422, "validation_failed", lambda t: t.post("/storage/upload/initiate", b"{}")),
    "bad header": (422, "validation_failed", lambda t: t.post("/files/upload", DATA, x_fal_object_lifecycle="{")),
    "bad path": (422, "validation_failed", lambda t: t.get("/files/b/%ff")),
    "bad path, control plane": (422, "validation_failed", lambda t: t.get("/%ff")),
    "other bytes": (
        412,
        "already_published",
        lambda t: [t.put(url, data) for url in [t.initiate()["upload_url"]] for data in (b"1", b"2")][1],
    ),
    "condition": (412, "precondition_failed", lambda t: t.get(t.upload(DATA), if_match='"x"')),
    "range": (416, "range_not_satisfiable", lambda t: t.get(t.upload(DATA), range="bytes=9-")),
    "digest": (400, "digest_mismatch", lambda t: t.post("/files/upload", DATA, content_md5="AAAAAAAAAAAAAAAAAAAAAA==")),
    "unknown digest": (400, "unsupported_digest", lambda t: t.post("/files/upload", DATA, content_digest="x=:AA==:")),
}


@pytest.mark.parametrize("case", ERRORS)
def test_every_error_has_the_same_shape(talk: Talk, case: str) -> None:
    status, code, ask = ERRORS[case]
    reply = ask(talk)
    told = reply.json()
    assert (reply.status, told["code"]) == (status, code)
    assert set(told) == {"detail", "message", "code", "fix", "request_id"}
    assert all(isinstance(told[name], str) and told[name] for name in ("message", "code", "fix", "request_id"))
    if isinstance(told["detail"], list):
        (field,) = told["detail"]
        assert set(field) == {"loc", "msg", "type"}
        assert isinstance(field["loc"], list)
    else:
        assert told["detail"] == told["message"]
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["access-control-allow-origin"] == "*"
    assert reply.headers["x-request-id"] == told["request_id"]


def test_405_names_the_methods_that_are_possible_on_every_route(talk: Talk) -> None:
    expected = {
        "/files/upload": {"POST", "OPTIONS"},
        "/storage/auth/token": {"POST", "OPTIONS"},
        "/storage/upload/initiate": {"POST", "OPTIONS"},
        "/healthz": {"GET", "HEAD", "OPTIONS"},
        "/readyz": {"GET", "HEAD", "OPTIONS"},
        "/openapi.json": {"GET", "HEAD", "OPTIONS"},
    }
    for path, methods in expected.items():
        reply = talk.ask("DELETE", path)
        assert reply.status == 405
        assert set(reply.headers["allow"].split(", ")) == methods


NASTY = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60)
HEADERS = """authorization range if-none-match if-modified-since if-range if-match if-unmodified-since x-fal-file-name
    x-fal-object-lifecycle content-type content-digest content-md5 expect idempotency-key x-fal-request-id origin
    access-control-request-headers accept-encoding cookie x-request-id"""


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(name=st.sampled_from(HEADERS.split()), value=NASTY)
def test_no_header_makes_a_5xx(talk: Talk, name: str, value: str) -> None:
    sent = {name: value.strip().encode("latin-1")}
    target = _sample(talk)
    replies = [
        talk.ask("GET", target, sent),
        talk.ask("HEAD", target, sent),
        talk.ask("OPTIONS", target, sent),
        talk.ask("POST", "/files/upload", {**talk.key, **sent}, DATA),
        talk.ask("POST", "/storage/upload/initiate", {**talk.key, **sent}, b'{"file_name": "a"}'),
        talk.ask("POST", "/storage/auth/token", {**talk.key, **sent}, b"{}"),
    ]
    assert all(reply.status < 500 for reply in replies)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(raw=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60))
def test_no_path_and_no_query_makes_a_5xx(talk: Talk, raw: str) -> None:
    for target, method in product((f"/{raw}", f"/files/b/{raw}", f"/files/upload{raw}"), ("GET", "PUT")):
        with line(talk.server) as wire:
            wire.send_head(method, target, content_length="0", connection="close")
            assert not wire.rest().startswith(b"HTTP/1.1 5")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(body=st.one_of(st.binary(max_size=80), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10), lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["file_name", "content_type", "x", "expiration_seconds"]), inner, max_size=4),
    max_leaves=6).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_no_json_body_makes_a_5xx(talk: Talk, body: bytes) -> None:
    for path in ("/storage/upload/initiate", "/storage/auth/token"):
        assert talk.post(path, body, content_type="application/json").status < 500


def test_an_enormous_token_lifetime_is_no_fault(talk: Talk) -> None:
    for text in (b'{"expiration_seconds": 1e400}', b'{"expiration_seconds": ' + b"9" * 5000 + b"}", b"[" * 100_000):
        assert talk.post("/storage/auth/token", text).status == 200


_URLS: dict[int, str] = {}


def _sample(talk: Talk) -> str:
    port = talk.server.port
    if port not in _URLS:
        _URLS[port] = urlsplit(talk.upload(DATA)).path
    return _URLS[port]
