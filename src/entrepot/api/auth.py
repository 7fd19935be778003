"""From the request's credentials to a principal (docs/protocol.md 1.5, 1.6, C4, C10)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from entrepot import wire
from entrepot.api.http_context import HttpContext
from entrepot.api.services import Services
from entrepot.domain.acl import ANONYMOUS, Principal
from entrepot.domain.errors import Code, Problem
from entrepot.service.access import require_account

Right = Callable[[HttpContext, Services], Awaitable[Principal]]


async def anybody(ctx: HttpContext, services: Services) -> Principal:
    """Everybody, whatever credential was sent."""
    return ANONYMOUS


async def account(ctx: HttpContext, services: Services) -> Principal:
    """Somebody who may act for an account: the right that a route asks for when it names no other. Raises Problem."""
    who = await principal(ctx, services)
    require_account(who)
    return who


async def key_holder(ctx: HttpContext, services: Services) -> Principal:
    """Somebody with a key: a token may be in a web page, and shall not make this server fetch. Raises Problem."""
    who = await account(ctx, services)
    if not who.by_key:
        raise Problem(Code.UNAUTHORIZED, "This is asked for with a key, not with a token or a signature.")
    return who


async def principal(ctx: HttpContext, services: Services) -> Principal:
    """`Key id:secret`, `Bearer <token>` or `Bearer id:secret`; nobody without a header.

    Raises Problem(UNAUTHORIZED) for a header that is there and not right, so that a mistyped key is never taken for an
    anonymous reader.
    """
    header = ctx.header("authorization")
    if header is None:
        return ANONYMOUS
    scheme, _, credential = header.partition(" ")
    credential = credential.strip()
    if scheme.lower() == "key" or (scheme.lower() == "bearer" and ":" in credential):
        who = await services.access.by_key(credential)
    elif scheme.lower() == "bearer":
        who = await services.access.by_token(credential, wire.CDN_TOKEN)
    else:
        raise Problem(Code.UNAUTHORIZED, "This authorization scheme is not known; use Key or Bearer.")
    ctx.key_id = who.key_id or ""
    return who


async def multipart_writer(ctx: HttpContext, services: Services) -> Principal:
    """The right to act on the multipart upload that the path names."""
    return await _writer(ctx, services, ctx.canonical_path())


async def old_multipart_writer(ctx: HttpContext, services: Services) -> Principal:
    """The right to act on the multipart upload that a path below /upload names."""
    return await _writer(ctx, services, ctx.canonical_path().removeprefix(wire.OLD_UPLOAD))


async def part_writer(ctx: HttpContext, services: Services) -> Principal:
    """The right to act on the multipart upload that the path without its last segment names."""
    return await _writer(ctx, services, ctx.canonical_path().rpartition("/")[0])


async def _writer(ctx: HttpContext, services: Services, path: str) -> Principal:
    """The signature of the upload, else a credential of its account."""
    return await (_signed(ctx, services, path) if ctx.query(wire.SIGNATURE_PARAMETER) else account(ctx, services))


async def uploader(ctx: HttpContext, services: Services) -> Principal:
    """The right to write the begun upload that the path names."""
    return await _signed(ctx, services, ctx.canonical_path())


async def _signed(ctx: HttpContext, services: Services, path: str) -> Principal:
    """The right to write one begun upload: its signature alone. An Authorization header is ignored, as the stock
    client's fallback sends one (docs/protocol.md 2.4)."""
    signature = ctx.query(wire.SIGNATURE_PARAMETER)
    if signature is None:
        raise Problem(
            Code.FORBIDDEN, "This URL is written to with a PUT to the whole upload_url, its signature included."
        )
    who = await services.access.by_signature(signature, wire.UPLOAD_SIGNATURE, path)
    ctx.key_id = who.key_id or ""
    return who
