"""What a file is, and what a browser may show of it (docs/threats.md C01, C02, C03)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain import media, mediatypes, sniffing
from entrepot.domain.media import Verdict, extension_for, is_valid_type, judge, sniff, type_for_name


def ftyp(*brands: bytes) -> bytes:
    """An ISO base media head: the major brand first, then the compatible ones."""
    major, *compatible = brands
    body = b"ftyp" + major + bytes(4) + b"".join(compatible)
    return (len(body) + 4).to_bytes(4, "big") + body + bytes(64)


def ebml(doctype: bytes) -> bytes:
    return b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82" + bytes([0x80 | len(doctype)]) + doctype + bytes(40)


def ogg(packet: bytes) -> bytes:
    return b"OggS\0\x02" + bytes(20) + b"\x01" + bytes([len(packet)]) + packet + bytes(20)


def frames(header: bytes, length: int) -> bytes:
    return (header + bytes(length - len(header))) * 3


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(20)
JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(20)
GIF = b"GIF89a\x01\0\x01\0" + bytes(20)
WEBP = b"RIFF\x20\0\0\0WEBPVP8 " + bytes(20)
AVIF = ftyp(b"avif", b"mif1", b"miaf")
BMP = b"BM\x46\0\0\0" + bytes(4) + b"\x36\0\0\0\x28\0\0\0" + bytes(40)
WAV = b"RIFF\x24\0\0\0WAVEfmt " + bytes(20)
MP3 = frames(b"\xff\xfb\x90\x00", 417)  # MPEG 1, 128 kbit/s, 44.1 kHz
AAC = frames(b"\xff\xf1\x50\x80\x19\x1f\xfc", 200)
FLAC = b"fLaC\0\0\0\x22" + bytes(40)
OPUS = ogg(b"OpusHead\x01\x02")
THEORA = ogg(b"\x80theora\x03\x02")
MP4 = ftyp(b"isom", b"isom", b"iso2", b"avc1", b"mp41")
M4A = ftyp(b"M4A ", b"mp42", b"isom")
MOV = ftyp(b"qt  ", b"qt  ")
WEBM = ebml(b"webm")
MKV = ebml(b"matroska")
ZIP = b"PK\x03\x04\x14\0" + bytes(30)
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj << /S /JavaScript /JS (app.alert(1)) >>"
HTML = b"<!doctype html><script>alert(1)</script>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
XML = b'<?xml version="1.0"?><?xml-stylesheet href="x.xsl"?><a/>'
TEXT = b"a plain text, caf\xc3\xa9\n"

SHOWN = {
    "image/png": PNG,
    "image/jpeg": JPEG,
    "image/gif": GIF,
    "image/webp": WEBP,
    "image/avif": AVIF,
    "image/bmp": BMP,
    "audio/mpeg": MP3,
    "audio/wav": WAV,
    "audio/ogg": OPUS,
    "audio/flac": FLAC,
    "audio/mp4": M4A,
    "audio/aac": AAC,
    "audio/webm": WEBM,
    "video/mp4": MP4,
    "video/webm": WEBM,
    "video/ogg": THEORA,
    "video/quicktime": MOV,
    "text/plain": TEXT,
}

BYTES = [
    *((kind, head) for kind, head in SHOWN.items() if kind != "audio/webm"),
    ("image/gif", b"GIF87a" + bytes(8)),
    ("image/avif", ftyp(b"mif1", b"mif1", b"miaf", b"MA1B", b"avif")),
    ("image/avif", ftyp(b"avis", b"avis", b"msf1")),
    ("image/heic", ftyp(b"heic", b"mif1", b"heic")),
    ("image/heic", ftyp(b"mif1", b"heix")),
    ("image/heif", ftyp(b"mif1", b"mif1")),
    ("image/jxl", b"\xff\x0a\xfa\x1f" + bytes(8)),
    ("image/jxl", b"\0\0\0\x0cJXL \r\n\x87\n" + ftyp(b"jxl ")),
    ("image/tiff", b"II*\0\x08\0\0\0"),
    ("image/tiff", b"MM\0*\0\0\0\x08"),
    ("image/x-icon", b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0"),
    ("image/x-exr", b"v/1\x01\x02\0\0\0"),
    ("image/vnd.radiance", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n"),
    ("image/vnd.adobe.photoshop", b"8BPS\0\x01" + bytes(20)),
    ("image/x-canon-cr3", ftyp(b"crx ", b"crx ", b"isom")),
    ("audio/wav", b"RF64\xff\xff\xff\xffWAVEds64"),
    ("audio/aiff", b"FORM\0\0\0\x2eAIFFCOMM"),
    ("audio/aiff", b"FORM\0\0\0\x2eAIFCFVER"),
    ("audio/mpeg", b"ID3\x04\0\0\0\0\x01\x76TIT2" + bytes(20)),
    ("audio/mpeg", frames(b"\xff\xf3\x80\xc4", 208)),  # MPEG 2, 64 kbit/s, 22.05 kHz
    ("audio/mpeg", MP3[:100]),
    ("audio/ogg", ogg(b"\x01vorbis\0\0\0\0\x02")),
    ("audio/midi", b"MThd\0\0\0\x06\0\x01"),
    ("video/mp4", ftyp(b"XAVC", b"XAVC", b"mp42")),
    ("video/mp4", ftyp(b"M4V ", b"M4A ", b"mp42")),
    ("video/3gpp", ftyp(b"3gp5", b"isom")),
    ("video/quicktime", b"\0\0\x10\0moov" + bytes(20)),
    ("video/quicktime", b"\0\0\0\x08wide\0\1\0\0mdat"),
    ("video/x-matroska", MKV),
    ("video/x-msvideo", b"RIFF\x24\0\0\0AVI LIST"),
    ("video/x-flv", b"FLV\x01\x05\0\0\0\x09"),
    ("video/mp2t", (b"G\x40\x11\x10" + bytes(184)) * 4),
    ("application/pdf", PDF),
    ("application/zip", ZIP),
    ("application/zip", b"PK\x05\x06" + bytes(18)),
    ("application/gzip", b"\x1f\x8b\x08\0\0\0\0\0"),
    ("application/zstd", b"\x28\xb5\x2f\xfd\x04\0"),
    ("application/x-xz", b"\xfd7zXZ\0\0\x04"),
    ("application/x-bzip2", b"BZh91AY&SY\0\0"),
    ("application/x-7z-compressed", b"7z\xbc\xaf\x27\x1c\0\x04"),
    ("application/vnd.rar", b"Rar!\x1a\x07\x01\0"),
    ("application/x-tar", b"name".ljust(257, b"\0") + b"ustar\x0000" + bytes(200)),
    ("application/x-tar", b"name".ljust(257, b"\0") + b"ustar  \0" + bytes(200)),
    ("model/gltf-binary", b"glTF\x02\0\0\0\x10\0\0\0"),
    ("application/wasm", b"\0asm\x01\0\0\0"),
    ("application/vnd.apache.parquet", b"PAR1\x15\x04\x15\x0c"),
    ("application/x-npy", b"\x93NUMPY\x01\0v\0{'descr': '<f4'}"),
    ("application/x-gguf", b"GGUF\x03\0\0\0" + bytes(16)),
    ("application/x-safetensors", b"\x40\0\0\0\0\0\0\0" + b'{"__metadata__":{}}'),
    ("font/ttf", b"\0\x01\0\0\0\x0c\0\x80"),
    ("font/otf", b"OTTO\0\x0c"),
    ("font/woff", b"wOFF\0\x01\0\0"),
    ("font/woff2", b"wOF2OTTO"),
    ("text/html", HTML),
    ("text/html", b"\xef\xbb\xbf \r\n\t<HTML>"),
    ("text/html", b"<!-- a --> <!-- b -->\n<script src=x>"),
    ("text/html", b"<!--><script>alert(1)</script>-->"),
    ("text/html", b"<!-- never closed" + b" " * 5000),
    ("text/html", b"<body\nonload=alert(1)>"),
    ("text/html", b"<iframe/src=javascript:alert(1)>"),
    ("text/html", b"<img src=x onerror=alert(1)>"),
    ("text/html", b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">'),
    ("text/html", b"<script>//".ljust(257, b" ") + b"ustar\x0000"),
    ("image/svg+xml", SVG),
    ("image/svg+xml", b'<?xml version="1.0"?>\n<!-- x -->\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN">'),
    ("image/svg+xml", b"\xef\xbb\xbf<SVG>"),
    ("application/xml", XML),
    ("application/xml", b'<?xml version="1.0"?><svgz/>'),
    ("application/xml", b'<?xml version="1.0"?><!-- x --><title>'),
    ("application/xml", b'<?xml version="1.0"'),
    ("application/xml", b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'),
    ("text/plain", b'{"a": 1}'),
    ("text/plain", "日本語".encode()[:-1]),
    ("text/plain", b"\x1b[31mred\x1b[0m\n"),
]


@pytest.mark.parametrize(("kind", "head"), BYTES)
def test_the_first_bytes_show_the_type(kind, head):
    assert sniff(head) == kind
    assert kind in sniffing.RECOGNISED


@pytest.mark.parametrize(
    "head",
    [
        b"BMW builds cars in Munich, and has done so for a long time.",
        b"ID3 tags are for music",
        b"GGUF is a format",
        b"PAR1 was a race",
        b"glTF is a format",
        b"fLaC wOFF OTTO",
        b"MM is short for millimetre",
        b"RIFF with a WAVEform",
        b"<svgish> <bold> <html5>",
        b"a < b, <!-",
        b"GG" * 1000,
    ],
)
def test_words_that_look_like_a_mark_are_text(head):
    assert sniff(head) == "text/plain"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\0",
        b"text\0text",
        b"caf\xe9 in Latin-1",
        b"\xff\xfeh\0i\0",
        b"\xfe\xff\0h\0i",
        b"\xff\xfb",
        b"\xff\xfb\x90\x00" + b"\x55" * 1000,
        b"\xff\xf1\x50\x80\x19\x1f\xfc" + b"\x55" * 1000,
        ftyp(b"zzzz"),
        ebml(b"other"),
        b"\xff\xff\xff\xff\xff\xff\xff\xff" + b'{"',
        b"BM" + bytes(11),
        b"\0\0\x01\0",
        b"FORM\0\0\0\0ILBM",
    ],
)
def test_what_shows_nothing_is_unknown(head):
    assert sniff(head) is None


@given(st.binary(max_size=600), st.sampled_from([b"", *(head for _, head in BYTES)]))
def test_sniffing_takes_any_bytes(tail, head):
    assert sniff(head + tail) in sniffing.RECOGNISED | {None}
    for end in range(len(head)):
        sniff(head[:end])


@pytest.mark.parametrize("piece", [b"<!--", b"<?", b"<!---->", b" ", b"<", b"\xff\xfb", b"<!doctype "])
def test_only_the_head_is_looked_at(piece):
    endless = piece * 1_000_000
    assert sniff(endless) == sniff(endless[: media.HEAD_SIZE])


@given(st.text())
def test_text_is_text_wherever_it_is_cut(text):
    whole = ("#" + text).encode("utf-8", "ignore")
    expected = sniff(whole)
    if expected == "text/plain":
        assert {sniff(whole[:end]) for end in range(1, len(whole))} <= {"text/plain"}


@pytest.mark.parametrize(("kind", "head"), SHOWN.items())
def test_a_safe_type_with_its_own_bytes_is_shown(kind, head):
    assert judge(kind, "x", head).inline
    assert judge(kind.upper() + "; Charset=UTF-8", "x", head).inline


@pytest.mark.parametrize(
    ("declared", "head"),
    [
        ("image/jpg", JPEG),
        ("image/pjpeg", JPEG),
        ("image/x-ms-bmp", BMP),
        ("audio/mp3", MP3),
        ("audio/x-wav", WAV),
        ("audio/wave", WAV),
        ("audio/x-flac", FLAC),
        ("audio/x-m4a", M4A),
        ("audio/m4a", MP4),
        ("audio/mp4", MP4),
        ("audio/opus", OPUS),
        ("audio/ogg; codecs=opus", OPUS),
        ("video/quicktime", MP4),
        ("video/mp4", MOV),
        ("video/x-m4v", MP4),
        ("video/webm", MKV),
        ('video/mp4; codecs="avc1.42E01E, mp4a.40.2"', MP4),
        ("text/plain; charset=utf-8", TEXT),
        ('text/plain; format=flowed; charset="US-ASCII"', TEXT),
        ("text/plain", b""),
    ],
)
def test_other_spellings_and_shared_containers_are_shown(declared, head):
    verdict = judge(declared, "x", head)
    assert verdict.inline
    assert verdict.content_type == declared


ACTIVE = {
    "text/html": HTML,
    "text/html;charset=utf-7": b"+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "image/svg+xml": SVG,
    "application/xml": XML,
    "text/xml": XML,
    "application/pdf": PDF,
    "application/xhtml+xml": b'<html xmlns="http://www.w3.org/1999/xhtml"><script>alert(1)</script></html>',
    "multipart/related": b"MIME-Version: 1.0\nContent-Type: multipart/related; boundary=x\n\n--x\n",
    "message/rfc822": b"From: a\nContent-Type: text/html\n\n<script>alert(1)</script>",
    "text/javascript": b"alert(1)",
    "text/css": b"a{}",
    "application/json": b"{}",
    "application/x-shockwave-flash": b"CWS\x0a" + bytes(20),
    "application/octet-stream": b"\0\1\2",
}


@pytest.mark.parametrize(("kind", "head"), ACTIVE.items())
def test_active_content_is_never_shown_as_itself_or_as_a_picture(kind, head):
    for declared in (kind, kind.upper(), "image/png", "image/gif", "video/mp4", "audio/mpeg"):
        assert not judge(declared, "x.png", head).inline


@pytest.mark.parametrize("head", [HTML, SVG, XML, PDF, PNG, b"\xff\xfe<\0s\0"])
def test_text_whose_bytes_are_something_else_is_not_shown(head):
    assert not judge("text/plain", "x.txt", head).inline


@pytest.mark.parametrize(
    "declared",
    [
        "text/plain; charset=utf-7",
        "text/plain;charset=iso-2022-jp",
        "text/plain; charset=utf-8; charset=utf-7",
        'text/plain; x="; charset=utf-8"; charset="utf-7"',
        "text/plain; charset=utf-16",
    ],
)
def test_text_in_a_charset_that_hides_markup_is_not_shown(declared):
    assert not judge(declared, "x.txt", TEXT).inline
    assert not judge(declared, "x.txt", b"").inline


@pytest.mark.parametrize("declared", SHOWN)
@pytest.mark.parametrize("head", [b"GIF89a/*<script>*/=1;alert(1)", PDF + HTML, ZIP + HTML, HTML + PNG, b"", b"\0"])
def test_a_polyglot_or_an_empty_file_is_shown_only_where_type_and_bytes_agree(declared, head):
    agrees = (declared, head[:3]) == ("image/gif", b"GIF") or (declared, head) == ("text/plain", b"")
    assert judge(declared, "x", head).inline == agrees


def test_a_contradiction_keeps_the_declared_type_and_is_recorded():
    assert judge("audio/wav", "film.mp4", PNG) == Verdict("audio/wav", "image/png", False)


@pytest.mark.parametrize("declared", ["Image/PNG", "video/mp4;codecs=av01", "chemical/x-pdb", 'IMAGE/JPG; q="a b"'])
def test_a_declared_type_is_kept_as_it_is_spelled(declared):
    assert judge(declared, "x.txt", TEXT).content_type == declared


UNSAID = [
    None,
    "",
    "  ",
    "application/octet-stream",
    "Application/Octet-Stream; x=y",
    "binary/octet-stream",
    "png",
    "a/b\r\nX: y",
]


@pytest.mark.parametrize("declared", UNSAID)
@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("a.png", PNG, "image/png"),
        ("a.png", JPEG, "image/jpeg"),
        ("a.jpg", WEBP, "image/webp"),
        ("A.PNG", b"\0\0", "image/png"),
        ("a.png", TEXT, "text/plain"),
        ("a.bin", PNG, "image/png"),
        ("a", PNG, "image/png"),
        ("", b"\0\0", "application/octet-stream"),
        ("a.unknown", b"", "application/octet-stream"),
        ("a.txt", b"", "text/plain"),
        ("a.txt", HTML, "text/plain"),
        ("a.html", TEXT, "text/html"),
        ("a.svg", b"<!-- x --><g/>", "image/svg+xml"),
        ("a.json", b"{}", "application/json"),
        ("a.csv", ZIP, "application/zip"),
        ("a.csv", b"caf\xe9", "text/csv"),
        ("a.gltf", b"{}", "model/gltf+json"),
        ("a.obj", b"v 0 0 0\n", "model/obj"),
        ("a.docx", ZIP, "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.usdz", ZIP, "model/vnd.usdz+zip"),
        ("a.npz", ZIP, "application/x-npz"),
        ("a.npz", PNG, "image/png"),
        ("a.pt", ZIP, "application/octet-stream"),
        ("a.tar.gz", b"\x1f\x8b\x08\0", "application/gzip"),
        ("a.dng", b"II*\0", "image/x-adobe-dng"),
        ("a.m4a", MP4, "audio/mp4"),
        ("a.mp4", M4A, "video/mp4"),
        ("a.mkv", WEBM, "video/x-matroska"),
        ("a.opus", OPUS, "audio/ogg"),
        ("a.ts", b"const x: number = 1;\n", "text/plain"),
        ("a.heic", ftyp(b"mif1"), "image/heic"),
        ("a.safetensors", b"\x40\0\0\0\0\0\0\0" + b'{"a":{}}', "application/x-safetensors"),
    ],
)
def test_a_missing_type_comes_from_the_name_unless_the_bytes_contradict_it(declared, name, head, kind):
    assert judge(declared, name, head).content_type == kind


KNOWN = [
    *("png", "jpg", "jpeg", "gif", "webp", "avif", "heic", "jxl", "bmp", "ico", "tiff", "tif", "svg", "exr", "hdr"),
    *("glb", "gltf", "usdz", "obj", "ply", "stl", "splat"),
    *("mp3", "wav", "flac", "m4a", "aac", "opus", "ogg", "oga"),
    *("mp4", "mkv", "webm", "mov", "m4v", "ogv", "srt", "vtt"),
    *("safetensors", "gguf", "ckpt", "pt", "pth", "onnx", "npy", "npz", "parquet"),
    *("json", "jsonl", "ndjson", "yaml", "yml", "toml", "md", "csv", "tsv", "txt", "html", "htm", "xml", "js", "css"),
    *("wasm", "pdf", "zip", "tar", "gz", "tgz", "zst", "bz2", "xz", "7z", "ttf", "otf", "woff", "woff2"),
]


@pytest.mark.parametrize("extension", KNOWN)
def test_a_known_extension_means_a_sound_type_and_back(extension):
    kind = type_for_name(f"a.b.{extension.upper()}")
    assert kind is not None
    assert is_valid_type(kind)
    assert type_for_name(f"x{extension_for(kind)}") == kind


@pytest.mark.parametrize(
    ("kind", "extension"),
    [
        ("image/jpeg", ".jpg"),
        ("image/jpg", ".jpg"),
        ("IMAGE/PNG; x=y", ".png"),
        ("image/tiff", ".tiff"),
        ("image/svg+xml", ".svg"),
        ("audio/mpeg", ".mp3"),
        ("audio/x-wav", ".wav"),
        ("audio/mp4", ".m4a"),
        ("audio/x-m4a", ".m4a"),
        ("audio/ogg", ".ogg"),
        ("video/mp4", ".mp4"),
        ("video/quicktime", ".mov"),
        ("video/x-m4v", ".m4v"),
        ("text/plain;charset=utf-8", ".txt"),
        ("text/html", ".html"),
        ("text/xml", ".xml"),
        ("application/gzip", ".gz"),
        ("application/octet-stream", ".bin"),
        ("binary/octet-stream", ".bin"),
        ("x/unknown", ""),
        ("", ""),
    ],
)
def test_the_usual_extension_of_a_type(kind, extension):
    assert extension_for(kind) == extension


def test_wave_files_have_the_type_that_browsers_know():
    assert type_for_name("a.wav") == "audio/wav"


@pytest.mark.parametrize("name", ["", "png", "a.", "a", "a.nothing", "a.png/b", ".", ".."])
def test_a_name_without_a_known_extension_means_nothing(name):
    assert type_for_name(name) is None


def test_no_extension_has_two_types():
    listed = [extension for row in mediatypes._ROWS for extension in row[1:]]
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize(
    "value",
    [
        "a/b",
        "image/svg+xml",
        "text/plain;charset=utf-8",
        "text/plain ; charset=utf-8 ; x=y",
        'a/b; q="x; \\"y\\" z"',
        "text/html;",
        "text/html; ;",
        "a/" + "b" * 253,
    ],
)
def test_a_sound_type_is_valid(value):
    assert is_valid_type(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "image",
        "/",
        "a/",
        "/b",
        "a/b/c",
        "a b/c",
        "a/b\n",
        "a/b\r\nX-Evil: 1",
        "a/b;x=\0",
        "a/b;\tx=y",
        "a/b; x=é",
        "é/b",
        "a/b; x",
        "a/b; x=",
        'a/b; x="',
        "a/b; x=y z",
        "a/b, c/d",
        " a/b",
        "a/b ",
        "a/" + "b" * 254,
        "a/b" + ";  " * 80 + "!!",
    ],
)
def test_an_unsound_type_is_not_valid(value):
    assert not is_valid_type(value)


@given(st.one_of(st.text(), st.from_regex(r"\A[a-z]{1,3}/[a-z]{1,3}( ?; ?[a-z]=.*)?\Z")))
def test_a_valid_type_is_a_safe_header_value(value):
    if is_valid_type(value):
        assert value.isascii() and value.isprintable() and len(value) <= 255


@given(st.one_of(st.none(), st.text()), st.text(), st.one_of(st.binary(), st.sampled_from([h for _, h in BYTES])))
def test_every_verdict_has_a_sound_type(declared, name, head):
    verdict = judge(declared, name, head)
    assert is_valid_type(verdict.content_type)
    assert verdict == judge(verdict.content_type, name, head) or verdict.content_type == "application/octet-stream"


def id3(size: int, flags: int = 0) -> bytes:
    return b"ID3\4\0" + bytes((flags, size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127)) + bytes(size)


FLAC = b"fLaC\0\0\0\x22" + bytes(90)
AAC = b"\xff\xf1\x50\x80\x02\x1f\xfc"
SOUNDS = [
    ("song.flac", FLAC, "audio/flac"),
    ("song.mp3", FLAC, "audio/flac"),  # its name lies
    ("song.flac", b"\xff\xfb\x90\x00", "audio/mpeg"),
    ("song.aac", AAC, "audio/aac"),
    ("song.wav", b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
    ("song.aiff", b"FORM\0\0\0\0AIFF", "audio/aiff"),
    ("song.ogg", b"OggS\0\2", "audio/ogg"),
    ("song.flac", b"", "audio/flac"),
    ("song.mp3", bytes(99), "audio/mpeg"),
    ("song", bytes(99), "audio/mpeg"),
    ("song.html", bytes(99), "audio/mpeg"),
    ("song.png", b"\x89PNG\r\n\x1a\n", "audio/mpeg"),
]


@pytest.mark.parametrize(("name", "sound", "kind"), SOUNDS)
@pytest.mark.parametrize("tags", [id3(32), id3(0), id3(300), id3(7) + id3(9), id3(20, 0x10) + b"3DI" + bytes(7)])
def test_r02_a_tag_is_not_taken_for_what_it_is_before(name: str, sound: bytes, kind: str, tags: bytes) -> None:
    assert judge("application/octet-stream", name, tags + sound).content_type == kind


@pytest.mark.parametrize(
    ("declared", "name", "kind", "inline"),
    [
        (None, "song.flac", "audio/flac", True),
        (None, "song.aac", "audio/aac", True),
        (None, "song.mp3", "audio/mpeg", True),
        (None, "song", "audio/mpeg", True),
        ("audio/x-flac", "song", "audio/x-flac", True),
        (None, "page.html", "audio/mpeg", True),
        ("text/html", "song.mp3", "text/html", False),
        ("image/png", "song.mp3", "image/png", False),
        ("image/svg+xml", "song.flac", "image/svg+xml", False),
    ],
)
def test_r02_behind_a_cover_picture_the_name_tells(declared: str | None, name: str, kind: str, inline: bool) -> None:
    verdict = judge(declared, name, (id3(100_000) + FLAC)[: media.HEAD_SIZE])
    assert (verdict.content_type, verdict.inline) == (kind, inline)


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("a.docx", b"PK\x03\x04", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.epub", b"PK\x03\x04", "application/epub+zip"),
        ("a.usdz", b"PK\x03\x04", "model/vnd.usdz+zip"),
        ("a.3mf", b"PK\x03\x04", "model/3mf"),
        ("a.npz", b"PK\x03\x04", "application/x-npz"),
        ("a.jar", b"PK\x03\x04", "application/java-archive"),
        ("a.tar.gz", b"\x1f\x8b\x08", "application/gzip"),
        ("a.blend", b"\x1f\x8b\x08", "application/x-blender"),
        ("a.dng", b"II*\0", "image/x-adobe-dng"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/msword"),
        ("a.webm", b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska", "video/webm"),
        ("a", b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        ("a.webp", b"RIFF\0\0\0\0AVI LIST", "video/x-msvideo"),
        ("a", b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "image/avif"),
        ("a.m4a", b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "audio/mp4"),
        ("a", b"\xef\xbb\xbf \n<!-- x --><!doctype html>", "text/html"),
        ("a.txt", b"\xef\xbb\xbf<svg>", "text/plain"),
    ],
)
def test_r02_a_container_is_what_its_name_says_where_no_mark_speaks_against(name: str, head: bytes, kind: str) -> None:
    verdict = judge(None, name, head + bytes(8) if not head.endswith(b">") else head)
    assert verdict.content_type == kind
    assert verdict.inline is False or kind.startswith(("image/", "audio/", "video/"))
