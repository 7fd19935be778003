"""The Platform API's files, `/v1/serverless/files` (docs/protocol.md 6.4), and what this server adds to it."""

from __future__ import annotations

import re
from dataclasses import asdict

from entrepot import wire
from entrepot.api.bytes.uploads import uploaded
from entrepot.api.http_context import HttpContext
from entrepot.api.json.jobs import ACCEPTED, WAIT
from entrepot.api.json.volume import Call, import_url, platform_routes
from entrepot.api.json.volume_models import (
    EmptyRequest,
    FromUrlRequest,
    KeepRequest,
    MoveRequest,
    PublishRequest,
    RestoreRequest,
    VolumeDeleted,
    VolumeEntry,
    VolumeUsage,
)
from entrepot.api.models import UploadedFile
from entrepot.api.parameters import CONDITIONS, IDEMPOTENCY_KEY, LIFECYCLE, flag
from entrepot.api.services import Services
from entrepot.api.volume_replies import platform_entry
from entrepot.api.volume_request import unconditional
from entrepot.domain.errors import Code, Problem
from entrepot.domain.uploads import Intent
from entrepot.volume.entries import Conditions

_V1 = wire.PLATFORM_FILES
files = platform_routes()


@files.delete(
    f"{_V1}/file/{{file}}",
    errors="404 409 412:PreconditionFailed",
    parameters=(
        *CONDITIONS,
        flag("permanent", "For good, past the trash."),
        flag("recursive", "A folder with what is in it.", default=True),
    ),
)
async def delete_volume_file(call: Call) -> VolumeDeleted:
    """Delete a file or folder, for some days into the trash.

    A folder goes in one step, whatever it holds.
    """
    gone = await call.mine.volume.delete(
        call.who,
        call.path,
        recursive=call.flag("recursive", True),
        permanent=call.flag("permanent"),
        when=call.conditions(),
    )
    return VolumeDeleted(path=str(call.path), trash_id=gone.id if gone else None)


@files.get(
    f"{_V1}/stat/{{path}}",
    errors="404",
    parameters=(flag("checksum", "Compute unknown digests."),),
)
async def stat_volume_file(call: Call) -> VolumeEntry:
    """Describe a file or folder."""
    entry = await call.mine.volume.stat(call.who, call.path, checksum=call.flag("checksum"))
    return VolumeEntry(**platform_entry(entry))


@files.post(f"{_V1}/rename/{{file}}", errors="404 409")
async def rename_volume_file(call: Call, body: MoveRequest) -> VolumeEntry:
    """Rename a file or folder."""
    unconditional(call.ctx)
    destination = call.field(body.destination, "destination")
    entry = await call.mine.volume.rename(call.who, call.path, destination, overwrite=body.overwrite)
    return VolumeEntry(**platform_entry(entry))


@files.post(f"{_V1}/copy/{{file}}", errors="404 409 413 507")
async def copy_volume_file(call: Call, body: MoveRequest) -> VolumeEntry:
    """Copy a file or folder."""
    unconditional(call.ctx)
    destination = call.field(body.destination, "destination")
    entry = await call.mine.volume.copy(call.who, call.path, destination, overwrite=body.overwrite)
    return VolumeEntry(**platform_entry(entry))


@files.post(f"{_V1}/dir/{{path}}", errors="409 507")
async def make_volume_folder(call: Call, body: EmptyRequest | None = None) -> VolumeEntry:
    """Make a folder and those above it.

    An existing folder is no error.
    """
    unconditional(call.ctx)
    return VolumeEntry(**platform_entry(await call.mine.volume.make_folder(call.who, call.target)))


@files.get(f"{_V1}/usage")
async def volume_usage(call: Call) -> VolumeUsage:
    """Count what the volume holds."""
    return VolumeUsage(**asdict(await call.mine.volume.usage(call.who, call.path)))


@files.get(f"{_V1}/usage/{{dir}}", errors="404 409")
async def folder_usage(call: Call) -> VolumeUsage:
    """Count what a folder holds."""
    return await volume_usage(call)


@files.post(f"{_V1}/trash/{{trash_id}}/restore", errors="404 409")
async def restore_from_trash(call: Call, body: RestoreRequest | None = None) -> VolumeEntry:
    """Restore what was deleted, to its old path or another."""
    unconditional(call.ctx)
    wanted = body.destination if body else None
    destination = None if wanted is None else call.field(wanted, "destination")
    entry = await call.mine.volume.restore(call.who, call.ctx.path_param("trash_id"), destination)
    return VolumeEntry(**platform_entry(entry))


@files.delete(f"{_V1}/trash/{{trash_id}}", errors="404")
async def drop_from_trash(call: Call) -> bool:
    """Delete from the trash, for good."""
    unconditional(call.ctx)
    await call.mine.volume.drop_trash(call.who, call.ctx.path_param("trash_id"))
    return True


@files.post(
    f"{_V1}/file/url/{{file}}",
    errors="404 409 410 412:PreconditionFailed 413 424 507",
    parameters=(*CONDITIONS, WAIT),
    extra=ACCEPTED,
)
async def serverless_upload_from_url(call: Call, body: FromUrlRequest) -> bool:
    """Fetch a URL into a file.

    The reply comes when the whole file is at the path. The fetch ends with the connection of the client. With
    `wait=false` the reply is the job, and the fetch goes on without the client.
    """
    return await import_url(call, body.url)


@files.post(
    f"{_V1}/publish/{{file}}",
    errors="404 409 412 413 507",
    parameters=(LIFECYCLE, IDEMPOTENCY_KEY),
)
async def publish_volume_file(call: Call, body: PublishRequest | None = None) -> UploadedFile:
    """Make a CDN object of a file.

    The object has the bytes that the file has now.
    """
    unconditional(call.ctx)
    intent = Intent(
        lifecycle=call.ctx.lifecycle(),
        file_name=body.file_name if body else None,
        content_type=body.content_type if body else None,
        request_id=call.ctx.stored_header(wire.SOURCE_REQUEST),
        idempotency_key=call.ctx.stored_header(wire.IDEMPOTENCY_KEY),
    )
    obj = await call.ctx.unless_disconnected(call.services.transfer.publish(call.who, call.path, intent))
    return uploaded(call.services, obj)


@files.post(f"{_V1}/keep/{{file}}", errors="404 409 410 412:PreconditionFailed 413 507")
async def keep_object(call: Call, body: KeepRequest) -> VolumeEntry:
    """Make a file of a CDN object of this server."""
    unconditional(call.ctx)
    path, url_path = call.target, _own_path(call.services, body.url)
    when = Conditions(if_none_match=not body.overwrite)
    entry = await call.ctx.unless_disconnected(call.services.transfer.keep(call.who, path, url_path, when))
    return VolumeEntry(**platform_entry(entry))


def _own_path(services: Services, url: str) -> str:
    """The decoded path of an object's URL. Raises Problem(VALIDATION_FAILED)."""
    origins = (services.cdn_origin, services.api_origin, "")
    begun = next((origin for origin in origins if url.startswith(origin + wire.OBJECTS)), None)
    if begun is None:
        message = f"It is no URL of a file of this server; they begin with {services.cdn_origin}{wire.OBJECTS}"
        raise Problem(Code.VALIDATION_FAILED, message, where=("body", "url"))
    return HttpContext.decoded(re.split(r"[?#]", url[len(begun) :])[0].encode("utf-8", "surrogatepass"))
