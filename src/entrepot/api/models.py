"""JSON bodies and replies that routes of both planes have."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from entrepot.domain.errors import Code, Problem
from entrepot.domain.multipart import MAX_PARTS, Cited

Uri = Annotated[str, Field(json_schema_extra={"format": "uri"})]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Sha256 = Annotated[str, Field(pattern="^sha256:[0-9a-fA-F]{64}$")]


class ErrorResponse(BaseModel):
    """An error in the words of fal's clients."""

    detail: Annotated[
        str | list[Any],
        WithJsonSchema({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]}),
    ]
    message: str
    code: str
    fix: str
    request_id: str


class PlatformErrorDetail(BaseModel):
    type: Literal["authorization_error", "validation_error", "not_found", "rate_limited", "server_error"]
    message: str
    request_id: str
    code: str
    fix: str


class PlatformError(BaseModel):
    """An error of the Platform API."""

    error: PlatformErrorDetail


class UploadedFile(BaseModel):
    """A file that is stored, durable and readable."""

    access_url: Uri
    uploaded: bool
    file_name: str
    content_type: str
    size: int
    digest: str | None = Field(description="sha256:<hex>")
    expires_at: Timestamp | None


class StoredPart(BaseModel):
    """An acknowledged attempt at a part."""

    partNumber: int
    etag: str
    size: int


class ListedPart(BaseModel):
    """A part in the list that completes an upload; `part_number` in the GCS style (docs/protocol.md 2.6)."""

    model_config = ConfigDict(strict=True)

    number: int = Field(validation_alias=AliasChoices("partNumber", "part_number"))
    etag: str | None = Field(default=None, description="Without it the last attempt is meant.")


def bounded_parts(parts: Any) -> Any:
    """To tell all that is wrong with a longer list would keep others waiting. Raises Problem(INVALID_PARTS)."""
    if isinstance(parts, list) and len(parts) > MAX_PARTS:
        raise Problem(Code.INVALID_PARTS, f"The list has {len(parts)} parts; {MAX_PARTS} are possible.")
    return parts


class CompleteMultipart(BaseModel):
    """The list of parts that completes an upload. `size` and `digest` are those of the whole file, if declared."""

    model_config = ConfigDict(strict=True)

    parts: Annotated[list[ListedPart], BeforeValidator(bounded_parts), Field(json_schema_extra={"maxItems": MAX_PARTS})]
    size: int | None = Field(default=None, ge=0)
    digest: Sha256 | None = None

    def cited(self) -> tuple[list[Cited], int | None, bytes | None]:
        """The parts, the size and the SHA-256 for `service.multipart`."""
        digest = None if self.digest is None else bytes.fromhex(self.digest.removeprefix("sha256:"))
        return [Cited(each.number, each.etag) for each in self.parts], self.size, digest


class MultipartUpload(BaseModel):
    """An upload in parts that was begun."""

    access_url: Uri
    uploadId: str
    expires_at: Timestamp


class MultipartPart(StoredPart):
    """A stored part in a listing."""

    digest: str = Field(description="sha256:<hex>")
    received_at: Timestamp


class MultipartListing(BaseModel):
    """The stored parts of an upload."""

    uploadId: str
    access_url: Uri
    state: Literal["open", "published", "aborted"]
    expires_at: Timestamp
    parts: list[MultipartPart]
