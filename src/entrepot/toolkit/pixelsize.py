"""Reads width and height of an image from its header: PNG, JPEG, GIF and WebP, without decoding and without Pillow.

Sizes are those of the upright image, in pixels: width and height are exchanged when the EXIF orientation (else that of
XMP) turns it to its side.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Segments or chunks that are looked at: EXIF, colour profiles in pieces of 64 KiB, comments, pieces of pixels.
_MAX_SEGMENTS = 10_000
_MAX_METADATA = 64 * 1024
# Start of frame (ITU T.81, table B.1): C0 to CF but DHT, JPG and DAC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_Size = tuple[int, int] | None


def pixel_size(file: IO[bytes]) -> _Size:
    """Width and height of the image that a file begins with; None when that cannot be told. Reads little, whatever
    the file says of itself."""
    file.seek(0)
    head = file.read(32)
    if head.startswith(PNG_SIGNATURE) and head[12:16] == b"IHDR":
        size = _some(int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big"))
        return _upright(size, _png_metadata(file))
    if head.startswith((b"GIF87a", b"GIF89a")) and len(head) >= 10:
        return _some(int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little"))
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _upright(_webp(head), _webp_metadata(file) if head[12:16] == b"VP8X" else iter(()))
    return _jpeg(file) if head.startswith(b"\xff\xd8\xff") else None


def _some(width: int, height: int) -> _Size:
    return (width, height) if width and height else None


def _upright(size: _Size, metadata: Iterator[bytes]) -> _Size:
    """The size as it is seen, by EXIF and XMP data in any order."""
    xmp = None
    for data in metadata if size else ():
        orientation = _exif_orientation(data.removeprefix(b"Exif\0\0"))
        if orientation is None:
            match = _XMP_ORIENTATION.search(data)
            xmp = int(match[1]) if match and xmp is None else xmp
        else:
            xmp = orientation
            break
    return (size[1], size[0]) if size and xmp in (5, 6, 7, 8) else size


def _exif_orientation(exif: bytes) -> int | None:
    """TIFF 6.0: tag 0x0112 of the first directory, one SHORT or LONG."""
    if exif[:4] not in (b"II*\0", b"MM\0*"):
        return None
    order = "little" if exif[:1] == b"I" else "big"

    def number(at: int, length: int) -> int:
        return int.from_bytes(exif[at : at + length], order)  # type: ignore[arg-type]

    at = number(4, 4)
    for entry in range(at + 2, min(at + 2 + 12 * number(at, 2), len(exif) - 11), 12):
        if number(entry, 2) == 0x0112 and number(entry + 4, 4) == 1:
            return number(entry + 8, {3: 2, 4: 4}.get(number(entry + 2, 2), 0))
    return None


def _png_metadata(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(len(PNG_SIGNATURE))
    for _ in range(_MAX_SEGMENTS):
        head = file.read(8)
        length = int.from_bytes(head[:4], "big")
        if len(head) < 8 or head[4:] == b"IEND":
            return
        data = file.read(min(length, _MAX_METADATA)) if head[4:] in (b"eXIf", b"iTXt") else b""
        if head[4:] == b"eXIf" or data.startswith(b"XML:com.adobe.xmp\0\0"):
            yield data
        file.seek(length - len(data) + 4, 1)


def _webp_metadata(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(12)
    for _ in range(_MAX_SEGMENTS):
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if len(head) < 8:
            return
        data = file.read(min(length, _MAX_METADATA)) if head[:4] in (b"EXIF", b"XMP ") else b""
        if data:
            yield data
        file.seek(length + length % 2 - len(data), 1)


def _webp(head: bytes) -> _Size:
    """RFC 9649: the lossy (VP8), lossless (VP8L) and extended (VP8X) forms."""
    if len(head) < 30:
        return None
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if head[12:16] == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
        return _some(width & 0x3FFF, height & 0x3FFF)
    return None


def _jpeg(file: IO[bytes]) -> _Size:
    size: _Size = None
    metadata: list[bytes] = []
    file.seek(2)
    for _ in range(_MAX_SEGMENTS):
        head = file.read(4)
        while head[:2] == b"\xff\xff" and len(head) == 4:  # any number of FF may precede a marker
            head = head[1:] + file.read(1)
        marker, length = (head[1], int.from_bytes(head[2:4], "big")) if len(head) == 4 else (0, 0)
        if head[:1] != b"\xff" or marker == 0xDA or length < 2:
            break
        data = file.read(length - 2) if marker == 0xE1 or (marker in _FRAMES and size is None) else b""
        if marker == 0xE1:
            metadata.append(data)
        elif data:
            size = _some(int.from_bytes(data[3:5], "big"), int.from_bytes(data[1:3], "big"))
            if len(data) < 5:
                return None
        file.seek(length - 2 - len(data), 1)
    return _upright(size, iter(metadata))
