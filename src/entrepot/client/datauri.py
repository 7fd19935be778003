"""Data URIs: a file's bytes in the text of a URL (RFC 2397), for small inputs."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

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


def encode_image(image: Any, format: str = "jpeg") -> str:
    """A data URI of a Pillow image."""
    return encode(*image_bytes(image, format))


def image_bytes(image: Any, format: str) -> tuple[bytes, str]:
    """A Pillow image as the bytes of a file, and their media type. JPEG has no transparency: it is left out."""
    kind = "jpeg" if format.lower() == "jpg" else format.lower()
    if kind == "jpeg" and image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    with io.BytesIO() as buffer:
        image.save(buffer, format=kind)
        return buffer.getvalue(), f"image/{kind}"
