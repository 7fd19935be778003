"""The published OpenAPI document: FastAPI describes the JSON routes, `Operation` the byte routes, and what both have in
common is added here: rights, errors, and the names in paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from starlette.routing import BaseRoute

from entrepot import wire
from entrepot.api import auth
from entrepot.api.models import ErrorResponse, PlatformError
from entrepot.api.parameters import LIFECYCLE_SCHEMAS, Schema
from entrepot.api.routing import Operation, Route
from entrepot.domain.multipart import MAX_PARTS
from entrepot.domain.names import ID_LENGTH, TIME_LENGTH
from entrepot.domain.version import __version__
from entrepot.volume.paths import MAX_DEPTH, MAX_NAME

_TAGS: list[Schema] = [
    {"name": "Storage", "description": "Upload files."},
    {"name": "Files", "description": "Read files."},
    {"name": "Volume", "description": "The files of /data."},
    {"name": "Volume, legacy", "description": "The files of /data for fal's command line."},
    {"name": "Users", "description": "Accounts."},
    {"name": "Jobs", "description": "Uploads from URLs in the background."},
    {"name": "Health", "description": "The state of the server."},
]
_KEY: Schema = {"FalKeyAuth": []}
_TOKEN: Schema = {"CdnToken": []}
# A right that is not here wants a key.
_SECURITY: Mapping[Callable[..., Any], list[Schema]] = {
    auth.anybody: [],
    auth.principal: [{}, _KEY, _TOKEN],
    auth.account: [_KEY, _TOKEN],
    auth.uploader: [],
    **{right: [{}, _KEY, _TOKEN] for right in (auth.multipart_writer, auth.part_writer, auth.old_multipart_writer)},
}
_SCHEMES: Schema = {
    "FalKeyAuth": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "Pass the API key as `Authorization: Key <id>:<secret>`.",
    },
    "CdnToken": {"type": "http", "scheme": "bearer", "description": "A token of `/storage/auth/token`."},
}
# The replies of the statuses; a route may name another one of `_ERRORS`.
_USUAL = {
    "400": "BadRequest",
    "401": "Unauthorized",
    "403": "Forbidden",
    "404": "NotFound",
    "405": "MethodNotAllowed",
    "408": "TooSlow",
    "409": "Conflict",
    "410": "Gone",
    "412": "AlreadyPublished",
    "413": "TooLarge",
    "416": "RangeNotSatisfiable",
    "422": "ValidationError",
    "424": "FetchFailed",
    "429": "RateLimited",
    "500": "Failed",
    "503": "Unavailable",
    "507": "InsufficientStorage",
}
_ERRORS = {
    "BadRequest": "The request is malformed, or the body has another length or digest than declared.",
    "Unauthorized": "Missing or invalid API key or token.",
    "Forbidden": "Refused by the file's rules or by a wrong signature, or the volume is another account's.",
    "NotFound": "No such file.",
    "MethodNotAllowed": "The URL is the path of a file: the segment in the place of the id is no id.",
    "TooSlow": "The body stalled, or came slower than the minimum rate.",
    "Conflict": "A folder is where a file is to be or a file where a folder is, or the file is being changed.",
    "Gone": "The file has expired, or the time to upload it is over.",
    "AlreadyPublished": "The URL has other bytes already.",
    "PreconditionFailed": "A precondition does not hold.",
    "TooLarge": "Larger than the limit or the quota.",
    "RangeNotSatisfiable": "No byte of the file is in the range.",
    "ValidationError": "A field, a header or a parameter is invalid.",
    "InvalidParts": "The list does not match the stored parts, a part is empty, or the size is another.",
    "FetchFailed": "The other server could not be reached, or its answer was not usable.",
    "RateLimited": "Too many unfinished uploads, or too many bodies at once; Retry-After says when to retry.",
    "Failed": "The server failed.",
    "Unavailable": "Storage or database cannot be used at the moment.",
    "InsufficientStorage": "No room on the disk.",
}
# Forms of the names in paths.
_NAMES: Mapping[str, Schema] = {
    "store": {"type": "string", "pattern": "^[0-9a-f]{8}$"},
    "upload_id": {"type": "string", "pattern": f"^[0-9A-Za-z]{{{ID_LENGTH},{ID_LENGTH + TIME_LENGTH}}}$"},
    "key": {"type": "string", "minLength": 1, "description": "<store>/<name> of the file's URL."},
    "part": {"type": "integer", "minimum": 1, "maximum": MAX_PARTS},
}

_VOLUME_NAMES: Mapping[str, Schema] = {
    "upload_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "part_number": {"type": "integer", "minimum": 1, "maximum": MAX_PARTS},
    "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "trash_id": {"type": "string", "pattern": "^[0-9a-f]{44}$"},
}
_VOLUME_PATH: Schema = {
    "type": "string",
    "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]+$",
    "description": f"Names of at most {MAX_NAME} bytes, at most {MAX_DEPTH} deep; slashes as they are, or as %2F.",
}


def _name(name: str, tag: str) -> Schema:
    """The form of a name in a path."""
    if tag.startswith("Volume"):
        return _VOLUME_NAMES.get(name, _VOLUME_PATH)
    return _NAMES.get(name, {"type": "string", "minLength": 1})


def document(routes: Sequence[Route], json_routes: Sequence[BaseRoute], origin: str) -> Schema:
    """The document of a server that answers at `origin`; `json_routes` are FastAPI's of those among `routes`."""
    found = get_openapi(
        title="Entrepot",
        version=__version__,
        description="A self-hosted media store and CDN for AI applications, wire-compatible with fal's clients.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": origin}],
        tags=_TAGS,
        routes=json_routes,
        separate_input_output_schemas=False,
    )
    documented = [(route, route.operation) for route in routes if route.operation is not None]
    types, schemas = _schemas_of([operation for _, operation in documented])
    paths: Schema = {}
    for route, operation in documented:
        generated = found["paths"].get(route.template, {}).get(route.method.lower(), {})
        item = paths.setdefault(route.template, {"parameters": []})
        item[route.method.lower()] = _described(route, operation, generated, types)
        named = {each["name"] for each in item[route.method.lower()].get("parameters", ()) if each["in"] == "path"}
        known = named | {each["name"] for each in item["parameters"]}
        item["parameters"] += [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": _name(name, operation.tag),
            }
            for name in re.findall(r"\{(\w+)\}", route.template)
            if name not in known
        ]
    components = {**found.get("components", {}).get("schemas", {}), **schemas, **LIFECYCLE_SCHEMAS}
    for unused in ("HTTPValidationError", "ValidationError"):
        components.pop(unused, None)
    return {
        **found,
        "security": [_KEY],
        "paths": paths,
        "components": {
            "securitySchemes": _SCHEMES,
            "schemas": dict(sorted(components.items())),
            "responses": {name: _error(text, "ErrorResponse") for name, text in _ERRORS.items()},
        },
    }


def _schemas_of(operations: Sequence[Operation]) -> tuple[Mapping[Any, Schema], Schema]:
    """The schemas of the types that byte routes name, and the components that these refer to."""
    types = [each for operation in operations for each in (operation.body, operation.reply) if not _is_spelled(each)]
    inputs: list[tuple[Any, Literal["validation"], TypeAdapter[Any]]] = [
        (kind, "validation", TypeAdapter(kind)) for kind in dict.fromkeys([*types, ErrorResponse, PlatformError])
    ]
    found, shared = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")
    return {kind: schema for (kind, _), schema in found.items()}, shared.get("$defs", {})


def _is_spelled(given: Any) -> bool:
    return given is None or isinstance(given, dict)


def _described(route: Route, about: Operation, generated: Schema, types: Mapping[Any, Schema]) -> Schema:
    """An operation, of which FastAPI generated parameters, body and reply when it is one of the JSON plane."""
    body = generated.get("requestBody") or about.body
    if not _is_spelled(body):
        body = {"required": True, "content": {"application/json": {"schema": types[body]}}}
    replies = {status: reply for status, reply in generated.get("responses", {}).items() if status != "422"}
    if about.reply is not None:
        replies["200"] = _done({"content": {"application/json": {"schema": types[about.reply]}}})
    for status, reply in about.replies.items():
        replies[status] = _done({**replies.get(status, {}), **reply})
    slow = "408 413" if body and route.method in ("PUT", "POST", "DELETE") else ""
    found = {
        "operationId": about.name,
        "summary": about.summary,
        "description": about.description,
        "tags": [about.tag],
        "deprecated": about.deprecated,
        "security": _SECURITY.get(route.right),
        "parameters": [*generated.get("parameters", ()), *about.parameters],
        "requestBody": body,
        "responses": {**replies, **_refusals(f"{about.errors} {slow}", route.template.startswith(wire.PLATFORM))},
    }
    return {name: value for name, value in found.items() if value or (name == "security" and value is not None)}


def _done(reply: Schema) -> Schema:
    return {"description": "Done.", **reply}


def _refusals(errors: str, of_platform: bool) -> Schema:
    """The error replies of statuses, in the words of the API."""
    pairs = (each.partition(":") for each in sorted(errors.split()))
    named = {status: name or _USUAL[status] for status, _, name in pairs}
    if of_platform:
        return {status: _error(_ERRORS[name], "PlatformError") for status, name in named.items()}
    return {status: {"$ref": f"#/components/responses/{name}"} for status, name in named.items()}


def _error(text: str, schema: str) -> Schema:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": text, "content": content}
