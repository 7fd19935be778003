"""Archives of strangers: docs/threats.md G01 (names and kinds), G02 (bombs), G04 (encodings)."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from entrepot.archive.entries import RATIO_FLOOR
from entrepot.toolkit.archive import Limits, extract
from entrepot.toolkit.errors import ArchiveEncrypted, ArchiveError, ArchiveRefused, ArchiveTooLarge
from support.archives import HOSTILE_NAMES, overlapping, tarred, with_entry, zipped


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def place(tmp_path):
    """A folder for what comes out, in one that must stay as it is."""
    (tmp_path / "out").mkdir()
    (tmp_path / "neighbour").write_bytes(b"mine")
    yield tmp_path / "out"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["neighbour", "out"]
    assert (tmp_path / "neighbour").read_bytes() == b"mine"


def refused(archive, place, error=ArchiveRefused, **options) -> str:
    """What is said; nothing may be left."""
    with pytest.raises(error) as caught:
        extract(archive, place, **options)
    assert list(place.iterdir()) == []
    assert caught.value.fix
    return str(caught.value)


TREE = (("top.txt", b"top"), ("a/b/c.bin", bytes(range(256)) * 5000), ("a/empty", b""), ("./dotted/x", b"x"))
WHOLE = {"top.txt": b"top", "a/b/c.bin": bytes(range(256)) * 5000, "a/empty": b"", "dotted/x": b"x"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_zip_comes_out_as_it_went_in(place, method):
    told = extract(zipped(*TREE, method=method), place)
    assert content(place) == WHOLE
    assert told.size == sum(map(len, WHOLE.values()))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("style", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_a_tar_comes_out_as_it_went_in(place, mode, style):
    extract(tarred(*TREE, mode=mode, format=style), place)
    assert content(place) == WHOLE


def test_a_path_is_taken_as_well_as_an_open_file(place, tmp_path):
    archive = place / "a.zip"
    archive.write_bytes(zipped(*TREE).getvalue())
    (place / "in").mkdir()
    extract(str(archive), str(place / "in"))
    assert content(place / "in") == WHOLE


def test_folders_are_made_even_when_they_are_empty(place):
    extract(zipped(("a/", b""), ("a/b/", b"")), place)
    assert (place / "a" / "b").is_dir()


@pytest.mark.parametrize("style", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_of_tar_are_read(place, style):
    name = "/".join(["n" * 100] * 5)
    extract(tarred((name, b"x"), format=style), place)
    assert content(place) == {name: b"x"}


def test_a_large_zip64_archive_is_read(place):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, archive.open("big", "w", force_zip64=True) as entry:
        entry.write(b"x" * 1000)
    extract(file, place)
    assert content(place) == {"big": b"x" * 1000}


def test_a_small_archive_with_the_records_of_a_large_one_is_read(place):
    """Streamed archives have them, and fill in the old record too."""
    data = zipped(("a", b"b")).getvalue()
    rest, end = data[:-22], data[-22:]
    length, offset = struct.unpack("<2L", end[12:20])
    large = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, length, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(rest), 1)
    for before in (b"", b"#!/bin/sh\n"):
        assert extract(io.BytesIO(before + rest + large + locator + end), place).entries == 1
        (place / "a").unlink()
    refused(io.BytesIO(rest + bytes(56) + locator + end), place, ArchiveError)


def test_what_came_out_is_counted(place):
    told = extract(zipped(("a/b/c", b"12"), ("a/d", b"345"), ("e/", b"")), place)
    assert (told.entries, told.size) == (5, 5)


def test_a_zip_with_something_before_it_is_read(place):
    extract(io.BytesIO(b"#!/bin/sh\nexit\n" + zipped(("a", b"b")).getvalue()), place)
    assert content(place) == {"a": b"b"}


def test_an_empty_zip_has_nothing_in_it(place):
    assert extract(zipped(), place).entries == 0


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
@pytest.mark.parametrize("pack", [zipped, tarred], ids=["zip", "tar"])
def test_g01_a_name_that_leads_elsewhere_is_refused(place, pack, name):
    refused(pack(("fine", b"fine"), (name, b"evil")), place)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_g01_a_link_or_device_in_a_zip_is_refused(place, kind):
    refused(zipped(("fine", b"fine"), ("l", b"/etc"), mode=kind | 0o777), place)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"S", b"V", b"M"]
)
def test_g01_a_link_or_device_in_a_tar_is_refused(place, kind):
    refused(tarred(("fine", b""), ("l", b""), type=kind, linkname="/etc"), place)


def test_g01_a_link_and_then_a_file_through_it_is_refused(place, tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        link = tarfile.TarInfo("l")
        link.type, link.linkname = tarfile.SYMTYPE, ".."
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("l/evil"))
    refused(file, place)


def test_g01_a_link_that_was_in_the_folder_before_is_not_gone_through(place, tmp_path):
    (place / "a").symlink_to(tmp_path)
    with pytest.raises(ArchiveRefused):
        extract(zipped(("a/evil", b"evil")), place)
    assert [p.name for p in place.iterdir()] == ["a"]


def test_g01_a_file_that_was_in_the_folder_before_is_not_written_to(place):
    (place / "a").write_bytes(b"mine")
    with pytest.raises(ArchiveRefused, match="replace"):
        extract(zipped(("b", b""), ("a", b"evil")), place)
    assert content(place) == {"a": b"mine"}


@pytest.mark.parametrize("bits", [stat.S_ISUID, stat.S_ISGID])
def test_g01_setuid_is_refused(place, bits):
    assert "setuid" in refused(zipped(("x", b"x"), mode=stat.S_IFREG | 0o755 | bits), place)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("x")
        info.mode = 0o755 | bits
        archive.addfile(info)
    assert "setuid" in refused(file, place)


@pytest.mark.parametrize(
    "names",
    [("a", "a"), ("a", "A"), ("a/x", "A/y"), ("caf\u00e9", "cafe\u0301"), ("a", "a/b"), ("a/b", "a")],
    ids=ascii,
)
@pytest.mark.parametrize("pack", [zipped, tarred], ids=["zip", "tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_g01_one_name_for_two_things_is_refused(place, pack, names):
    refused(pack(*((name, b"x") for name in names)), place)


def test_g01_a_name_with_a_nul_is_refused(place):
    data = zipped(("fine.txt", b"x")).getvalue().replace(b"fine.txt", b"fine\0.sh")
    refused(io.BytesIO(data), place)


def test_g02_an_entry_that_holds_more_than_it_declares_is_refused(place):
    data = zipped(("x", bytes(5_000_000))).getvalue()
    refused(io.BytesIO(with_entry(data, 24, "<I", 10)), place, ArchiveError)


@pytest.mark.parametrize("at", [16, 24], ids=["checksum", "size"])
def test_g02_an_entry_that_is_not_what_it_declares_is_refused(place, at):
    data = zipped(("x", b"hello, hello, hello")).getvalue()
    refused(io.BytesIO(with_entry(data, at, "<I", 1000)), place, ArchiveError)


@pytest.mark.parametrize("start", [1 << 40, (1 << 63) - 1, (1 << 64) - 2])
def test_g02_an_entry_that_is_said_to_lie_behind_the_end_of_everything_is_refused(place, start):
    data = with_entry(with_entry(zipped(("x", b"hello")).getvalue(), 30, "<H", 12), 42, "<I", 0xFFFFFFFF)
    at = data.index(b"PK\5\6")
    far = data[:at] + struct.pack("<2HQ", 1, 8, start) + data[at:]
    size = struct.unpack_from("<I", far, at + 24)[0] + 12
    refused(io.BytesIO(far[: at + 24] + struct.pack("<I", size) + far[at + 28 :]), place, ArchiveError)


@pytest.mark.parametrize("quoted", [False, True], ids=["all in one", "quoted"])
def test_g02_entries_that_share_bytes_are_refused_before_anything_is_unpacked(place, quoted):
    assert "overlap" in refused(io.BytesIO(overlapping(100, quoted=quoted)), place, ArchiveError)


def test_g02_a_directory_that_says_other_names_than_the_entries_is_refused(place):
    data = zipped(("good.txt", b"x")).getvalue()
    refused(io.BytesIO(data.replace(b"good.txt", b"evil.txt", 1)), place, ArchiveError)


def test_g02_zeros_without_end_stop_at_the_ratio(place):
    """A ratio of 10^5: 512 MiB of zeros in a few kilobytes, of which no more than the floor comes out."""
    info = tarfile.TarInfo("zeros")
    info.size = 512 * 1024 * 1024
    data = bz2.compress(info.tobuf()) + bz2.compress(bytes(64 * 1024 * 1024)) * 8
    assert info.size / len(data) > 1e5
    seen = []

    class Watched(io.BytesIO):
        def read(self, *args):
            seen.append(sum(p.stat().st_size for p in place.iterdir()))
            return super().read(*args)

    assert "ratio" in refused(Watched(data), place, ArchiveTooLarge)
    assert max(seen) <= RATIO_FLOOR


def test_g02_the_size_limit_counts_real_bytes(place):
    limits = Limits(size=1000)
    extract(zipped(("a", bytes(500)), ("b", bytes(500))), place, limits)
    for path in place.iterdir():
        path.unlink()
    for pack in (zipped, tarred):
        assert "size" in refused(pack(("a", bytes(500)), ("b", bytes(501))), place, ArchiveTooLarge, limits=limits)


def test_g02_a_million_empty_files_stop_at_the_count(place):
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFE, 0xFFFE, 0, 0, 0)
    assert "entries" in refused(io.BytesIO(end), place, ArchiveTooLarge)  # told honestly: not even read
    block = tarfile.TarInfo("folder/").tobuf()
    many = io.BytesIO(gzip.compress(block * 60_000, 1))
    assert "entries" in refused(many, place, ArchiveTooLarge, limits=Limits(entries=1000))


def test_g02_a_directory_that_lies_about_its_count_stops_at_the_count(place):
    data = bytearray(zipped(*((f"{n}", b"") for n in range(2000))).getvalue())
    data[-14:-10] = struct.pack("<2H", 1, 1)
    assert "entries" in refused(io.BytesIO(bytes(data)), place, ArchiveTooLarge, limits=Limits(entries=1000))


@pytest.mark.parametrize("pack", [zipped, tarred], ids=["zip", "tar"])
def test_g02_a_path_a_hundred_deep_is_refused(place, pack):
    assert "depth" in refused(pack(("/".join("d" * 100), b"x")), place, ArchiveTooLarge)


def test_g02_archives_in_archives_stay_packed(place):
    inner = zipped(("x", bytes(100_000))).getvalue()
    for _ in range(100):
        inner = zipped(("inner.zip", inner)).getvalue()
    extract(io.BytesIO(inner), place)
    assert [p.name for p in place.rglob("*")] == ["inner.zip"]


def test_g02_unpacking_stops_when_its_time_is_over(place):
    ticks = iter(range(1000))
    archive = zipped(*((f"{n}", b"x") for n in range(500)))
    assert "seconds" in refused(archive, place, ArchiveTooLarge, limits=Limits(seconds=100), clock=lambda: next(ticks))


def test_g02_a_name_that_declares_gigabytes_is_not_read_into_memory(place):
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
        info = tarfile.TarInfo("././@LongLink")
        info.type, info.size = kind, 8 * 1024**3
        block = info.tobuf(tarfile.GNU_FORMAT)
        refused(io.BytesIO(gzip.compress(block + bytes(1 << 20))), place, ArchiveError)


@pytest.mark.parametrize("module", [gzip, bz2, lzma], ids=["gzip", "bzip2", "xz"])
def test_g02_streams_of_nothing_do_not_stop_the_clock(place, module):
    """A million empty streams give nothing that could be counted."""
    ticks = iter(range(100_000))
    packed = io.BytesIO(module.compress(b"x") + module.compress(b"") * 50_000)
    limits = Limits(seconds=10)
    assert "seconds" in refused(packed, place, ArchiveTooLarge, limits=limits, clock=lambda: next(ticks))


def test_g02_names_that_fill_the_memory_are_refused(place, monkeypatch):
    monkeypatch.setattr("entrepot.archive.entries._MAX_NAMES", 50_000)
    for pack in (zipped, tarred):
        refused(pack(*((f"{n:0250}", b"") for n in range(300))), place, ArchiveTooLarge)
    refused(zipped(("/".join(["n" * 200] * 6), b"")), place, ArchiveError)


def test_g02_headers_about_headers_end(place):
    info = tarfile.TarInfo("n")
    info.type = tarfile.XHDTYPE
    refused(io.BytesIO(info.tobuf() * 1000), place, ArchiveError)


def test_g02_an_xz_file_that_needs_gigabytes_to_unpack_is_refused(place):
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 512 << 20, "preset": 0}]
    packed = lzma.compress(tarred(("x", b"x")).getvalue(), filters=filters)
    refused(io.BytesIO(packed), place, ArchiveError)


@pytest.mark.parametrize("pack", [zipped, tarred], ids=["zip", "tar"])
def test_an_archive_that_was_cut_anywhere_is_an_error_or_a_whole_beginning(place, pack):
    data = pack(("a", os.urandom(600)), ("b", os.urandom(300))).getvalue()
    for end in range(0, len(data), 7):
        try:
            extract(io.BytesIO(data[:end]), place)
        except ArchiveError:
            assert list(place.iterdir()) == []
        for path in place.iterdir():
            assert path.stat().st_size in (600, 300)  # tar has no other end than that of its bytes
            path.unlink()


def test_an_archive_with_any_byte_changed_never_crashes(place):
    data = zipped(("a", b"abc" * 50), ("b/c", b"")).getvalue()
    for at in range(len(data)):
        try:
            extract(io.BytesIO(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]), place)
        except ArchiveError:
            assert list(place.iterdir()) == []
        for path in sorted(place.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


def test_a_tar_with_any_byte_of_its_headers_changed_never_crashes(place):
    data = tarred(("a" * 120, b"abc"), ("b/\u00e9", b"")).getvalue()
    for at in range(0, len(data), 3):
        try:
            extract(io.BytesIO(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]), place)
        except ArchiveError:
            assert list(place.iterdir()) == []
        for path in sorted(place.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize("flag", [0x0001, 0x0041, 0x2001])
def test_an_encrypted_archive_is_named_so(place, flag):
    data = zipped(("x", b"x")).getvalue()
    assert "password" in refused(io.BytesIO(with_entry(data, 8, "<H", flag)), place, ArchiveEncrypted)


def test_a_method_that_is_not_known_is_named(place):
    data = zipped(("x", b"x")).getvalue()
    assert "95" in refused(io.BytesIO(with_entry(data, 10, "<H", 95)), place, ArchiveError)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"7z\xbc\xaf\x27\x1c" + bytes(100), gzip.compress(b"no tar"), bytes(600)],
    ids=["empty", "text", "7z", "gzip", "zeros"],
)
def test_what_is_no_archive_is_an_error(place, data):
    refused(io.BytesIO(data), place, ArchiveError)


def renamed(archive: io.BytesIO, old: bytes, new: bytes, flags: int = 0) -> io.BytesIO:
    """The same with a name of other bytes, marked or not as UTF-8 (0x0800)."""
    assert len(old) == len(new)
    data = archive.getvalue().replace(old, new)
    data = with_entry(data, 8, "<H", flags)
    return io.BytesIO(data)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [("résumé", "cp437"), ("日本語.txt", "shift_jis"), ("表.txt", "shift_jis"), ("图片.png", "gbk"), ("файл", "cp866")],
)
@pytest.mark.parametrize("pack", [zipped, tarred], ids=["zip", "tar"])
def test_g04_names_in_an_old_encoding_are_read_when_it_is_named(place, pack, name, encoding):
    raw = name.encode(encoding)
    plain = ("n" * len(raw)).encode()
    archive = pack((plain.decode(), b"x"))
    if pack is zipped:
        archive = renamed(archive, plain, raw)
    else:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT, encoding=encoding) as tar:
            tar.addfile(tarfile.TarInfo(name))
        archive = file
    extract(archive, place, encoding=encoding)
    assert [p.name for p in place.iterdir()] == [name]


@pytest.mark.parametrize("encoding", ["shift_jis", "gbk", "cp437", "latin-1", "utf-16-le"])
def test_g04_without_its_name_no_encoding_crashes(place, encoding):
    raw = "日本é".encode(encoding, "ignore")
    plain = b"n" * len(raw)
    archive = renamed(zipped((plain.decode(), b"x")), plain, raw)
    try:
        extract(archive, place)
    except ArchiveRefused as error:
        assert "encoding=" in error.fix
    else:
        assert len(list(place.iterdir())) == 1


def test_g04_a_flag_that_lies_is_passed_over(place):
    extract(renamed(zipped(("nn", b"x")), b"nn", b"\x82\xa0", 0x0800), place, encoding="shift_jis")
    assert [p.name for p in place.iterdir()] == ["あ"]


def test_g04_utf_8_without_a_flag_is_read(place):
    extract(renamed(zipped(("nnnnn", b"x")), b"nnnnn", "né.t".encode()), place)
    assert [p.name for p in place.iterdir()] == ["né.t"]


@pytest.mark.parametrize(("honest", "name"), [(True, "日本.txt"), (False, "nn")])
def test_g04_the_unicode_name_of_info_zip_wins_when_it_belongs_to_the_name(place, honest, name):
    field = b"\1" + struct.pack("<L", zlib.crc32(b"nn") ^ (not honest)) + "日本.txt".encode()
    info = zipfile.ZipInfo("nn")
    info.extra = struct.pack("<2H", 0x7075, len(field)) + field
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(info, b"x")
    extract(file, place)
    assert [p.name for p in place.iterdir()] == [name]


@pytest.mark.parametrize("encoding", ["no-such", "hex"])
def test_an_unknown_encoding_is_an_error(place, encoding):
    with pytest.raises(ValueError, match=encoding):
        extract(zipped(), place, encoding=encoding)
