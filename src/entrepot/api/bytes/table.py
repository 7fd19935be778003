"""The byte routes on one screen: which handler answers, by what right, and how the OpenAPI document describes it."""

from __future__ import annotations

from dataclasses import replace

from entrepot import wire
from entrepot.api import auth
from entrepot.api.bytes import multipart, objects, uploads, volume, volume_lists
from entrepot.api.bytes import volume_operations as about
from entrepot.api.http_context import HttpContext
from entrepot.api.models import CompleteMultipart, MultipartListing, MultipartUpload, StoredPart, UploadedFile
from entrepot.api.parameters import (
    BINARY,
    BYTES,
    DOWNLOAD,
    FILE_NAME,
    IDEMPOTENCY_KEY,
    LIFECYCLE,
    PART_NUMBER,
    RAW_BODY,
    RAW_OR_FORM,
    SIGNATURE,
    SIZE,
    WHOLE_SHA256,
    WRITE_SIGNATURE,
    Schema,
)
from entrepot.api.routing import COMPLETE, MULTIPART, OBJECT, PART, Operation, Route
from entrepot.api.services import Services
from entrepot.api.volume_request import VolumeHandler, volume_request, volume_user
from entrepot.domain.errors import Code, Problem

_NEW_FILE = (FILE_NAME, IDEMPOTENCY_KEY, LIFECYCLE)
_EMPTY: Schema = {"200": {"description": "Stored, durable and readable."}}
_ENDED: Schema = {"204": {"description": "Ended."}}
_FILE: Schema = {
    "200": {"description": "The file.", "content": {**BINARY, "*/*": BYTES}},  # generators drop `*/*` alone
    "206": {"description": "The requested ranges.", "content": {**BINARY, "*/*": BYTES}},
    "304": {"description": "The client's copy is current."},
}
_HEADERS: Schema = {"200": {"description": "The file."}, "304": _FILE["304"]}
_READ_ERRORS = "403 404 410 412:PreconditionFailed"
_PART_ERRORS = "403 404 410 412 413 422"
_DONE_ERRORS = "400 403 404 410 412 422:InvalidParts"

_READ = Operation(
    "readFile", "Files", "Read a file", f"{_READ_ERRORS} 416", parameters=(DOWNLOAD,), replies=_FILE
)  # fmt: skip
_HEAD = Operation(
    "readFileHeaders", "Files", "Read a file's headers", _READ_ERRORS, parameters=(DOWNLOAD,), replies=_HEADERS
)
_PUT = Operation(
    "putFile", "Storage", "Write the bytes of an initiated upload", "403 410 412 413 507",
    parameters=(WRITE_SIGNATURE,), body=RAW_BODY, replies=_EMPTY,
)  # fmt: skip
_UPLOAD = Operation(
    "uploadFile", "Storage", "Upload a file in one request", "400 401 412 413 422 429 507",
    parameters=_NEW_FILE, body=RAW_OR_FORM, reply=UploadedFile,
)  # fmt: skip
_EXISTING = Operation(
    "uploadExistingFile", "Storage", "Upload a file without its bytes, when the account has stored them already",
    "400 401 404 412 413 422 429", "Send the bytes when the answer is 404. Files of less than 1 MiB are never found.",
    parameters=(*_NEW_FILE, WHOLE_SHA256, SIZE), reply=UploadedFile,
)  # fmt: skip
_CREATE = Operation(
    "createMultipartUpload", "Storage", "Open a multipart upload", "401 422 429",
    parameters=_NEW_FILE, reply=MultipartUpload,
)  # fmt: skip
_PUT_PART = Operation(
    "putPart", "Storage", "Store one attempt at a part", _PART_ERRORS, "The ETag header is the part's SHA-256.",
    parameters=(SIGNATURE,), body=RAW_BODY, reply=StoredPart,
)  # fmt: skip
_COMPLETE = Operation(
    "completeMultipartUpload", "Storage", "Publish the listed parts as one file", _DONE_ERRORS,
    "A repeated call gets the same reply.", parameters=(SIGNATURE,), body=CompleteMultipart, reply=UploadedFile,
)  # fmt: skip
_LIST = Operation(
    "listParts", "Storage", "List the stored parts", "403 404", "All acknowledged attempts, by number.",
    parameters=(SIGNATURE,), reply=MultipartListing,
)  # fmt: skip
_ABORT = Operation(
    "abortMultipartUpload", "Storage", "Abort a multipart upload and free its parts", "403 404 412",
    parameters=(SIGNATURE,), replies=_ENDED,
)  # fmt: skip


def _old(operation: Operation, name: str, *parameters: Schema) -> Operation:
    """The operation under the path of old toolkits: `fal` 1.5 to 1.75 with the repository fal_v2."""
    return replace(operation, name=name, deprecated=True, parameters=(*operation.parameters, *parameters))


async def _no_library(ctx: HttpContext, services: Services) -> None:
    """All other routes below /v1/assets."""
    message = f"This server keeps no library of assets; of /v1/assets it has POST {wire.ASSET_UPLOADS} only."
    raise Problem(Code.NOT_FOUND, message, fix="Keep the URLs of files yourself; see /openapi.json for all routes.")


def _volume(method: str, template: str, handler: VolumeHandler, operation: Operation) -> Route:
    async def handle(ctx: HttpContext, services: Services) -> None:
        await handler(volume_request(ctx))

    return Route(method, template, handle, volume_user, operation)


_OLD, _V1, _NUMBERED = wire.VOLUME_FILES, wire.PLATFORM_FILES, "{upload_id}/{part_number}"
_OLD_MULTIPART = wire.OLD_UPLOAD + MULTIPART
_OLD_UPLOAD = replace(_UPLOAD, body=RAW_BODY)
ROUTES = (
    Route("GET", OBJECT, objects.get_object, auth.principal, _READ),
    Route("HEAD", OBJECT, objects.get_object, auth.principal, _HEAD),
    Route("PUT", OBJECT, uploads.signed_put, auth.uploader, _PUT),
    Route("GET", MULTIPART, multipart.listing, auth.multipart_writer, _LIST),
    Route("DELETE", MULTIPART, multipart.abort, auth.multipart_writer, _ABORT),
    Route("PUT", PART, multipart.part, auth.part_writer, _PUT_PART),
    Route("POST", COMPLETE, multipart.complete, auth.part_writer, _COMPLETE),
    Route("POST", wire.UPLOAD, uploads.upload, auth.account, _UPLOAD),
    Route("POST", wire.EXISTING_UPLOAD, uploads.existing, auth.account, _EXISTING),
    Route("POST", wire.MULTIPART_UPLOAD, multipart.create, auth.account, _CREATE),
    Route("PUT", wire.OLD_UPLOAD, uploads.old_upload, auth.account, _old(_OLD_UPLOAD, "oldPutFile")),
    Route("POST", wire.OLD_UPLOAD, uploads.old_upload, auth.account, _old(_OLD_UPLOAD, "oldUploadFile")),
    Route(
        "PUT", _OLD_MULTIPART, multipart.old_part, auth.old_multipart_writer, _old(_PUT_PART, "oldPutPart", PART_NUMBER)
    ),
    Route(
        "POST",
        _OLD_MULTIPART,
        multipart.old_complete,
        auth.old_multipart_writer,
        _old(_COMPLETE, "oldCompleteMultipartUpload"),
    ),
    _volume("GET", f"{_OLD}/list", volume_lists.list_folder_legacy, about.LIST_LEGACY_ROOT),
    _volume("GET", f"{_OLD}/list/{{dir}}", volume_lists.list_folder_legacy, about.LIST_LEGACY_FOLDER),
    _volume("POST", f"{_OLD}/file/local/{{target_path}}", volume.upload_form, about.LEGACY_FORM),
    _volume("PUT", f"{_OLD}/file/multipart/{{target_path}}/{_NUMBERED}", volume.put_part, about.LEGACY_PART),
    _volume("GET", f"{_OLD}/file/{{file}}", volume.download, about.LEGACY_DOWNLOAD),
    _volume("PUT", f"{_OLD}/app/multipart/{{hash}}/{_NUMBERED}", volume.put_app_part, about.APP_PART),
    _volume("GET", f"{_V1}/list", volume_lists.list_folder, about.LIST_ROOT),
    _volume("GET", f"{_V1}/list/{{dir}}", volume_lists.list_folder, about.LIST_FOLDER),
    _volume("GET", f"{_V1}/trash", volume_lists.list_trash, about.LIST_TRASH),
    _volume("POST", f"{_V1}/file/local/{{target_path}}", volume.upload_form, about.FORM),
    _volume("PUT", f"{_V1}/file/multipart/{{path}}/{_NUMBERED}", volume.put_part, about.PART),
    _volume("GET", f"{_V1}/file/multipart/{{path}}/{{upload_id}}", volume_lists.list_parts, about.LIST_PARTS),
    _volume("GET", f"{_V1}/file/{{file}}", volume.download, about.DOWNLOAD),
    _volume("PUT", f"{_V1}/file/{{file}}", volume.put, about.PUT),
    *(
        Route(method, template, _no_library)
        for template in (wire.ASSETS, f"{wire.ASSETS}/{{path}}")
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
    ),
)
