"""Decodes the bytes of an image file to a Pillow image, within limits; docs/toolkit.md has the rules.

A file from a stranger is opened by a short list of decoders (none that runs another program or reads another file),
its size is looked at before anything is decoded, and of many frames only the first is. What only describes an image
(texts, private data) is passed over when it is broken or too large.
"""

from __future__ import annotations

import io
import zlib
from typing import IO, TYPE_CHECKING, Any

from entrepot.client.extras import install_command
from entrepot.domain.sniffing import HEAD_SIZE, sniff
from entrepot.toolkit.contents import MAX_BYTES
from entrepot.toolkit.errors import ImageError, ImageTooLarge
from entrepot.toolkit.pixelsize import PNG_SIGNATURE, pixel_size

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

# Pillow's own: a quarter of a GiB as RGB.
MAX_PIXELS = 89_478_485
# Bytes of an image file that is decoded.
MAX_IMAGE_BYTES = 50 * 1024 * 1024
# Bytes of the colour profile of a PNG, unpacked.
_MAX_PROFILE = 16 * 1024 * 1024
_DECODERS = ("PNG", "JPEG", "MPO", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "HEIF", "JPEG2000", "JXL", "PPM", "QOI")
_SIDEWAYS = (5, 6, 7, 8)
_ORIENTATION = 0x0112


def decode(file: IO[bytes], mode: str = "RGB", max_pixels: int = MAX_PIXELS) -> PilImage:
    """The image that a file holds, turned as its EXIF orientation says, in a mode of Pillow's. Of several frames the
    first. Raises ImageTooLarge before decoding, ImageError, ImportError without Pillow."""
    pillow = _pillow()
    from entrepot.client.image_modes import BROKEN, ValuesOutOfRange

    if mode not in pillow.MODES:
        raise ImageError(f"{mode!r} is no mode of Pillow's.", f"Choose one of {', '.join(pillow.MODES)}.")
    if told := pixel_size(file):
        _check(told, max_pixels)
    file.seek(0)
    try:
        try:
            return _decoded(pillow, file, mode, max_pixels)
        except (ImageTooLarge, ValuesOutOfRange):
            raise
        except (*BROKEN, UserWarning):
            file.seek(0)
            data = file.read()
            if (bare := _bare(data)) is None:
                raise
            return _decoded(pillow, io.BytesIO(bare), mode, max_pixels, _png_profile(data))
    except ImageTooLarge:
        raise
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning, MemoryError) as error:
        raise ImageTooLarge("The image has too many pixels.", "Make it smaller.") from error
    except ValuesOutOfRange as error:
        fix = "Ask for it by to_pil('I') or to_pil('F'), and bring the numbers into that range."
        raise ImageError(f"The image cannot become {mode}: {error}.", fix) from error
    except (*BROKEN, UserWarning) as error:
        file.seek(0)
        kind = sniff(file.read(HEAD_SIZE))
        what = f"It looks like {kind}." if kind else "It looks like no image."
        fix = "Store it as PNG, JPEG, WebP or GIF, and check that it came whole."
        raise ImageError(f"The image cannot be decoded ({type(error).__name__}). {what}", fix) from error


def size_of(file: IO[bytes]) -> tuple[int, int] | None:
    """Width and height of the upright image that a file holds, by its header: PNG, JPEG, GIF and WebP, and what else
    Pillow reads if it is there; None when that cannot be told. No pixel is decoded."""
    if told := pixel_size(file):
        return told
    file.seek(4)
    most = MAX_IMAGE_BYTES if file.read(4) == b"ftyp" else MAX_BYTES  # of AVIF and HEIC Pillow reads the whole file
    if file.seek(0, io.SEEK_END) > most:
        return None
    file.seek(0)
    try:
        pillow = _pillow()
    except ImportError:
        return None
    from entrepot.client.image_modes import BROKEN

    try:
        with _opened(pillow, file) as image:
            width, height = image.size
            # Pillow turns TIFF files itself.
            turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION) in _SIDEWAYS
            return (height, width) if turned else (width, height)
    except (*BROKEN, UserWarning, pillow.DecompressionBombError, pillow.DecompressionBombWarning):
        return None


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"Pixels need Pillow: {install_command('images')}") from error
    Image.init()
    return Image


def _opened(pillow: Any, file: IO[bytes]) -> Any:
    return pillow.open(file, formats=[each for each in _DECODERS if each in pillow.OPEN])


def _decoded(pillow: Any, file: IO[bytes], mode: str, max_pixels: int, profile: bytes | None = None) -> PilImage:
    from entrepot.client.image_modes import converted, upright

    with _opened(pillow, file) as image:
        _check(image.size, max_pixels)
        if profile:
            image.info["icc_profile"] = profile
        turned = upright(image)
    del image  # a quarter of a GiB, it may be
    return converted(turned, mode)


def _check(size: tuple[int, int], most: int) -> None:
    if size[0] * size[1] > most:
        raise ImageTooLarge(
            f"The image is {size[0]} x {size[1]} pixels, more than {most} together. It was not decoded.",
            "Make it smaller, or pass a larger max_pixels.",
        )


def _bare(data: bytes) -> bytes | None:
    """A PNG or JPEG file without what only describes the image; None for another file."""
    if data.startswith(PNG_SIGNATURE):
        kept = [data[at:end] for kind, at, end in _png_chunks(data) if kind[:1].isupper() or kind in (b"tRNS", b"eXIf")]
        return PNG_SIGNATURE + b"".join(kept)
    return _bare_jpeg(data) if data.startswith(b"\xff\xd8\xff") else None


def _png_chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """Type, begin and end of each chunk."""
    at, found = len(PNG_SIGNATURE), []
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], at, end))
        at = end
    return found


def _png_profile(data: bytes) -> bytes | None:
    """The colour profile of a PNG, which Pillow gives only up to 1 MiB."""
    for kind, at, end in _png_chunks(data) if data.startswith(PNG_SIGNATURE) else []:
        if kind == b"iCCP":
            unpacker = zlib.decompressobj()
            try:
                profile = unpacker.decompress(data[at + 8 : end - 4].partition(b"\0")[2][1:], _MAX_PROFILE)
            except zlib.error:
                return None
            return None if unpacker.unconsumed_tail else profile
    return None


def _bare_jpeg(data: bytes) -> bytes:
    """Without application data and comments (ITU T.81, table B.1) but for EXIF and what Adobe's says of colours."""
    kept, at = [data[:2]], 2
    while data[at : at + 1] == b"\xff" and (marker := data[at + 1 : at + 2]) != b"\xda":
        end = at + 1 if marker == b"\xff" else at + 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
        body = data[at + 4 : end]
        is_told = body.startswith(b"Exif\0\0") or (body.startswith(b"Adobe") and len(body) >= 12)
        if marker not in (*(bytes((each,)) for each in range(0xE0, 0xF0)), b"\xfe", b"\xff") or is_told:
            kept.append(data[at:end])
        at = end
    return b"".join([*kept, data[at:]])
