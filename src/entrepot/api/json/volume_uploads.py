"""Files of the volume in parts, on both APIs (docs/protocol.md 6.5, 6.7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from entrepot import wire
from entrepot.api import jsonbody
from entrepot.api.json.volume import Call, legacy_routes, platform_routes
from entrepot.api.json.volume_models import (
    CompleteVolumeUpload,
    LegacyCompleteVolumeUpload,
    LegacyVolumeCompleted,
    LegacyVolumeUpload,
    OpenVolumePart,
    VolumeCompleted,
    VolumeEntry,
    VolumeUpload,
)
from entrepot.api.parameters import CONDITIONS
from entrepot.api.volume_replies import legacy_conflicts, platform_entry
from entrepot.api.volume_request import VolumeRequest, unconditional
from entrepot.domain.multipart import Cited
from entrepot.volume.multipart import Finished

_OLD = f"{wire.VOLUME_FILES}/file/multipart/{{target_path}}"
_V1 = f"{wire.PLATFORM_FILES}/file/multipart/{{path}}"
platform, legacy = platform_routes(), legacy_routes()


@legacy.post(f"{_OLD}/initiate", errors="412:PreconditionFailed 429 507", parameters=CONDITIONS)
async def initiate_file(call: Call) -> LegacyVolumeUpload:
    """Begin a file in parts.

    Nothing is at the path until the upload is complete.
    """
    return LegacyVolumeUpload(upload_id=await _begin(call))


@platform.post(f"{_V1}/initiate", errors="409 412:PreconditionFailed 507", parameters=CONDITIONS)
async def initiate_volume_file(call: Call) -> VolumeUpload:
    """Begin a file in parts.

    Nothing is at the path until the upload is complete.
    """
    upload_id = await _begin(call)
    ends = call.services.clock() + call.mine.volume.limits.upload_ttl
    return VolumeUpload(upload_id=upload_id, expires_at=wire.timestamp_ms(ends))


async def _begin(call: VolumeRequest) -> str:
    with legacy_conflicts(call):
        return await call.mine.parts.begin(call.who, call.target, call.conditions(), md5=call.wants_md5())


@legacy.post(
    f"{_OLD}/{{upload_id}}/complete", max_body=jsonbody.MAX_PARTS_LIST, errors="404 412:PreconditionFailed 507"
)
async def complete_file(call: Call, body: LegacyCompleteVolumeUpload) -> LegacyVolumeCompleted:
    """Publish the listed parts as one file.

    The stock client takes any `etag` but the MD5 in hex, or an empty one, for damage.
    """
    done = await _finish(call, body.parts)
    return LegacyVolumeCompleted(etag=done.md5 or "")


@platform.post(
    f"{_V1}/{{upload_id}}/complete",
    max_body=jsonbody.MAX_PARTS_LIST,
    errors="404 409 412:PreconditionFailed 507",
)
async def complete_volume_file(call: Call, body: CompleteVolumeUpload) -> VolumeCompleted:
    """Publish the listed parts as one file.

    A repeated call gets the same reply.
    """
    sha256 = bytes.fromhex(body.digest.removeprefix("sha256:")) if body.digest else None
    done = await _finish(call, body.parts, size=body.size, sha256=sha256)
    return VolumeCompleted(etag=done.md5 or "", entry=VolumeEntry(**platform_entry(done.entry)))


async def _finish(call: VolumeRequest, parts: Sequence[OpenVolumePart], **declared: Any) -> Finished:
    unconditional(call.ctx)
    cited = [Cited(each.part_number, each.etag) for each in parts]
    with legacy_conflicts(call):
        return await call.mine.parts.finish(call.who, call.path, call.upload_id, cited, **declared)


@legacy.post(f"{_OLD}/{{upload_id}}/cancel", errors="404")
async def cancel_file(call: Call) -> bool:
    """Free the parts of a file."""
    await call.mine.parts.abort(call.who, call.path, call.upload_id)
    return True


@legacy.post(f"{wire.VOLUME_FILES}/file/local/{{target_path}}/multipart/{{upload_id}}/cancel", errors="400 404")
async def cancel_local_file(call: Call) -> bool:
    """Free the parts of a file."""
    return await cancel_file(call)


@platform.post(f"{_V1}/{{upload_id}}/cancel", errors="404")
async def cancel_volume_file(call: Call) -> bool:
    """Free the parts of a file."""
    return await cancel_file(call)


@platform.delete(f"{_V1}/{{upload_id}}", errors="404")
async def abort_volume_file(call: Call) -> bool:
    """Free the parts of a file."""
    return await cancel_file(call)
