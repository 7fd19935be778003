"""docs/threats.md D10: every route and method of the published document with every kind of credential. A route that has
no rule here fails, and so does a rule that no route has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from entrepot import wire
from entrepot.api import app as api
from support.server import Server
from support.talk import Talk

DOCUMENT = api.published("http://x")["paths"]
BAD = {"nothing", "a wrong key", "a secret of another key", "a key without secret", "another scheme"}
STRANGE = {"a stranger's key", "a stranger's token"}
OWN = {"the key", "the key as bearer", "a token"}

# Who is let in.
ANYBODY = BAD | STRANGE | OWN
ACCOUNTS = STRANGE | OWN
OWNER = OWN
KEY = {"the key", "the key as bearer"}
ANY_KEY = KEY | {"a stranger's key"}
SIGNATURE: set[str] = set()  # a signature only, which is none of these
PUBLIC = {"nothing"} | ACCOUNTS  # a wrong credential is never taken for none

RULES: Mapping[str, set[str]] = {
    "/storage/auth/token": ANY_KEY,
    "/storage/upload/initiate": ACCOUNTS,
    "/storage/upload/initiate-multipart": ACCOUNTS,
    "/storage/files/{key}/multipart/{upload_id}/{part}": OWNER,
    "/storage/files/{key}/multipart/{upload_id}/complete": OWNER,
    "/files/upload": ACCOUNTS,
    "/files/upload/existing": ACCOUNTS,
    "/upload": ACCOUNTS,
    "/upload/initiate-multipart": ACCOUNTS,
    "/upload/files/b/{store}/{name}/multipart/{upload_id}": OWNER,
    "/v1/assets/uploads": ANY_KEY,
    "/v1/jobs": ANY_KEY,
    "/v1/jobs/{job_id}": KEY,
    "/v1/jobs/{job_id}/cancel": KEY,
    "/files/upload/multipart": ACCOUNTS,
    "GET /files/b/{store}/{name}": OWNER,
    "HEAD /files/b/{store}/{name}": OWNER,
    "PUT /files/b/{store}/{name}": SIGNATURE,
    "/files/b/{store}/{name}/multipart/{upload_id}": OWNER,
    "/files/b/{store}/{name}/multipart/{upload_id}/{part}": OWNER,
    "/files/b/{store}/{name}/multipart/{upload_id}/complete": OWNER,
    "/users/current": ACCOUNTS,
    "/users/teams": ACCOUNTS,
    "/healthz": ANYBODY,
    "/readyz": ANYBODY,
    # The volume: a key of its owner, on every route.
    **{
        template: KEY
        for template in DOCUMENT
        if template.startswith((f"{wire.PLATFORM_FILES}/", "/files/list", "/files/file/", "/files/app/"))
        or template in ("/files/rename/{file}", "/files/dir/check_hash/{target_path}", "/files/missing_hashes")
    },
}
ROUTES = [
    (method.upper(), template)
    for template, item in DOCUMENT.items()
    for method in [*sorted(item.keys() - {"parameters"}), *(["head"] if "get" in item and "head" not in item else [])]
]


def rule(method: str, template: str) -> set[str] | None:
    return RULES.get(f"{method} {template}", RULES.get(template))


def test_every_route_has_a_rule_and_every_rule_a_route() -> None:
    assert [route for route in ROUTES if rule(*route) is None] == []
    assert {name.split(" ")[-1] for name in RULES} <= set(DOCUMENT)


@pytest.fixture(scope="module")
def credentials(server: Server, stranger: str) -> Mapping[str, str | None]:
    talk = Talk(server)
    key_id = server.key.partition(":")[0]
    return {
        "nothing": None,
        "a wrong key": f"Key {key_id}:{'0' * 64}",
        "a secret of another key": f"Key {key_id}:{stranger.partition(':')[2]}",
        "a key without secret": f"Key {key_id}",
        "another scheme": "Basic YTpi",
        "a stranger's key": f"Key {stranger}",
        "a stranger's token": talk.token(authorization=f"Key {stranger}"),
        "the key": f"Key {server.key}",
        "the key as bearer": f"Bearer {server.key}",
        "a token": talk.token(),
    }


@pytest.fixture(scope="module")
def places(server: Server) -> Iterator[Mapping[str, str]]:
    """What the names in the templates stand for: a forbidden object, an open upload, a file of the volume."""
    talk = Talk(server)
    url = talk.upload(b"x", x_fal_object_lifecycle='{"initial_acl": {"default": "forbid"}}')
    _, _, _, store, name = urlsplit(url).path.split("/")
    begun: Any = talk.post("/files/upload/multipart").json()
    opened = urlsplit(begun["access_url"]).path.removeprefix(wire.OBJECTS)
    yield {"store": store, "name": name, "upload_id": begun["uploadId"], "key": opened, "part": "1", "part_number": "1"}


def target(template: str, places: Mapping[str, str]) -> str:
    if template.startswith(("/files/b/", "/upload/files/b/")):
        if "/multipart/" in template:
            template = template.replace("{store}/{name}", "{key}")
    elif not template.startswith("/storage"):
        places = {**places, "upload_id": "0" * 32}
    return re.sub(r"\{(\w+)\}", lambda name: places.get(name[1], "rights"), template)


@pytest.mark.parametrize(("method", "template"), ROUTES, ids=[" ".join(route) for route in ROUTES])
def test_d10_a_route_lets_in_whom_its_rule_names_and_nobody_else(
    server: Server, credentials: Mapping[str, str | None], places: Mapping[str, str], method: str, template: str
) -> None:
    talk, let_in = Talk(server), rule(method, template) or set()
    for kind in sorted(credentials, key=lambda kind: kind in let_in):  # who may not, first: nothing is changed by them
        header = credentials[kind]
        headers = {"content-length": "0", **({} if header is None else {"authorization": header})}
        got = talk.ask(method, target(template, places), headers)
        if kind in let_in:
            assert got.status not in (401, 403), (kind, got)
        else:
            # To somebody with an account it may be told first that the request is not in order.
            assert got.status in ((401, 403, 404, 422) if kind in STRANGE else (401, 403)), (kind, got)


def test_d10_preflights_need_no_credential_and_give_none(server: Server) -> None:
    """C10, C11: the browser asks without one; what it may then do hangs on the one that it sends."""
    for _, template in ROUTES:
        path = re.sub(r"\{\w+\}", "x", template)
        got = Talk(server).ask("OPTIONS", path, {"origin": "null", "access-control-request-method": "PUT"})
        assert got.status == 204
        assert got.headers["access-control-allow-origin"] == "*"
        assert "PUT" in got.headers["access-control-allow-methods"]
        assert "access-control-allow-credentials" not in got.headers
