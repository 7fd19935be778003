"""What images keep, cell by cell: the tables of docs/toolkit.md are the data, and every cell is tried by pixels."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from entrepot.client.datauri import encode_image
from entrepot.client.image_encoding import FORMATS, encode_image_bytes
from entrepot.toolkit.errors import ImageError
from entrepot.toolkit.image import Image

Pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
Pillow.init()

Rgba = tuple[int, ...]
PAGE = (Path(__file__).parents[3] / "docs" / "toolkit.md").read_text("utf-8")
# Formats that this Pillow was built without are passed over.
HERE = [each for each in FORMATS if each.upper() in Pillow.SAVE]


def table(first: str) -> dict[str, dict[str, str]]:
    """Rows of a table of the page, by row and column."""
    lines = PAGE[PAGE.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


STORED, FACTS = table("Mode"), table("Fact")
COLUMNS = list(STORED["RGB"])
COLOUR, HALF = (200, 10, 20), (200, 10, 20, 128)
GREY16 = 0x8123


def palette(index: int, **info: Any) -> Any:
    image = Pillow.new("P", (8, 8), index)
    image.putpalette([9, 9, 9, *COLOUR])
    image.info.update(info)
    return image


def named(mode: str, value: Any, clear: Any) -> Any:
    image = Pillow.new(mode, (8, 8), value)
    image.info["transparency"] = clear
    return image


def samples() -> dict[str, tuple[Any, Rgba]]:
    """For each mode an image of one colour, and that colour."""
    plain = Pillow.new("RGB", (8, 8), COLOUR)
    grey = (GREY16 >> 8,) * 3
    return {
        "1": (Pillow.new("1", (8, 8), 1), (255, 255, 255, 255)),
        "L": (Pillow.new("L", (8, 8), 100), (100, 100, 100, 255)),
        "LA": (Pillow.new("LA", (8, 8), (100, 128)), (100, 100, 100, 128)),
        "La": (Pillow.new("LA", (8, 8), (100, 128)).convert("La"), (100, 100, 100, 128)),
        "P": (palette(1), (*COLOUR, 255)),
        "PA": (Pillow.new("RGBA", (8, 8), HALF).convert("PA"), HALF),
        "RGBA": (Pillow.new("RGBA", (8, 8), HALF), HALF),
        "RGBa": (Pillow.new("RGBA", (8, 8), HALF).convert("RGBa"), HALF),
        "RGBX": (Pillow.new("RGBX", (8, 8), (*COLOUR, 7)), (*COLOUR, 255)),
        "CMYK": (Pillow.new("CMYK", (8, 8), (0, 255, 255, 0)), (255, 0, 0, 255)),
        "F": (Pillow.new("F", (8, 8), 0.5), (128, 128, 128, 255)),
        **{each: (plain.convert(each), (*COLOUR, 255)) for each in ("RGB", "YCbCr", "LAB", "HSV")},
        **{each: (Pillow.new(each, (8, 8), GREY16), (*grey, 255)) for each in Pillow.MODES if each[0] == "I"},
    }


def on_white(colour: Rgba) -> Rgba:
    alpha = colour[3] / 255
    return (*(round(value * alpha + 255 * (1 - alpha)) for value in colour[:3]), 255)


def shown(image: Any) -> Rgba:
    """The colour of one pixel as a viewer shows it, by plain Pillow."""
    if image.mode.startswith("I;16") or image.mode == "I":
        return (*((image.convert("I").getpixel((3, 3)) >> 8,) * 3), 255)
    if image.mode == "F":
        return (*((round(image.getpixel((3, 3)) * 255),) * 3), 255)
    image = image.convert("LA") if image.mode == "La" else image.convert("RGB") if image.mode == "LAB" else image
    return image.convert("RGBA").getpixel((3, 3))


def close(one: Rgba, other: Rgba, most: int = 6) -> bool:
    return (one[3] == other[3] == 0) or all(abs(a - b) <= most for a, b in zip(one, other, strict=True))


def opened(data: bytes) -> Any:
    image = Pillow.open(io.BytesIO(data))
    image.load()
    return image


def stored(image: Any, format: str, **options: Any) -> bytes:
    with io.BytesIO() as file:
        image.save(file, format=format, **options)
        return file.getvalue()


def again(image: Any, format: str) -> Any:
    """What plain Pillow reads of what our encoder wrote."""
    best = {"quality": 100} if format in ("jpeg", "webp", "avif") else {}
    return opened(encode_image_bytes(image, format, **best)[0])


def here(data: bytes) -> Image:
    return Image.from_bytes(data, repository="in_memory")


def test_the_tables_have_every_mode_and_format():
    assert sorted(STORED) == sorted(Pillow.MODES) == sorted(samples())
    others = ["ico", "icns", "tga", "qoi", "dds"]
    assert [*COLUMNS, *others] == list(FORMATS)
    assert all(cell for row in (*STORED.values(), *FACTS.values()) for cell in row.values())


@pytest.mark.parametrize("mode", STORED)
def test_i01_every_mode_is_stored_as_the_table_says(mode):
    image, colour = samples()[mode]
    before = image.tobytes(), dict(image.info), image.mode
    for format in set(COLUMNS) & set(HERE):
        result, kind = again(image, format), STORED[mode][format]
        if format == "gif":
            expected = on_white(colour)
        else:
            expected = colour if kind in ("LA", "RGBA", "P", "PA") else on_white(colour)
            assert result.mode == kind or (format, kind) == ("avif", "RGB"), format
        assert close(shown(result), expected), (format, shown(result), expected)
    assert (image.tobytes(), image.info, image.mode) == before, "the caller's image is as it was"


@pytest.mark.parametrize("mode", Pillow.MODES)
def test_i03_every_mode_becomes_every_other(mode):
    from entrepot.client.image_modes import converted, upright

    image, colour = samples()[mode]
    source = upright(image)
    for target in Pillow.MODES:
        result: Any = converted(source, target)
        assert result.mode == target
        expected = colour if target in ("LA", "La", "PA", "RGBA", "RGBa") else on_white(colour)
        if target in ("L", "LA", "La", "I", "F") or target.startswith("I;16"):
            grey = Pillow.new("RGB", (1, 1), expected[:3]).convert("L").getpixel((0, 0))
            expected = (grey, grey, grey, expected[3])
        if target in ("I", "F"):
            value = result.getpixel((3, 3))
            deep = mode[0] == "I" or mode == target or (mode == "F" and target == "I")
            raw = {"I": GREY16}.get(mode[0], 0.5 if target == "F" else 0x8000) if deep else expected[0]
            assert abs(value - raw) <= (1 if deep else 4), (target, value, raw)
        elif target not in ("1", "P", "PA"):  # these are dithered
            assert close(shown(result), expected, 5), (target, shown(result), expected)


# ---- orientation
TURNS = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what a camera did, as methods of `transpose`


def picture() -> Any:
    image = Pillow.new("RGB", (32, 16), "red")
    image.paste("blue", (16, 0, 32, 16))
    image.paste("lime", (0, 0, 8, 8))
    return image


def corners(image: Any) -> list[str]:
    image = image.convert("RGB")
    width, height = image.size
    points = [(3, 3), (width - 4, 3), (3, height - 4), (width - 4, height - 4)]
    return ["rgb"[max(range(3), key=image.getpixel(point).__getitem__)] for point in points]


def turned(orientation: int, format: str) -> bytes:
    """The picture as a camera stores it that was held otherwise."""
    turn = TURNS[orientation]
    image = picture() if turn is None else picture().transpose(turn)
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    return stored(image, format, **({"tiffinfo": {0x0112: orientation}} if format == "tiff" else {"exif": exif}))


@pytest.mark.parametrize("orientation", TURNS)
def test_i01_every_orientation_is_stored_and_read_upright(orientation):
    for format in {"jpeg", "png", "webp", "tiff", "avif"} & set(HERE):
        image = here(turned(orientation, format))
        assert (image.width, image.height) == image.to_pil().size == (32, 16), format
        assert corners(image.to_pil()) == ["g", "b", "r", "b"], format
    for format in HERE:
        if format != "icns":  # has fixed, square sizes, as ICO has a largest one
            result = again(Pillow.open(io.BytesIO(turned(orientation, "jpeg"))), format)
            assert corners(result) == ["g", "b", "r", "b"], format
            assert result.size == ((16, 8) if format == "ico" else (32, 16)), format
            assert result.getexif().get(0x0112, 1) == 1, format


@pytest.mark.parametrize("mode", STORED)
def test_i01_every_mode_is_turned(mode):
    image = Pillow.new(mode, (2, 1))
    image.info["exif"] = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    assert opened(encode_image_bytes(image, "png")[0]).size == (1, 2)
    made = Image.from_pil(image, repository="in_memory")
    assert (made.width, made.height) == (1, 2)
    assert opened(base64.b64decode(encode_image(image, "png").partition(",")[2])).size == (1, 2)


@pytest.mark.parametrize("format", ["jpeg", "png", "webp"])
def test_i01_an_orientation_in_xmp_counts_without_exif(format):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
    if format == "png":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp)
        data = stored(Pillow.new("RGB", (4, 2)), format, pnginfo=info)
    else:
        data = stored(Pillow.new("RGB", (4, 2)), format, xmp=xmp)
    image = here(data)
    assert (image.width, image.height) == image.to_pil().size == (2, 4)


# ---- profiles
def icc(space: bytes, kind: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of these tags (ICC.1, section 7)."""
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table, body = table + struct.pack(">4s2L", name, at + len(body), len(data)), body + data
    head = struct.pack(">L4sL4s4s4s12s4s", at + len(body), b"", 0x02400000, kind, space, pcs, bytes(12), b"acsp")
    head = (head + bytes(28) + struct.pack(">3l", 0xF6D6, 0x10000, 0xD32D)).ljust(128, b"\0")
    return head + struct.pack(">L", len(tags)) + table + body


def xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3l", *(round(value * 65536) for value in (x, y, z)))


LINEAR = b"curv" + bytes(4) + struct.pack(">LH", 1, 256)  # a gamma of 1
COMMON = {b"desc": b"desc" + bytes(4) + struct.pack(">L", 2) + b"x\0" + bytes(79), b"wtpt": xyz(0.9642, 1, 0.8249)}
GREY = icc(b"GRAY", b"mntr", b"XYZ ", COMMON | {b"kTRC": LINEAR})
RGB_TAGS = {
    b"rXYZ": xyz(0.436, 0.2225, 0.0139),
    b"gXYZ": xyz(0.3851, 0.7169, 0.0971),
    b"bXYZ": xyz(0.1431, 0.0606, 0.7141),
}
RGB = icc(b"RGB ", b"mntr", b"XYZ ", COMMON | RGB_TAGS | {b"rTRC": LINEAR, b"gTRC": LINEAR, b"bTRC": LINEAR})
# Cyan alone is a middle grey, no ink is white, all else is black.
_NODES = b"".join(bytes((255 if node == 0 else 128 if node == 8 else 0, 128, 128)) for node in range(16))
_MATRIX = struct.pack(">9l", *(65536 * (each % 4 == 0) for each in range(9)))
_LUT = b"mft1\0\0\0\0\x04\x03\x02\0" + _MATRIX + bytes(range(256)) * 4 + _NODES + bytes(range(256)) * 3
CMYK = icc(b"CMYK", b"prtr", b"Lab ", COMMON | {b"A2B0": _LUT})
# Profile, mode, pixel; what is shown when it is passed over, and as sRGB.
PROFILED: dict[str, tuple[bytes, str, Any, int, int]] = {
    "grey": (GREY, "L", 128, 128, 188),
    "RGB": (RGB, "RGB", (128, 128, 128), 128, 188),
    "CMYK": (CMYK, "CMYK", (255, 0, 0, 0), 0, 119),
}


def with_profile(mode: str, value: Any, profile: bytes) -> Any:
    image = Pillow.new(mode, (8, 8), value)
    image.info["icc_profile"] = profile
    return image


@pytest.mark.parametrize("space", PROFILED)
def test_i05_a_profile_is_kept_or_applied_as_the_table_says(space):
    profile, mode, value, plain, srgb = PROFILED[space]
    for format in set(COLUMNS) & set(HERE):
        result = again(with_profile(mode, value, profile), format)
        if FACTS[f"profile of its colours, {space}"][format] == "kept":
            assert result.info.get("icc_profile") == profile, format
            assert abs(shown(result)[0] - plain) <= 2, format
        else:
            assert result.info.get("icc_profile") is None, format
            assert abs(shown(result)[0] - srgb) <= 3, (format, shown(result))
            assert max(shown(result)[:3]) - min(shown(result)[:3]) <= 3, format


def test_i05_a_profile_of_other_colours_is_dropped():
    for space, (_, mode, value, plain, _) in PROFILED.items():
        for other, (profile, *_) in PROFILED.items():
            for format in set(COLUMNS) & set(HERE) if other != space else ():
                result = again(with_profile(mode, value, profile), format)
                assert result.info.get("icc_profile") is None, (space, other, format)
                assert abs(shown(result)[0] - plain) <= 3, (space, other, format)
                assert FACTS["profile of other colours than its own"][format] == "dropped"


def test_i05_a_decoded_image_has_a_profile_that_fits_or_none():
    for space, (profile, mode, value, plain, srgb) in PROFILED.items():
        data = stored(Pillow.new(mode, (8, 8), value), "tiff", icc_profile=profile)
        seen = here(data).to_pil("RGB")
        assert seen.info.get("icc_profile") == (profile if space == "RGB" else None), space
        assert abs(shown(seen)[0] - (plain if space == "RGB" else srgb)) <= 3, space
        assert here(data).to_pil(mode).info["icc_profile"] == profile, space
        assert "icc_profile" not in here(data).to_pil("HSV").info, space
    broken = stored(Pillow.new("L", (8, 8), 128), "tiff", icc_profile=GREY[:140])
    assert here(broken).to_pil().getpixel((3, 3)) == (128, 128, 128)


def test_i05_a_profile_counts_beside_alpha():
    image = Pillow.new("LA", (8, 8), (128, 128))
    image.info["icc_profile"] = GREY
    assert close(shown(again(image, "webp")), (188, 188, 188, 128), 3)


# ---- transparency
CLEAR: dict[str, tuple[Any, Rgba]] = {
    "alpha, L or RGB": (Pillow.new("RGBA", (8, 8), (*COLOUR, 30)), (*COLOUR, 30)),
    "palette, one transparent index": (palette(1, transparency=1), (*COLOUR, 0)),
    "palette, degrees of transparency": (palette(1, transparency=b"\xff\x1e"), (*COLOUR, 30)),
    "a named transparent colour, 1": (named("1", 1, 255), (255, 255, 255, 0)),
    "a named transparent colour, L": (named("L", 7, 7), (7, 7, 7, 0)),
    "a named transparent colour, RGB": (named("RGB", COLOUR, COLOUR), (*COLOUR, 0)),
    "a named transparent colour, I;16": (named("I;16", 0x0707, 0x0707), (7, 7, 7, 0)),
}


@pytest.mark.parametrize("fact", CLEAR)
def test_i03_what_is_transparent_stays_so_or_becomes_white(fact):
    image, colour = CLEAR[fact]
    for format in set(COLUMNS) & set(HERE):
        outcome, result = FACTS[fact][format], again(image, format)
        if outcome == "kept" and result.mode == "I;16":
            assert (result.info["transparency"], result.getpixel((3, 3))) == (0x0707, 0x0707)
            continue
        seen = shown(result)
        expected = {"on white": on_white(colour), "on or off": (255, 255, 255, 0)}.get(outcome, colour)
        assert close(seen, expected, 6), (format, seen)
        if outcome in ("kept", "alpha"):
            assert ("transparency" in result.info) == (outcome == "kept" and "alpha" not in fact), format
    for mode in ("L", "RGB", "CMYK", "1", "YCbCr", "RGBX", "I;16"):
        seen = shown(here(stored(image, "png")).to_pil(mode))
        assert close(seen, on_white(colour), 20 if mode == "L" else 3) or mode in ("1", "L", "I;16"), (mode, seen)
        assert min(seen[:3]) >= 220 or mode == "1", mode


def test_i03_the_opaque_rest_of_an_image_with_a_named_colour_stays():
    image = named("RGB", (7, 8, 9), (7, 8, 9))
    image.putpixel((3, 3), (7, 8, 10))
    assert shown(here(stored(image, "png")).to_pil()) == (7, 8, 10, 255)
    deep = named("I;16", 0x0707, 0x0707)
    deep.putpixel((3, 3), 0x0708)
    assert shown(here(stored(deep, "png")).to_pil("RGBA")) == (7, 7, 7, 255), "the lower eight bits count"
    assert here(stored(deep, "png")).to_pil("I").getpixel((0, 0)) == 65535


def test_i03_gif_has_no_degrees_and_shows_no_hidden_colour():
    image = Pillow.new("RGBA", (8, 1))
    image.putpixel((0, 0), (0, 0, 0, 127))
    image.putpixel((1, 0), (0, 0, 0, 128))
    image.putpixel((2, 0), (10, 20, 30, 255))
    seen: Any = again(image, "gif").convert("RGBA")
    assert seen.getpixel((0, 0))[3] == seen.getpixel((3, 0))[3] == 0
    assert close(seen.getpixel((1, 0)), (127, 127, 127, 255)) and close(seen.getpixel((2, 0)), (10, 20, 30, 255))


def png(depth: int, colour_type: int, row: bytes, transparent: bytes) -> bytes:
    """A PNG of two pixels with a named transparent colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">2L5B", 2, 1, depth, colour_type, 0, 0, 0)) + chunk(b"tRNS", transparent)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        png(1, 0, b"\x40", b"\0\x01"), png(2, 0, b"\x20", b"\0\x02"), png(4, 0, b"\x0d", b"\0\x0d"),
        png(8, 0, b"\0\x0d", b"\0\x0d"), png(16, 0, b"\0\0\x01\x02", b"\x01\x02"),
        png(8, 2, bytes(3) + b"\1\2\3", b"\0\1\0\2\0\3"), png(16, 2, bytes(6) + b"\1\1\2\2\3\3", b"\1\1\2\2\3\3"),
    ],
    ids=["grey 1", "grey 2", "grey 4", "grey 8", "grey 16", "RGB 8", "RGB 16"],
)  # fmt: skip
def test_i03_a_named_colour_counts_at_every_bit_depth_of_png(data):
    seen: Any = here(data).to_pil("RGBA")
    assert (seen.getpixel((0, 0)), seen.getpixel((1, 0))[3]) == ((0, 0, 0, 255), 0)
    assert here(data).to_pil("RGB").getpixel((1, 0)) == (255, 255, 255)
    for format in ("png", "webp", "tiff"):
        best = {"lossless": True} if format == "webp" else {}
        copy: Any = here(encode_image_bytes(Pillow.open(io.BytesIO(data)), format, **best)[0]).to_pil("RGBA")
        assert [copy.getpixel((x, 0))[3] for x in (0, 1)] == [255, 0], format


# ---- depth
def tiff(bits: int, sample: int, data: bytes, photometric: int = 1) -> bytes:
    """One row of grey pixels; `sample` 1 are whole numbers, 2 signed ones, 3 floating-point."""
    tags = {
        256: len(data) * 8 // bits,
        257: 1,
        258: bits,
        259: 1,
        262: photometric,
        273: 8,
        277: 1,
        278: 1,
        279: len(data),
        339: sample,
    }
    body = struct.pack("<H", len(tags)) + b"".join(
        struct.pack("<2H2L", tag, 4, 1, value) for tag, value in tags.items()
    )
    return struct.pack("<2sHL", b"II", 42, 8 + len(data)) + data + body + bytes(4)


def pixels(image: Any) -> list[Any]:
    return [image.getpixel((x, 0)) for x in range(image.width)]


@pytest.mark.parametrize(
    ("data", "eight"),
    [
        (tiff(32, 3, struct.pack("<4f", 0, 0.25, 0.5, 1)), [0, 64, 128, 255]),
        (tiff(32, 3, struct.pack("<4f", 0, 64, 128.4, 255)), [0, 64, 128, 255]),
        (tiff(32, 3, struct.pack("<2f", 0, 0)), [0, 0]),
        (tiff(32, 1, struct.pack("<2L", 3, 255)), [3, 255]),
        (tiff(32, 1, struct.pack("<2L", 256, 65535)), [1, 255]),
        (tiff(16, 1, struct.pack("<2H", 0, 0x8000)), [0, 128]),
        (tiff(16, 1, struct.pack("<3H", 0, 0x8000, 0xFFFF), 0), [255, 127, 0]),
        (tiff(12, 1, b"\0\x08\0\xff\xf0\0"), [0, 128, 255, 0]),
        (b"P5 2 1 65535\n\0\x20\x01\0", [0, 1]),
    ],
    ids=["float to 1", "float to 255", "float black", "32 as 8", "32 as 16", "16", "white is zero", "12", "dark PGM"],
)  # fmt: skip
def test_i07_more_than_eight_bits_become_eight_by_rule(data, eight):
    assert pixels(here(data).to_pil("L")) == eight
    assert pixels(here(data).to_pil("RGB")) == [(value,) * 3 for value in eight]
    loaded = Pillow.open(io.BytesIO(data))
    assert pixels(again(loaded, "bmp")) == eight
    if loaded.mode != "I":
        assert pixels(here(encode_image_bytes(Pillow.open(io.BytesIO(data)), "png")[0]).to_pil("L")) == eight


@pytest.mark.parametrize(
    "data",
    [
        tiff(32, 3, struct.pack("<2f", -1, 1)), tiff(32, 3, struct.pack("<2f", 0, 300)),
        tiff(32, 3, struct.pack("<2f", 0, 1.2)), tiff(32, 3, struct.pack("<2f", 0.5, float("nan"))),
        tiff(32, 3, struct.pack("<2f", 0, float("inf"))), tiff(32, 2, struct.pack("<2l", -1, 5)),
        tiff(32, 1, struct.pack("<2L", 0, 2**20)), tiff(32, 1, struct.pack("<2L", 0, 2**32 - 1)),
        tiff(16, 2, struct.pack("<2h", -5, 5)),
    ],
    ids=["negative", "above 255", "overshoot", "nan", "inf", "signed", "20 bits", "32 bits", "signed 16"],
)  # fmt: skip
def test_i07_numbers_that_say_nothing_of_white_are_refused(data):
    with pytest.raises(ImageError, match=r"0 to 255|0 to 65535"):
        here(data).to_pil()
    loaded = Pillow.open(io.BytesIO(data))
    with pytest.raises(ImageError, match=r"0 to 255|0 to 65535"):
        Image.from_pil(loaded, repository="in_memory")
    numbers = here(data).to_pil(loaded.mode)
    assert numbers.tobytes() == loaded.tobytes(), "the numbers themselves can be had"
    assert opened(encode_image_bytes(loaded, "tiff")[0]).tobytes() == loaded.tobytes()


def test_i07_sixteen_bits_are_kept_as_the_table_says():
    for mode in ("I", "I;16", "I;16B"):
        for format in set(COLUMNS) & set(HERE):
            result = again(Pillow.new(mode, (8, 8), GREY16), format)
            if FACTS["sixteen bits"][format] == "kept":
                assert result.convert("I").getpixel((3, 3)) == GREY16, format
            else:
                assert abs(shown(result)[0] - (GREY16 >> 8)) <= 1, format
    assert here(stored(Pillow.new("L", (1, 1), 255), "png")).to_pil("I;16").getpixel((0, 0)) == 65535


@pytest.mark.parametrize("format", ["gif", "webp", "png", "avif"])
def test_g07_of_several_frames_one_is_kept(format):
    if format not in HERE:
        pytest.skip("this Pillow has no AVIF")
    frames = [Pillow.new("RGB", (8, 8), name) for name in ("red", "lime", "blue")]
    data = stored(frames[0], format, save_all=True, append_images=frames[1:], duration=100)
    assert corners(here(data).to_pil()) == ["r"] * 4
    loaded = Pillow.open(io.BytesIO(data))
    loaded.seek(1)
    for target in set(COLUMNS) & set(HERE):
        result = again(loaded, target)
        assert (corners(result), getattr(result, "n_frames", 1)) == (["g"] * 4, 1), target
        assert FACTS["several frames"][target] == "the current"
