"""The published OpenAPI document: fal's operation is in it as fal describes it, and the server does what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from entrepot import wire
from entrepot.api import app
from support.server import Server
from support.talk import Reply, Talk

DATA = b"bytes"


@pytest.fixture(scope="module")
def document(server: Server) -> Any:
    return Talk(server).get("/openapi.json").json()


def resolved(document: Any, value: Any) -> Any:
    """`value` with every reference replaced by what it names."""
    if isinstance(value, dict):
        if "$ref" in value:
            found = document
            for step in value["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            return resolved(document, found)
        return {k: resolved(document, v) for k, v in value.items()}
    return [resolved(document, v) for v in value] if isinstance(value, list) else value


def test_every_reference_of_the_document_leads_somewhere(document: Any) -> None:
    assert resolved(document, document)["openapi"] == "3.1.0"


def test_the_initiate_operation_is_the_one_that_fal_publishes(document: Any) -> None:
    operation = resolved(document, document["paths"]["/storage/upload/initiate"]["post"])
    assert operation["operationId"] == "initiateUpload"
    assert operation["summary"] == "Initiate Asset Upload"
    assert operation["tags"] == ["Storage"]
    body = operation["requestBody"]
    assert body["required"] is True
    schema = body["content"]["application/json"]["schema"]
    assert schema["type"] == "object"
    assert set(schema["required"]) == {"content_type", "file_name"}
    assert {name: field["type"] for name, field in schema["properties"].items()} == {
        "content_type": "string",
        "file_name": "string",
    }
    assert body["content"]["application/json"]["examples"]["PngImage"]["value"] == {
        "content_type": "image/png",
        "file_name": "reference.png",
    }
    assert set(operation["responses"]) >= {"200", "401", "422"}
    reply = operation["responses"]["200"]["content"]["application/json"]
    assert set(reply["schema"]["required"]) == {"upload_url", "file_url"}
    assert all(
        field == {**field, "type": "string", "format": "uri"} for field in reply["schema"]["properties"].values()
    )
    assert set(reply["examples"]["Issued"]["value"]) == {"upload_url", "file_url"}
    for status in ("401", "422"):
        error = operation["responses"][status]["content"]["application/json"]["schema"]
        assert {"type": "string"} in error["properties"]["detail"]["oneOf"]


def test_initiate_holds_the_pinned_operation_of_fal(document: Any) -> None:
    pinned = json.loads((Path(__file__).parents[1] / "fixtures" / "initiate_upload.json").read_text("utf-8"))
    assert differences(pinned, resolved(document, document["paths"]["/storage/upload/initiate"]["post"])) == []


def differences(pinned: Any, found: Any, where: str = "") -> list[str]:
    """Where `found` lacks something of `pinned`; it may hold more. The order of a list of names means nothing."""
    if isinstance(pinned, dict):
        missing = [f"{where}/{name} is missing" for name in pinned if name not in found]
        both = [name for name in pinned if name in found]
        return missing + [each for name in both for each in differences(pinned[name], found[name], f"{where}/{name}")]
    if isinstance(pinned, list) and all(isinstance(each, str) for each in pinned):
        pinned, found = sorted(pinned), sorted(found)
    return [] if pinned == found else [f"{where}: {found!r}"]


def test_the_security_scheme_is_the_one_that_fal_publishes(document: Any) -> None:
    scheme = document["components"]["securitySchemes"]["FalKeyAuth"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "Authorization")
    assert document["security"] == [{"FalKeyAuth": []}]


def test_every_documented_route_and_method_exists_and_no_other_method_does(talk: Talk, document: Any) -> None:
    methods = {"get", "head", "post", "put", "patch", "delete"}
    for template in document["paths"]:
        path = example(template)
        operations = operations_of(document, path)
        assert document["paths"][template].keys() - {"parameters"} <= operations
        for method in sorted(methods):
            reply = talk.ask(method.upper(), path, {"content-length": "0"})
            if method in operations:
                assert reply.status not in (405, 501), (method, path)
            elif method != "head" or "get" not in operations:
                assert reply.status == 405, (method, path)


def test_every_route_is_documented_and_no_other(document: Any) -> None:
    ours = {(each.template, each.method.lower()) for each in app.ROUTES if each.operation is not None}
    undocumented = {each.template for each in app.ROUTES if each.operation is None}
    published = {(template, method) for template, item in document["paths"].items() for method in item}
    assert {pair for pair in published if pair[1] != "parameters"} == ours
    assert undocumented == {wire.ASSETS, f"{wire.ASSETS}/{{path}}", "/openapi.json"}


def example(template: str) -> str:
    """A path that the template stands for."""
    return re.sub(
        r"\{(\w+)\}", lambda name: {"upload_id": "0" * 32, "part_number": "1", "part": "1"}.get(name[1], "x"), template
    )


def operations_of(document: Any, path: str) -> set[str]:
    """The methods of all templates that a path fits: that of a volume's file may look like a longer route."""
    found: set[str] = set()
    for template, item in document["paths"].items():
        pattern = re.sub(r"\\\{(dir|file|target_path|path)\\\}", ".+", re.escape(template))
        pattern = re.sub(r"\\\{part\w*\\\}", "[0-9]+", pattern)
        if re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", pattern), path):
            found |= item.keys() - {"parameters"}
    return found


def described(document: Any, path: str, method: str, reply: Reply) -> bool:
    """Whether the document has this status of this operation, with the fields that its schema requires."""
    answer = resolved(document, document["paths"][path][method]["responses"])[str(reply.status)]
    schema = answer.get("content", {}).get("application/json", {}).get("schema")
    return schema is None or (schema["required"] and set(schema["required"]) <= set(reply.json()))


def test_replies_have_the_documented_status_and_fields(talk: Talk, document: Any) -> None:
    wish = {"file_name": "a.png", "content_type": "image/png"}
    one = "/files/b/{store}/{name}"
    url = talk.upload(DATA)
    urls = talk.initiate()
    assert described(document, "/storage/auth/token", "post", talk.post("/storage/auth/token"))
    assert described(document, "/storage/auth/token", "post", talk.ask("POST", "/storage/auth/token"))
    for reply in (
        talk.post_json("/storage/upload/initiate", wish),
        talk.post_json("/storage/upload/initiate", wish, authorization="Key a:b"),
        talk.post_json("/storage/upload/initiate", {}),
    ):
        assert described(document, "/storage/upload/initiate", "post", reply)
    for reply in (
        talk.post("/files/upload", DATA),
        talk.post("/files/upload", DATA, content_md5="x"),
        talk.post("/files/upload", DATA, authorization="Key a:b"),
        talk.post("/files/upload", DATA, x_fal_object_lifecycle="x"),
    ):
        assert described(document, "/files/upload", "post", reply)
    for reply in (
        talk.put(urls["file_url"], DATA),
        talk.put(urls["upload_url"], DATA),
        talk.put(urls["upload_url"], DATA * 2),
    ):
        assert described(document, one, "put", reply)
    for reply in (
        talk.get(url),
        talk.get(url, range="bytes=0-1"),
        talk.get(url, range="bytes=99-"),
        talk.get(url, if_none_match="*"),
        talk.get(url, if_match='"x"'),
        talk.get(url + "x"),
        talk.get(talk.upload(DATA, x_fal_object_lifecycle='{"initial_acl": {"default": "forbid"}}')),
    ):
        assert described(document, one, "get", reply)
    for path in ("/healthz", "/readyz"):
        assert described(document, path, "get", talk.get(path))


def parameter(document: Any, path: str, name: str, method: str = "get") -> Any:
    """The schema of a parameter of a path or of its operation."""
    item = resolved(document, document["paths"][path])
    everything = [*item.get("parameters", []), *item.get(method, {}).get("parameters", [])]
    found = next(each for each in everything if each["name"] == name)
    return found.get("schema") or found["content"]["application/json"]["schema"]


ONE_PART = "/files/b/{store}/{name}/multipart/{upload_id}/{part}"
VOLUME_PART = f"{wire.PLATFORM_FILES}/file/multipart/{{path}}/{{upload_id}}/{{part_number}}"


@pytest.mark.parametrize(
    ("path", "name", "good", "bad"),
    [
        (ONE_PART, "upload_id", ["0aZ" * 7 + "0"], ["0aZ", "_" * 22]),
        (VOLUME_PART, "upload_id", ["0a" * 16], ["0A" * 16, "0" * 31]),
        ("/files/app/multipart/{hash}/initiate", "hash", ["0a" * 32], ["0A" * 32, "0" * 63, "x" * 64]),
        (f"{wire.PLATFORM_FILES}/trash/{{trash_id}}", "trash_id", ["0" * 44], ["0" * 43]),
        (f"{wire.PLATFORM_FILES}/list", "cursor", ["YWJj", ""], ["=", "a b"]),
    ],
)
def test_p1_ids_and_digests_have_a_form(document: Any, path: str, name: str, good: list[str], bad: list[str]) -> None:
    pattern = parameter(document, path, name)["pattern"]
    assert all(re.search(pattern, value) for value in good)
    assert not any(re.search(pattern, value) for value in bad)


@pytest.mark.parametrize(
    ("path", "name", "least", "most"),
    [
        (ONE_PART, "part", 1, 10_000),
        (VOLUME_PART, "part_number", 1, 10_000),
        (f"{wire.PLATFORM_FILES}/list", "limit", 1, 10_000),
    ],
)
def test_p1_numbers_have_bounds(document: Any, path: str, name: str, least: int, most: int) -> None:
    schema = parameter(document, path, name)
    assert (schema["type"], schema["minimum"], schema["maximum"]) == ("integer", least, most)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (10**40, "must be from 1 to 10000"),
        (0, "must be from 1 to 10000"),
        (10_001, "must be from 1 to 10000"),
        ("-1", "whole number"),
        ("1.5", "whole number"),
    ],
)
def test_p1_a_limit_is_refused_with_its_bounds(talk: Talk, limit: int | str, message: str) -> None:
    reply = talk.get(f"{wire.PLATFORM_FILES}/list?limit={limit}", authorization=f"Key {talk.server.key}")
    assert reply.status == 400
    assert message in reply.json()["error"]["message"]


@pytest.mark.parametrize("header", ["repr_digest", "content_digest", "content_md5"])
def test_p1_an_empty_digest_is_refused(talk: Talk, header: str) -> None:
    assert talk.post("/files/upload", DATA, **{header: ""}).status == 400


@pytest.mark.parametrize(("seconds", "status"), [("3600", 200), ("3600.0", 200), ("3600.5", 422), ("1e400", 422)])
def test_p1_a_whole_number_may_have_a_fraction_of_zero(talk: Talk, seconds: str, status: int) -> None:
    lifecycle = f'{{"expiration_duration_seconds": {seconds}}}'
    assert talk.post("/files/upload", DATA, x_fal_object_lifecycle=lifecycle).status == status


def test_p1_bodies_of_bytes_have_a_type_that_generators_know(document: Any) -> None:
    for path, method in (("/files/upload", "post"), ("/files/b/{store}/{name}", "put"), (ONE_PART, "put")):
        assert "application/octet-stream" in document["paths"][path][method]["requestBody"]["content"]
