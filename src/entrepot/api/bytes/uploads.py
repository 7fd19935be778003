"""Uploads through the CDN's routes: one request with a bearer token, and the signed PUT (docs/protocol.md 2.4 and
3.1)."""

from __future__ import annotations

from entrepot import wire
from entrepot.api import forms
from entrepot.api.http_context import HttpContext
from entrepot.api.models import UploadedFile
from entrepot.api.parameters import MAX_SIZE_DIGITS
from entrepot.api.responses import CORS, NO_STORE
from entrepot.api.services import Services
from entrepot.domain.digests import Expected, parse_content_md5, parse_digest_field
from entrepot.domain.errors import Code, Problem
from entrepot.domain.lifecycle import Lifecycle
from entrepot.domain.mediatypes import checked_type
from entrepot.domain.objects import Object
from entrepot.domain.uploads import Intent
from entrepot.service.request_bodies import RequestBody


async def upload(ctx: HttpContext, services: Services) -> None:
    """POST /files/upload: the raw body becomes a file, or the one file in a form; the reply names its URL."""
    if forms.is_form(ctx.header("content-type")):
        intent, body = await _of_form(ctx, services)
    else:
        intent, body = intent_of(ctx, declared_type(ctx)), body_of(ctx, services)
    obj = await services.uploads.put(ctx.principal, intent, body)
    await ctx.send_json(200, uploaded(services, obj).model_dump())


async def old_upload(ctx: HttpContext, services: Services) -> None:
    """PUT /upload: the same for toolkits `fal` 1.5 to 1.75 with the repository fal_v2, which read `file_url`."""
    obj = await services.uploads.put(ctx.principal, intent_of(ctx, declared_type(ctx)), body_of(ctx, services))
    await ctx.send_json(200, {"file_url": services.cdn_origin + obj.path, **uploaded(services, obj).model_dump()})


async def existing(ctx: HttpContext, services: Services) -> None:
    """POST /files/upload/existing: a file of bytes that the account holds already; 404 says to send them."""
    if ctx.announces_body():
        raise Problem(Code.INVALID_REQUEST, "Bytes are not taken here.", fix=f"Send them to {wire.UPLOAD}.")
    obj = await services.uploads.reuse(
        ctx.principal, intent_of(ctx, declared_type(ctx)), declared_sha256(ctx), declared_size(ctx)
    )
    await ctx.send_json(200, uploaded(services, obj).model_dump())


async def signed_put(ctx: HttpContext, services: Services) -> None:
    """PUT {upload_url}: 200 with an empty body that is not typed as JSON (JavaScript would parse it)."""
    obj = await services.uploads.write(ctx.principal, ctx.canonical_path(), body_of(ctx, services, ctx.lifecycle()))
    headers = [(b"content-length", b"0"), (b"etag", obj.etag.encode()), NO_STORE, *CORS]
    if obj.sha256:
        headers.append((b"repr-digest", wire.repr_digest(obj.sha256).encode()))
    await ctx.reply(200, headers)


async def _of_form(ctx: HttpContext, services: Services) -> tuple[Intent, RequestBody]:
    """The file in a form: its name and type are those that the form gives it, unless X-Fal-File-Name names it."""
    expected = form_digests(ctx)
    services.uploads.check_size((ctx.content_length() or 0) - forms.MAX_AROUND)
    part = await forms.only_file(ctx.body(services.stall_timeout, watch=True), ctx.header("content-type"))
    intent = intent_of(ctx, part.content_type, part.file_name)
    return intent, RequestBody(
        part.stream, None, part.content_type, expected, key=ctx.key_id, check_client=ctx.check_client
    )


def intent_of(ctx: HttpContext, content_type: str | None, file_name: str | None = None) -> Intent:
    """What the headers say of the file to be; `file_name` is for when they do not name it."""
    named = wire.decode_file_name(ctx.headers.get(wire.FILE_NAME))
    return Intent(
        lifecycle=ctx.lifecycle(),
        file_name=named or file_name,
        content_type=content_type,
        request_id=ctx.stored_header(wire.SOURCE_REQUEST),
        idempotency_key=ctx.stored_header(wire.IDEMPOTENCY_KEY),
    )


def body_of(ctx: HttpContext, services: Services, lifecycle: Lifecycle = Lifecycle()) -> RequestBody:
    """The request's body with all that the client said about it. Raises Problem."""
    check_plain(ctx)
    stream = ctx.body(services.stall_timeout, watch=True)
    length, declared, expected = ctx.content_length(), declared_type(ctx), declared_digests(ctx)
    return RequestBody(stream, length, declared, expected, lifecycle, key=ctx.key_id, check_client=ctx.check_client)


def check_plain(ctx: HttpContext) -> None:
    """Raise Problem for a body that is not the file's bytes as they are: an encoding would be stored as the file and
    served without its name, a part as the whole (RFC 9110 section 14.5)."""
    if (ctx.header("content-encoding") or "identity").lower() != "identity":
        raise Problem(Code.INVALID_REQUEST, "A Content-Encoding is not kept.", fix="Send the file's bytes as they are.")
    if ctx.header("content-range"):
        message = "A Content-Range is not taken: the body would be stored as the whole file."
        raise Problem(Code.INVALID_REQUEST, message, fix="Send the whole file, or begin an upload in parts.")


def declared_type(ctx: HttpContext) -> str | None:
    """The type that somebody meant: curl and urllib call any body without a type a form."""
    declared = ctx.header("content-type")
    bare = (declared or "").partition(";")[0].strip().lower()
    if bare == "multipart/form-data":
        raise Problem(
            Code.INVALID_REQUEST,
            "The body is an HTML form; it must be the file's bytes.",
            fix="Send the raw bytes: with curl -T FILE instead of -F. A form is taken by a POST to "
            f"{wire.UPLOAD}, or to file/local of the volume.",
        )
    return None if bare == "application/x-www-form-urlencoded" else checked_type(declared, "header", "content-type")


def form_digests(ctx: HttpContext) -> tuple[Expected, ...]:
    """The digests that were declared of the file in a form. Raises Problem."""
    check_plain(ctx)
    if ctx.header("content-digest") or ctx.header("content-md5"):
        message = "A digest of the whole form is not checked; Repr-Digest is that of the file in it."
        raise Problem(Code.INVALID_REQUEST, message)
    return declared_digests(ctx)


def declared_digests(ctx: HttpContext) -> tuple[Expected, ...]:
    """Every digest that came with the request; an unknown algorithm is an error, never ignored."""
    found: tuple[Expected, ...] = ()
    for header in ("content-digest", "repr-digest"):
        if header in ctx.headers:
            found += parse_digest_field(header, ctx.header(header) or "")
    if "content-md5" in ctx.headers:
        found += parse_content_md5(ctx.header("content-md5") or "")
    return found


def declared_sha256(ctx: HttpContext) -> bytes:
    """The one SHA-256 in Repr-Digest. Raises Problem; so it does for further digests, which nobody would verify."""
    digests = declared_digests(ctx) if (ctx.header("repr-digest") or "").strip(", ") else ()
    if [each.algorithm for each in digests] != ["sha-256"]:
        message = "It must be one SHA-256, as sha-256=:<base64>:, and no other digest beside it."
        raise Problem(Code.VALIDATION_FAILED, message, where=("header", "repr-digest"))
    return digests[0].value


def declared_size(ctx: HttpContext) -> int:
    size = wire.whole_number(ctx.query("size") or "", MAX_SIZE_DIGITS)
    if size is None:
        message = "It must be the file's size in bytes, given once."
        raise Problem(Code.VALIDATION_FAILED, message, where=("query", "size"))
    return size


def uploaded(services: Services, obj: Object) -> UploadedFile:
    """The reply of every route that made a file."""
    return UploadedFile(
        access_url=services.cdn_origin + obj.path,
        uploaded=True,
        file_name=obj.name,
        content_type=obj.content_type,
        size=obj.size,
        digest=f"sha256:{obj.sha256.hex()}" if obj.sha256 else None,
        expires_at=None if obj.expires_at is None else wire.timestamp(obj.expires_at),
    )
