"""Lifetime and access: parsed on every upload route, stored, and obeyed at every read (docs/protocol.md 4)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.inside import rows, segments_of, unnamed_files
from support.server import Server
from support.talk import Reply, Talk, eventually, line

DATA = b"\x89PNG\r\n\x1a\n" + b"pixels" * 500
FORBID = '{"initial_acl": {"default": "forbid"}}'
HIDE = '{"initial_acl": {"default": "hide"}}'
NAMES = ("x-fal-object-lifecycle", "x-fal-object-lifecycle-preference")
ROUTES = ("/files/upload", "/storage/upload/initiate")


def send(talk: Talk, route: str, **headers: str) -> Reply:
    body = DATA if route == "/files/upload" else b'{"file_name": "cat.png", "content_type": "image/png"}'
    return talk.post(route, body, **headers)


def stored_by(talk: Talk, route: str, **headers: str) -> str:
    """The URL of a file stored through this route."""
    reply = send(talk, route, **headers)
    assert reply.status == 200, reply.body
    told = reply.json()
    if route == "/files/upload":
        return str(told["access_url"])
    assert talk.put(told["upload_url"], DATA).status == 200
    return str(told["file_url"])


def lives_for(talk: Talk, url: str) -> float | None:
    expires = talk.get(url).headers.get("x-entrepot-expires-at")
    ((published,),) = rows(talk.server, "SELECT published_at FROM objects WHERE path = ?", urlsplit(url).path)
    return None if expires is None else round(datetime.fromisoformat(expires).timestamp() - published, 3)


# The header


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("route", ROUTES)
def test_either_header_name_sets_lifetime_and_access_on_every_upload_route(talk: Talk, route: str, name: str) -> None:
    url = stored_by(talk, route, **{name: '{"expiration_duration_seconds": 3600}'})
    assert lives_for(talk, url) == 3600
    refused = stored_by(talk, route, **{name: FORBID})
    assert talk.get(refused).status == 403


@pytest.mark.parametrize("route", ROUTES)
def test_both_header_names_may_say_the_same_but_not_differ(talk: Talk, route: str) -> None:
    same = dict.fromkeys(NAMES, '{"expiration_duration_seconds": 60}')
    assert lives_for(talk, stored_by(talk, route, **same)) == 60
    differing = {**same, NAMES[1]: '{"expiration_duration_seconds": 61}'}
    reply = send(talk, route, **differing)
    assert reply.status == 422
    assert reply.json()["detail"][0]["loc"] == ["header", NAMES[1]]


@pytest.mark.parametrize("text", ["null", "{}", '{"expiration_duration_seconds": null}', "", '{"initial_acl": null}',
                                  '{"initial_acl": {"rules": []}}', '{"allow_io_storage": true}'])  # fmt: skip
def test_a_header_that_asks_for_nothing_leaves_a_public_file_for_ever(talk: Talk, text: str) -> None:
    url = stored_by(talk, "/files/upload", x_fal_object_lifecycle=text)
    assert lives_for(talk, url) is None
    assert talk.get(url).status == 200


LIFETIME = "expiration_duration_seconds"
BAD: list[tuple[str, list[str | int]]] = [
    ("{", []),
    ("[]", []),
    ("7", []),
    ('"x"', []),
    ("nonsense", []),
    ("[" * 10_000, []),
    ('{"initial_acl":' * 2_000, []),
    ("[" * 16_000 + "]" * 16_000, []),
    ('{"a": "' + "x" * 20_000 + '"}', []),
    ('{"expiration_duration_seconds": NaN}', []),
    ('{"expiration_duration_seconds": Infinity}', []),
    ('{"expiration_duration_seconds": 60, "expiration_duration_seconds": 61}', []),
    ('{"expiration_duration_seconds": -1}', [LIFETIME]),
    ('{"expiration_duration_seconds": 0}', [LIFETIME]),
    ('{"expiration_duration_seconds": 1e18}', [LIFETIME]),
    ('{"expiration_duration_seconds": 1000000000000000000}', [LIFETIME]),
    ('{"expiration_duration_seconds": 1.5}', [LIFETIME]),
    ('{"expiration_duration_seconds": true}', [LIFETIME]),
    ('{"expiration_duration_seconds": "3600"}', [LIFETIME]),
    ('{"expiration_duration_seconds": []}', [LIFETIME]),
    ('{"expriation_duration_seconds": 0}', [LIFETIME]),
    ('{"expriation_duration_seconds": "60"}', [LIFETIME]),
    ('{"expriation_duration_seconds": 60, "expiration_duration_seconds": 61}', ["expriation_duration_seconds"]),
    ('{"expriation_duration_seconds": 60, "expriation_duration_seconds": 60}', []),
    ('{"inital_acl": {"default": "forbid"}}', ["inital_acl"]),
    ('{"initial_acl": {"defualt": "forbid"}}', ["initial_acl", "defualt"]),
    ('{"initial_acl": "forbid"}', ["initial_acl"]),
    ('{"initial_acl": {"default": "private"}}', ["initial_acl", "default"]),
    ('{"initial_acl": {"default": []}}', ["initial_acl", "default"]),
    ('{"initial_acl": {"rules": {}}}', ["initial_acl", "rules"]),
    ('{"initial_acl": {"rules": [7]}}', ["initial_acl", "rules", 0]),
    ('{"initial_acl": {"rules": [{"user": "bob", "decision": "maybe"}]}}', ["initial_acl", "rules", 0, "decision"]),
    ('{"initial_acl": {"rules": [{"user": "", "decision": "allow"}]}}', ["initial_acl", "rules", 0, "user"]),
    ('{"initial_acl": {"rules": [{"decision": "allow"}]}}', ["initial_acl", "rules", 0, "user"]),
]


@pytest.mark.parametrize(("text", "field"), BAD, ids=range(len(BAD)))
def test_a28_a_bad_lifecycle_is_422_that_names_header_and_field_on_every_route(
    talk: Talk, text: str, field: list[str | int]
) -> None:
    before = rows(talk.server, "SELECT (SELECT count(*) FROM objects), (SELECT count(*) FROM uploads)")
    for route in ROUTES:
        for name in NAMES:
            reply = send(talk, route, **{name: text})
            assert reply.status == 422, (route, name, reply.body)
            assert reply.json()["detail"][0]["loc"] == ["header", name, *field]
            assert reply.json()["message"].startswith("header." + name)
    assert rows(talk.server, "SELECT (SELECT count(*) FROM objects), (SELECT count(*) FROM uploads)") == before


@pytest.mark.parametrize("route", ROUTES)
def test_w1_known_misspellings_of_the_lifetime_are_taken(talk: Talk, route: str) -> None:
    for text in ('{"expriation_duration_seconds": 3600}',
                 '{"expriation_duration_seconds": 3600, "expiration_duration_seconds": 3600}'):  # fmt: skip
        assert lives_for(talk, stored_by(talk, route, x_fal_object_lifecycle_preference=text)) == 3600
        assert "x-entrepot-warning" not in send(talk, route, x_fal_object_lifecycle=text).headers


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "name", ["expiration_durations_seconds", "expires_in", "", "caf\u00e9\r\nX-Evil: 1", "x" * 3000]
)
def test_w1_an_unknown_field_is_passed_over_and_named(talk: Talk, route: str, name: str) -> None:
    text = json.dumps({"expiration_duration_seconds": 60, name: {"any": [1]}})
    reply = send(talk, route, x_fal_object_lifecycle=text)
    assert reply.status == 200
    assert json.dumps(name[:64]) in reply.headers["x-entrepot-warning"]
    assert len(reply.headers["x-entrepot-warning"]) < 600
    assert "x-evil" not in reply.headers
    assert lives_for(talk, stored_by(talk, route, x_fal_object_lifecycle=text)) == 60


def test_w1_many_unknown_fields_make_no_long_header(talk: Talk) -> None:
    text = json.dumps({f"field {n} {'x' * 64}": n for n in range(180)})
    assert len(send(talk, ROUTES[0], x_fal_object_lifecycle=text).headers["x-entrepot-warning"]) < 2000


def test_a28_a_huge_header_is_refused_like_any_bad_one(talk: Talk) -> None:
    with line(talk.server) as huge:
        huge.send_head("POST", "/files/upload", **talk.key, content_length="0", x_fal_object_lifecycle="[" * 100_000)
        assert huge.answer("POST").status == 422


# Lifetime


def test_life_starts_at_publish_and_not_at_initiate(talk: Talk) -> None:
    urls = talk.initiate(x_fal_object_lifecycle='{"expiration_duration_seconds": 3600}')
    time.sleep(0.5)
    assert talk.put(urls["upload_url"], DATA).status == 200
    assert lives_for(talk, urls["file_url"]) == 3600


def test_a_file_is_kept_by_caches_for_its_remaining_life_at_most(talk: Talk) -> None:
    url = talk.upload(DATA, x_fal_object_lifecycle='{"expiration_duration_seconds": 100}')
    directive = re.fullmatch(r"public, max-age=(\d+), immutable", talk.get(url).headers["cache-control"])
    assert directive
    assert 0 <= int(directive[1]) <= 100


def test_the_reply_to_an_upload_tells_when_the_file_expires(talk: Talk) -> None:
    reply = talk.post("/files/upload", DATA, x_fal_object_lifecycle='{"expiration_duration_seconds": 3600}')
    told = datetime.fromisoformat(reply.json()["expires_at"])
    assert told.utcoffset() is not None
    assert told == datetime.fromisoformat(talk.get(reply.json()["access_url"]).headers["x-entrepot-expires-at"])


def test_an_expired_file_is_410_by_every_method_and_condition_and_then_leaves_the_disk(small: Server) -> None:
    talk = Talk(small)
    url = talk.upload(DATA, x_fal_object_lifecycle='{"expiration_duration_seconds": 3}')
    etag = talk.get(url).headers["etag"]
    (path,) = segments_of(small, url)
    gone = eventually(lambda: (reply := talk.get(url)).status != 200 and reply)
    assert (gone.status, gone.json()["code"]) == (410, "gone")
    assert gone.headers["cache-control"] == "no-store"
    for headers in ({"if_none_match": etag}, {"if_none_match": "*"}, {"range": "bytes=0-0"}, talk.key,
                    {"if_modified_since": "Fri, 01 Jan 2100 00:00:00 GMT"}):  # fmt: skip
        assert talk.get(url, **headers).status == 410
        assert talk.head(url, **headers).status == 410
    assert talk.get(url + "?download=1").status == 410
    eventually(lambda: not path.exists())
    assert talk.get(url).status == 410


def are_gone(paths: list[Path]) -> bool:
    return not any(path.exists() for path in paths)


def test_e04_a_file_that_expires_while_it_is_read_is_finished_or_cut_and_never_ends_short_as_if_whole(
    small: Server,
) -> None:
    """docs/threats.md E04: the sweep takes the file off the disk in the middle of a reply."""
    talk = Talk(small)
    data = bytes(range(256)) * 4 * 1024 * 32  # 32 MiB: more than the sockets' buffers hold
    body = None
    while body is None:  # a machine that is so busy that the file has expired before it is read tries again
        url = talk.upload(data, x_fal_object_lifecycle='{"expiration_duration_seconds": 1}')
        with line(small, receive_buffer=65536) as reader:
            reader.send_head("GET", urlsplit(url).path, range=f"bytes=0-{len(data) - 1}", connection="close")
            head = reader.receive_exactly(4096)
            if not head.startswith(b"HTTP/1.1 206 "):
                assert head.startswith(b"HTTP/1.1 410 ")
                continue
            paths = segments_of(small, url)
            eventually(partial(are_gone, paths))
            body = (head + reader.rest()).partition(b"\r\n\r\n")[2]
    assert data.startswith(body)  # right bytes; the announced length tells whether they are all
    assert talk.get(url).status == 410


def test_an_upload_that_is_never_written_ends_and_its_url_says_so(serve: Callable[..., Server]) -> None:
    talk = Talk(serve(upload_ttl="1", sweep_interval="0.1"))
    urls = talk.initiate()
    eventually(lambda: rows(talk.server, "SELECT state FROM uploads") == [("aborted",)])
    refused = talk.put(urls["upload_url"], DATA)
    assert refused.status == 403
    assert talk.get(urls["file_url"]).status == 404
    eventually(lambda: not unnamed_files(talk.server))


# Access


def test_forbid_is_403_and_hide_is_the_404_of_a_file_that_never_was(talk: Talk) -> None:
    forbidden, hidden = (talk.upload(DATA, x_fal_object_lifecycle=acl) for acl in (FORBID, HIDE))
    assert talk.get(forbidden).status == 403
    nowhere = talk.get(urlsplit(hidden).path[:-4] + "none")
    reply = talk.get(hidden)
    assert (reply.status, nowhere.status) == (404, 404)
    own = {"x-request-id", "date"}
    assert [p for p in reply.pairs if p[0] not in own] == [p for p in nowhere.pairs if p[0] not in own]
    assert _without_id(reply) == _without_id(nowhere)


def test_an_owner_reads_by_key_and_by_token(talk: Talk) -> None:
    for acl in (FORBID, HIDE):
        url = talk.upload(DATA, x_fal_object_lifecycle=acl)
        for credential in (talk.key["authorization"], talk.token(), "Bearer " + talk.server.key):
            reply = talk.get(url, authorization=credential)
            assert (reply.status, reply.body) == (200, DATA)
            assert reply.headers["cache-control"] == "private, no-store"


def test_rules_decide_for_one_account_by_nickname_and_the_default_for_the_others(talk: Talk, stranger: str) -> None:
    theirs = {"authorization": f"Key {stranger}"}
    for acl, others, bob in (
        (_acl("forbid", ("bob", "allow")), 403, 200),
        (_acl("allow", ("bob", "forbid")), 200, 403),
        (_acl("allow", ("id-of-bob", "hide")), 200, 404),
    ):
        url = talk.upload(DATA, x_fal_object_lifecycle=acl)
        assert (talk.get(url).status, talk.get(url, **theirs).status) == (others, bob)


def test_a_rule_for_an_unknown_user_is_dropped(talk: Talk) -> None:
    url = talk.upload(DATA, x_fal_object_lifecycle=_acl("forbid", ("nobody-of-this-name", "allow")))
    assert talk.get(url).status == 403
    assert talk.get(url, **talk.key).status == 200


@pytest.mark.parametrize("acl", [FORBID, HIDE])
def test_no_variant_of_a_read_passes_by_the_rules(talk: Talk, stranger: str, acl: str) -> None:
    url = talk.upload(DATA, x_fal_object_lifecycle=acl)
    etag = talk.get(url, **talk.key).headers["etag"]
    expected = 403 if acl == FORBID else 404
    theirs = f"Key {stranger}"
    credentials = [{}, {"authorization": theirs}, {"authorization": talk.token(authorization=theirs)}]
    conditions = [{}, {"range": "bytes=0-0"}, {"if-none-match": etag}, {"if-none-match": "*"}, {"if-match": '"x"'}]
    targets = [url, url + "?download=1", url + "?signature=x"]
    for credential, condition, target, method in product(credentials, conditions, targets, ("GET", "HEAD")):
        reply = talk.ask(method, target, {**condition, **credential})
        assert reply.status == expected
        assert reply.headers["cache-control"] == "no-store"
        assert not {"etag", "repr-digest", "last-modified"} & reply.headers.keys()


def test_c07_what_a_client_has_in_its_cache_is_never_confirmed_after_access_ended(talk: Talk) -> None:
    """docs/threats.md C07: revoked, then If-None-Match."""
    key = json.loads(talk.server.run("keys", "create", "--json", "--home", str(talk.server.home)).stdout)["key"]
    url = talk.upload(DATA, authorization=f"Key {key}", x_fal_object_lifecycle=FORBID)
    token = talk.token(authorization=f"Key {key}")
    etag = talk.get(url, authorization=token).headers["etag"]
    assert talk.get(url, authorization=token, if_none_match=etag).status == 304
    assert talk.get(url, authorization=token, if_none_match=etag).headers["cache-control"] == "private, no-store"
    talk.server.run("keys", "revoke", key.partition(":")[0], "--home", str(talk.server.home))
    assert talk.get(url, authorization=token, if_none_match=etag).status == 401
    assert talk.get(url, authorization=f"Key {key}", if_none_match=etag).status == 401
    assert talk.get(url, if_none_match=etag).status == 403


def _acl(default: str, *rules: tuple[str, str]) -> str:
    listed = [{"user": user, "decision": decision} for user, decision in rules]
    return json.dumps({"initial_acl": {"default": default, "rules": listed}})


def _without_id(reply: Reply) -> dict[str, Any]:
    return {k: v for k, v in reply.json().items() if k != "request_id"}
