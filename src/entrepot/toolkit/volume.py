"""Where relative folders lie: below the volume, which all runners share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from entrepot.client.local import expanded

VOLUME_VARIABLE = "ENTREPOT_VOLUME"
DEFAULT_VOLUME = "/data"


def volume(environ: Mapping[str, str] = os.environ) -> Path:
    """The root of the volume: `ENTREPOT_VOLUME`, else /data."""
    return Path(expanded(environ.get(VOLUME_VARIABLE) or DEFAULT_VOLUME))


def below_volume(path: str | os.PathLike[str], environ: Mapping[str, str] = os.environ) -> Path:
    """A folder as the caller names it: an absolute one is taken as it is, `~` is the home folder, a relative one is
    below the volume. Links are followed as far as that goes; where they go round, who uses the folder will be told."""
    return Path(os.path.realpath(volume(environ) / expanded(path)))


# As fal's package spells them: where they lie when the program first asks.
FAL_PERSISTENT_DIR = volume()
FAL_REPOSITORY_DIR = FAL_PERSISTENT_DIR / ".fal" / "repos"
FAL_MODEL_WEIGHTS_DIR = FAL_PERSISTENT_DIR / ".fal" / "model_weights"
