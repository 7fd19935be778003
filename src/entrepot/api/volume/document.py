"""The volume's part of the OpenAPI document: an operation for each route and method of `routes.py`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from entrepot import wire
from entrepot.api.parameters import IDEMPOTENCY_KEY, LIFECYCLE, MEDIA_TYPE, REPR_DIGEST
from entrepot.api.volume.schemas import BOOLEAN, NEW_PATH, TEXT, TEXTS, Json, json_of, listed_parts, ref
from entrepot.domain.multipart import MAX_PARTS
from entrepot.volume.paths import MAX_DEPTH, MAX_NAME

_OLD, _V1 = wire.VOLUME_FILES, wire.PLATFORM_FILES
_BINARY: Json = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_FORM: Json = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": [wire.FORM_FILE],
            "properties": {wire.FORM_FILE: {"type": "string", "format": "binary"}},
        }
    }
}
_YES: Json = {"application/json": {"schema": BOOLEAN}}


def _query(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _flag(name: str, description: str, default: bool = False) -> Json:
    return _query(name, description, {"type": ["boolean", "null"], "default": default})


def _header(name: str, description: str, **schema: Any) -> Json:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string", **schema}}


def _list_of(schema: str) -> Json:
    return {"application/json": {"schema": {"type": "array", "items": ref("schemas", schema)}}}


def _object(required: Sequence[str], **properties: Json) -> Json:
    return {"application/json": {"schema": {"type": "object", "required": required, "properties": properties}}}


def _closed(required: Sequence[str], **properties: Json) -> Json:
    found = _object(required, **properties)
    found["application/json"]["schema"]["additionalProperties"] = False
    return found


def _optional(**schema: Any) -> Json:
    """A text that may be null, which means that it is not given."""
    return {"type": ["string", "null"], **schema}


_UNZIP = _flag("unzip", "Unpack the ZIP archive that is sent into the folder of this path.")
_ENCODING = _query("encoding", "Of names in the archive that are not UTF-8: gbk, shift_jis, cp866, ...", TEXT)
_IF_MATCH = _header(
    "If-Match", "ETags of the file that is to be changed, or * for any; 412 when it is another.", minLength=1
)
_IF_NONE = _header("If-None-Match", "*: only when nothing is there; else 412.", enum=["*"])
_DIGEST = _header("Repr-Digest", "sha-256=:<base64>:, of the file; checked before it is there.", pattern=REPR_DIGEST)
_CURSOR: Json = {"type": "string", "pattern": "^[A-Za-z0-9_-]*$"}
_PAGE = [
    _query("limit", "Entries of a page; without it all come.", {"type": "integer", "minimum": 1, "maximum": 10_000}),
    _query("cursor", "What X-Entrepot-Next-Cursor of the last page said.", _CURSOR),
]
_RANGE = [_header("Range", "Bytes to send."), _header("If-Range", "ETag of the file that the range is of.")]
_APP_FILE = _object(
    ["hash", "size", "mtime", "mode"],
    hash={"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "That of the path."},
    size={"type": "string", "pattern": "^[0-9]{1,19}$"},
    mtime={"type": "string", "pattern": r"^-?[0-9]{1,15}(\.[0-9]+)?$", "description": "Unix seconds."},
    mode={"type": "string", "pattern": "^[0-9]{1,19}$", "description": "In decimal; it is part of what is hashed."},
)
_FILE_URL: Json = {
    "type": "string",
    "pattern": rf"^(https?://.+)?{wire.OBJECTS}[0-9a-f]{{8}}/[^/]+$",
    "description": "The URL of a file of this server, or its path.",
}
_MOVE = _closed(["destination"], destination=NEW_PATH, overwrite=BOOLEAN)
_URL = _closed(["url"], url={"type": "string", "format": "uri"})


class _Family:
    """Operations of one API: what its errors look like, and which every route has."""

    def __init__(self, tag: str, error: str, always: str) -> None:
        self._tag = tag
        self._error = error
        self._always = always

    def __call__(
        self,
        operation: str,
        summary: str,
        content: Json | None,
        errors: str = "",
        *,
        parameters: Iterable[Json] = (),
        body: Json | None = None,
        required: bool = True,
        more: Json | None = None,
    ) -> Json:
        """`errors` are statuses beside those that every route has, `more` are further good answers."""
        refusals = {status: self._refusal(status) for status in sorted({*self._always.split(), *errors.split()})}
        good: Json = {"description": "Done." if content is _YES else "What was asked for."}
        if content is not None:
            good["content"] = content
        return {
            "summary": summary,
            "operationId": operation,
            "tags": [self._tag],
            "parameters": list(parameters),
            **({"requestBody": {"required": required, "content": body}} if body else {}),
            "responses": {"200": good, **(more or {}), **refusals},
        }

    def _refusal(self, status: str) -> Json:
        return {"description": _REFUSALS[status], "content": json_of(self._error)}


_REFUSALS = {
    "400": "Not in order, or another digest than the declared one.",
    "401": "Missing or invalid API key, or a token.",
    "403": "The volume is another account's.",
    "404": "Nothing is there.",
    "405": "This is the path of a file: what is in the place of the id is none.",
    "409": "A folder is where a file is to be or a file where a folder is, the place is taken, or the file changes.",
    "410": "The lifetime of the object is over.",
    "412": "A condition does not hold.",
    "413": "Larger than the limit or the quota.",
    "416": "No byte of the file is in the range.",
    "422": "A path, a field or a parameter is not right.",
    "424": "The other server could not be asked, or answered badly.",
    "429": "Too many at once; Retry-After says when.",
    "500": "The server failed.",
    "503": "The volume cannot be used at the moment; the message says why.",
    "507": "No room on the disk.",
}
_old = _Family("Volume, legacy", "ErrorResponse", "401 403 422 503")
_v1 = _Family("Volume", "PlatformError", "400 401 403 429 500 503")

_CREATED: Json = {"201": {"description": "A new file.", "content": json_of("VolumeEntry")}}
_PARTIAL: Json = {
    "206": {"description": "The ranges that were asked for.", "content": _BINARY},
    "304": {"description": "The client's copy is current."},
}

OPERATIONS: dict[str, Json] = {
    f"{_OLD}/list": {"get": _old("listFiles", "List the volume", _list_of("FileSpec"))},
    f"{_OLD}/list/{{dir}}": {
        "get": _old("listFolder", "List a folder; nothing is listed where none is", _list_of("FileSpec"))
    },
    f"{_OLD}/file/{{file}}": {
        "get": _old("downloadFile", "Read a file", _BINARY, "404 409 412 416", parameters=_RANGE, more=_PARTIAL),
        "delete": _old(
            "deleteFile",
            "Delete a file, or a folder with what is in it",
            _YES,
            "404 409 412",
            parameters=[_IF_MATCH, _IF_NONE],
        ),
    },
    f"{_OLD}/rename/{{file}}": {
        "post": _old(
            "renameFile",
            "Rename a file or folder",
            _YES,
            "404 409",
            body=_object(["destination"], destination=NEW_PATH),
        )
    },
    f"{_OLD}/file/url/{{file}}": {
        "post": _old(
            "uploadFromUrl",
            "Fetch a URL into a file",
            _YES,
            "404 409 410 412 413 424 429 507",
            parameters=[_IF_MATCH, _IF_NONE],
            body=_object(["url"], url={"type": "string", "format": "uri"}),
        )
    },
    f"{_OLD}/file/local/{{target_path}}": {
        "post": _old(
            "uploadLocalFile",
            "Store a file, or unpack an archive into a folder",
            _YES,
            "400 409 412 413 507",
            parameters=[_UNZIP, _ENCODING, _IF_MATCH, _IF_NONE, _DIGEST],
            body=_FORM,
        )
    },
    f"{_OLD}/file/exists/{{file}}": {
        "post": _old(
            "fileExists",
            "Tell of a file or folder",
            json_of("FileSpec"),
            "404",
            parameters=[_flag("calculate_checksum", "Compute digests that are not known.")],
        )
    },
    f"{_OLD}/dir/check_hash/{{target_path}}": {
        "post": _old(
            "checkFolderHash",
            "Whether a folder holds what was left under this hash",
            _YES,
            body=_object(["hash"], hash=TEXT),
        )
    },
    f"{_OLD}/missing_hashes": {
        "post": _old(
            "missingHashes",
            "The hashes under which no app file is kept",
            {"application/json": {"schema": TEXTS}},
            body=_object(["hashes"], hashes=TEXTS),
        )
    },
    f"{_OLD}/file/multipart/{{target_path}}/initiate": {
        "post": _old("initiateFile", "Begin a file in parts", json_of("VolumeUpload"), "429 507")
    },
    f"{_OLD}/file/multipart/{{target_path}}/{{upload_id}}/{{part_number}}": {
        "put": _old("putFilePart", "Store a part", json_of("VolumePart"), "400 404 405 413 507", body=_FORM)
    },
    f"{_OLD}/file/multipart/{{target_path}}/{{upload_id}}/complete": {
        "post": _old(
            "completeFile",
            "Publish the listed parts as one file",
            json_of("VolumeCompleted"),
            "404 507",
            body=_object(["parts"], parts=listed_parts(closed=False)),
        )
    },
    f"{_OLD}/file/multipart/{{target_path}}/{{upload_id}}/cancel": {
        "post": _old("cancelFile", "Free the parts", _YES, "404")
    },
    f"{_OLD}/file/local/{{target_path}}/multipart/{{upload_id}}/cancel": {
        "post": _old("cancelLocalFile", "Free the parts", _YES, "400 404")
    },
    f"{_OLD}/app/multipart/{{hash}}/initiate": {
        "post": _old("initiateAppFile", "Begin an app file", json_of("VolumeUpload"), "409 429 507", body=_APP_FILE)
    },
    f"{_OLD}/app/multipart/{{hash}}/{{upload_id}}/{{part_number}}": {
        "put": _old("putAppFilePart", "Store a part", json_of("VolumePart"), "400 404 413 507", body=_FORM)
    },
    f"{_OLD}/app/multipart/{{hash}}/{{upload_id}}/complete": {
        "post": _old(
            "completeAppFile",
            "Keep the listed parts under the hash",
            json_of("VolumeCompleted"),
            "404 507",
            body=_object(["parts"], parts=listed_parts(closed=False), metadata=_APP_FILE["application/json"]["schema"]),
        )
    },
    f"{_OLD}/app/multipart/{{hash}}/{{upload_id}}/cancel": {
        "post": _old("cancelAppFile", "Free the parts", _YES, "404")
    },
    f"{_V1}/list": {
        "get": _v1(
            "serverlessListRoot",
            "List the volume",
            _list_of("VolumeEntry"),
            parameters=[*_PAGE, _flag("recursive", "With all below.")],
        )
    },
    f"{_V1}/list/{{dir}}": {
        "get": _v1(
            "serverlessListDirectory",
            "List a folder",
            _list_of("VolumeEntry"),
            "404 409",
            parameters=[*_PAGE, _flag("recursive", "With all below.")],
        )
    },
    f"{_V1}/file/{{file}}": {
        "get": _v1(
            "serverlessDownloadFile",
            "Read a file",
            _BINARY,
            "404 409 412 416",
            parameters=_RANGE,
            more=_PARTIAL,
        ),
        "put": _v1(
            "putVolumeFile",
            "Store the body as a file",
            json_of("VolumeEntry"),
            "409 412 413 507",
            parameters=[_IF_MATCH, _IF_NONE, _DIGEST],
            body=_BINARY,
            more=_CREATED,
        ),
        "delete": _v1(
            "deleteVolumeFile",
            "Delete a file or folder, for some days into the trash",
            json_of("VolumeDeleted"),
            "404 409 412",
            parameters=[
                _IF_MATCH,
                _flag("permanent", "For good, past the trash."),
                _flag("recursive", "A folder with what is in it.", True),
            ],
        ),
    },
    f"{_V1}/file/url/{{file}}": {
        "post": _v1(
            "serverlessUploadFromUrl",
            "Fetch a URL into a file",
            _YES,
            "404 409 410 412 413 424 507",
            parameters=[_IF_MATCH, _IF_NONE],
            body=_URL,
        )
    },
    f"{_V1}/file/local/{{target_path}}": {
        "post": _v1(
            "serverlessUploadLocalFile",
            "Store a file, or unpack an archive into a folder",
            _YES,
            "409 412 413 507",
            parameters=[_UNZIP, _ENCODING, _IF_MATCH, _IF_NONE, _DIGEST],
            body=_FORM,
        )
    },
    f"{_V1}/stat/{{path}}": {
        "get": _v1(
            "statVolumeFile",
            "Tell of a file or folder",
            json_of("VolumeEntry"),
            "404",
            parameters=[_flag("checksum", "Compute digests that are not known.")],
        )
    },
    f"{_V1}/usage": {"get": _v1("volumeUsage", "How much the volume holds", json_of("VolumeUsage"))},
    f"{_V1}/usage/{{dir}}": {"get": _v1("folderUsage", "How much a folder holds", json_of("VolumeUsage"), "404 409")},
    f"{_V1}/rename/{{file}}": {
        "post": _v1("renameVolumeFile", "Rename a file or folder", json_of("VolumeEntry"), "404 409", body=_MOVE)
    },
    f"{_V1}/copy/{{file}}": {
        "post": _v1("copyVolumeFile", "Copy a file or folder", json_of("VolumeEntry"), "404 409 413 507", body=_MOVE)
    },
    f"{_V1}/dir/{{path}}": {
        "post": _v1("makeVolumeFolder", "Make a folder and those above it", json_of("VolumeEntry"), "409 507")
    },
    f"{_V1}/publish/{{file}}": {
        "post": _v1(
            "publishVolumeFile",
            "Make a CDN object of a file",
            json_of("UploadedFile"),
            "404 409 412 413 507",
            parameters=[LIFECYCLE, IDEMPOTENCY_KEY],
            body=_closed(
                [], file_name=_optional(maxLength=4096), content_type=_optional(maxLength=255, pattern=MEDIA_TYPE)
            ),
            required=False,
        )
    },
    f"{_V1}/keep/{{file}}": {
        "post": _v1(
            "keepObject",
            "Make a file of a CDN object of this server",
            json_of("VolumeEntry"),
            "404 409 410 412 413 507",
            body=_closed(["url"], url=_FILE_URL, overwrite=BOOLEAN),
        )
    },
    f"{_V1}/trash": {
        "get": _v1("listTrash", "What was deleted, the newest first", _list_of("VolumeTrashed"), parameters=_PAGE)
    },
    f"{_V1}/trash/{{trash_id}}/restore": {
        "post": _v1(
            "restoreFromTrash",
            "Bring it back, to where it was or to a destination",
            json_of("VolumeEntry"),
            "404 409",
            body=_closed([], destination=_optional(pattern=NEW_PATH["pattern"])),
            required=False,
        )
    },
    f"{_V1}/trash/{{trash_id}}": {"delete": _v1("dropFromTrash", "Delete it for good", _YES, "404")},
    f"{_V1}/file/multipart/{{path}}/initiate": {
        "post": _v1(
            "initiateVolumeFile",
            "Begin a file in parts",
            json_of("VolumeUpload"),
            "409 412 507",
            parameters=[_IF_MATCH, _IF_NONE],
        )
    },
    f"{_V1}/file/multipart/{{path}}/{{upload_id}}/{{part_number}}": {
        "put": _v1(
            "putVolumeFilePart",
            "Store a part",
            json_of("VolumePart"),
            "404 413 507",
            parameters=[_DIGEST],
            body={**_BINARY, **_FORM},
        )
    },
    f"{_V1}/file/multipart/{{path}}/{{upload_id}}": {
        "get": _v1("listVolumeFileParts", "List the parts that are held", json_of("VolumeParts"), "404"),
        "delete": _v1("abortVolumeFile", "Free the parts", _YES, "404"),
    },
    f"{_V1}/file/multipart/{{path}}/{{upload_id}}/complete": {
        "post": _v1(
            "completeVolumeFile",
            "Publish the listed parts as one file",
            json_of("VolumeCompleted"),
            "404 409 412 507",
            body=_closed(
                ["parts"],
                parts=listed_parts(closed=True),
                digest=_optional(pattern="^sha256:[0-9a-fA-F]{64}$"),
                size={"type": ["integer", "null"], "minimum": 0},
            ),
        )
    },
    f"{_V1}/file/multipart/{{path}}/{{upload_id}}/cancel": {
        "post": _v1("cancelVolumeFile", "Free the parts", _YES, "404")
    },
}


def paths() -> Json:
    """The paths with their parameters."""
    return {
        template: {"parameters": [_named(name) for name in re.findall(r"\{(\w+)\}", template)], **operations}
        for template, operations in OPERATIONS.items()
    }


_FORMS: dict[str, Json] = {
    "upload_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "part_number": {"type": "integer", "minimum": 1, "maximum": MAX_PARTS},
    "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "trash_id": {"type": "string", "pattern": "^[0-9a-f]{44}$"},
}
_ANY_PATH: Json = {
    "type": "string",
    "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]+$",
    "description": f"Names of at most {MAX_NAME} bytes, at most {MAX_DEPTH} deep; slashes as they are, or as %2F.",
}


def _named(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": _FORMS.get(name, _ANY_PATH)}
