"""Images to files and files to images, by Pillow, within limits.

A file from a stranger is opened by a short list of decoders (none that runs another program or reads another file,
hostile.md F12), its size is looked at before anything is decoded (G07), and of many frames only the first is.
"""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from entrepot.client.extras import install_command
from entrepot.domain.sniffing import HEAD_SIZE, sniff
from entrepot.toolkit.errors import ImageError, ImageTooLarge
from entrepot.toolkit.pixelsize import pixel_size

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

# Pillow's own: a quarter of a GiB as RGB.
MAX_PIXELS = 89_478_485
FORMATS = ("png", "jpeg", "jpg", "webp", "gif")
_DECODERS = ("PNG", "JPEG", "MPO", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "HEIF", "JPEG2000", "PPM", "QOI")
# Modes that a format stores as they are; others are converted, and what is transparent becomes white in JPEG.
# A colour that is named as the transparent one (`info`) stays so in _NAMES_CLEAR.
_MODES = {
    "png": ("1", "L", "LA", "I;16", "P", "RGB", "RGBA"),
    "jpeg": ("L", "RGB", "CMYK"),
    "webp": ("RGB", "RGBA"),
    "gif": ("1", "L", "P", "RGB", "RGBA"),
}
_NAMES_CLEAR = ("png", "gif")
# Modes with more than eight bits, in which an image may be asked for.
_DEEP = ("I", "I;16", "F")
# PNG is compressed for speed: an output is made once and fetched a few times. JPEG as good as anybody sees.
_OPTIONS: dict[str, dict[str, Any]] = {"png": {"compress_level": 1}, "jpeg": {"quality": 95}}
_BROKEN = (OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, EOFError, OverflowError, struct.error)


def known_format(format: str) -> str:
    """png, jpeg, webp or gif for a name in any case; `jpg` is `jpeg`. Raises ImageError."""
    name = format.lower()
    if name not in FORMATS:
        raise ImageError(f"{format!r} is no format that images are stored in.", f"Choose {', '.join(FORMATS)}.")
    return "jpeg" if name == "jpg" else name


def format_of(image: PilImage, format: str | None) -> str:
    """The format to store an image in: the one that is asked for, else its own, else png."""
    if format is not None:
        return known_format(format)
    own = (image.format or "").lower()
    return "jpeg" if own == "mpo" else own if own in _MODES else "png"


def encode(image: PilImage, format: str) -> bytes:
    """A Pillow image as a file; its first frame when it has several. Raises ImageError."""
    with io.BytesIO() as buffer:
        try:
            _fitting(image, format).save(buffer, format=format, **_OPTIONS.get(format, {}))
        except (*_BROKEN, MemoryError) as error:
            fix = "Check that it came whole and is neither empty nor too large, or convert it to RGB first."
            raise ImageError(f"The image cannot be stored as {format}: {error}.", fix) from error
        return buffer.getvalue()


def decode(file: IO[bytes], mode: str = "RGB", max_pixels: int = MAX_PIXELS) -> PilImage:
    """The image that a file holds, turned as its EXIF orientation says, in a mode of Pillow's. Of several frames the
    first. Raises ImageTooLarge before decoding, ImageError, ImportError without Pillow."""
    pillow, ops = _pillow()
    told = pixel_size(file)
    if told:
        _check(told, max_pixels)
    file.seek(0)
    kind = sniff(file.read(HEAD_SIZE))
    file.seek(0)
    try:
        with pillow.open(file, formats=[each for each in _DECODERS if each in pillow.OPEN]) as image:
            _check(image.size, max_pixels)
            image.load()
            with suppress(*_BROKEN):  # garbage in the place of EXIF turns nothing
                ops.exif_transpose(image, in_place=True)  # a copy would be another quarter of a GiB
            usual = image if image.mode == mode else _usual(image)
            return (usual if mode in _DEEP else _eight_bits(usual)).convert(mode)
    except ImageTooLarge:
        raise
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning, MemoryError) as error:
        raise ImageTooLarge("The image has too many pixels.", "Make it smaller.") from error
    except _BROKEN as error:
        what = f"It looks like {kind}." if kind else "It looks like no image."
        fix = "Store it as PNG, JPEG, WebP or GIF, and check that it came whole."
        raise ImageError(f"The image cannot be decoded ({type(error).__name__}). {what}", fix) from error


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError(f"Pixels need Pillow: {install_command('images')}") from error
    Image.init()
    return Image, ImageOps


def _check(size: tuple[int, int], most: int) -> None:
    if size[0] * size[1] > most:
        raise ImageTooLarge(
            f"The image is {size[0]} x {size[1]} pixels, more than {most} together. It was not decoded.",
            "Make it smaller, or pass a larger max_pixels.",
        )


def _usual(image: PilImage) -> PilImage:
    """The same in a mode that Pillow can do more with: not 16 bits in another order than this machine's, and no
    palette with degrees of transparency."""
    if image.mode.startswith("I;16") and image.mode != "I;16":
        return image.convert("I").convert("I;16")
    return image.convert("RGBA") if image.mode == "P" and isinstance(image.info.get("transparency"), bytes) else image


def _eight_bits(image: PilImage) -> PilImage:
    """Pillow clips 16 bits when it converts, which leaves a white image; the upper eight are what is meant. Where it
    holds them in 32, values above 255 tell."""
    bounds: Any = image.getextrema() if image.mode == "I" else (0, 0)
    if image.mode == "I;16" or bounds[1] > 255:
        return image.point(lambda value: value / 256).convert("L")
    return image


def _fitting(image: PilImage, format: str) -> PilImage:
    modes, is_clear = _MODES[format], "transparency" in image.info
    if format == "png" and image.mode == "P":
        return image
    image = _usual(image)
    if image.mode in modes and (not is_clear or format in _NAMES_CLEAR):
        return image
    if format == "png" and image.mode == "I":
        return image.convert("I;16")
    image = image.convert("LA") if image.mode == "La" else _eight_bits(image)
    if not is_clear and image.mode not in ("RGBA", "LA", "PA", "RGBa"):
        return image if image.mode in modes else image.convert("RGB")
    clear = image.convert("RGBA")
    if "RGBA" in modes:
        return clear
    from PIL import Image

    under = Image.new("RGBA", clear.size, "white")
    return Image.alpha_composite(under, clear).convert("RGB")
