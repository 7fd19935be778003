"""Archives as strangers make them."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from typing import Any

HOSTILE_NAMES = [
    "../x",
    "/x",
    "C:x",
    "a/C:/x",
    "a\\..\\..\\b",
    "a/../../b",
    "a\\b",
    "a\nb",
    "a\x1b[2Jb",
    "n" * 256,
    "..",
]


def zipped(*entries: tuple[str, bytes], **options) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", options.get("method", zipfile.ZIP_DEFLATED)) as archive:
        for name, data in entries:
            info = zipfile.ZipInfo("x")
            info.filename = name  # ZipInfo would mend some of them
            info.compress_type = archive.compression
            info.external_attr = options.get("mode", 0o100644) << 16
            archive.writestr(info, data)
    return file


def tarred(*entries: tuple[str, bytes], mode: Any = "w", **facts) -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=facts.pop("format", tarfile.PAX_FORMAT)) as archive:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in facts.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return file


def with_entry(data: bytes, at: int, layout: str, value: int) -> bytes:
    """The archive with a field of its only directory entry changed."""
    begin = data.index(b"PK\1\2") + at
    return data[:begin] + struct.pack(layout, value) + data[begin + struct.calcsize(layout) :]


def overlapping(count: int, *, quoted: bool) -> bytes:
    """Directory entries that all unpack one kernel; quoted: each local header lies in the body of the one before."""
    kernel = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = kernel.compress(bytes(1_000_000)) + kernel.flush()
    crc = zlib.crc32(bytes(1_000_000))
    out, places = b"", []
    for n in range(count if quoted else 1):
        places.append(len(out))
        name = b"%04d" % n
        out += struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 0, crc, len(body), 1_000_000, 4, 0) + name
    out += body
    directory = b""
    for n in range(count):
        start = places[n if quoted else 0]
        packed = len(out) - (start + 34) if quoted else len(body)
        name = b"%04d" % n
        fields = (b"PK\1\2", 20, 20, 0, 8, 0, 0, crc, packed, 1_000_000, 4, 0, 0, 0, 0, 0, start)
        directory += struct.pack("<4s6H3L5H2L", *fields) + name
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), len(out), 0)
    return out + directory + end
