"""What bytes look like: the type of a file by its first 4 KiB, in one pass and without trust in any of them.

The marks are those of the formats' own specifications; the rules for text and markup follow the WHATWG MIME
Sniffing standard (section 7), with a wider list of HTML tags.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

HEAD_SIZE = 4096

# (offset, bytes, type). Marks of two bytes stand only where no text and no common data begins with them.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"\xff\x0a", "image/jxl"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (0, b"II+\0", "image/tiff"),
    (0, b"MM\0+", "image/tiff"),
    (0, b"v/1\x01", "image/x-exr"),
    (0, b"#?RADIANCE\n", "image/vnd.radiance"),
    (0, b"#?RGBE\n", "image/vnd.radiance"),
    (0, b"8BPS\0\x01", "image/vnd.adobe.photoshop"),
    (0, b"fLaC\0", "audio/flac"),
    (0, b"fLaC\x80", "audio/flac"),
    (0, b"MThd\0\0\0\x06", "audio/midi"),
    (0, b"FLV\x01", "video/x-flv"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"PK\x05\x06", "application/zip"),
    (0, b"PK\x07\x08", "application/zip"),
    (0, b"\x1f\x8b\x08", "application/gzip"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (0, b"\xfd7zXZ\0", "application/x-xz"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    *((0, b"BZh%d1AY&SY" % level, "application/x-bzip2") for level in range(1, 10)),
    (257, b"ustar\0", "application/x-tar"),
    (257, b"ustar  \0", "application/x-tar"),
    (0, b"glTF\x01\0\0\0", "model/gltf-binary"),
    (0, b"glTF\x02\0\0\0", "model/gltf-binary"),
    (0, b"\0asm", "application/wasm"),
    (0, b"PAR1\x15", "application/vnd.apache.parquet"),
    (0, b"\x93NUMPY", "application/x-npy"),
    (0, b"\0\x01\0\0\0", "font/ttf"),
    (0, b"OTTO\0", "font/otf"),
    (0, b"wOFF\0\x01", "font/woff"),
    (0, b"wOFFOTTO", "font/woff"),
    (0, b"wOF2\0\x01", "font/woff2"),
    (0, b"wOF2OTTO", "font/woff2"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
# Brands of ISO base media files, by their first three letters: `heic`, `heix`, `heim` and so on are one.
_BRANDS = {
    b"avi": "image/avif",
    b"hei": "image/heic",
    b"hev": "image/heic",
    b"crx": "image/x-canon-cr3",
    b"M4A": "audio/mp4",
    b"M4B": "audio/mp4",
    b"M4P": "audio/mp4",
    b"F4A": "audio/mp4",
    b"qt ": "video/quicktime",
    b"3gp": "video/3gpp",
    b"3g2": "video/3gpp2",
} | dict.fromkeys((b"iso", b"mp4", b"M4V", b"avc", b"das", b"cmf", b"MSN", b"mmp", b"f4v"), "video/mp4")

_BOM = b"\xef\xbb\xbf"
_BLANK = rb"[\t\n\f\r ]++"
_PROLOG = re.compile(rb"(?:" + _BLANK + rb"|<!--.*?-->|<\?.*?\?>)*+", re.DOTALL)
_SVG = re.compile(rb"<(?:!doctype" + _BLANK + rb")?svg(?![\w.:-])", re.IGNORECASE)
_PAGE = re.compile(rb"<(?:!doctype" + _BLANK + rb"html|html)(?![^\s/>])", re.IGNORECASE)
_TAG = re.compile(
    rb"<(?:head|body|title|base|link|meta|style|script|noscript|template|iframe"
    rb"|frame|frameset|object|embed|applet|h[1-6]|div|span|font|center|table|form|input|button|select|textarea"
    rb"|details|dialog|marquee|a|b|i|p|br|hr|ul|ol|li|img|image|picture|audio|video|source|math|main|section"
    rb"|article|nav|header|footer|pre|xmp|plaintext)(?![^\s/>])",
    re.IGNORECASE,
)
_XML = re.compile(rb"\s*<(?:\?xml\s|!doctype\s)", re.IGNORECASE)
_NOT_TEXT = re.compile(rb"[\0-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")  # the standard's "binary data bytes", and DEL

_ID3 = re.compile(rb"ID3[\x02-\x04][^\xff].[\0-\x7f]{4}", re.DOTALL)
TAGGED = frozenset({"audio/mpeg", "audio/flac", "audio/aac", "audio/wav", "audio/ogg", "audio/aiff", "audio/mp4"})
_KBPS_1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBPS_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MP3_HZ = (44_100, 48_000, 32_000)
_TS_PACKET = 188
_MAX_TENSOR_HEADER = 100_000_000  # the safetensors format's own limit, in bytes


def sniff(head: bytes) -> str | None:
    """The type that the first bytes of a file show, or None; only `HEAD_SIZE` of them are looked at.

    Markup comes first, so that no archive hides a page. Text is UTF-8 without control bytes, and may end in
    the middle of a character.
    """
    head = bytes(head[:HEAD_SIZE])
    return next((found for probe in _PROBES if (found := probe(head))), None)


def _by_markup(head: bytes) -> str | None:
    text = head.removeprefix(_BOM)
    start = _PROLOG.match(text)
    root = start.end() if start else 0
    if _SVG.match(text, root):
        return "image/svg+xml"
    if _PAGE.match(text, root):
        return "text/html"
    if _XML.match(text) or _XML.match(text, root):
        return "application/xml"
    return "text/html" if _TAG.match(text, root) or text.lstrip().startswith(b"<!--") else None


def _by_magic(head: bytes) -> str | None:
    return next((kind for offset, mark, kind in _MAGIC if head.startswith(mark, offset)), None)


def _by_riff(head: bytes) -> str | None:
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "audio/aiff"
    return _RIFF.get(head[8:12]) if head[:4] in (b"RIFF", b"RF64", b"BW64") else None


def _by_brand(head: bytes) -> str | None:
    """ISO base media (ISO/IEC 14496-12): the major brand, else the first compatible one that is known."""
    if head[4:8] in (b"moov", b"mdat", b"wide") and head[:1] < b"\t":  # QuickTime from before brands
        return "video/quicktime"
    if head[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[i : i + 4] for i in range(16, end, 4))]
    known = (_BRANDS[brand[:3]] for brand in brands if brand[:3] in _BRANDS)
    return next(known, "image/heif" if head[8:12] in (b"mif1", b"msf1") else None)


def _by_ebml(head: bytes) -> str | None:
    if head[:4] != b"\x1a\x45\xdf\xa3":
        return None
    doctype = head[4:80].partition(b"\x42\x82")[2][:16]
    if b"webm" in doctype:
        return "video/webm"
    return "video/x-matroska" if b"matroska" in doctype else None


def _by_ogg(head: bytes) -> str | None:
    if head[:5] != b"OggS\0":
        return None
    return "video/ogg" if b"\x80theora" in head or b"\x01video\0" in head else "audio/ogg"


def _by_bitmap(head: bytes) -> str | None:
    if head[:2] == b"BM" and head[6:10] == bytes(4) and head[14:15] in b"\x0c\x28\x34\x38\x40\x6c\x7c":
        return "image/bmp" if head[15:18] == bytes(3) else None
    # ICONDIR: at least one image, and its entry has a zero at byte 9 of the file.
    is_icon = head[:4] == b"\0\0\x01\0" and head[4:6] > b"\0\0" and head[9:10] == b"\0"
    return "image/x-icon" if is_icon else None


def _by_tensors(head: bytes) -> str | None:
    if head[:4] == b"GGUF":
        version = min(int.from_bytes(head[4:8], "little"), int.from_bytes(head[4:8], "big"))
        return "application/x-gguf" if 0 < version < 256 else None
    size = int.from_bytes(head[:8], "little")
    is_header = head[8:10] == b'{"' and 2 <= size <= _MAX_TENSOR_HEADER
    return "application/x-safetensors" if is_header else None


def is_tagged(head: bytes) -> bool:
    """Whether an ID3 tag hides what kind of sound this is: it has no end in the head, or what is behind it has no mark.
    It is then as good as any of `TAGGED`, and MP3 if nothing else tells."""
    return _ID3.match(head) is not None and _behind_tags(bytes(head[:HEAD_SIZE])) is None


def _by_tag(head: bytes) -> str | None:
    """ID3 tags (their version 2.4, section 3.1), which MP3 began and others took over."""
    return (_behind_tags(head) or "audio/mpeg") if _ID3.match(head) else None


def _behind_tags(head: bytes) -> str | None:
    """The kind of sound behind the tags, None when it cannot be told."""
    while _ID3.match(head):
        # Seven bits a byte; a footer is as long as the header.
        size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        head = head[10 + size + (10 if head[5] & 0x10 else 0) :]
    found = (probe(head) for probe in (_by_magic, _by_riff, _by_brand, _by_ogg, _by_frames))
    return next((kind for kind in found if kind in TAGGED), None)


def _by_frames(head: bytes) -> str | None:
    """MP3 and AAC: a sound header, and a second one after its frame if the head reaches that far."""
    for kind, length in (("audio/mpeg", _mp3_frame(head)), ("audio/aac", _adts_frame(head))):
        if length and (length + 2 > len(head) or _same_sync(head, length)):
            return kind
    return None


def _same_sync(head: bytes, at: int) -> bool:
    # Bit 0 says whether a checksum follows; it may change.
    return head[at] == 0xFF and head[at + 1] | 1 == head[1] | 1


def _mp3_frame(head: bytes) -> int:
    """The length in bytes of an MPEG layer III frame (ISO/IEC 11172-3 section 2.4), 0 for anything else."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, rate, kbps = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or rate == 3 or kbps in (0, 15):
        return 0
    bits = (_KBPS_1 if version == 3 else _KBPS_2)[kbps - 1] * 1000 * (144 if version == 3 else 72)
    hertz = _MP3_HZ[rate] >> {3: 0, 2: 1, 0: 2}[version]
    return bits // hertz + (head[2] >> 1 & 1)


def _adts_frame(head: bytes) -> int:
    """The length in bytes of an AAC frame in ADTS (ISO/IEC 13818-7 section 6.2), 0 for anything else."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length if length >= 7 else 0


def _by_text(head: bytes) -> str | None:
    if not head or _NOT_TEXT.search(head):
        return None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return None
    return "text/plain"


def _by_packets(head: bytes) -> str | None:
    """MPEG transport streams have but one letter as their mark, so four packets must begin with it."""
    marks = head[: 4 * _TS_PACKET : _TS_PACKET]
    return "video/mp2t" if marks == b"GGGG" else None


_PROBES: tuple[Callable[[bytes], str | None], ...] = (
    _by_markup,
    _by_magic,
    _by_riff,
    _by_brand,
    _by_ebml,
    _by_ogg,
    _by_bitmap,
    _by_tensors,
    _by_tag,
    _by_frames,
    _by_text,
    _by_packets,
)
# Every answer that `sniff` can give.
RECOGNISED = frozenset((kind for _, _, kind in _MAGIC)) | frozenset((*_RIFF.values(), *_BRANDS.values())) | {
    "text/html", "image/svg+xml", "application/xml", "text/plain", "audio/aiff", "image/heif", "video/webm",
    "video/x-matroska", "audio/ogg", "video/ogg", "image/bmp", "image/x-icon", "application/x-gguf",
    "application/x-safetensors", "audio/mpeg", "audio/aac", "video/mp2t",
}  # fmt: skip
