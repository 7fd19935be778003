"""The hash of a whole folder, as a client that synchronises one leaves it there (docs/protocol.md 6.8)."""

from __future__ import annotations

import os

from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem
from entrepot.volume.paths import Path
from entrepot.volume.volume import Volume

NAME = ".fal_hash"
_LONGEST = 1024


async def check_hash(volume: Volume, who: Principal, path: Path, digest: str) -> bool:
    """Whether the folder holds what has this digest, in hex: its `.fal_hash` says so. False when there is none."""
    try:
        file = await volume.open(who, path.child(NAME))
    except Problem as problem:
        if problem.code in (Code.NOT_FOUND, Code.CONFLICT, Code.VALIDATION_FAILED):
            return False
        raise
    try:
        held = await volume.threads.run(os.pread, file.fileno(), _LONGEST, 0)
    finally:
        await file.close()
    return bool(digest) and held.decode("ascii", "replace").strip().lower() == digest.strip().lower()
