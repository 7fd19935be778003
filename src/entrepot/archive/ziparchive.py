"""Reads ZIP files (APPNOTE.TXT 6.3.10), with the eyes of somebody who was sent a bomb.

The whole directory is checked before a byte is unpacked: every entry's own header says the same as the directory, no
two entries share bytes, none reaches into the directory (that is what overlap bombs and 42.zip's kin are made of). Of
the declared sizes only the least is used: what comes out must have them, and is cut off when it is more.
"""

from __future__ import annotations

import bz2
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from entrepot.archive.entries import CHUNK, MAX_NAME_BYTES, Budget, Entry, decoded, refused
from entrepot.archive.errors import ArchiveEncrypted, ArchiveError

_END = struct.Struct("<4s4H2LH")  # end of the directory, 4.3.16
_END_64 = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
_LOCATOR_64 = struct.Struct("<4sLQL")  # 4.3.15
_SLOT = struct.Struct("<4s6H3L5H2L")  # a directory entry, 4.3.12
_LOCAL = struct.Struct("<4s5H3L2H")  # 4.3.7
_EXTRA = struct.Struct("<2H")
_STORED, _DEFLATED, _BZIP2, _AES = 0, 8, 12, 99
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_UTF_8 = 0x0800
_PATH_EXTRA, _ZIP64_EXTRA = 0x7075, 0x0001


@dataclass(frozen=True, slots=True)
class _Slot:
    """An entry of the directory. `start` is where its local header lies; sizes are as declared."""

    raw: bytes
    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    start: int
    mode: int

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/") or stat.S_ISDIR(self.mode)


def find_directory(file: IO[bytes], size: int) -> tuple[int, int, int] | None:
    """Where the directory begins and ends, and how many entries it declares; None when this is no whole ZIP file.

    What precedes the first entry, as in an archive that unpacks itself, is passed over, and so are bytes after the end,
    up to 64 KiB with the comment.
    """
    window = min(size, _END.size + _FULL_16)
    tail = _at(file, size - window, window)
    at = _end_record(tail)
    if at < 0:
        return None
    _, disk, first_disk, _, count, length, offset, _ = _END.unpack_from(tail, at)
    end = size - window + at
    if end >= _LOCATOR_64.size and _at(file, end - _LOCATOR_64.size, 4) == b"PK\6\7":
        end, disk, first_disk, count, length, offset = _large(file, end)
    begin = end - length
    if disk or first_disk:
        raise ArchiveError("The archive is one piece of several.", "Join the pieces first.")
    if begin < 0 or offset > begin:
        raise damaged("its directory is not where it says")
    return begin, end, count


def _end_record(tail: bytes) -> int:
    """Where the end of the directory is told: the last record whose comment ends the file, else the last one at all,
    as most readers take it; -1 when there is none."""
    at, last = len(tail) - _END.size + 1, -1
    while at > 0 and (at := tail.rfind(b"PK\5\6", 0, at + 3)) >= 0:
        if at + _END.size + _END.unpack_from(tail, at)[-1] == len(tail):
            return at
        last = max(last, at)
    return last


def _large(file: IO[bytes], end: int) -> tuple[int, int, int, int, int, int]:
    """The same from the 64 bit record before the end, to which a locator leads: streamed archives have it, however
    small they are."""
    at = end - _LOCATOR_64.size
    told = _LOCATOR_64.unpack(_at(file, at, _LOCATOR_64.size))[2]
    for place in (told, at - _END_64.size):
        record = _at(file, place, _END_64.size) if 0 <= place <= at - _END_64.size else b""
        if record.startswith(b"PK\6\6"):
            _, _, _, _, disk, first_disk, _, count, length, offset = _END_64.unpack(record)
            return place, disk, first_disk, count, length, offset
    raise damaged("the end of its directory is not where it says")


def read(file: IO[bytes], directory: tuple[int, int, int], encoding: str | None, budget: Budget) -> Iterator[Entry]:
    """Every entry, in the order of their bytes. Raises ArchiveError and its kin."""
    begin, end, count = directory
    budget.entry(count=count)  # refused before anything is read, when it is told honestly
    budget.recount()
    slots = sorted(_slots(file, begin, end, encoding, budget), key=lambda slot: slot.start)
    budget.recount()
    shift = begin - _declared_begin(file, end, begin)
    places = _places(file, slots, shift, begin)
    for slot, place in zip(slots, places, strict=True):
        yield Entry(slot.name, slot.is_folder, _chunks(file, slot, place, budget))


def damaged(what: str) -> ArchiveError:
    """The error for an archive that cannot be what was packed."""
    return ArchiveError(f"The archive is damaged or lies: {what}. Nothing was kept.", "Pack or download it again.")


def _declared_begin(file: IO[bytes], end: int, begin: int) -> int:
    mark = _at(file, end, _END.size)
    if mark.startswith(b"PK\6\6"):
        offset: int = _END_64.unpack(_at(file, end, _END_64.size))[9]
        return offset
    offset = _END.unpack(mark)[6]
    return begin if offset == _FULL_32 else offset


def _slots(file: IO[bytes], begin: int, end: int, encoding: str | None, budget: Budget) -> Iterator[_Slot]:
    file.seek(begin)
    at = begin
    while at < end:
        head = _exactly(file, _SLOT.size)
        mark, _, _, flags, method, _, _, crc, packed, size, name, extra, comment, disk, _, attributes, start = (
            _SLOT.unpack(head)
        )
        if mark != b"PK\1\2":
            raise damaged("its directory has something else in it")
        raw, more = _exactly(file, name), _extras(_exactly(file, extra))
        file.seek(comment, 1)
        at += _SLOT.size + name + extra + comment
        if max(name, len(more.get(_PATH_EXTRA, b""))) > MAX_NAME_BYTES or disk not in (0, _FULL_16):
            raise damaged("an entry's name is too long, or its bytes are elsewhere")
        size, packed, start = _widened(size, packed, start, more.get(_ZIP64_EXTRA, b""))
        slot = _Slot(raw, _name(raw, flags, more, encoding), flags, method, crc, packed, size, start, attributes >> 16)
        budget.entry(slot.name)
        _judge(slot)
        yield slot
    if at != end:
        raise damaged("its directory is longer than it says")


def _judge(slot: _Slot) -> None:
    if slot.flags & _ENCRYPTED or slot.method == _AES:
        raise ArchiveEncrypted("The archive is encrypted. Nothing was kept.", "Pack it again without a password.")
    kind = stat.S_IFMT(slot.mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise refused(slot.name, "is a link" if kind == stat.S_IFLNK else "is a device or a pipe")
    if slot.mode & (stat.S_ISUID | stat.S_ISGID) and not slot.is_folder:
        raise refused(slot.name, "would run with its owner's rights (setuid)")
    if slot.method not in (_STORED, _DEFLATED, _BZIP2):
        what = f"The archive is packed by method {slot.method}, which is not known. Nothing was kept."
        raise ArchiveError(what, "Pack it by deflate, the usual method.")


def _name(raw: bytes, flags: int, extras: dict[int, bytes], encoding: str | None) -> str:
    """Info-ZIP's Unicode Path (4.6.9) wins, when it belongs to this name."""
    field = extras.get(_PATH_EXTRA, b"")
    if len(field) > 5 and field[0] == 1 and int.from_bytes(field[1:5], "little") == zlib.crc32(raw):
        try:
            return field[5:].decode()
        except UnicodeDecodeError:
            pass
    return decoded(raw, encoding, is_utf8=bool(flags & _UTF_8))


def _extras(data: bytes) -> dict[int, bytes]:
    """Fields by their number; what does not parse is passed over, as every reader does."""
    found: dict[int, bytes] = {}
    at = 0
    while at + _EXTRA.size <= len(data):
        number, size = _EXTRA.unpack_from(data, at)
        found.setdefault(number, data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def _widened(size: int, packed: int, start: int, extra: bytes) -> tuple[int, int, int]:
    """Sizes and place of a large entry: those that are full are in the field, in this order (4.5.3)."""
    values = []
    for value in (size, packed, start):
        if value == _FULL_32 and len(extra) >= 8:
            value, extra = int.from_bytes(extra[:8], "little"), extra[8:]
        values.append(value)
    return values[0], values[1], values[2]


def _places(file: IO[bytes], slots: list[_Slot], shift: int, begin: int) -> list[int]:
    """Where each entry's bytes begin. Raises ArchiveError when two share any, or one says two things."""
    places = []
    for number, slot in enumerate(slots):
        at = slot.start + shift
        limit = slots[number + 1].start + shift if number + 1 < len(slots) else begin
        head = _at(file, at, _LOCAL.size) if at <= begin else b""
        if len(head) < _LOCAL.size or not head.startswith(b"PK\3\4"):
            raise damaged("an entry is not where the directory says")
        _, _, _, method, _, _, _, _, _, name, extra = _LOCAL.unpack(head)
        place = at + _LOCAL.size + name + extra
        if place + slot.packed > limit:
            raise damaged("entries overlap")
        if method != slot.method or name != len(slot.raw) or file.read(name) != slot.raw:
            raise damaged("an entry is called one thing in the directory and another beside its bytes")
        places.append(place)
    return places


def _chunks(file: IO[bytes], slot: _Slot, place: int, budget: Budget) -> Iterator[bytes]:
    """What comes out of an entry, held against its size and checksum."""
    file.seek(place)
    crc = total = 0
    try:
        for chunk in _unpacked(slot.method, _pieces(file, slot.packed, budget)):
            total += len(chunk)
            budget.unpacked(len(chunk))
            if total > slot.size:
                raise damaged("more comes out of an entry than it declares")
            crc = zlib.crc32(chunk, crc)
            yield chunk
    except (zlib.error, OSError, EOFError) as error:
        raise damaged("an entry cannot be unpacked") from error
    if total != slot.size or crc != slot.crc:
        raise damaged("an entry is not what its size or checksum says")


def _pieces(file: IO[bytes], size: int, budget: Budget) -> Iterator[bytes]:
    while size > 0:
        budget.tick()
        piece = _exactly(file, min(CHUNK, size))
        size -= len(piece)
        yield piece


def _unpacked(method: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """At most `CHUNK` bytes at a time, whatever the ratio."""
    if method == _STORED:
        yield from pieces
        return
    packer = zlib.decompressobj(-zlib.MAX_WBITS) if method == _DEFLATED else bz2.BZ2Decompressor()
    for piece in pieces:
        if packer.eof:
            raise damaged("an entry has bytes after its end")
        chunk = packer.decompress(piece, CHUNK)
        while chunk:
            yield chunk
            chunk = packer.decompress(getattr(packer, "unconsumed_tail", b""), CHUNK) if not packer.eof else b""
        if packer.unused_data:
            raise damaged("an entry has bytes after its end")
    if not packer.eof:
        raise damaged("an entry ends too early")


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise damaged("it ends too early")
    return data


def _at(file: IO[bytes], place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)
