"""The legacy REST paths, as the `fal` command calls them (protocol 6.5, 6.6, 6.8)."""

from __future__ import annotations

from entrepot.api.volume import asking
from entrepot.api.volume_replies import file_spec
from entrepot.api.volume_request import VolumeRequest
from entrepot.volume import hashes


async def delete(call: VolumeRequest) -> None:
    """DELETE a file, or a folder with all that is in it."""
    await call.mine.volume.delete(call.who, call.path, when=call.conditions())
    await call.ctx.send_json(200, True)


async def rename(call: VolumeRequest) -> None:
    """POST: a file at the destination is replaced, as `mv` does."""
    path = call.path
    given = await asking.fields(call, "destination")
    destination = call.field(asking.text(given, "destination"), "destination")
    await call.mine.volume.rename(call.who, path, destination, overwrite=True)
    await call.ctx.send_json(200, True)


async def exists(call: VolumeRequest) -> None:
    """POST: what is there, or 404."""
    entry = await call.mine.volume.stat(call.who, call.path, checksum=call.flag("calculate_checksum"))
    await call.ctx.send_json(200, file_spec(entry))


async def check_hash(call: VolumeRequest) -> None:
    """POST: whether the folder holds what a sync left under this hash (protocol 6.8)."""
    path = call.path
    given = await asking.fields(call, "hash")
    await call.ctx.send_json(200, await hashes.check_hash(call.mine.volume, call.who, path, asking.text(given, "hash")))
