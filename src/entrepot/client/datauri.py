"""Data URIs: a file's bytes in the text of a URL (RFC 2397), for small inputs."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from entrepot.client.image_encoding import encode_image_bytes
from entrepot.client.local import expanded
from entrepot.domain.mediatypes import OCTET_STREAM, type_for_name


def encode(data: str | bytes, content_type: str) -> str:
    """A data URI of bytes, or of a text as UTF-8."""
    raw = data.encode() if isinstance(data, str) else data
    return f"data:{content_type};base64,{base64.b64encode(raw).decode()}"


def encode_file(path: str | os.PathLike[str]) -> str:
    """A data URI of a file; its type by its name."""
    given = expanded(path)
    return encode(Path(given).read_bytes(), type_for_name(os.path.basename(given)) or OCTET_STREAM)


def encode_image(image: Any, format: str | None = "jpeg") -> str:
    """A data URI of an image, encoded as by `SyncClient.upload_image`. Raises ImageNotEncodable."""
    return encode(*encode_image_bytes(image, format))
