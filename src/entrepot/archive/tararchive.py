"""Reads tar files (POSIX.1-2017 pax, GNU and the old ones), plain or in gzip, bzip2 or xz, once and from front to end.

`tarfile` parses the headers; walking, long names and pax records are our own, because it believes what it is told: a
name of 10 GB is read into memory before anybody can say no.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zlib
from collections.abc import Iterator
from typing import IO, Protocol, cast

from entrepot.archive.entries import CHUNK, MAX_NAME_BYTES, Budget, Entry, decoded, refused
from entrepot.archive.errors import ArchiveError
from entrepot.archive.ziparchive import damaged

BLOCK = 512
# Records of one pax header: longer ones are no names.
_MAX_RECORDS = 1024 * 1024
# Headers that only speak of the next one.
_MAX_PREFACES = 8
# A dictionary of xz may be as large as 4 GiB; those of `xz -9` take 65 MiB.
_XZ_MEMORY = 128 * 1024 * 1024
_XZ_CHUNK = 8 * 1024
_KINDS = {
    tarfile.LNKTYPE: "is a hard link",
    tarfile.SYMTYPE: "is a link",
    tarfile.CHRTYPE: "is a device",
    tarfile.BLKTYPE: "is a device",
    tarfile.FIFOTYPE: "is a pipe",
    tarfile.GNUTYPE_SPARSE: "has holes (GNU sparse)",
}
READ = ("application/gzip", "application/x-bzip2", "application/x-xz")
_FAILURES = (zlib.error, lzma.LZMAError, EOFError, OSError)


class Readable(Protocol):
    """What bytes are read from; `read` may give less than was asked for."""

    def read(self, size: int, /) -> bytes: ...


def opened(file: IO[bytes], kind: str | None, budget: Budget) -> Readable:
    """What a file unpacks to, by its sniffed type; itself when it is not compressed."""
    file = cast(IO[bytes], _Ticking(file, budget))
    if kind == "application/gzip":
        return gzip.GzipFile(fileobj=file)
    if kind == "application/x-bzip2":
        return bz2.BZ2File(file)
    if kind == "application/x-xz":
        return cast(Readable, io.BufferedReader(_Xz(file)))
    return file


def is_packed_tar(file: IO[bytes], kind: str, budget: Budget) -> bool:
    """Whether what is compressed begins as a tar file, or cannot be told. Begins at the file's start, and leaves it
    there."""
    if kind not in READ:
        return False
    file.seek(0)
    try:
        block = _Source(opened(file, kind, budget), budget).take(BLOCK)
        budget.size -= len(block)  # it comes again
    except ArchiveError:
        return True  # the error comes again, from whoever reads it
    finally:
        file.seek(0)
    return bool(block) and (not any(block) or is_header(block))


class _Ticking:
    """A file whose reader looks at the clock: a million empty streams in a row give nothing to count."""

    def __init__(self, file: IO[bytes], budget: Budget) -> None:
        self._file = file
        self._tick = budget.tick
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        self._tick()
        return self._file.read(size)


def is_header(block: bytes) -> bool:
    """Whether a tar file may begin so."""
    try:
        return bool(tarfile.TarInfo.frombuf(block, "latin-1", "strict"))
    except tarfile.HeaderError:
        return False


def read(file: Readable, encoding: str | None, budget: Budget) -> Iterator[Entry]:
    """Every entry. Raises ArchiveError and its kin."""
    source = _Source(file, budget)
    while (found := _header(source, encoding)) is not None:
        info, name = found
        body = source.body(info.size)
        yield Entry(name, info.isdir(), body if info.isreg() else iter(()))
        for _ in body:  # what nobody wanted
            pass


class _Source:
    """Counts what comes out."""

    def __init__(self, file: Readable, budget: Budget) -> None:
        self._file = file
        self._budget = budget

    def take(self, size: int) -> bytes:
        """`size` bytes, or what is left at the end."""
        data = b""
        try:
            while len(data) < size and (more := self._file.read(size - len(data))):
                data += more
        except _FAILURES as error:
            raise damaged("it cannot be unpacked") from error
        self._budget.unpacked(len(data))
        return data

    def body(self, size: int) -> Iterator[bytes]:
        """The bytes of an entry; the padding behind them is read too."""
        left = size
        while left:
            chunk = self.take(min(CHUNK, left))
            if not chunk:
                raise damaged("it ends too early")
            left -= len(chunk)
            yield chunk
        self.take(-size % BLOCK)

    def whole(self, size: int, most: int) -> bytes:
        if size > most:
            raise damaged(f"a name or a header is longer than {most} bytes")
        return b"".join(self.body(size))


def _header(source: _Source, encoding: str | None) -> tuple[tarfile.TarInfo, str] | None:
    """The next file or folder, with what the headers before it say of it; None at the end."""
    long_name: bytes | None = None
    pax: dict[bytes, bytes] = {}
    for _ in range(_MAX_PREFACES):
        info = _block(source)
        if info is None:
            return None
        if info.size < 0:
            raise damaged("an entry has a negative size")
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            text = source.whole(info.size, MAX_NAME_BYTES).partition(b"\0")[0]
            long_name = text if info.type == tarfile.GNUTYPE_LONGNAME else long_name
        elif info.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE):
            records = _records(source.whole(info.size, _MAX_RECORDS))
            pax |= records if info.type != tarfile.XGLTYPE else {}
        else:
            return _judged(info, long_name, pax, encoding)
    raise damaged("headers follow headers")


def _block(source: _Source) -> tarfile.TarInfo | None:
    block = source.take(BLOCK)
    if not block or not any(block):
        return None
    if len(block) < BLOCK:
        raise damaged("it ends too early")
    try:
        return tarfile.TarInfo.frombuf(block, "latin-1", "strict")
    except tarfile.HeaderError as error:
        raise damaged("a header is none") from error


def _judged(
    info: tarfile.TarInfo, long_name: bytes | None, pax: dict[bytes, bytes], encoding: str | None
) -> tuple[tarfile.TarInfo, str]:
    own = info.name.encode("latin-1") if long_name is None else long_name
    name = decoded(pax.get(b"path", own), encoding, is_utf8=b"path" in pax)
    if len(name) > MAX_NAME_BYTES:
        raise refused(name, "has a name that is too long")
    if b"size" in pax:
        if not pax[b"size"].isdigit() or len(pax[b"size"]) > 18:
            raise damaged("a size is no number")
        info.size = int(pax[b"size"])
    if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE):
        if any(key.startswith(b"GNU.sparse") for key in pax):
            raise refused(name, _KINDS[tarfile.GNUTYPE_SPARSE])
        if info.mode & (stat.S_ISUID | stat.S_ISGID):
            raise refused(name, "would run with its owner's rights (setuid)")
    elif info.type != tarfile.DIRTYPE:
        raise refused(name, _KINDS.get(info.type, f"is of kind {info.type!r}"))
    if info.isdir():
        info.size = 0  # of folders a size says nothing, and no bytes follow (POSIX pax, typeflag 5)
    elif name.endswith("/"):
        info.type = tarfile.DIRTYPE
    return info, name


def _records(data: bytes) -> dict[bytes, bytes]:
    """The records of a pax header: length, blank, key=value, newline."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(data) and data[at] != 0:
        blank = data.find(b" ", at, at + 20)
        size = int(data[at:blank]) if blank > at and data[at:blank].isdigit() else 0
        record = data[blank + 1 : at + size]
        if not record.endswith(b"\n") or b"=" not in record:
            raise damaged("a pax header is none")
        key, _, value = record[:-1].partition(b"=")
        found[key] = value
        at += size
    return found


class _Xz(io.RawIOBase):
    """What an xz file unpacks to, with a bound on the memory that takes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while True:
            if self._unpacker.eof:  # another stream may follow, and padding before it
                more = (self._unpacker.unused_data or self._file.read(_XZ_CHUNK)).lstrip(b"\0")
                if not more:
                    return 0
                self._unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
            else:
                more = self._file.read(_XZ_CHUNK) if self._unpacker.needs_input else b""
                if not more and self._unpacker.needs_input:
                    raise EOFError("the file ends before the stream")
            data = self._unpacker.decompress(more, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
