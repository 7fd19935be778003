"""The published OpenAPI document, written by hand: it is the contract, not a picture of the code.

`initiateUpload` has the operation, schemas and status codes of fal's own document. tests/protocol hold it against the
running server.
"""

from __future__ import annotations

from entrepot.api.bytes.uploads import MAX_SIZE_DIGITS
from entrepot.api.components import (
    EXAMPLES,
    LIFECYCLE,
    ONE_SHA256,
    PARAMETERS,
    RESPONSES,
    SCHEMAS,
    SCHEMES,
    Json,
    json_of,
    ref,
)
from entrepot.api.volume import document as volume
from entrepot.api.volume.schemas import SCHEMAS as VOLUME_SCHEMAS
from entrepot.domain.multipart import MAX_PARTS
from entrepot.domain.names import ID_LENGTH, TIME_LENGTH
from entrepot.domain.version import __version__

_TAGS: list[Json] = [
    {"name": "Storage", "description": "Upload files."},
    {"name": "Files", "description": "Read files."},
    {"name": "Volume", "description": "The files of /data."},
    {"name": "Volume, legacy", "description": "The same for fal's command line."},
    {"name": "Users", "description": "Who asks."},
]


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
        "tags": _TAGS,
        "paths": _bounded(_paths()),
        "components": {
            "securitySchemes": SCHEMES,
            "schemas": {**SCHEMAS, **VOLUME_SCHEMAS},
            "responses": RESPONSES,
            "parameters": PARAMETERS,
            "examples": EXAMPLES,
        },
    }


_FORMS = {
    "store": "^[0-9a-f]{8}$",
    "upload_id": f"^[0-9A-Za-z]{{{ID_LENGTH},{ID_LENGTH + TIME_LENGTH}}}$",
    "key": "^[0-9a-f]{8}/[^/]+$",
    "number or complete": "^([1-9][0-9]{0,3}|10000|complete)$",
}


def _paths() -> Json:
    return {
        "/storage/auth/token": {"post": _TOKEN},
        "/storage/upload/initiate": {"post": _INITIATE},
        "/files/upload": {"post": _UPLOAD},
        "/files/upload/existing": {"post": _EXISTING},
        "/files/b/{store}/{name}": {
            "parameters": [_path("store"), _path("name")],
            "get": _get("Read a file", "readFile", True),
            "head": _get("Read a file's headers", "readFileHeaders", False),
            "put": _PUT,
        },
        "/storage/upload/initiate-multipart": {"post": _INITIATE_MULTIPART},
        "/storage/files/{key}/multipart/{upload_id}/{part}": {
            "parameters": [_path("key"), _path("upload_id"), _path("part", "number or complete")],
            "post": _GCS_PART,
        },
        "/files/upload/multipart": {"post": _CREATE_MULTIPART},
        "/files/b/{store}/{name}/multipart/{upload_id}": {
            "parameters": [_path("store"), _path("name"), _path("upload_id"), _SIGNATURE],
            "get": _LIST_PARTS,
            "delete": _ABORT,
        },
        "/files/b/{store}/{name}/multipart/{upload_id}/{part}": {
            "parameters": [_path("store"), _path("name"), _path("upload_id"), _PART, _SIGNATURE],
            "put": _PUT_PART,
        },
        "/files/b/{store}/{name}/multipart/{upload_id}/complete": {
            "parameters": [_path("store"), _path("name"), _path("upload_id"), _SIGNATURE],
            "post": _COMPLETE,
        },
        **_old_toolkits(),
        "/v1/assets/uploads": {"post": _ASSET_UPLOAD},
        **volume.paths(),
        "/users/current": {"get": _CURRENT_USER},
        "/users/teams": {"get": _TEAMS},
        "/healthz": {"get": _health("Whether the process lives", "healthz")},
        "/readyz": {"get": _health("Whether reads and writes would work now", "readyz")},
    }


def _bounded(paths: Json) -> Json:
    """The paths, with what every request that has a body may be answered: it is too large, or comes too slowly."""
    for operations in paths.values():
        for method, operation in operations.items():
            if method in ("put", "post", "patch", "delete") and "requestBody" in operation:
                more = {"408": ref("responses", "TooSlow"), "413": ref("responses", "TooLarge")}
                operations[method] = {**operation, "responses": {**more, **operation["responses"]}}
    return paths


def _path(name: str, form: str = "") -> Json:
    """A parameter of the path, with the pattern of its form."""
    pattern = _FORMS.get(form or name)
    schema: Json = {"type": "string", **({"pattern": pattern} if pattern else {"minLength": 1})}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _old(operation: Json, name: str, *parameters: Json) -> Json:
    """The same under the path that old toolkits call: `fal` 1.5 to 1.75 with the repository fal_v2."""
    return {
        **operation,
        "operationId": name,
        "deprecated": True,
        "parameters": [*operation.get("parameters", ()), *parameters],
    }


def _old_toolkits() -> Json:
    upload = {**_UPLOAD, "requestBody": _BODY}
    return {
        "/upload": {"put": _old(upload, "oldPutFile"), "post": _old(upload, "oldUploadFile")},
        "/upload/initiate-multipart": {"post": _old(_INITIATE_MULTIPART, "oldInitiateMultipartUpload")},
        "/upload/files/b/{store}/{name}/multipart/{upload_id}": {
            "parameters": [_path("store"), _path("name"), _path("upload_id"), _SIGNATURE],
            "put": _old(_PUT_PART, "oldPutPart", _PART_NUMBER),
            "post": _old(_COMPLETE, "oldCompleteMultipartUpload"),
        },
    }


def _health(summary: str, operation: str) -> Json:
    return {
        "summary": summary,
        "operationId": operation,
        "security": [],
        "responses": {"200": {"description": "Yes."}, "503": ref("responses", "Unavailable")},
    }


_BYTES: Json = {"schema": {"type": "string", "format": "binary"}}
# `*/*` alone is dropped by generators of clients.
_BINARY: Json = {"application/octet-stream": _BYTES, "*/*": _BYTES}
_FORM: Json = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {"file": {"type": "string", "format": "binary"}},
            "description": "One file, in a field of any name.",
        }
    }
}
_LIFECYCLE = [LIFECYCLE]
_BODY: Json = {
    "required": False,
    "description": "The bytes of the file, as they are. Content-Type is that of the file; no body is an empty file.",
    "content": {"application/octet-stream": _BYTES},
}

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
        ref("parameters", "IdempotencyKey"),
        *_LIFECYCLE,
    ],
    "requestBody": {
        "required": True,
        "content": json_of("InitiateUploadRequest", examples={"PngImage": ref("examples", "PngImageRequest")}),
    },
    "responses": {
        "200": {
            "description": "Signed upload URL.",
            "content": json_of("InitiateUploadResponse", examples={"Issued": ref("examples", "IssuedExample")}),
        },
        "401": ref("responses", "Unauthorized"),
        "422": ref("responses", "ValidationError"),
    },
}

_TOKEN: Json = {
    "summary": "Get a CDN token",
    "operationId": "createToken",
    "tags": ["Storage"],
    "responses": {
        "200": {"description": "A bearer token for the CDN.", "content": json_of("Token")},
        "401": ref("responses", "Unauthorized"),
    },
}

_CURRENT_USER: Json = {
    "summary": "The account of the credential",
    "operationId": "currentUser",
    "tags": ["Users"],
    "security": [{"FalKeyAuth": []}, {"CdnToken": []}],
    "responses": {
        "200": {"description": "The account.", "content": json_of("User")},
        "401": ref("responses", "Unauthorized"),
    },
}

_TEAMS: Json = {
    **_CURRENT_USER,
    "summary": "The accounts that the credential may act for",
    "operationId": "teams",
    "responses": {
        "200": {
            "description": "The one that it is of.",
            "content": {"application/json": {"schema": {"type": "array", "items": ref("schemas", "User")}}},
        },
        "401": ref("responses", "Unauthorized"),
    },
}

_UPLOAD: Json = {
    "summary": "Upload a file in one request",
    "operationId": "uploadFile",
    "tags": ["Storage"],
    "security": [{"FalKeyAuth": []}, {"CdnToken": []}],
    "parameters": [
        ref("parameters", "FileName"),
        ref("parameters", "IdempotencyKey"),
        *_LIFECYCLE,
    ],
    "requestBody": {**_BODY, "content": {**_BODY["content"], **_FORM}},
    "responses": {
        "200": {"description": "Stored, durable and readable.", "content": json_of("UploadedFile")},
        "400": ref("responses", "BadRequest"),
        "401": ref("responses", "Unauthorized"),
        "412": ref("responses", "AlreadyPublished"),
        "413": ref("responses", "TooLarge"),
        "422": ref("responses", "ValidationError"),
        "429": ref("responses", "RateLimited"),
        "507": ref("responses", "InsufficientStorage"),
    },
}

_ASSET_UPLOAD: Json = {
    "summary": "Make a file of the CDN from a URL",
    "description": "The URL is fetched, unless it is one of this server: then its file is the asset. No library of "
    "assets is kept: `prompt`, `collection_id`, `favorite` and `tag_ids` are passed over, and named in "
    "X-Entrepot-Warning.",
    "operationId": "assetsUpload",
    "tags": ["Storage"],
    "parameters": [ref("parameters", "IdempotencyKey"), *_LIFECYCLE],
    "requestBody": {"required": True, "content": json_of("AssetUploadRequest")},
    "responses": {
        "200": {"description": "Stored, durable and readable.", "content": json_of("AssetUploaded")},
        **{
            status: {"description": description, "content": json_of("PlatformError")}
            for status, description in {
                "400": "A field is not right, or the URL leads where it may not.",
                "401": "Missing or invalid API key, or a token.",
                "404": "There is no file of this server at the URL.",
                "412": "The Idempotency-Key was used with other bytes.",
                "413": "Larger than the limit or the quota.",
                "424": "The other server could not be asked, or answered badly.",
                "429": "Too many at once; Retry-After says when.",
                "507": "No room on the disk.",
            }.items()
        },
    },
}

_EXISTING: Json = {
    "summary": "Upload a file without sending its bytes, when the account holds them already",
    "description": "Send the bytes when the answer is 404. Files of less than 1 MiB are never found.",
    "operationId": "uploadExistingFile",
    "tags": ["Storage"],
    "security": _UPLOAD["security"],
    "parameters": [
        *_UPLOAD["parameters"],
        {
            "name": "Repr-Digest",
            "in": "header",
            "required": True,
            "description": "sha-256=:<base64>:, of the whole file.",
            "schema": {"type": "string", "pattern": ONE_SHA256},
        },
        {
            "name": "size",
            "in": "query",
            "required": True,
            "description": "Size of the file in bytes.",
            "schema": {"type": "integer", "minimum": 0, "maximum": 10**MAX_SIZE_DIGITS - 1},
        },
    ],
    "responses": {
        "200": {"description": "A new file of these bytes, readable.", "content": json_of("UploadedFile")},
        "400": ref("responses", "BadRequest"),
        "401": ref("responses", "Unauthorized"),
        "404": ref("responses", "NotFound"),
        "412": ref("responses", "AlreadyPublished"),
        "413": ref("responses", "TooLarge"),
        "422": ref("responses", "ValidationError"),
        "429": ref("responses", "RateLimited"),
    },
}

_PUT: Json = {
    "summary": "Write the bytes of an initiated upload",
    "operationId": "putFile",
    "tags": ["Storage"],
    "security": [],
    "parameters": [{"name": "signature", "in": "query", "required": True, "schema": {"type": "string"}}],
    "requestBody": _BODY,
    "responses": {
        "200": {"description": "Stored, durable and readable."},
        "403": ref("responses", "Forbidden"),
        "410": ref("responses", "Gone"),
        "412": ref("responses", "AlreadyPublished"),
        "413": ref("responses", "TooLarge"),
        "507": ref("responses", "InsufficientStorage"),
    },
}


_SIGNATURE: Json = {
    "name": "signature",
    "in": "query",
    "description": "The upload's signature; without it the credential of its account is needed.",
    "schema": {"type": "string"},
}
_PART: Json = {
    "name": "part",
    "in": "path",
    "required": True,
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PARTS},
}
_PART_NUMBER: Json = {
    "name": "part_number",
    "in": "query",
    "required": True,
    "description": "Number of the part.",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PARTS},
}
_EITHER: list[Json] = [{}, {"FalKeyAuth": []}, {"CdnToken": []}]

_INITIATE_MULTIPART: Json = {
    **_INITIATE,
    "summary": "Initiate a multipart upload",
    "description": "Returns the file's URL and one below which parts are put, the number before the query.",
    "operationId": "initiateMultipartUpload",
    "responses": {**_INITIATE["responses"], "429": ref("responses", "RateLimited")},
}

_CREATE_MULTIPART: Json = {
    "summary": "Open a multipart upload",
    "operationId": "createMultipartUpload",
    "tags": ["Storage"],
    "security": [{"FalKeyAuth": []}, {"CdnToken": []}],
    "parameters": _UPLOAD["parameters"],
    "responses": {
        "200": {"description": "Opened.", "content": json_of("MultipartUpload")},
        "401": ref("responses", "Unauthorized"),
        "422": ref("responses", "ValidationError"),
        "429": ref("responses", "RateLimited"),
    },
}

_GCS_PART: Json = {
    "summary": "Get the URL of a part, or finish when `part` is `complete` (GCS style)",
    "operationId": "gcsPart",
    "tags": ["Storage"],
    "responses": {
        "200": {"description": "The part's signed URL, or the finished file."},
        "401": ref("responses", "Unauthorized"),
        "404": ref("responses", "NotFound"),
        "422": ref("responses", "InvalidParts"),
    },
}

_PUT_PART: Json = {
    "summary": "Store one attempt at a part",
    "operationId": "putPart",
    "tags": ["Storage"],
    "security": _EITHER,
    "requestBody": _BODY,
    "responses": {
        "200": {"description": "Durable. The ETag header is the part's SHA-256.", "content": json_of("StoredPart")},
        "403": ref("responses", "Forbidden"),
        "404": ref("responses", "NotFound"),
        "410": ref("responses", "Gone"),
        "412": ref("responses", "AlreadyPublished"),
        "413": ref("responses", "TooLarge"),
        "422": ref("responses", "ValidationError"),
    },
}

_COMPLETE: Json = {
    "summary": "Publish the listed parts as one file",
    "operationId": "completeMultipartUpload",
    "tags": ["Storage"],
    "security": _EITHER,
    "requestBody": {"required": True, "content": json_of("CompleteMultipart")},
    "responses": {
        "200": {"description": "Published; the same again for a repeated call.", "content": json_of("UploadedFile")},
        "400": ref("responses", "BadRequest"),
        "403": ref("responses", "Forbidden"),
        "404": ref("responses", "NotFound"),
        "410": ref("responses", "Gone"),
        "412": ref("responses", "AlreadyPublished"),
        "422": ref("responses", "InvalidParts"),
    },
}

_LIST_PARTS: Json = {
    "summary": "List the parts that are held",
    "operationId": "listParts",
    "tags": ["Storage"],
    "security": _EITHER,
    "responses": {
        "200": {"description": "All acknowledged attempts, by number.", "content": json_of("MultipartListing")},
        "403": ref("responses", "Forbidden"),
        "404": ref("responses", "NotFound"),
    },
}

_ABORT: Json = {
    "summary": "Abort a multipart upload and free its parts",
    "operationId": "abortMultipartUpload",
    "tags": ["Storage"],
    "security": _EITHER,
    "responses": {
        "204": {"description": "Ended."},
        "403": ref("responses", "Forbidden"),
        "404": ref("responses", "NotFound"),
        "412": ref("responses", "AlreadyPublished"),
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
            **({"206": {**part, "content": _BINARY}, "416": ref("responses", "RangeNotSatisfiable")} if body else {}),
            "304": {"description": "The client's copy is current."},
            "403": ref("responses", "Forbidden"),
            "404": ref("responses", "NotFound"),
            "410": ref("responses", "Gone"),
            "412": ref("responses", "PreconditionFailed"),
        },
    }
