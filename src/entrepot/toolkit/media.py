"""`Video` and `Audio`: files that a playground plays."""

from __future__ import annotations

from entrepot.toolkit.files import File
from entrepot.toolkit.models import ConfigDict


class Video(File):
    """Represents a video file."""

    model_config = ConfigDict(json_schema_extra={"ui": {"field": "video"}})


class Audio(File):
    """Represents an audio file."""

    model_config = ConfigDict(json_schema_extra={"ui": {"field": "audio"}})
