"""The published OpenAPI document, written by hand: it is the contract, not a picture of the code.

`initiateUpload` has the operation, schemas and status codes of fal's own document. tests/protocol hold it against the
running server.
"""

from __future__ import annotations

from typing import Any

from entrepot import __version__

Json = dict[str, Any]


def document(origin: str) -> Json:
    """The document for a server that answers at `origin`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Entrepot",
            "version": __version__,
            "description": "A self-hosted media store and CDN for AI applications, wire-compatible with fal's clients.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": origin}],
        "security": [{"FalKeyAuth": []}],
        "tags": [{"name": "Storage", "description": "Upload files."}, {"name": "Files", "description": "Read files."}],
        "paths": {
            "/storage/auth/token": {"post": _TOKEN},
            "/storage/upload/initiate": {"post": _INITIATE},
            "/files/upload": {"post": _UPLOAD},
            "/files/b/{store}/{name}": {
                "parameters": [_path("store"), _path("name")],
                "get": _get("Read a file", "readFile", True),
                "head": _get("Read a file's headers", "readFileHeaders", False),
                "put": _PUT,
            },
            "/storage/upload/initiate-multipart": {"post": _INITIATE_MULTIPART},
            "/storage/files/{key}/multipart/{upload_id}/{part}": {
                "parameters": [_path("key"), _path("upload_id"), _path("part")],
                "post": _GCS_PART,
            },
            "/files/upload/multipart": {"post": _CREATE_MULTIPART},
            "/files/b/{store}/{name}/multipart/{upload_id}": {
                "parameters": [_path("store"), _path("name"), _path("upload_id"), _SIGNATURE],
                "get": _LIST_PARTS,
                "delete": _ABORT,
            },
            "/files/b/{store}/{name}/multipart/{upload_id}/{part}": {
                "parameters": [_path("store"), _path("name"), _path("upload_id"), _path("part"), _SIGNATURE],
                "put": _PUT_PART,
            },
            "/files/b/{store}/{name}/multipart/{upload_id}/complete": {
                "parameters": [_path("store"), _path("name"), _path("upload_id"), _SIGNATURE],
                "post": _COMPLETE,
            },
            "/healthz": {"get": _health("Whether the process lives", "healthz")},
            "/readyz": {"get": _health("Whether reads and writes would work now", "readyz")},
        },
        "components": {
            "securitySchemes": _SCHEMES,
            "schemas": _SCHEMAS,
            "responses": _RESPONSES,
            "parameters": _PARAMETERS,
            "examples": _EXAMPLES,
        },
    }


def _path(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _json(schema: str, **more: Any) -> Json:
    return {"application/json": {"schema": _ref("schemas", schema), **more}}


def _health(summary: str, operation: str) -> Json:
    return {
        "summary": summary,
        "operationId": operation,
        "security": [],
        "responses": {"200": {"description": "Yes."}, "503": _ref("responses", "Unavailable")},
    }


_BINARY: Json = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
_LIFECYCLE = [_ref("parameters", "Lifecycle"), _ref("parameters", "LifecyclePreference")]

_INITIATE: Json = {
    "summary": "Initiate Asset Upload",
    "description": "Request a short-lived signed URL to which the client should PUT the file bytes. Returns both the "
    "upload URL and the public CDN URL that should be passed to model APIs once the upload completes.",
    "operationId": "initiateUpload",
    "tags": ["Storage"],
    "parameters": [
        {
            "name": "storage_type",
            "in": "query",
            "schema": {"type": "string", "enum": ["fal-cdn", "fal-cdn-v3", "gcs"], "default": "fal-cdn-v3"},
        },
        {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "The same key with the same request gives the same answer again.",
            "schema": {"type": "string"},
        },
        *_LIFECYCLE,
    ],
    "requestBody": {
        "required": True,
        "content": _json("InitiateUploadRequest", examples={"PngImage": _ref("examples", "PngImageRequest")}),
    },
    "responses": {
        "200": {
            "description": "Signed upload URL.",
            "content": _json("InitiateUploadResponse", examples={"Issued": _ref("examples", "IssuedExample")}),
        },
        "401": _ref("responses", "Unauthorized"),
        "422": _ref("responses", "ValidationError"),
    },
}

_TOKEN: Json = {
    "summary": "Get a CDN token",
    "operationId": "createToken",
    "tags": ["Storage"],
    "responses": {
        "200": {"description": "A bearer token for the CDN.", "content": _json("Token")},
        "401": _ref("responses", "Unauthorized"),
    },
}

_UPLOAD: Json = {
    "summary": "Upload a file in one request",
    "operationId": "uploadFile",
    "tags": ["Storage"],
    "security": [{"FalKeyAuth": []}, {"CdnToken": []}],
    "parameters": [
        {
            "name": "X-Fal-File-Name",
            "in": "header",
            "description": "Original name: ASCII, UTF-8 bytes, or UTF-8''<percent-encoded>.",
            "schema": {"type": "string"},
        },
        *_LIFECYCLE,
    ],
    "requestBody": {"required": True, "content": _BINARY},
    "responses": {
        "200": {"description": "Stored, durable and readable.", "content": _json("UploadedFile")},
        "400": _ref("responses", "BadRequest"),
        "401": _ref("responses", "Unauthorized"),
        "413": _ref("responses", "TooLarge"),
        "422": _ref("responses", "ValidationError"),
        "429": _ref("responses", "RateLimited"),
        "507": _ref("responses", "InsufficientStorage"),
    },
}

_PUT: Json = {
    "summary": "Write the bytes of an initiated upload",
    "operationId": "putFile",
    "tags": ["Storage"],
    "security": [],
    "parameters": [{"name": "signature", "in": "query", "required": True, "schema": {"type": "string"}}],
    "requestBody": {"required": True, "content": _BINARY},
    "responses": {
        "200": {"description": "Stored, durable and readable."},
        "403": _ref("responses", "Forbidden"),
        "410": _ref("responses", "Gone"),
        "412": _ref("responses", "AlreadyPublished"),
        "413": _ref("responses", "TooLarge"),
        "507": _ref("responses", "InsufficientStorage"),
    },
}


_SIGNATURE: Json = {
    "name": "signature",
    "in": "query",
    "description": "The upload's signature; without it the credential of its account is needed.",
    "schema": {"type": "string"},
}
_EITHER: list[Json] = [{}, {"FalKeyAuth": []}, {"CdnToken": []}]

_INITIATE_MULTIPART: Json = {
    **_INITIATE,
    "summary": "Initiate a multipart upload",
    "description": "Returns the file's URL and one below which parts are put, the number before the query.",
    "operationId": "initiateMultipartUpload",
    "responses": {**_INITIATE["responses"], "429": _ref("responses", "RateLimited")},
}

_CREATE_MULTIPART: Json = {
    "summary": "Open a multipart upload",
    "operationId": "createMultipartUpload",
    "tags": ["Storage"],
    "security": [{"FalKeyAuth": []}, {"CdnToken": []}],
    "parameters": _UPLOAD["parameters"],
    "responses": {
        "200": {"description": "Opened.", "content": _json("MultipartUpload")},
        "401": _ref("responses", "Unauthorized"),
        "422": _ref("responses", "ValidationError"),
        "429": _ref("responses", "RateLimited"),
    },
}

_GCS_PART: Json = {
    "summary": "Get the URL of a part, or finish when `part` is `complete` (GCS style)",
    "operationId": "gcsPart",
    "tags": ["Storage"],
    "responses": {
        "200": {"description": "The part's signed URL, or the finished file."},
        "401": _ref("responses", "Unauthorized"),
        "404": _ref("responses", "NotFound"),
        "422": _ref("responses", "InvalidParts"),
    },
}

_PUT_PART: Json = {
    "summary": "Store one attempt at a part",
    "operationId": "putPart",
    "tags": ["Storage"],
    "security": _EITHER,
    "requestBody": {"required": True, "content": _BINARY},
    "responses": {
        "200": {"description": "Durable. The ETag header is the part's SHA-256.", "content": _json("StoredPart")},
        "403": _ref("responses", "Forbidden"),
        "404": _ref("responses", "NotFound"),
        "410": _ref("responses", "Gone"),
        "412": _ref("responses", "AlreadyPublished"),
        "413": _ref("responses", "TooLarge"),
    },
}

_COMPLETE: Json = {
    "summary": "Publish the listed parts as one file",
    "operationId": "completeMultipartUpload",
    "tags": ["Storage"],
    "security": _EITHER,
    "requestBody": {"required": True, "content": _json("CompleteMultipart")},
    "responses": {
        "200": {"description": "Published; the same again for a repeated call.", "content": _json("UploadedFile")},
        "403": _ref("responses", "Forbidden"),
        "404": _ref("responses", "NotFound"),
        "410": _ref("responses", "Gone"),
        "422": _ref("responses", "InvalidParts"),
    },
}

_LIST_PARTS: Json = {
    "summary": "List the parts that are held",
    "operationId": "listParts",
    "tags": ["Storage"],
    "security": _EITHER,
    "responses": {
        "200": {"description": "All acknowledged attempts, by number.", "content": _json("MultipartListing")},
        "403": _ref("responses", "Forbidden"),
        "404": _ref("responses", "NotFound"),
    },
}

_ABORT: Json = {
    "summary": "Abort a multipart upload and free its parts",
    "operationId": "abortMultipartUpload",
    "tags": ["Storage"],
    "security": _EITHER,
    "responses": {
        "204": {"description": "Ended."},
        "403": _ref("responses", "Forbidden"),
        "404": _ref("responses", "NotFound"),
        "412": _ref("responses", "AlreadyPublished"),
    },
}


def _get(summary: str, operation: str, body: bool) -> Json:
    whole: Json = {"description": "The file."}
    part: Json = {"description": "The ranges that were asked for."}
    return {
        "summary": summary,
        "operationId": operation,
        "tags": ["Files"],
        "security": [{}, {"FalKeyAuth": []}, {"CdnToken": []}],
        "parameters": [
            {
                "name": "download",
                "in": "query",
                "description": "1: send it as an attachment under its original name.",
                "schema": {"type": "string", "enum": ["1"]},
            }
        ],
        "responses": {
            "200": {**whole, "content": _BINARY} if body else whole,
            **({"206": {**part, "content": _BINARY}, "416": _ref("responses", "RangeNotSatisfiable")} if body else {}),
            "304": {"description": "The client's copy is current."},
            "403": _ref("responses", "Forbidden"),
            "404": _ref("responses", "NotFound"),
            "410": _ref("responses", "Gone"),
            "412": _ref("responses", "PreconditionFailed"),
        },
    }


def _error(description: str) -> Json:
    return {"description": description, "content": _json("ErrorResponse")}


_RESPONSES: Json = {
    "BadRequest": _error("The body is not as long as declared, or has another digest."),
    "Unauthorized": _error("Missing or invalid API key."),
    "Forbidden": _error("Refused by the file's rules, or by a wrong signature."),
    "NotFound": _error("No such file."),
    "Gone": _error("The file's life, or the time to upload it, is over."),
    "AlreadyPublished": _error("The URL has other bytes already."),
    "PreconditionFailed": _error("A precondition does not hold."),
    "RangeNotSatisfiable": _error("No byte of the file is in the range."),
    "TooLarge": _error("Larger than the limit."),
    "ValidationError": _error("Invalid `content_type` or `file_name`."),
    "InvalidParts": _error("The list does not match the parts that are held, one is empty, or the size is another."),
    "RateLimited": _error("Too many unfinished uploads, or too many bodies at once; Retry-After says when."),
    "Unavailable": _error("Storage or catalogue cannot be used at the moment."),
    "InsufficientStorage": _error("No room on the disk."),
}

_SCHEMES: Json = {
    "FalKeyAuth": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "Pass the API key as `Authorization: Key <id>:<secret>`.",
    },
    "CdnToken": {"type": "http", "scheme": "bearer", "description": "A token of `/storage/auth/token`."},
}

_LIFECYCLE_TEXT = (
    'JSON: {"expiration_duration_seconds": 3600 or null, "initial_acl": {"default": "allow", "rules": []}}. '
    "Both header names are read; they must not differ."
)
_PARAMETERS: Json = {
    key: {"name": name, "in": "header", "description": _LIFECYCLE_TEXT, "schema": {"type": "string"}}
    for key, name in (
        ("Lifecycle", "X-Fal-Object-Lifecycle"),
        ("LifecyclePreference", "X-Fal-Object-Lifecycle-Preference"),
    )
}

_SCHEMAS: Json = {
    "InitiateUploadRequest": {
        "type": "object",
        "required": ["content_type", "file_name"],
        "properties": {
            "content_type": {"type": "string", "description": "MIME type of the asset."},
            "file_name": {"type": "string", "description": "Original file name. It ends the URL."},
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
    "CompleteMultipart": {
        "type": "object",
        "required": ["parts"],
        "properties": {
            "parts": {"type": "array", "items": _ref("schemas", "StoredPart")},
            "size": {"type": "integer", "description": "Declared size of the whole."},
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
            "parts": {"type": "array", "items": _ref("schemas", "StoredPart")},
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

_EXAMPLES: Json = {
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
