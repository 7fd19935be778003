"""The legacy REST paths, `/files`, as the `fal` command calls them (docs/protocol.md 6.5, 6.6, 6.8)."""

from __future__ import annotations

from entrepot import wire
from entrepot.api.json.jobs import ACCEPTED, WAIT
from entrepot.api.json.volume import Call, import_url, legacy_routes
from entrepot.api.json.volume_models import FileSpec, FolderHashRequest, LegacyFromUrlRequest, LegacyRenameRequest
from entrepot.api.parameters import CONDITIONS, flag
from entrepot.api.volume_replies import file_spec
from entrepot.api.volume_request import unconditional
from entrepot.volume import hashes

_OLD = wire.VOLUME_FILES
files = legacy_routes()


@files.delete(f"{_OLD}/file/{{file}}", errors="404 409 412:PreconditionFailed", parameters=CONDITIONS)
async def delete_file(call: Call) -> bool:
    """Delete a file, or a folder with what is in it."""
    await call.mine.volume.delete(call.who, call.path, when=call.conditions())
    return True


@files.post(f"{_OLD}/rename/{{file}}", errors="404 409")
async def rename_file(call: Call, body: LegacyRenameRequest) -> bool:
    """Rename a file or folder.

    An existing file at the destination is replaced, as `mv` does.
    """
    unconditional(call.ctx)
    destination = call.field(body.destination, "destination")
    await call.mine.volume.rename(call.who, call.path, destination, overwrite=True)
    return True


@files.post(
    f"{_OLD}/file/url/{{file}}",
    errors="404 409 410 412:PreconditionFailed 413 424 429 507",
    parameters=(*CONDITIONS, WAIT),
    extra=ACCEPTED,
)
async def upload_from_url(call: Call, body: LegacyFromUrlRequest) -> bool:
    """Fetch a URL into a file.

    The reply comes when the whole file is at the path. The fetch ends with the connection of the client. With
    `wait=false` the reply is the job, and the fetch goes on without the client.
    """
    return await import_url(call, body.url)


@files.post(
    f"{_OLD}/file/exists/{{file}}",
    errors="404",
    parameters=(flag("calculate_checksum", "Compute unknown digests."),),
)
async def file_exists(call: Call) -> FileSpec:
    """Describe a file or folder."""
    entry = await call.mine.volume.stat(call.who, call.path, checksum=call.flag("calculate_checksum"))
    return FileSpec(**file_spec(entry))


@files.post(f"{_OLD}/dir/check_hash/{{target_path}}")
async def check_folder_hash(call: Call, body: FolderHashRequest) -> bool:
    """Tell whether a folder has this hash.

    A client that synchronises a folder leaves its hash there (docs/protocol.md 6.8).
    """
    unconditional(call.ctx)
    return await hashes.check_hash(call.mine.volume, call.who, call.path, body.hash)
