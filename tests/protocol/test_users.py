"""`/users/current` and `/users/teams`: whose key this is (docs/protocol.md 1.5)."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from support.inside import add_account, rows
from support.talk import Talk

ROUTES = ["/users/current", "/users/teams"]


def test_the_account_of_a_key_and_of_its_token_is_named(talk: Talk, stranger: str) -> None:
    ((default,),) = rows(talk.server, "SELECT id FROM accounts WHERE nickname = 'default'")
    told = {"full_name": "default", "nickname": "default", "user_id": default}
    kind = {"is_personal": True, "is_org": False, "is_locked": False}
    for credential in (f"Key {talk.server.key}", f"Bearer {talk.server.key}", talk.token()):
        reply = talk.get("/users/current", authorization=credential)
        assert (reply.status, reply.json()) == (200, {**told, **kind})
        assert reply.headers["cache-control"] == "no-store"
        assert talk.get("/users/teams", authorization=credential).json() == [{**told, **kind}]
    bob = talk.get("/users/current", authorization=f"Key {stranger}").json()
    assert (bob["nickname"], bob["user_id"]) == ("bob", "id-of-bob")


@pytest.mark.parametrize("route", ROUTES)
def test_nobody_is_401(talk: Talk, route: str) -> None:
    query = urlsplit(talk.initiate()["upload_url"]).query
    signature = query.partition("=")[2]
    assert talk.get(route).json()["detail"] == "Authorization header is required."
    for reply in (
        talk.get(route),
        talk.get(f"{route}?{query}"),
        talk.get(route, authorization="Key a:b"),
        talk.get(route, authorization="Basic YTpi"),
        talk.get(route, authorization=f"Bearer {signature}"),
    ):
        assert (reply.status, reply.json()["code"]) == (401, "unauthorized")
        assert "www-authenticate" in reply.headers


@pytest.mark.parametrize("route", ROUTES)
def test_a_revoked_key_and_its_token_are_401(talk: Talk, route: str) -> None:
    key = add_account(talk.server, f"reader of {route}")
    token = talk.token(authorization=f"Key {key}")
    assert talk.get(route, authorization=token).status == 200
    talk.server.run("keys", "revoke", key.partition(":")[0], "--home", str(talk.server.home))
    assert {talk.get(route, authorization=each).status for each in (token, f"Key {key}")} == {401}


@pytest.mark.parametrize("route", ROUTES)
def test_it_is_read_only(talk: Talk, route: str) -> None:
    assert talk.head(route, **talk.key).status == 200
    reply = talk.post(route)
    assert reply.status == 405
    assert set(reply.headers["allow"].split(", ")) >= {"GET", "OPTIONS"}


def test_a_nickname_is_told_as_it_is_spelled(talk: Talk) -> None:
    key = add_account(talk.server, 'Łucja "✓"\n')
    assert talk.get("/users/current", authorization=f"Key {key}").json()["nickname"] == 'Łucja "✓"\n'
