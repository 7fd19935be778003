"""The components of the OpenAPI document: what its operations refer to."""

from __future__ import annotations

from typing import Any

from entrepot.api.http_context import MAX_STORED_HEADER
from entrepot.domain.acl import Decision
from entrepot.domain.lifecycle import MAX_LIFETIME, MAX_RULES
from entrepot.domain.mediatypes import MAX_TYPE_LENGTH
from entrepot.domain.multipart import MAX_PARTS

Json = dict[str, Any]


def ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def json_of(schema: str, **more: Any) -> Json:
    return {"application/json": {"schema": ref("schemas", schema), **more}}


def _error(description: str) -> Json:
    return {"description": description, "content": json_of("ErrorResponse")}


RESPONSES: Json = {
    "BadRequest": _error("The body is not as long as declared, or has another digest."),
    "Unauthorized": _error("Missing or invalid API key."),
    "Forbidden": _error("Refused by the file's rules, or by a wrong signature."),
    "NotFound": _error("No such file."),
    "Gone": _error("The file's life, or the time to upload it, is over."),
    "AlreadyPublished": _error("The URL has other bytes already."),
    "PreconditionFailed": _error("A precondition does not hold."),
    "RangeNotSatisfiable": _error("No byte of the file is in the range."),
    "TooLarge": _error("Larger than the limit."),
    "TooSlow": _error("The body stalled, or came slower than the least rate."),
    "ValidationError": _error("Invalid `content_type` or `file_name`."),
    "InvalidParts": _error("The list does not match the parts that are held, one is empty, or the size is another."),
    "RateLimited": _error("Too many unfinished uploads, or too many bodies at once; Retry-After says when."),
    "Unavailable": _error("Storage or catalogue cannot be used at the moment."),
    "InsufficientStorage": _error("No room on the disk."),
}

SCHEMES: Json = {
    "FalKeyAuth": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "Pass the API key as `Authorization: Key <id>:<secret>`.",
    },
    "CdnToken": {"type": "http", "scheme": "bearer", "description": "A token of `/storage/auth/token`."},
}

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# An empty one is none.
MEDIA_TYPE = rf'^({_TOKEN}/{_TOKEN}( *; *({_TOKEN}=({_TOKEN}|"([ !#-\[\]-~]|\\[ -~])*"))?)*)?$'
_DIGEST = r"(sha-256=:[A-Za-z0-9+/]{43}=:|sha-512=:[A-Za-z0-9+/]{86}==:|md5=:[A-Za-z0-9+/]{22}==:)"
REPR_DIGEST = rf"^{_DIGEST}( *, *{_DIGEST})*$"
ONE_SHA256 = r"^sha-256=:[A-Za-z0-9+/]{43}=:$"

# Not among the components: generators of clients drop operations that refer to a parameter with `content`.
LIFECYCLE: Json = {
    "name": "X-Fal-Object-Lifecycle",
    "in": "header",
    "description": "How long the file is kept and who may read it, as JSON. X-Fal-Object-Lifecycle-Preference is "
    "another name of this header; both must say the same.",
    "content": {"application/json": {"schema": {"oneOf": [ref("schemas", "Lifecycle"), {"type": "null"}]}}},
}
PARAMETERS: Json = {
    "FileName": {
        "name": "X-Fal-File-Name",
        "in": "header",
        "description": "Original name: ASCII, UTF-8 bytes, or UTF-8''<percent-encoded>.",
        "schema": {"type": "string"},
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The same key with the same request gives the same answer again.",
        "schema": {"type": "string", "maxLength": MAX_STORED_HEADER},
    },
}

_NULL: Json = {"type": "null"}
_SHA256_TEXT: Json = {"type": "string", "pattern": "^sha256:[0-9a-fA-F]{64}$"}

SCHEMAS: Json = {
    "Lifecycle": {
        "type": "object",
        "properties": {
            "expiration_duration_seconds": {
                "type": ["integer", "null"],
                "minimum": 1,
                "maximum": MAX_LIFETIME,
                "description": "Seconds until the file ends; null: never.",
            },
            "initial_acl": {"oneOf": [ref("schemas", "Acl"), _NULL]},
        },
    },
    "Acl": {
        "type": "object",
        "description": "Who may read a file: the first rule of the reader, else the default.",
        "properties": {
            "default": {"oneOf": [ref("schemas", "Decision"), _NULL]},
            "rules": {
                "oneOf": [{"type": "array", "maxItems": MAX_RULES, "items": ref("schemas", "AclRule")}, _NULL],
            },
        },
        "additionalProperties": False,
    },
    "AclRule": {
        "type": "object",
        "required": ["user", "decision"],
        "properties": {
            "user": {"type": "string", "minLength": 1, "description": "Nickname or id of an account."},
            "decision": ref("schemas", "Decision"),
        },
        "additionalProperties": False,
    },
    "Decision": {"type": "string", "enum": [each.value for each in Decision]},
    "InitiateUploadRequest": {
        "type": "object",
        "required": ["content_type", "file_name"],
        "properties": {
            "content_type": {
                "type": "string",
                "maxLength": MAX_TYPE_LENGTH,
                "pattern": MEDIA_TYPE,
                "description": "MIME type of the asset.",
            },
            "file_name": {
                "type": "string",
                "minLength": 1,
                "maxLength": 4096,
                "description": "Original file name. It ends the URL.",
            },
        },
    },
    "InitiateUploadResponse": {
        "type": "object",
        "required": ["upload_url", "file_url"],
        "properties": {
            "upload_url": {"type": "string", "format": "uri", "description": "Signed URL. PUT the file bytes here."},
            "file_url": {"type": "string", "format": "uri", "description": "URL to pass to model APIs."},
        },
    },
    "Token": {
        "type": "object",
        "required": ["token", "token_type", "base_url", "created_at", "expires_at"],
        "properties": {
            "token": {"type": "string"},
            "token_type": {"type": "string"},
            "base_url": {"type": "string", "format": "uri"},
            "base_upload_url": {"type": "string", "format": "uri"},
            "created_at": {"type": "string", "format": "date-time"},
            "expires_at": {"type": "string", "format": "date-time"},
        },
    },
    "User": {
        "type": "object",
        "required": ["full_name", "nickname", "user_id", "is_personal", "is_org", "is_locked"],
        "properties": {
            "full_name": {"type": "string"},
            "nickname": {"type": "string"},
            "user_id": {"type": "string"},
            "is_personal": {"type": "boolean"},
            "is_org": {"type": "boolean"},
            "is_locked": {"type": "boolean"},
        },
    },
    "UploadedFile": {
        "type": "object",
        "required": ["access_url", "uploaded"],
        "properties": {
            "access_url": {"type": "string", "format": "uri"},
            "uploaded": {"type": "boolean"},
            "file_name": {"type": "string"},
            "content_type": {"type": "string"},
            "size": {"type": "integer"},
            "digest": {"type": ["string", "null"], "description": "sha256:<hex>"},
            "expires_at": {"type": ["string", "null"], "format": "date-time"},
        },
    },
    "AssetUploadRequest": {
        "type": "object",
        "required": ["url", "type"],
        "additionalProperties": False,
        "properties": {
            "url": {"type": "string", "format": "uri", "maxLength": 8192},
            "type": {"type": "string", "enum": ["image", "video", "audio", "3d"]},
            "prompt": {"type": ["string", "null"], "maxLength": 2000},
            "collection_id": {"type": ["string", "null"], "maxLength": 255},
            "favorite": {"type": "boolean"},
            "tag_ids": {"type": ["array", "null"], "items": {"type": "string"}},
        },
    },
    "AssetUploaded": {
        "type": "object",
        "required": ["asset"],
        "properties": {
            "asset": {
                "type": "object",
                "required": ["vector_id", "url", "type", "content_type", "created_at"],
                "properties": {
                    "vector_id": {"type": "string", "description": "Id of the file."},
                    "url": {"type": "string", "format": "uri"},
                    "type": {"type": "string"},
                    "title": {"type": ["string", "null"]},
                    "prompt": {"type": ["string", "null"]},
                    "content_type": {"type": "string"},
                    "created_at": {"type": "string", "format": "date-time"},
                },
            }
        },
    },
    "MultipartUpload": {
        "type": "object",
        "required": ["access_url", "uploadId"],
        "properties": {
            "access_url": {"type": "string", "format": "uri"},
            "uploadId": {"type": "string"},
            "expires_at": {"type": "string", "format": "date-time"},
        },
    },
    "StoredPart": {
        "type": "object",
        "required": ["partNumber", "etag"],
        "properties": {
            "partNumber": {"type": "integer"},
            "etag": {"type": "string"},
            "size": {"type": "integer"},
        },
    },
    "ListedPart": {
        "type": "object",
        "required": ["partNumber"],
        "properties": {
            "partNumber": {"type": "integer"},
            "etag": {"type": ["string", "null"], "description": "Without it the last attempt is meant."},
        },
    },
    "CompleteMultipart": {
        "type": "object",
        "required": ["parts"],
        "properties": {
            "parts": {"type": "array", "maxItems": MAX_PARTS, "items": ref("schemas", "ListedPart")},
            "size": {"type": ["integer", "null"], "minimum": 0, "description": "Declared size of the whole."},
            "digest": {
                "type": ["string", "null"],
                "pattern": _SHA256_TEXT["pattern"],
                "description": "sha256:<hex> of the whole; nothing is published when it is known to be another.",
            },
        },
    },
    "MultipartListing": {
        "type": "object",
        "required": ["uploadId", "access_url", "state", "parts"],
        "properties": {
            "uploadId": {"type": "string"},
            "access_url": {"type": "string", "format": "uri"},
            "state": {"type": "string", "enum": ["open", "published", "aborted"]},
            "expires_at": {"type": "string", "format": "date-time"},
            "parts": {"type": "array", "items": ref("schemas", "StoredPart")},
        },
    },
    "ErrorResponse": {
        "type": "object",
        "required": ["detail", "message", "code", "fix", "request_id"],
        "properties": {
            "detail": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]},
            "message": {"type": "string"},
            "code": {"type": "string"},
            "fix": {"type": "string"},
            "request_id": {"type": "string"},
        },
    },
}

EXAMPLES: Json = {
    "PngImageRequest": {
        "summary": "PNG image upload",
        "value": {"content_type": "image/png", "file_name": "reference.png"},
    },
    "IssuedExample": {
        "summary": "Signed upload issued",
        "value": {
            "upload_url": "https://media.example.com/files/b/0a96d564/6bYtq2mKcVn0XgZr1QeW4s_reference.png?signature=...",
            "file_url": "https://media.example.com/files/b/0a96d564/6bYtq2mKcVn0XgZr1QeW4s_reference.png",
        },
    },
}
