"""Parameters and bodies that operations of the OpenAPI document share."""

from __future__ import annotations

from typing import Any

from entrepot import wire
from entrepot.api.http_context import MAX_STORED_HEADER
from entrepot.domain.acl import Decision
from entrepot.domain.lifecycle import MAX_LIFETIME, MAX_RULES
from entrepot.domain.multipart import MAX_PARTS

Schema = dict[str, Any]


def header(name: str, description: str, **schema: Any) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string", **schema}}


def query(name: str, description: str, **schema: Any) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string", **schema}}


_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# The empty one means that there is none.
MEDIA_TYPE = rf'^({_TOKEN}/{_TOKEN}( *; *({_TOKEN}=({_TOKEN}|"([ !#-\[\]-~]|\\[ -~])*"))?)*)?$'
_DIGEST = r"(sha-256=:[A-Za-z0-9+/]{43}=:|sha-512=:[A-Za-z0-9+/]{86}==:|md5=:[A-Za-z0-9+/]{22}==:)"
REPR_DIGEST = rf"^{_DIGEST}( *, *{_DIGEST})*$"
ONE_SHA256 = r"^sha-256=:[A-Za-z0-9+/]{43}=:$"
MAX_SIZE_DIGITS = 18  # sizes fit into 64 bits; this many digits do

FILE_NAME = header("X-Fal-File-Name", "Original name: ASCII, UTF-8 bytes, or UTF-8''<percent-encoded>.")
IDEMPOTENCY_KEY = header(
    "Idempotency-Key", "The same key with the same request gives the same answer again.", maxLength=MAX_STORED_HEADER
)
STORAGE_TYPE: Schema = {
    "name": "storage_type",
    "in": "query",
    "schema": {"type": "string", "enum": sorted(wire.STORAGE_TYPES), "default": wire.STORAGE_TYPES[0]},
}
DOWNLOAD = query("download", "1: send it as an attachment under its original name.", enum=["1"])
SIGNATURE = query("signature", "The upload's signature; without it the credential of its account is needed.")
WRITE_SIGNATURE: Schema = {"name": "signature", "in": "query", "required": True, "schema": {"type": "string"}}
PART_NUMBER: Schema = {
    **query("part_number", "Number of the part.", type="integer", minimum=1, maximum=MAX_PARTS),
    "required": True,
}
WHOLE_SHA256: Schema = {
    **header("Repr-Digest", "sha-256=:<base64>:, of the whole file.", pattern=ONE_SHA256),
    "required": True,
}
SIZE: Schema = {
    **query("size", "Size of the file in bytes.", type="integer", minimum=0, maximum=10**MAX_SIZE_DIGITS - 1),
    "required": True,
}

_NULL: Schema = {"type": "null"}
_DECISION: Schema = {"type": "string", "enum": [each.value for each in Decision]}
# `wire.parse_lifecycle` reads these; they are headers with a JSON value.
LIFECYCLE_SCHEMAS: Schema = {
    "Lifecycle": {
        "type": "object",
        "properties": {
            "expiration_duration_seconds": {
                "type": ["integer", "null"],
                "minimum": 1,
                "maximum": MAX_LIFETIME,
                "description": "Seconds until the file ends; null: never.",
            },
            "initial_acl": {"oneOf": [{"$ref": "#/components/schemas/Acl"}, _NULL]},
        },
    },
    "Acl": {
        "type": "object",
        "description": "Who may read a file: the first rule of the reader, else the default.",
        "properties": {
            "default": {"oneOf": [{"$ref": "#/components/schemas/Decision"}, _NULL]},
            "rules": {
                "oneOf": [
                    {"type": "array", "maxItems": MAX_RULES, "items": {"$ref": "#/components/schemas/AclRule"}},
                    _NULL,
                ],
            },
        },
        "additionalProperties": False,
    },
    "AclRule": {
        "type": "object",
        "required": ["user", "decision"],
        "properties": {
            "user": {"type": "string", "minLength": 1, "description": "Nickname or id of an account."},
            "decision": {"$ref": "#/components/schemas/Decision"},
        },
        "additionalProperties": False,
    },
    "Decision": _DECISION,
}
# Each operation spells this parameter out: generators of clients drop operations that refer to one with `content`.
LIFECYCLE: Schema = {
    "name": "X-Fal-Object-Lifecycle",
    "in": "header",
    "description": "How long the file is kept and who may read it, as JSON. X-Fal-Object-Lifecycle-Preference is "
    "another name of this header; both must say the same.",
    "content": {"application/json": {"schema": {"oneOf": [{"$ref": "#/components/schemas/Lifecycle"}, _NULL]}}},
}

BYTES: Schema = {"schema": {"type": "string", "format": "binary"}}
BINARY: Schema = {"application/octet-stream": BYTES}


def form(field: str, description: str) -> Schema:
    """The content of a body that is a form with one file."""
    file = {"type": "object", "required": [field], "properties": {field: {"type": "string", "format": "binary"}}}
    return {"multipart/form-data": {"schema": {**file, "description": description}}}


RAW_BODY: Schema = {
    "required": False,
    "description": "The bytes of the file, as they are. Content-Type is that of the file; no body is an empty file.",
    "content": BINARY,
}
RAW_OR_FORM: Schema = {**RAW_BODY, "content": {**BINARY, **form("file", "One file, in a field of any name.")}}


def flag(name: str, description: str, *, default: bool = False) -> Schema:
    """A boolean of the query. Null stands for the default."""
    schema = {"type": ["boolean", "null"], "default": default}
    return {"name": name, "in": "query", "description": description, "schema": schema}


# Error replies that all routes of the volume have.
VOLUME_ERRORS = "400 401 403 429 500 503"
LEGACY_VOLUME_ERRORS = "401 403 422 503"

CONDITIONS: tuple[Schema, ...] = (
    header("If-Match", "ETags of the file to change, or * for any; 412 when it is another.", minLength=1),
    header("If-None-Match", "*: only when nothing is there; else 412.", enum=["*"]),
)
FILE_DIGEST = header("Repr-Digest", "sha-256=:<base64>:, of the file; checked before it is there.", pattern=REPR_DIGEST)
LIMIT = query("limit", "Entries of a page; without it all come.", type="integer", minimum=1, maximum=10_000)
CURSOR = query("cursor", "The last page's X-Entrepot-Next-Cursor.", pattern="^[A-Za-z0-9_-]*$")
NEXT_PAGE: Schema = {
    "X-Entrepot-Next-Cursor": {
        "description": "Cursor of the next page; missing on the last one.",
        "schema": {"type": "string"},
    },
    "Link": {"description": 'URL of the next page, rel="next"; missing on the last one.', "schema": {"type": "string"}},
}
RANGE: tuple[Schema, ...] = (
    header("Range", "Bytes to send."),
    header("If-Range", "ETag of the file that the range is of."),
)
