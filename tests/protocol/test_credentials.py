"""What a credential is good for, and with which key it ends."""

from __future__ import annotations

import json

import pytest

from support.server import Server
from support.talk import Talk

FINISHED = b'{"parts": [{"part_number": 1, "etag": null}]}'


def new_key(server: Server) -> str:
    return str(json.loads(server.run("keys", "create", "--json", "--home", str(server.home)).stdout)["key"])


def revoke(server: Server, key: str) -> None:
    server.run("keys", "revoke", key.partition(":")[0], "--home", str(server.home))


def test_a_token_makes_no_other_token(talk: Talk) -> None:
    reply = talk.post("/storage/auth/token", b'{"expiration_seconds": 2592000}', authorization=talk.token())
    assert (reply.status, reply.json()["code"]) == (401, "unauthorized")


def test_a_token_begins_uploads(talk: Talk) -> None:
    assert talk.initiate(authorization=talk.token())


@pytest.fixture
def by_parts(talk: Talk) -> tuple[str, str]:
    """An upload in the GCS style, and the key that began it."""
    beginner = new_key(talk.server)
    wish = {"file_name": "a b.bin", "content_type": "x/y"}
    path = "/storage/upload/initiate-multipart?storage_type=gcs"
    reply = talk.post_json(path, wish, authorization=f"Key {beginner}")
    return str(reply.json()["upload_url"]), beginner


def test_the_url_of_a_part_dies_with_the_key_that_asked_for_it(talk: Talk, by_parts: tuple[str, str]) -> None:
    upload_url, _ = by_parts
    other = new_key(talk.server)
    part = talk.post(f"{upload_url}/1", authorization=f"Key {other}").json()["upload_url"]
    revoke(talk.server, other)
    assert talk.put(part, b"x").status == 403


def test_s2_an_upload_ends_with_the_key_that_began_it(talk: Talk, by_parts: tuple[str, str]) -> None:
    upload_url, beginner = by_parts
    part = talk.post(f"{upload_url}/1").json()["upload_url"]  # asked for with another key of the account
    revoke(talk.server, beginner)
    assert talk.put(part, b"x").status == 410
    assert talk.post(f"{upload_url}/complete", FINISHED).status == 410


def test_a_repeated_begin_signs_with_the_key_of_who_repeats_it(talk: Talk) -> None:
    first, second = new_key(talk.server), new_key(talk.server)
    begun = talk.initiate(authorization=f"Key {first}", idempotency_key="rotated")
    again = talk.initiate(authorization=f"Key {second}", idempotency_key="rotated")
    assert again["file_url"] == begun["file_url"]
    revoke(talk.server, second)
    assert talk.put(again["upload_url"], b"x").status == 403
    assert talk.put(begun["upload_url"], b"x").status == 200
