"""App files by their hash, which are sent in parts (docs/protocol.md 6.5, 6.7). 409 tells the stock client that the
file exists already."""

from __future__ import annotations

from entrepot import wire
from entrepot.api import jsonbody
from entrepot.api.json.volume import Call, legacy_routes
from entrepot.api.json.volume_models import (
    AppFileFacts,
    CompleteAppFile,
    LegacyVolumeCompleted,
    LegacyVolumeUpload,
    MissingHashesRequest,
)
from entrepot.api.volume_request import unconditional
from entrepot.domain.multipart import Cited

_APP = f"{wire.VOLUME_FILES}/app/multipart/{{hash}}"
MAX_HASHES = 4 * 1024 * 1024  # bytes: a list of 60,000 hashes
app_files = legacy_routes()


@app_files.post(f"{wire.VOLUME_FILES}/missing_hashes", max_body=MAX_HASHES)
async def missing_hashes(call: Call, body: MissingHashesRequest) -> list[str]:
    """List the hashes under which no app file is stored."""
    unconditional(call.ctx)
    return await call.mine.apps.missing(call.who, body.hashes)


@app_files.post(f"{_APP}/initiate", errors="409 429 507")
async def initiate_app_file(call: Call, body: AppFileFacts) -> LegacyVolumeUpload:
    """Begin an app file."""
    unconditional(call.ctx)
    upload_id = await call.mine.apps.begin(call.who, call.ctx.path_param("hash"), body.model_dump())
    return LegacyVolumeUpload(upload_id=upload_id)


@app_files.post(f"{_APP}/{{upload_id}}/complete", max_body=jsonbody.MAX_PARTS_LIST, errors="404 507")
async def complete_app_file(call: Call, body: CompleteAppFile) -> LegacyVolumeCompleted:
    """Store the listed parts under the hash.

    The file is stored when its bytes have the hash.
    """
    unconditional(call.ctx)
    cited = [Cited(each.part_number, each.etag) for each in body.parts]
    digest, facts = call.ctx.path_param("hash"), body.metadata.model_dump()
    done = await call.mine.apps.finish(call.who, digest, call.upload_id, cited, facts)
    return LegacyVolumeCompleted(etag=done.md5 or "")


@app_files.post(f"{_APP}/{{upload_id}}/cancel", errors="404")
async def cancel_app_file(call: Call) -> bool:
    """Free the parts."""
    await call.mine.apps.abort(call.who, call.ctx.path_param("hash"), call.upload_id)
    return True
