"""The Platform API's files, `/v1/serverless/files`: what fal describes (protocol 6.4), and what we add to it."""

from __future__ import annotations

import re
from dataclasses import asdict

from entrepot import wire
from entrepot.api.bytes.uploads import uploaded
from entrepot.api.http_context import HttpContext
from entrepot.api.services import Services
from entrepot.api.volume import asking
from entrepot.api.volume_replies import platform_entry
from entrepot.api.volume_request import VolumeRequest, unconditional
from entrepot.domain.errors import Code, Problem
from entrepot.domain.uploads import Intent
from entrepot.volume.entries import Conditions
from entrepot.volume.paths import Path


async def delete(call: VolumeRequest) -> None:
    """DELETE a file or a folder: into the trash, from where it comes back by its id, or for good."""
    path = call.path
    gone = await call.mine.volume.delete(
        call.who,
        path,
        recursive=call.flag("recursive", True),
        permanent=call.flag("permanent"),
        when=call.conditions(),
    )
    await call.ctx.send_json(200, {"path": str(path), "trash_id": gone.id if gone else None})


async def stat(call: VolumeRequest) -> None:
    """GET one entry; with `checksum` its digests are computed when they are not known."""
    entry = await call.mine.volume.stat(call.who, call.path, checksum=call.flag("checksum"))
    await call.ctx.send_json(200, platform_entry(entry))


async def rename(call: VolumeRequest) -> None:
    """POST the new path of a file or folder."""
    path = call.path
    destination, overwrite = await _destination(call)
    await call.ctx.send_json(
        200, platform_entry(await call.mine.volume.rename(call.who, path, destination, overwrite=overwrite))
    )


async def copy(call: VolumeRequest) -> None:
    """POST the path of a copy of a file or folder."""
    path = call.path
    destination, overwrite = await _destination(call)
    await call.ctx.send_json(
        200, platform_entry(await call.mine.volume.copy(call.who, path, destination, overwrite=overwrite))
    )


async def _destination(call: VolumeRequest) -> tuple[Path, bool]:
    """Where the body says that it is to go, and whether what is there may be replaced. Raises Problem."""
    given = await asking.fields(call, "destination", "overwrite")
    return call.field(asking.text(given, "destination"), "destination"), asking.flag(given, "overwrite")


async def make_folder(call: VolumeRequest) -> None:
    """POST: make a folder and those above it; one that is there is fine."""
    path = call.target
    await asking.fields(call)
    await call.ctx.send_json(200, platform_entry(await call.mine.volume.make_folder(call.who, path)))


async def usage(call: VolumeRequest) -> None:
    """GET how much a folder holds, and how much room is left."""
    await call.ctx.send_json(200, asdict(await call.mine.volume.usage(call.who, call.path)))


async def restore(call: VolumeRequest) -> None:
    """POST: bring it back to where it was, or to a destination."""
    given = await asking.fields(call, "destination")
    destination = asking.optional_text(given, "destination")
    there = None if destination is None else call.field(destination, "destination")
    await call.ctx.send_json(
        200, platform_entry(await call.mine.volume.restore(call.who, call.segment("trash_id"), there))
    )


async def drop(call: VolumeRequest) -> None:
    """DELETE it from the trash, for good."""
    unconditional(call.ctx)
    await call.mine.volume.drop_trash(call.who, call.segment("trash_id"))
    await call.ctx.send_json(200, True)


async def publish(call: VolumeRequest) -> None:
    """POST: a CDN object of the file's bytes as they are now."""
    path = call.path
    given = await asking.fields(call, "file_name", "content_type")
    intent = Intent(
        lifecycle=call.ctx.lifecycle(),
        file_name=asking.optional_text(given, "file_name"),
        content_type=asking.optional_text(given, "content_type", 255),
        request_id=call.ctx.stored_header(wire.SOURCE_REQUEST),
        idempotency_key=call.ctx.stored_header(wire.IDEMPOTENCY_KEY),
    )
    obj = await call.ctx.unless_disconnected(call.services.transfer.publish(call.who, path, intent))
    await call.ctx.send_json(200, uploaded(call.services, obj))


async def keep(call: VolumeRequest) -> None:
    """POST the URL of an object of this server: its bytes become a file."""
    path = call.target
    given = await asking.fields(call, "url", "overwrite")
    url_path = _own_path(call.services, asking.text(given, "url"))
    when = Conditions(if_none_match=not asking.flag(given, "overwrite"))
    entry = await call.ctx.unless_disconnected(call.services.transfer.keep(call.who, path, url_path, when))
    await call.ctx.send_json(200, platform_entry(entry))


def _own_path(services: Services, url: str) -> str:
    """The decoded path of an object's URL. Raises Problem(VALIDATION_FAILED)."""
    origins = (services.cdn_origin, services.api_origin, "")
    begun = next((origin for origin in origins if url.startswith(origin + wire.OBJECTS)), None)
    if begun is None:
        message = f"It is no URL of a file of this server; they begin with {services.cdn_origin}{wire.OBJECTS}"
        raise Problem(Code.VALIDATION_FAILED, message, where=("body", "url"))
    return HttpContext.decoded(re.split(r"[?#]", url[len(begun) :])[0].encode("utf-8", "surrogatepass"))
