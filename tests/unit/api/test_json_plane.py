"""A JSON route is one function: rights, bounds, validation and the document follow from its declaration."""

from __future__ import annotations

import asyncio
import json
import threading
from types import SimpleNamespace
from typing import Annotated, Any, cast

import pytest
from fastapi import Query
from pydantic import BaseModel, ConfigDict, field_validator

from entrepot.api import auth
from entrepot.api.document import document
from entrepot.api.front import Front
from entrepot.api.http_context import MinRate
from entrepot.api.json.plane import Caller, Ctx, JsonRoutes, Svc, routes_of
from entrepot.api.jsonbody import IN_THREAD
from entrepot.api.responses import STATUS
from entrepot.api.routing import Router
from entrepot.api.services import Services
from entrepot.domain.errors import Code, Problem

things = JsonRoutes("Things", "400")
threads: list[int] = []


class Thing(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    name: str
    count: int = 1
    more: list[str] = []

    @field_validator("name")
    @classmethod
    def noted(cls, name: str) -> str:
        threads.append(threading.get_ident())
        return name


class Reply(BaseModel):
    second: str
    first: str | None = None
    size: int | None = None


@things.post("/things/{file}", right=auth.anybody, errors="404", max_body=200_000)
async def make_thing(ctx: Ctx, caller: Caller, services: Svc, body: Thing) -> Reply:
    """Make a thing.

    It is made
    of a name.
    """
    if body.name == "none":
        raise Problem(Code.NOT_FOUND, "There is no such thing.")
    if body.name == "defect":
        raise RuntimeError
    return Reply(second=f"{body.name} {ctx.path_param('path')}", first=None if body.count > 1 else body.name)


@things.get("/things", right=auth.anybody)
async def list_things(limit: Annotated[int, Query(le=10)] = 5) -> list[int]:
    """List things."""
    return list(range(limit))


@things.post("/optional", right=auth.anybody)
async def change_thing(body: Thing | None = None) -> bool:
    """Change a thing."""
    return body is None


@things.post("/closed")
async def closed_thing() -> bool:
    """Do what needs a credential."""
    return True


@pytest.fixture(scope="module")
def front() -> Front:
    async def lifespan(*_: Any) -> None:
        pass

    services = SimpleNamespace(min_rate=MinRate(), accepted_hosts=frozenset(), failures={}, stall_timeout=5.0)
    return Front(cast(Services, services), Router(routes_of(things.routes)).find, lifespan)


def ask(front: Front, method: str, target: str, body: bytes = b"", **headers: str) -> tuple[int, Any, dict[str, str]]:
    path, _, query = target.partition("?")
    given = {"host": "a", "content-length": str(len(body)), **headers}
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()], "client": ("", 0),
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(front(scope, receive, send))
    content = b"".join(message["body"] for message in sent[1:])
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], json.loads(content) if content else None, found


def test_a_function_answers_with_its_fields_in_order(front: Front) -> None:
    status, value, headers = ask(front, "POST", "/things/a%2Fb/c", b'{"name": "x"}', **{"content-type": "text/plain"})
    assert (status, list(value.items())) == (200, [("second", "x a/b/c"), ("first", "x")])
    assert headers["content-type"] == "application/json"
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert headers["access-control-allow-origin"] == "*"
    assert len(headers["x-request-id"]) == 16


def test_a_field_that_was_set_to_null_is_sent(front: Front) -> None:
    assert ask(front, "POST", "/things/a", b'{"name": "x", "count": 2}')[1] == {"second": "x a", "first": None}


def test_head_of_a_get_route_has_its_headers_alone(front: Front) -> None:
    status, value, headers = ask(front, "HEAD", "/things")
    assert (status, value, headers["content-length"]) == (200, None, str(len("[0,1,2,3,4]")))


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", ["body"]),
        (b"[]", ["body"]),
        (b"{", ["body"]),
        (b'{"name": "a", "name": "b"}', ["body"]),
        (b"{}", ["body", "name"]),
        (b'{"name": 7}', ["body", "name"]),
        (b'{"name": "a", "count": "1"}', ["body", "count"]),
        (b'{"name": "a", "x": 1}', ["body", "x"]),
        (b'{"name": "a", "more": ["a", 1]}', ["body", "more", 1]),
    ],
)
def test_a_body_that_does_not_fit_is_a_field_error(front: Front, body: bytes, where: list[str | int]) -> None:
    status, value, _ = ask(front, "POST", "/things/a", body)
    assert (status, value["code"], value["detail"][0]["loc"]) == (422, "validation_failed", where)


def test_a_parameter_that_does_not_fit_is_a_field_error(front: Front) -> None:
    status, value, _ = ask(front, "GET", "/things?limit=11")
    assert (status, value["detail"][0]["loc"]) == (422, ["query", "limit"])


def test_a_body_that_is_optional_may_be_missing(front: Front) -> None:
    assert ask(front, "POST", "/optional")[1] is True
    assert ask(front, "POST", "/optional", b'{"name": "a"}')[1] is False


def test_a_body_above_the_bound_is_refused(front: Front) -> None:
    assert ask(front, "POST", "/things/a", b" " * 200_001)[0] == 413


@pytest.mark.parametrize(("size", "beside"), [(10, False), (IN_THREAD, True)])
def test_a_large_body_is_validated_beside_the_loop(front: Front, size: int, beside: bool) -> None:
    threads.clear()
    assert ask(front, "POST", "/things/a", b'{"name": "a"}' + b" " * size)[0] == 200
    assert (threads[0] != threading.get_ident()) is beside


def test_errors_of_a_function_are_those_of_all_routes(front: Front) -> None:
    assert ask(front, "POST", "/things/a", b'{"name": "none"}')[:1] == (STATUS[Code.NOT_FOUND],)
    status, value, _ = ask(front, "POST", "/things/a", b'{"name": "defect"}')
    assert (status, value["code"]) == (500, "internal")


def test_a_route_that_names_no_right_is_closed(front: Front) -> None:
    assert ask(front, "POST", "/closed")[0] == 401


def test_the_document_follows_from_the_function() -> None:
    paths = document(routes_of(things.routes), things.routes, "http://a")["paths"]
    made = paths["/things/{file}"]["post"]
    assert (made["operationId"], made["summary"]) == ("makeThing", "Make a thing")
    assert made["description"] == "It is made of a name."
    assert made["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Thing"}
    assert set(made["responses"]) == {"200", "400", "404", "408", "413"}
    assert made["security"] == []
    assert paths["/things"]["get"]["parameters"][0]["schema"]["maximum"] == 10
    assert [each["name"] for each in paths["/things/{file}"]["parameters"]] == ["file"]
    assert paths["/closed"]["post"]["security"] == [{"FalKeyAuth": []}, {"CdnToken": []}]
