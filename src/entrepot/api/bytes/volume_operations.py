"""The volume's byte routes as the OpenAPI document describes them."""

from __future__ import annotations

from entrepot import wire
from entrepot.api.json.volume_models import FileSpec, VolumeEntry, VolumePart, VolumeParts, VolumeTrashed
from entrepot.api.parameters import (
    BINARY,
    CONDITIONS,
    CURSOR,
    FILE_DIGEST,
    LEGACY_VOLUME_ERRORS,
    LIMIT,
    NEXT_PAGE,
    RANGE,
    VOLUME_ERRORS,
    Schema,
    flag,
    form,
    query,
)
from entrepot.api.routing import Operation

_TAG, _OLD_TAG = "Volume", "Volume, legacy"
_FORM: Schema = {"required": True, "content": form(wire.FORM_FILE, "The file.")}
_BYTES: Schema = {"required": True, "content": BINARY}
_FILE: Schema = {
    "200": {"description": "The file.", "content": BINARY},
    "206": {"description": "The requested ranges.", "content": BINARY},
    "304": {"description": "The client's copy is current."},
}
_CREATED: Schema = {
    "201": {
        "description": "A new file.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/VolumeEntry"}}},
    }
}
_PAGES: Schema = {"200": {"headers": NEXT_PAGE}}
_UPLOAD = (
    flag("unzip", "Unpack the ZIP archive into the folder of this path."),
    query("encoding", "Of names in the archive that are not UTF-8: gbk, shift_jis, cp866, ..."),
    *CONDITIONS,
    FILE_DIGEST,
)
_RECURSIVE = flag("recursive", "With all below.")
_READ_ERRORS = "404 409 412:PreconditionFailed 416"
_WRITE_ERRORS = "409 412:PreconditionFailed 413 507"

LIST_LEGACY_ROOT = Operation("listFiles", _OLD_TAG, "List the volume", LEGACY_VOLUME_ERRORS, reply=list[FileSpec])
LIST_LEGACY_FOLDER = Operation(
    "listFolder", _OLD_TAG, "List a folder; empty where there is none", LEGACY_VOLUME_ERRORS, reply=list[FileSpec]
)
LEGACY_FORM = Operation(
    "uploadLocalFile", _OLD_TAG, "Store a file, or unpack an archive into a folder",
    f"{LEGACY_VOLUME_ERRORS} 400 {_WRITE_ERRORS}", parameters=_UPLOAD, body=_FORM, reply=bool,
)  # fmt: skip
LEGACY_PART = Operation(
    "putFilePart", _OLD_TAG, "Store a part", f"{LEGACY_VOLUME_ERRORS} 400 404 405 413 507", body=_FORM, reply=VolumePart
)
LEGACY_DOWNLOAD = Operation(
    "downloadFile", _OLD_TAG, "Read a file", f"{LEGACY_VOLUME_ERRORS} {_READ_ERRORS}", parameters=RANGE, replies=_FILE
)
APP_PART = Operation(
    "putAppFilePart", _OLD_TAG, "Store a part of an app file", f"{LEGACY_VOLUME_ERRORS} 400 404 413 507",
    body=_FORM, reply=VolumePart,
)  # fmt: skip
LIST_ROOT = Operation(
    "serverlessListRoot", _TAG, "List the volume", VOLUME_ERRORS,
    parameters=(LIMIT, CURSOR, _RECURSIVE), reply=list[VolumeEntry], replies=_PAGES,
)  # fmt: skip
LIST_FOLDER = Operation(
    "serverlessListDirectory", _TAG, "List a folder", f"{VOLUME_ERRORS} 404 409",
    parameters=(LIMIT, CURSOR, _RECURSIVE), reply=list[VolumeEntry], replies=_PAGES,
)  # fmt: skip
LIST_TRASH = Operation(
    "listTrash", _TAG, "List what was deleted, the newest first", VOLUME_ERRORS,
    parameters=(LIMIT, CURSOR), reply=list[VolumeTrashed], replies=_PAGES,
)  # fmt: skip
FORM = Operation(
    "serverlessUploadLocalFile", _TAG, "Store a file, or unpack an archive into a folder",
    f"{VOLUME_ERRORS} {_WRITE_ERRORS}", parameters=_UPLOAD, body=_FORM, reply=bool,
)  # fmt: skip
PART = Operation(
    "putVolumeFilePart", _TAG, "Store a part", f"{VOLUME_ERRORS} 404 413 507",
    parameters=(FILE_DIGEST,), body={"required": True, "content": {**BINARY, **_FORM["content"]}}, reply=VolumePart,
)  # fmt: skip
LIST_PARTS = Operation("listVolumeFileParts", _TAG, "List the stored parts", f"{VOLUME_ERRORS} 404", reply=VolumeParts)
DOWNLOAD = Operation(
    "serverlessDownloadFile", _TAG, "Read a file", f"{VOLUME_ERRORS} {_READ_ERRORS}", parameters=RANGE, replies=_FILE
)
PUT = Operation(
    "putVolumeFile", _TAG, "Store the body as a file", f"{VOLUME_ERRORS} {_WRITE_ERRORS}",
    parameters=(*CONDITIONS, FILE_DIGEST), body=_BYTES, reply=VolumeEntry, replies=_CREATED,
)  # fmt: skip
