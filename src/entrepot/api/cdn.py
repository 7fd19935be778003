"""Uploads at the CDN's doors: one request with a bearer token, and the signed PUT (protocol 2.4 and 3.1)."""

from __future__ import annotations

from entrepot import wire
from entrepot.api import auth
from entrepot.api.doors import Doors
from entrepot.api.exchange import Exchange
from entrepot.api.responses import CORS, NO_STORE
from entrepot.domain.digests import Expected, parse_content_md5, parse_digest_field
from entrepot.domain.errors import Code, Problem
from entrepot.domain.lifecycle import Lifecycle
from entrepot.domain.names import quote_segment
from entrepot.domain.objects import Object
from entrepot.domain.uploads import Intent
from entrepot.service.access import require_account
from entrepot.service.bodies import Body

# Sizes fit into 64 bits; this many digits do.
MAX_SIZE_DIGITS = 18


async def upload(x: Exchange, doors: Doors) -> None:
    """POST /files/upload: the raw body becomes a file; the reply names its URL."""
    who = await auth.principal(x, doors.access)
    obj = await doors.uploads.put(who, intent_of(x), body_of(x, doors))
    await x.json(200, uploaded(doors, obj))


async def existing(x: Exchange, doors: Doors) -> None:
    """POST /files/upload/existing: a file of bytes that the account holds already; 404 says to send them."""
    who = await auth.principal(x, doors.access)
    require_account(who)
    if x.announces_body():
        raise Problem(Code.INVALID_REQUEST, "Bytes are not taken here.", fix=f"Send them to {wire.UPLOAD}.")
    obj = await doors.uploads.reuse(who, intent_of(x), declared_sha256(x), declared_size(x))
    await x.json(200, uploaded(doors, obj))


async def signed_put(x: Exchange, doors: Doors) -> None:
    """PUT {upload_url}: 200 with an empty body that is not typed as JSON (JavaScript would parse it)."""
    path = canonical_path(x)
    who = await auth.uploader(x, doors.access, path)
    obj = await doors.uploads.write(who, path, body_of(x, doors, wire.parse_lifecycle(x.headers)))
    headers = [(b"content-length", b"0"), (b"etag", obj.etag.encode()), NO_STORE, *CORS]
    if obj.sha256:
        headers.append((b"repr-digest", wire.repr_digest(obj.sha256).encode()))
    await x.reply(200, headers)


def intent_of(x: Exchange) -> Intent:
    """What the headers say of the file to be."""
    return Intent(
        lifecycle=wire.parse_lifecycle(x.headers),
        file_name=wire.decode_file_name(x.headers.get(wire.FILE_NAME)),
        content_type=declared_type(x),
        request_id=x.short(wire.SOURCE_REQUEST),
        idempotency_key=x.short(wire.IDEMPOTENCY_KEY),
    )


def body_of(x: Exchange, doors: Doors, lifecycle: Lifecycle = Lifecycle()) -> Body:
    """The request's body with all that the client said about it. Raises Problem."""
    check_plain(x)
    return Body(x.body(doors.stall_timeout), x.content_length(), declared_type(x), declared_digests(x), lifecycle)


def check_plain(x: Exchange) -> None:
    """Raise Problem for a body that is not the file's bytes as they are: an encoding would be stored as the file and
    served without its name, a part as the whole (RFC 9110 section 14.5)."""
    if (x.text("content-encoding") or "identity").lower() != "identity":
        raise Problem(Code.INVALID_REQUEST, "A Content-Encoding is not kept.", fix="Send the file's bytes as they are.")
    if (x.text("transfer-encoding") or "chunked").lower() != "chunked":
        raise Problem(Code.INVALID_REQUEST, "The only Transfer-Encoding is chunked.", fix="Send the bytes as they are.")
    if x.text("content-range"):
        message = "A Content-Range is not taken: the body would be stored as the whole file."
        raise Problem(Code.INVALID_REQUEST, message, fix="Send the whole file, or begin an upload in parts.")


def declared_type(x: Exchange) -> str | None:
    """The type that somebody meant: curl and urllib call any body without a type a form."""
    declared = x.text("content-type")
    bare = (declared or "").partition(";")[0].strip().lower()
    if bare == "multipart/form-data":
        raise Problem(
            Code.INVALID_REQUEST,
            "The body is an HTML form; it must be the file's bytes.",
            fix="Send the raw bytes: with curl use --data-binary @FILE or -T FILE instead of -F.",
        )
    return None if bare == "application/x-www-form-urlencoded" else declared


def declared_digests(x: Exchange) -> tuple[Expected, ...]:
    """Every digest that came with the request; an unknown algorithm is an error, never ignored."""
    found: tuple[Expected, ...] = ()
    for header in ("content-digest", "repr-digest"):
        if header in x.headers:
            found += parse_digest_field(header, x.text(header) or "")
    if "content-md5" in x.headers:
        found += parse_content_md5(x.text("content-md5") or "")
    return found


def declared_sha256(x: Exchange) -> bytes:
    """The one SHA-256 in Repr-Digest. Raises Problem; so it does for further digests, which nobody would verify."""
    digests = declared_digests(x)
    if x.text("repr-digest") is None or [each.algorithm for each in digests] != ["sha-256"]:
        message = "It must be one SHA-256, as sha-256=:<base64>:, and no other digest beside it."
        raise Problem(Code.VALIDATION_FAILED, message, where=("header", "repr-digest"))
    return digests[0].value


def declared_size(x: Exchange) -> int:
    text = x.query("size") or ""
    if not text.isascii() or not text.isdigit() or len(text) > MAX_SIZE_DIGITS:
        message = "It must be the file's size in bytes, given once."
        raise Problem(Code.VALIDATION_FAILED, message, where=("query", "size"))
    return int(text)


def canonical_path(x: Exchange) -> str:
    """The path as the URL was given out, whatever way the client escaped it: each segment on its own."""
    return "/".join(quote_segment(x.decoded(each)) for each in x.raw_path.split(b"/"))


def uploaded(doors: Doors, obj: Object) -> dict[str, object]:
    """The reply of every door that made a file."""
    return {"access_url": doors.cdn_origin + obj.path, "uploaded": True, **facts(obj)}


def facts(obj: Object) -> dict[str, object]:
    """What our own clients are told about a new file beyond its URL."""
    return {
        "file_name": obj.name,
        "content_type": obj.content_type,
        "size": obj.size,
        "digest": f"sha256:{obj.sha256.hex()}" if obj.sha256 else None,
        "expires_at": None if obj.expires_at is None else wire.timestamp(obj.expires_at),
    }
