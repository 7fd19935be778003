"""The schemas of the volume's routes in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from entrepot.domain.multipart import MAX_PARTS

Json = dict[str, Any]


def ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def json_of(schema: str) -> Json:
    return {"application/json": {"schema": ref("schemas", schema)}}


TEXT: Json = {"type": "string"}
TEXTS: Json = {"type": "array", "items": TEXT}
BOOLEAN: Json = {"type": "boolean"}
PARTS: Json = {"type": "array", "items": ref("schemas", "VolumePart")}
NEW_PATH: Json = {"type": "string", "minLength": 1, "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]+$"}


def listed_parts(*, closed: bool) -> Json:
    """The parts of which a file is to be made. An item without an ETag means the part's last attempt."""
    item = _schema(["part_number"], part_number=_INTEGER, etag={"type": ["string", "null"]})
    return {"type": "array", "maxItems": MAX_PARTS, "items": {**item, **_CLOSED} if closed else item}


_CLOSED: Json = {"additionalProperties": False}
_TIME: Json = {"type": "string", "format": "date-time"}
_INTEGER: Json = {"type": "integer"}
_CHECKSUMS: Json = {"checksum_sha256": TEXT, "checksum_md5": TEXT}
_ENTRY = ["path", "name", "created_time", "updated_time", "is_file", "size"]


def _schema(required: Sequence[str], **properties: Json) -> Json:
    return {"type": "object", "required": list(required), "properties": properties}


SCHEMAS: Json = {
    "FileSpec": _schema(
        _ENTRY,
        path={"type": "string", "description": "Absolute: /data/..."},
        name=TEXT,
        created_time={"type": "number", "description": "Unix seconds."},
        updated_time={"type": "number", "description": "Unix seconds."},
        is_file=BOOLEAN,
        size=_INTEGER,
        **_CHECKSUMS,
    ),
    "VolumeEntry": _schema(
        _ENTRY,
        path={"type": "string", "description": "Relative to the volume."},
        name=TEXT,
        created_time=_TIME,
        updated_time=_TIME,
        is_file=BOOLEAN,
        size=_INTEGER,
        etag={"type": "string", "description": "Of a file; with its quotes, as conditions take it."},
        **_CHECKSUMS,
    ),
    "VolumeDeleted": _schema(["path", "trash_id"], path=TEXT, trash_id={"type": ["string", "null"]}),
    "VolumeTrashed": _schema(
        ["id", "path", "is_file", "size", "deleted_at", "purge_at"],
        id=TEXT,
        path=TEXT,
        is_file=BOOLEAN,
        size=_INTEGER,
        deleted_at=_TIME,
        purge_at=_TIME,
    ),
    "VolumeUsage": _schema(
        ["path", "files", "folders", "size", "quota", "free"],
        path=TEXT,
        files=_INTEGER,
        folders=_INTEGER,
        size=_INTEGER,
        quota={"type": ["integer", "null"]},
        free=_INTEGER,
    ),
    "VolumeUpload": _schema(["upload_id"], upload_id=TEXT, expires_at=_TIME),
    "VolumePart": _schema(["part_number", "etag"], part_number=_INTEGER, etag=TEXT, size=_INTEGER),
    "VolumeParts": _schema(
        ["upload_id", "path", "expires_at", "parts"], upload_id=TEXT, path=TEXT, expires_at=_TIME, parts=PARTS
    ),
    "VolumeCompleted": _schema(
        ["etag"],
        etag={"type": "string", "description": "MD5 of the file in hex; empty when it is not known."},
        entry=ref("schemas", "VolumeEntry"),
    ),
    "PlatformError": _schema(
        ["error"],
        error=_schema(
            ["type", "message", "request_id", "code", "fix"],
            type={
                "type": "string",
                "enum": ["authorization_error", "validation_error", "not_found", "rate_limited", "server_error"],
            },
            message=TEXT,
            request_id=TEXT,
            code=TEXT,
            fix=TEXT,
        ),
    ),
}
