"""From the request's credentials to a principal (protocol 1.5, 1.6, C4, C10)."""

from __future__ import annotations

from entrepot import wire
from entrepot.api.exchange import Exchange
from entrepot.domain.acl import ANONYMOUS, Principal
from entrepot.domain.errors import Code, Problem
from entrepot.service.access import Access


async def principal(x: Exchange, access: Access) -> Principal:
    """`Key id:secret`, `Bearer <token>` or `Bearer id:secret`; nobody without a header.

    Raises Problem(UNAUTHORIZED) for a header that is there and not right, so that a mistyped key is never taken for an
    anonymous reader.
    """
    header = x.text("authorization")
    if header is None:
        return ANONYMOUS
    scheme, _, credential = header.partition(" ")
    credential = credential.strip()
    if scheme.lower() == "key" or (scheme.lower() == "bearer" and ":" in credential):
        who = await access.by_key(credential)
    elif scheme.lower() == "bearer":
        who = await access.by_token(credential, wire.CDN_TOKEN)
    else:
        raise Problem(Code.UNAUTHORIZED, "This authorization scheme is not known; use Key or Bearer.")
    x.who = who.key_id or ""
    return who


async def writer(x: Exchange, access: Access, path: str) -> Principal:
    """The right to act on a multipart upload: its signature, else a credential of its account."""
    return await (uploader(x, access, path) if x.query(wire.SIGNATURE_PARAMETER) else principal(x, access))


async def uploader(x: Exchange, access: Access, path: str) -> Principal:
    """The right to write one begun upload: its signature alone. An Authorization header is ignored, as the stock
    client's fallback sends one (protocol 2.4)."""
    signature = x.query(wire.SIGNATURE_PARAMETER)
    if signature is None:
        raise Problem(
            Code.FORBIDDEN, "This URL is written to with a PUT to the whole upload_url, its signature included."
        )
    who = await access.by_signature(signature, wire.UPLOAD_SIGNATURE, path)
    x.who = who.key_id or ""
    return who
