"""fal's storage REST: tokens, begun uploads, and multipart uploads in the GCS style (docs/protocol.md 2)."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from entrepot import wire
from entrepot.api import jsonbody
from entrepot.api.bytes.multipart import part_number
from entrepot.api.bytes.uploads import uploaded
from entrepot.api.http_context import HttpContext
from entrepot.api.json.plane import Caller, Ctx, JsonRoutes, Svc
from entrepot.api.models import CompleteMultipart, Timestamp, UploadedFile, Uri
from entrepot.api.parameters import IDEMPOTENCY_KEY, LIFECYCLE, MEDIA_TYPE, STORAGE_TYPE
from entrepot.domain.errors import Code, Problem
from entrepot.domain.mediatypes import MAX_TYPE_LENGTH
from entrepot.domain.names import quote_segment
from entrepot.domain.uploads import Intent
from entrepot.service.access import MAX_TOKEN_LIFETIME

storage = JsonRoutes("Storage")

# A good key gets a token whatever else its request says: what is longer than the one is ignored, up to the other.
MAX_TOKEN_BODY, MAX_IGNORED = 4 * 1024, 128 * 1024
_INITIATE = (STORAGE_TYPE, IDEMPOTENCY_KEY, LIFECYCLE)
_FILE_URL = "https://media.example.com/files/b/0a96d564/6bYtq2mKcVn0XgZr1QeW4s_reference.png"
_EXAMPLES = {
    "requestBody": {
        "content": {
            "application/json": {
                "examples": {
                    "PngImage": {
                        "summary": "PNG image upload",
                        "value": {"content_type": "image/png", "file_name": "reference.png"},
                    }
                }
            }
        }
    },
    "responses": {
        "200": {
            "description": "Signed upload URL.",
            "content": {
                "application/json": {
                    "examples": {
                        "Issued": {
                            "summary": "Signed upload issued",
                            "value": {"upload_url": f"{_FILE_URL}?signature=...", "file_url": _FILE_URL},
                        }
                    }
                }
            },
        }
    },
}


class Token(BaseModel):
    """A bearer token for the CDN."""

    token: str
    token_type: str
    base_url: Uri
    base_upload_url: Uri
    created_at: Timestamp
    expires_at: Timestamp


def _encodable(text: str) -> str:
    text.encode()  # raises ValueError for half of a surrogate pair
    return text


Text = Annotated[str, AfterValidator(_encodable)]


class InitiateUploadRequest(BaseModel):
    """Name and type of a future file. fal's document requires both; a request without a type is taken here. Other
    fields are ignored."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={"required": ["content_type", "file_name"]},
    )

    content_type: Annotated[
        Text | None,
        WithJsonSchema(
            {
                "type": "string",
                "maxLength": MAX_TYPE_LENGTH,
                "pattern": MEDIA_TYPE,
                "description": "MIME type of the asset.",
            }
        ),
    ] = Field(default=None, max_length=255)
    file_name: Text = Field(min_length=1, max_length=4096, description="Original file name. It ends the URL.")


class InitiateUploadResponse(BaseModel):
    """Where to send the bytes, and where to read them."""

    file_url: Uri = Field(description="URL to pass to model APIs.")
    upload_url: Uri = Field(description="Signed URL. PUT the file bytes here.")


class PartUrl(BaseModel):
    """Where to send the bytes of a part."""

    upload_url: Uri


@storage.post(wire.TOKEN, errors="401")
async def create_token(ctx: Ctx, caller: Caller, services: Svc) -> Token:
    """Get a CDN token.

    Whatever else the request says, a good key gets a token (docs/protocol.md 2.2); `expiration_seconds` of the body
    may say for how long.
    """
    lifetime = _requested_lifetime(await ctx.read_body(MAX_IGNORED, services.stall_timeout))
    token = await services.access.issue_token(caller, wire.CDN_TOKEN, lifetime)
    return Token(
        token=token.text,
        token_type="Bearer",
        base_url=services.cdn_origin,
        base_upload_url=services.cdn_origin,
        created_at=wire.timestamp(token.created_at),
        expires_at=wire.timestamp(token.expires_at),
    )


def _requested_lifetime(raw: bytes) -> float | None:
    """`expiration_seconds` of the body, the longest possible for more than that; None when it says nothing."""
    if len(raw) > MAX_TOKEN_BODY:
        return None
    try:
        seconds = wire.strict_json(raw or b"{}").get("expiration_seconds")
    except (ValueError, AttributeError):
        return None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds > 0:
        return None
    return float(min(seconds, MAX_TOKEN_LIFETIME))


@storage.post(wire.INITIATE, errors="401 422", parameters=_INITIATE, extra=_EXAMPLES)
async def initiate_upload(
    ctx: Ctx, caller: Caller, services: Svc, body: InitiateUploadRequest
) -> InitiateUploadResponse:
    """Initiate Asset Upload.

    Request a short-lived signed URL to which the client should PUT the file bytes. Returns both the upload URL and the
    public CDN URL that should be passed to model APIs once the upload completes.
    """
    _storage_type(ctx)
    begun = await services.uploads.begin(caller, _intent(ctx, body))
    file_url = services.cdn_origin + begun.upload.draft.path
    return InitiateUploadResponse(
        file_url=file_url, upload_url=f"{file_url}?{wire.SIGNATURE_PARAMETER}={begun.signature}"
    )


@storage.post(wire.INITIATE_MULTIPART, errors="401 422 429", parameters=_INITIATE)
async def initiate_multipart_upload(
    ctx: Ctx, caller: Caller, services: Svc, body: InitiateUploadRequest
) -> InitiateUploadResponse:
    """Initiate a multipart upload.

    Returns the file's URL and one below which parts are put, the number before the query; in the GCS style the URL of
    each part is asked for.
    """
    in_gcs_style = _storage_type(ctx) == "gcs"
    begun = await services.multipart.begin(caller, _intent(ctx, body))
    file_url = services.cdn_origin + begun.upload.draft.path
    signed = f"{file_url}/multipart/{begun.upload.id}?{wire.SIGNATURE_PARAMETER}={begun.signature}"
    key = begun.upload.draft.path.removeprefix(wire.OBJECTS)
    by_parts = f"{services.api_origin}/storage/files/{key}/multipart/{begun.upload.id}"
    return InitiateUploadResponse(file_url=file_url, upload_url=by_parts if in_gcs_style else signed)


@storage.post(wire.OLD_INITIATE_MULTIPART, errors="401 422 429", parameters=_INITIATE, deprecated=True)
async def old_initiate_multipart_upload(
    ctx: Ctx, caller: Caller, services: Svc, body: InitiateUploadRequest
) -> InitiateUploadResponse:
    """Initiate a multipart upload of an old toolkit.

    Toolkits `fal` 1.5 to 1.75 with the repository fal_v2 append `&part_number=1` to the URL.
    """
    begun = await services.multipart.begin(caller, _intent(ctx, body))
    path = begun.upload.draft.path
    signed = f"{path}/multipart/{begun.upload.id}?{wire.SIGNATURE_PARAMETER}={begun.signature}"
    origin = services.cdn_origin
    return InitiateUploadResponse(file_url=origin + path, upload_url=origin + wire.OLD_UPLOAD + signed)


@storage.post(wire.GCS_MULTIPART + "/{part}", errors="401 404 422")
async def gcs_part(ctx: Ctx, caller: Caller, services: Svc) -> PartUrl:
    """Get the URL of a part (GCS style)."""
    path, number = _object_path(ctx), ctx.path_param("part")
    begun = await services.multipart.grant(caller, path, part_number(number))
    return PartUrl(upload_url=f"{services.cdn_origin}{path}/{number}?{wire.SIGNATURE_PARAMETER}={begun.signature}")


@storage.post(
    wire.GCS_MULTIPART + "/complete", errors="401 404 410 412 422:InvalidParts", max_body=jsonbody.MAX_PARTS_LIST
)
async def gcs_complete(ctx: Ctx, caller: Caller, services: Svc, body: CompleteMultipart) -> UploadedFile:
    """Publish the listed parts as one file (GCS style)."""
    return uploaded(services, await services.multipart.finish(caller, _object_path(ctx), *body.cited()))


def _object_path(ctx: HttpContext) -> str:
    """The multipart path of an upload that a GCS route names by its key, `<store>/<name>`."""
    store, _, name = ctx.path_param("path").partition("/")
    return f"{wire.OBJECTS}{store}/{quote_segment(name)}/multipart/{ctx.path_param('upload_id')}"


def _storage_type(ctx: HttpContext) -> str:
    storage_type = (ctx.queries("storage_type") or [""])[-1] or wire.STORAGE_TYPES[0]
    if storage_type not in wire.STORAGE_TYPES:
        known = ", ".join(wire.STORAGE_TYPES)
        raise Problem(Code.VALIDATION_FAILED, f"It must be one of {known}.", where=("query", "storage_type"))
    return storage_type


def _intent(ctx: HttpContext, body: InitiateUploadRequest) -> Intent:
    return Intent(
        lifecycle=ctx.lifecycle(),
        file_name=body.file_name,
        content_type=body.content_type or None,
        request_id=ctx.stored_header(wire.SOURCE_REQUEST),
        idempotency_key=ctx.stored_header(wire.IDEMPOTENCY_KEY),
    )
