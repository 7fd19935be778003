"""Bytes of the volume's files, both ways: downloads, raw bodies, forms and parts, on both APIs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Any

from entrepot import wire
from entrepot.api import forms
from entrepot.api.bytes.conditional import Representation, evaluate_preconditions
from entrepot.api.bytes.sending import guards, send_file
from entrepot.api.bytes.uploads import body_of, form_digests
from entrepot.api.responses import NO_STORE, Headers
from entrepot.api.volume_replies import legacy_conflicts, platform_entry
from entrepot.api.volume_request import VolumeRequest, unconditional
from entrepot.archive.unpacking import check_encoding
from entrepot.domain import disposition
from entrepot.domain.digests import Expected
from entrepot.domain.errors import Code, Problem
from entrepot.volume.entries import ALWAYS, Entry

_TYPE = "application/octet-stream"
_LAST_DATE = 253_402_300_799.0  # of the year 9999


async def download(call: VolumeRequest) -> None:
    """GET and HEAD of a file, as it is now: one that is replaced meanwhile is sent to its end from where it was
    opened."""
    opened = await call.mine.volume.open(call.who, call.path)
    try:
        entry = opened.entry
        file = Representation(entry.etag, entry.updated_at, entry.size, _TYPE, changes=True)
        headers = _headers(entry)
        decided = await evaluate_preconditions(call.ctx, file, headers)
        if decided is not None:
            services = call.services
            await send_file(call.ctx, file, *decided, headers, opened.read, services.stall_timeout, services.replies)
    finally:
        await opened.close()


def _headers(entry: Entry) -> Headers:
    modified = formatdate(min(max(entry.updated_at, 0.0), _LAST_DATE), usegmt=True)
    headers = [
        *guards(_TYPE),
        (b"etag", entry.etag.encode()),
        (b"last-modified", modified.encode()),
        (b"content-disposition", disposition.make("attachment", entry.name).encode()),
        NO_STORE,
    ]
    if entry.sha256 is not None:
        headers.append((b"repr-digest", wire.repr_digest(entry.sha256).encode()))
    return headers


async def put(call: VolumeRequest) -> None:
    """PUT the raw bytes of a file: 201 when there was none."""
    path, body = call.target, body_of(call.ctx, call.services)
    entry, created = await call.mine.volume.put(
        call.who,
        path,
        body.stream,
        length=body.length,
        expected=body.expected,
        when=call.conditions(),
        check_client=call.ctx.check_client,
    )
    headers: Headers = [(b"etag", entry.etag.encode())]
    await call.ctx.send_json(201 if created else 200, platform_entry(entry), headers)


async def upload_form(call: VolumeRequest) -> None:
    """POST a form whose file goes to the path, or with `unzip` the content of the archive into the folder of that path.
    The file name in the form is ignored."""
    ctx, path, unzip, when = call.ctx, call.target, call.flag("unzip"), call.conditions()
    encoding = _encoding(call, unzip=unzip)
    stream, expected = await _file_of_form(call)
    if not unzip:
        await call.mine.volume.put(call.who, path, stream, expected=expected, when=when, check_client=ctx.check_client)
    elif expected or when != ALWAYS:
        message = "Digests and conditions are those of one file; of an archive that is unpacked they are not checked."
        raise Problem(Code.INVALID_REQUEST, message)
    else:
        await call.mine.unpack.unpack(call.who, path, stream, encoding=encoding, check_client=ctx.check_client)
    await ctx.send_json(200, True)


def _encoding(call: VolumeRequest, *, unzip: bool) -> str | None:
    """The encoding of names in the archive that are not UTF-8. Raises Problem(VALIDATION_FAILED)."""
    encoding = call.ctx.single_query("encoding") or None
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


async def put_part(call: VolumeRequest) -> None:
    """PUT one part of a file: durable when it is acknowledged."""
    path, upload_id, number = call.path, call.upload_id, call.part_number
    stream, length, expected = await _part_body(call)
    with legacy_conflicts(call):
        part = await call.mine.parts.write(call.who, path, upload_id, number, stream, length=length, expected=expected)
    reply: dict[str, Any] = {"part_number": part.number, "etag": part.etag}
    await call.ctx.send_json(200, reply if call.legacy else {**reply, "size": part.size})


async def put_app_part(call: VolumeRequest) -> None:
    """PUT one part of an app file: durable when it is acknowledged."""
    digest, upload_id, number = call.ctx.path_param("hash"), call.upload_id, call.part_number
    stream, length, expected = await _part_body(call)
    part = await call.mine.apps.write(call.who, digest, upload_id, number, stream, length=length, expected=expected)
    await call.ctx.send_json(200, {"part_number": part.number, "etag": part.etag})


async def _part_body(call: VolumeRequest) -> tuple[AsyncIterator[bytes], int | None, tuple[Expected, ...]]:
    """The bytes of a part, from a form, or raw on the Platform API; with their length and digests where declared. The
    conditions of the whole are those that its upload began with. Raises Problem."""
    unconditional(call.ctx)
    if call.legacy or forms.is_form(call.ctx.header("content-type")):
        stream, expected = await _file_of_form(call)
        return stream, None, expected
    body = body_of(call.ctx, call.services)
    return body.stream, body.length, body.expected


async def _file_of_form(call: VolumeRequest) -> tuple[AsyncIterator[bytes], tuple[Expected, ...]]:
    """The file in a form, and its declared digests. Raises Problem."""
    expected = form_digests(call.ctx)
    limit, declared = call.mine.volume.limits.max_file, call.ctx.content_length()
    if declared is not None and declared > limit + forms.MAX_AROUND:
        raise Problem(Code.TOO_LARGE, f"The file is larger than the limit of {limit} bytes.")
    part = await forms.file_part(
        call.ctx.body(call.services.stall_timeout, watch=True), call.ctx.header("content-type")
    )
    return part.stream, expected
