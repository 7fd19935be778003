"""Files that come in: forms, raw bodies, archives and URLs, on both APIs."""

from __future__ import annotations

from collections.abc import AsyncIterator

from entrepot.api import forms
from entrepot.api.bytes.uploads import body_of, form_digests
from entrepot.api.http_context import HttpContext
from entrepot.api.responses import Headers
from entrepot.api.services import Services
from entrepot.api.volume import asking
from entrepot.api.volume.place import Place
from entrepot.api.volume.replies import platform_entry
from entrepot.archive.unpacking import check_encoding
from entrepot.domain.digests import Expected
from entrepot.domain.errors import Code, Problem
from entrepot.volume.entries import ALWAYS
from entrepot.volume.registry import AccountVolume


async def upload_form(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST a form whose file goes to the path; with `unzip` what is in it goes into the folder of that path. The
    name that the form gives the file means nothing."""
    who, mine = asking.account_volume(ctx, services)
    path, unzip, when = place.target, asking.query_flag(ctx, "unzip"), asking.conditions(ctx)
    encoding = _encoding(ctx, unzip=unzip)
    stream, expected = await file_of_form(ctx, services, mine)
    if not unzip:
        await mine.volume.put(who, path, stream, expected=expected, when=when, check_client=ctx.check_client)
    elif expected or when != ALWAYS:
        message = "Digests and conditions are those of one file; of an archive that is unpacked they are not checked."
        raise Problem(Code.INVALID_REQUEST, message)
    else:
        await mine.unpack.unpack(who, path, stream, encoding=encoding, check_client=ctx.check_client)
    await ctx.send_json(200, True)


def _encoding(ctx: HttpContext, *, unzip: bool) -> str | None:
    """The encoding of names in the archive that are not UTF-8. Raises Problem(VALIDATION_FAILED)."""
    encoding = asking.query(ctx, "encoding") or None
    if encoding is None:
        return None
    if not unzip:
        message = "It is that of names in an archive, and says nothing without unzip=true."
        raise Problem(Code.VALIDATION_FAILED, message, where=("query", "encoding"))
    try:
        check_encoding(encoding)
    except ValueError as error:
        fix = "Name one that Python knows: gbk, shift_jis, big5, cp866, cp1252, ..."
        raise Problem(Code.VALIDATION_FAILED, f"{error}.", where=("query", "encoding"), fix=fix) from None
    return encoding


async def file_of_form(
    ctx: HttpContext, services: Services, mine: AccountVolume
) -> tuple[AsyncIterator[bytes], tuple[Expected, ...]]:
    """The file in a form's body, and the digests of it that were declared. Raises Problem."""
    expected = form_digests(ctx)
    limit, declared = mine.volume.limits.max_file, ctx.content_length()
    if declared is not None and declared > limit + forms.MAX_AROUND:
        raise Problem(Code.TOO_LARGE, f"The file is larger than the limit of {limit} bytes.")
    part = await forms.file_part(ctx.body(services.stall_timeout, watch=True), ctx.header("content-type"))
    return part.stream, expected


async def upload_url(ctx: HttpContext, services: Services, place: Place) -> None:
    """POST a URL: the reply comes when its file is whole at the path, as the stock client expects. A client that goes
    ends the fetch."""
    (who, _), path = asking.account_volume(ctx, services), place.target
    when, given = asking.conditions(ctx), await asking.fields(ctx, services, place, "url", conditional=True)
    await ctx.unless_disconnected(services.imports.run(who, path, asking.text(given, "url"), when))
    await ctx.send_json(200, True)


async def put(ctx: HttpContext, services: Services, place: Place) -> None:
    """PUT the bytes themselves: 201 when nothing was there."""
    (who, mine), path = asking.account_volume(ctx, services), place.target
    body = body_of(ctx, services)
    entry, created = await mine.volume.put(
        who,
        path,
        body.stream,
        length=body.length,
        expected=body.expected,
        when=asking.conditions(ctx),
        check_client=ctx.check_client,
    )
    headers: Headers = [(b"etag", entry.etag.encode())]
    await ctx.send_json(201 if created else 200, platform_entry(entry), headers)
