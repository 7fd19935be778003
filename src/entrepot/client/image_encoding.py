"""Encodes an image as the bytes of a file: PNG, JPEG and what else Pillow writes. docs/toolkit.md has the rules.

Pillow is looked for only when there is an image of it: the client does without.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from typing import Any

from entrepot.client.errors import ImageNotEncodable
from entrepot.domain.mediatypes import type_for_name

_SAME = {"jpg": "jpeg", "tif": "tiff", "jp2": "jpeg2000"}


@dataclass(frozen=True, slots=True)
class Format:
    """What a format holds: modes of Pillow; modes in which it names a transparent colour; colour profiles; palettes
    with degrees of transparency."""

    modes: tuple[str, ...]
    named: tuple[str, ...] = ()
    profile: bool = False
    degrees: bool = False


_ALPHA = Format(("RGB", "RGBA"))
FORMATS = {
    "png": Format(("1", "L", "LA", "I;16", "P", "RGB", "RGBA"), ("1", "L", "I;16", "P", "RGB"), True, True),
    "jpeg": Format(("L", "RGB", "CMYK"), (), True),
    "webp": Format(("RGB", "RGBA"), (), True),
    "gif": Format(("1", "L", "P", "RGB", "RGBA"), ("L", "P")),
    "tiff": Format(("1", "L", "LA", "I;16", "I", "F", "P", "RGB", "RGBA", "CMYK", "LAB"), (), True),
    "avif": Format(("RGB", "RGBA"), (), True),
    "bmp": Format(("1", "L", "P", "RGB")),
    "jpeg2000": Format(("L", "LA", "I;16", "RGB", "RGBA")),
    **dict.fromkeys(("ico", "icns", "tga", "qoi", "dds"), _ALPHA),
}
_OTHER = Format(("1", "L", "RGB"))


def encode_image_bytes(image: Any, format: str | None = "jpeg", **options: Any) -> tuple[bytes, str]:
    """An image as the bytes of a file, and their media type. `format` in any case; None: the one that it was loaded
    from, else png. Of several frames the current one. `options` are those of Pillow's `save`. What is no image of
    Pillow's and has `save(file, format=...)` writes itself. Raises ImageNotEncodable."""
    pillow: Any = sys.modules.get("PIL.Image")
    is_pillows = pillow is not None and isinstance(image, pillow.Image)
    if not is_pillows and not callable(getattr(image, "save", None)):
        fix = (
            "Pass an image of Pillow, or what has save(file, format=...); upload and upload_file take bytes and paths."
        )
        raise ImageNotEncodable(f"An object of type {type(image).__name__} is no image.", fix)
    kind = format_name(image, format)
    with io.BytesIO() as buffer:
        if is_pillows:
            _write(image, buffer, kind, options)
        else:
            image.save(buffer, format=kind)
        return buffer.getvalue(), type_for_name(f"x.{'jp2' if kind == 'jpeg2000' else kind}") or f"image/{kind}"


def format_name(image: Any, format: str | None) -> str:
    """The name of a format in lower case, `jpeg` for `jpg`; for None the image's own, else `png`."""
    if format is not None and not isinstance(format, str):
        raise ImageNotEncodable(f"{format!r} is no image format.", "Give its name, such as png.")
    if format is None:
        own = str(getattr(image, "format", None) or "").lower()
        return "jpeg" if own == "mpo" else own if own in FORMATS else "png"
    name = format.lower().removeprefix("image/")
    return _SAME.get(name, name)


def _write(image: Any, buffer: io.BytesIO, kind: str, options: dict[str, Any]) -> None:
    from PIL import Image

    from entrepot.client import image_modes

    Image.init()
    if kind.upper() not in Image.SAVE:
        usual = ", ".join(each for each in FORMATS if each.upper() in Image.SAVE)
        raise ImageNotEncodable(f"{kind!r} is no format that Pillow writes here.", f"The usual ones are {usual}.")
    holds = FORMATS.get(kind, _OTHER)
    try:
        upright = image_modes.upright(image)
        result = image_modes.converted(upright, _mode(upright, holds), named=holds.named, profile=holds.profile)
        if kind == "gif" and result.mode == "RGBA":
            result = image_modes.on_or_off(result)
        kept = {name: value for name, value in result.info.items() if name in ("transparency", "icc_profile")}
        if result.mode == "1" and kept.get("transparency"):
            kept["transparency"] = 1  # in a file the white of one bit is 1
        result.info = {}
        result.save(buffer, format=kind, **kept, **options)
    except (*image_modes.BROKEN, SystemError, MemoryError) as error:
        fix = "Check that it came whole, is not closed, and is neither empty nor too large, or convert it to RGB first."
        what = str(error) or type(error).__name__
        raise ImageNotEncodable(f"The image cannot be stored as {kind}: {what}.", fix) from error


def _mode(image: Any, holds: Format) -> str:
    """The mode to store an image in: its own, else the one that loses least of those that the format holds."""
    from entrepot.client.image_modes import ALPHA, has_alpha, is_deep

    mode: str = image.mode
    grey = mode in ("1", "L", "LA", "La") or is_deep(mode)
    wanted = [mode]
    if has_alpha(image):
        by_degrees = mode == "P" and not isinstance(image.info.get("transparency"), int)
        if mode not in ALPHA and (mode not in holds.named or (by_degrees and not holds.degrees)):
            wanted = []
        wanted += ["LA", "RGBA"] if grey else ["RGBA"]
    elif is_deep(mode):
        wanted.append("I;16")
    wanted += ["L"] if grey else []
    return next((each for each in wanted if each in holds.modes), "RGB")
