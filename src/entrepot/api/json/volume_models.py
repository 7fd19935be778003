"""Requests and replies of the volume's JSON routes.

The objects of the Platform API are closed (docs/protocol.md 6.1); the legacy routes ignore unknown fields.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonDict

from entrepot import wire
from entrepot.api.models import Sha256, Timestamp, Uri, bounded_parts
from entrepot.api.parameters import MEDIA_TYPE
from entrepot.domain.multipart import MAX_PARTS

_NEW_PATH = "^(/data/)?[^/\\x00-\\x1f\\x7f-\\x9f][^\\x00-\\x1f\\x7f-\\x9f]*$"
_SHA256_HEX = "^[0-9a-f]{64}$"
_DIGITS = "^[0-9]{1,19}$"
_HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"  # of examples

NewPath = Annotated[
    str, WithJsonSchema({"type": "string", "minLength": 1, "pattern": _NEW_PATH, "examples": ["models/b.bin"]})
]


class ClosedRequest(BaseModel):
    """A request object of the Platform API: an unknown field is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class OpenRequest(BaseModel):
    """A request object of the legacy routes."""

    model_config = ConfigDict(extra="ignore", strict=True)


class EmptyRequest(ClosedRequest):
    """A body without fields."""


class MoveRequest(ClosedRequest):
    """Where a file or folder goes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"destination": "models/b.bin", "overwrite": False}]})

    destination: NewPath = Field(description="The new path.")
    overwrite: bool = Field(default=False, description="Whether an existing file may be replaced.")


class PublishRequest(ClosedRequest):
    """What the object of a file is called."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"file_name": "cat.png", "content_type": "image/png"}]})

    file_name: str | None = Field(default=None, max_length=4096, description="Name at the end of the object's URL.")
    content_type: str | None = Field(
        default=None,
        max_length=255,
        description="Media type of the object; else it is found by name and content.",
        json_schema_extra={"pattern": MEDIA_TYPE},
    )


class KeepRequest(ClosedRequest):
    """An object of this server that becomes a file."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"url": "https://media.example.com/files/b/0a96d564/6bYtq2mKcVn0XgZr1QeW4s_cat.png", "overwrite": True}
            ]
        }
    )

    url: str = Field(
        description="The URL of a file of this server, or its path.",
        json_schema_extra={"pattern": rf"^(https?://.+)?{wire.OBJECTS}[0-9a-f]{{8}}/[^/]+$"},
    )
    overwrite: bool = Field(default=False, description="Whether an existing file may be replaced.")


class RestoreRequest(ClosedRequest):
    """Where a deleted file or folder is restored to."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"destination": "models/old.bin"}]})

    destination: Annotated[str, WithJsonSchema({"type": "string", "pattern": _NEW_PATH})] | None = Field(
        default=None, max_length=4096, description="Path to restore to; without it the original one."
    )


class FromUrlRequest(ClosedRequest):
    """A URL whose file is stored."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"url": "https://example.com/model.safetensors"}]})

    url: Uri = Field(description="http or https URL to fetch.")


class LegacyFromUrlRequest(OpenRequest):
    """A URL whose file is stored."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"url": "https://example.com/model.safetensors"}]})

    url: Uri = Field(description="http or https URL to fetch.")


class LegacyRenameRequest(OpenRequest):
    """Where a file or folder goes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"destination": "/data/models/b.bin"}]})

    destination: NewPath = Field(description="The new path.")


class FolderHashRequest(OpenRequest):
    """The hash that a synchronised folder should have."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"hash": _HASH}]})

    hash: str = Field(description="SHA-256 of the folder's files as the client computed it, in hex.")


class MissingHashesRequest(OpenRequest):
    """App files that a client has."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"hashes": [_HASH]}]})

    hashes: list[str] = Field(description="Hashes of app files, in hex.")


class AppFileFacts(OpenRequest):
    """An app file as the client describes it: all strings."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"hash": _HASH, "size": "4", "mtime": "1700000000.5", "mode": "33188"}]}
    )

    hash: str = Field(description="That of the path.", json_schema_extra={"pattern": _SHA256_HEX})
    size: str = Field(description="Bytes, in decimal.", json_schema_extra={"pattern": _DIGITS})
    mtime: str = Field(description="Unix seconds.", json_schema_extra={"pattern": r"^-?[0-9]{1,15}(\.[0-9]+)?$"})
    mode: str = Field(description="In decimal; part of what is hashed.", json_schema_extra={"pattern": _DIGITS})


class OpenVolumePart(OpenRequest):
    """A part of the file to publish. Without an ETag its last attempt is meant."""

    part_number: int = Field(
        validation_alias=AliasChoices("part_number", "partNumber"), description="From 1 to 10,000."
    )
    etag: str | None = Field(default=None, description="ETag that the part's reply had.")


class ClosedVolumePart(OpenVolumePart):
    model_config = ConfigDict(extra="forbid", strict=True)


_MAX_ITEMS: JsonDict = {"maxItems": MAX_PARTS}


class CompleteVolumeUpload(ClosedRequest):
    """The parts of which a file is made, and what it must be as a whole."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"parts": [{"part_number": 1, "etag": _HASH}], "size": 4, "digest": f"sha256:{_HASH}"}]
        }
    )

    parts: Annotated[list[ClosedVolumePart], BeforeValidator(bounded_parts)] = Field(
        description="The parts in any order.", json_schema_extra=_MAX_ITEMS
    )
    size: int | None = Field(default=None, ge=0, description="Declared size of the whole in bytes.")
    digest: Sha256 | None = Field(default=None, description="sha256:<hex> of the whole; another one is refused.")


class LegacyCompleteVolumeUpload(OpenRequest):
    """The parts of which a file is made."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"parts": [{"part_number": 1, "etag": _HASH}]}]})

    parts: Annotated[list[OpenVolumePart], BeforeValidator(bounded_parts)] = Field(
        description="The parts in any order.", json_schema_extra=_MAX_ITEMS
    )


class CompleteAppFile(LegacyCompleteVolumeUpload):
    """The parts of which an app file is made, and its description."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "parts": [{"part_number": 1, "etag": _HASH}],
                    "metadata": {"hash": _HASH, "size": "4", "mtime": "1700000000.5", "mode": "33188"},
                }
            ]
        }
    )

    metadata: AppFileFacts = Field(description="The file as described when the upload began.")


# Replies

_ENTRY: JsonDict = {
    "path": "models/a.bin",
    "name": "a.bin",
    "created_time": "2026-01-01T00:00:00.000Z",
    "updated_time": "2026-01-01T00:00:00.000Z",
    "is_file": True,
    "size": 4,
    "etag": '"3q2-7wAAAAAAAAAAAAAAAA"',
}


class FileSpec(BaseModel):
    """An entry of the legacy routes."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "path": "/data/models/a.bin",
                    "name": "a.bin",
                    "created_time": 1767225600.0,
                    "updated_time": 1767225600.0,
                    "is_file": True,
                    "size": 4,
                }
            ]
        }
    )

    path: str = Field(description="Absolute: /data/...")
    name: str = Field(description="Last segment of the path.")
    created_time: float = Field(description="Unix seconds.")
    updated_time: float = Field(description="Unix seconds.")
    is_file: bool = Field(description="False for a folder.")
    size: int = Field(description="Bytes; 0 for a folder.")
    checksum_sha256: str = Field(default="", description="Hex, when it is known.")
    checksum_md5: str = Field(default="", description="Hex, when it is known.")


class VolumeEntry(BaseModel):
    """A file or folder of the volume."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ENTRY]})

    path: str = Field(description="Relative to the volume.", examples=["models/a.bin"])
    name: str = Field(description="Last segment of the path.", examples=["a.bin"])
    created_time: Timestamp = Field(description="When it was made.")
    updated_time: Timestamp = Field(description="When its content changed last.")
    is_file: bool = Field(description="False for a folder.")
    size: int = Field(description="Bytes; 0 for a folder.")
    etag: str = Field(default="", description="Of a file; with its quotes, as conditions take it.")
    checksum_sha256: str = Field(default="", description="Hex, when it is known.")
    checksum_md5: str = Field(default="", description="Hex, when it is known.")


class VolumeDeleted(BaseModel):
    """A deleted file or folder."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"path": "models/a.bin", "trash_id": "1b2f6d0a9c3e4f5a6b7c8d9e0f1a2b3c4d5e6f708192"}]
        }
    )

    path: str = Field(description="What was deleted.")
    trash_id: str | None = Field(description="Restores it; null after a permanent deletion.")


class VolumeTrashed(BaseModel):
    """A deleted file or folder that can be restored."""

    id: str = Field(description="Restores or drops it.")
    path: str = Field(description="Where it was.")
    is_file: bool = Field(description="False for a folder.")
    size: int = Field(description="Bytes, of a folder with all in it.")
    deleted_at: Timestamp = Field(description="When it was deleted.")
    purge_at: Timestamp = Field(description="When it is removed for good.")


class VolumeUsage(BaseModel):
    """What a folder holds, itself not counted."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"path": "models", "files": 12, "folders": 2, "size": 734003200, "quota": None, "free": 52613349376}
            ]
        }
    )

    path: str = Field(description="The folder that was counted.")
    files: int = Field(description="Number of files below it.")
    folders: int = Field(description="Number of folders below it.")
    size: int = Field(description="Bytes of the files.")
    quota: int | None = Field(description="Bytes that the whole volume may hold; null: no bound.")
    free: int = Field(description="Bytes that can still be stored.")


class LegacyVolumeUpload(BaseModel):
    """A file in parts that was begun."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"upload_id": "0123456789abcdef0123456789abcdef"}]})

    upload_id: str = Field(description="Names the upload in its other routes.")


class VolumeUpload(LegacyVolumeUpload):
    """A file in parts that was begun."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"upload_id": "0123456789abcdef0123456789abcdef", "expires_at": "2026-01-08T00:00:00.000Z"}]
        }
    )

    expires_at: Timestamp = Field(description="End of the upload unless a part arrives.")


class VolumePart(BaseModel):
    """A stored part."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"part_number": 1, "etag": _HASH, "size": 4}]})

    part_number: int = Field(description="From 1 to 10,000.")
    etag: str = Field(description="SHA-256 of the part, in hex.")
    size: int = Field(default=0, description="Bytes (Platform API).")


class VolumeParts(BaseModel):
    """An open upload and its stored parts."""

    upload_id: str = Field(description="Names the upload in its other routes.")
    path: str = Field(description="Where the file goes.")
    expires_at: Timestamp = Field(description="End of the upload unless a part arrives.")
    parts: list[VolumePart] = Field(description="Stored parts by number.")


class LegacyVolumeCompleted(BaseModel):
    """A published file."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"etag": "098f6bcd4621d373cade4e832627b4f6"}]})

    etag: str = Field(description="MD5 of the file in hex; empty when it is not known.")


class VolumeCompleted(LegacyVolumeCompleted):
    """A published file."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"etag": "098f6bcd4621d373cade4e832627b4f6", "entry": _ENTRY}]}
    )

    entry: VolumeEntry = Field(description="The published file.")
