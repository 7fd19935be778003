"""The control plane under hostile input: silent bodies, long headers, numbers that are none."""

from __future__ import annotations

import pytest

from support.server import Server
from support.talk import Talk, line

WISH = {"file_name": "a", "content_type": "x/y"}
ROUTES = ["/storage/upload/initiate", "/storage/auth/token", "/storage/upload/initiate-multipart"]


@pytest.mark.parametrize("path", ROUTES)
def test_a_body_that_never_comes_ends_with_408(small: Server, path: str) -> None:
    with line(small) as connection:
        connection.send_head("POST", path, authorization=f"Key {small.key}", content_length="10")
        reply = connection.answer("POST")
    # The token call needs nothing of its body, but waits for it as long as for any other.
    assert (reply.status, reply.json()["code"]) == (408, "timed_out")


def test_nobody_s_body_is_not_waited_for(server: Server) -> None:
    with line(server) as connection:
        connection.send_head("POST", "/storage/upload/initiate", content_length="10")
        assert connection.answer("POST").status == 401


@pytest.mark.parametrize("name", ["idempotency-key", "x-fal-request-id"])
@pytest.mark.parametrize("path", ["/storage/upload/initiate", "/files/upload/multipart"])
def test_a_header_that_is_stored_must_be_short(talk: Talk, path: str, name: str) -> None:
    reply = talk.post_json(path, WISH, **{name.replace("-", "_"): "x" * 256})
    assert (reply.status, reply.json()["detail"][0]["loc"]) == (422, ["header", name])
    longest = path.rjust(255, "x")
    assert talk.post_json(path, WISH, **{name.replace("-", "_"): longest}).status == 200


def test_the_request_id_of_an_upload_must_be_short(talk: Talk) -> None:
    reply = talk.post("/files/upload", b"x", x_fal_request_id="x" * 300_000)
    assert reply.status in (422, 431)


@pytest.mark.parametrize("number", ["abc", "0", "-7", "10001", "9" * 5000, "1.5", "%31%00"])
def test_a_part_number_that_is_none_is_422_with_our_own_error(talk: Talk, number: str) -> None:
    wish = talk.post_json("/storage/upload/initiate-multipart?storage_type=gcs", WISH).json()
    told = talk.post(f"{wish['upload_url']}/{number}")
    assert (told.status, told.json()["code"]) == (422, "validation_failed")
    assert told.json()["request_id"] == told.headers["x-request-id"]
    assert len(told.body) < 1000
