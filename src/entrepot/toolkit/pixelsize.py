"""Width and height of an image by its header: PNG, JPEG, GIF and WebP, without decoding and without Pillow.

Sizes are those that are stored, in pixels; a JPEG that asks to be turned (EXIF) is not turned here.
"""

from __future__ import annotations

from typing import IO

# Segments before the frame of a JPEG: EXIF, colour profiles in pieces of 64 KiB, comments.
_MAX_SEGMENTS = 1000
# Start of frame (ITU T.81, table B.1): C0 to CF but DHT, JPG and DAC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def pixel_size(file: IO[bytes]) -> tuple[int, int] | None:
    """Width and height of the image that a file begins with; None when that cannot be told. Reads little, whatever
    the file says of itself."""
    file.seek(0)
    head = file.read(32)
    if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR":
        return _some(int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big"))
    if head.startswith((b"GIF87a", b"GIF89a")) and len(head) >= 10:
        return _some(int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little"))
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _webp(head)
    return _jpeg(file) if head.startswith(b"\xff\xd8\xff") else None


def _some(width: int, height: int) -> tuple[int, int] | None:
    return (width, height) if width and height else None


def _webp(head: bytes) -> tuple[int, int] | None:
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


def _jpeg(file: IO[bytes]) -> tuple[int, int] | None:
    file.seek(2)
    for _ in range(_MAX_SEGMENTS):
        head = file.read(4)
        while head[:2] == b"\xff\xff" and len(head) == 4:  # any number of FF may precede a marker
            head = head[1:] + file.read(1)
        if len(head) < 4 or head[0] != 0xFF:
            return None
        marker, length = head[1], int.from_bytes(head[2:4], "big")
        if marker in _FRAMES:
            frame = file.read(5)
            size = int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")
            return _some(*size) if len(frame) == 5 else None
        if marker == 0xDA or length < 2:
            return None
        file.seek(length - 2, 1)
    return None
