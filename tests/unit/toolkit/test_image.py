"""Images to and from Pillow, and their sizes by their headers: docs/threats.md G07, G08, F12."""

from __future__ import annotations

import base64
import io
import resource
import struct
import subprocess
import sys
import zlib
from typing import Any

import pytest

from entrepot.toolkit.errors import ImageError, ImageTooLarge
from entrepot.toolkit.image import IMAGE_SIZE_PRESETS, Image, ImageSize, get_image_size, image_type
from entrepot.toolkit.pixelsize import pixel_size

Pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def stored(image, format: str, **options) -> bytes:
    with io.BytesIO() as file:
        image.save(file, format=format, **options)
        return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png_of(width: int, height: int, data: bytes = b"") -> bytes:
    head = struct.pack(">2L5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def tiff_of_16_bits(mark: bytes, order: str, values: tuple[int, ...]) -> bytes:
    """One row of grey pixels, with the bytes of a number in this order."""
    tags = {256: len(values), 257: 1, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 2 * len(values)}
    data = struct.pack(f"{order}{len(values)}H", *values)
    entries = b"".join(struct.pack(f"{order}2H2L", tag, 4, 1, value) for tag, value in tags.items())
    head = mark + struct.pack(f"{order}HL", 42, 8 + len(data))
    return head + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


def pixels_of(image: Any) -> list[int]:
    return [image.getpixel((x, y)) for y in range(image.height) for x in range(image.width)]


def here(data: bytes, format: str | None = None) -> Image:
    """An image that needs no server."""
    return Image.from_bytes(data, format, repository="in_memory")


def distant(data: bytes) -> Image:
    """An image whose bytes are only behind its URL."""
    return Image(url="data:application/octet-stream;base64," + base64.b64encode(data).decode())


@pytest.mark.parametrize("format", ["png", "jpeg", "gif", "webp"])
@pytest.mark.parametrize("size", [(1, 1), (37, 5), (300, 700)])
def test_width_and_height_are_read_from_the_header(format, size):
    image = here(stored(Pillow.new("RGB", size), format))
    assert (image.width, image.height) == size


@pytest.mark.parametrize(
    "options", [{"lossless": True}, {"lossless": False}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}], ids=str
)
def test_every_form_of_webp_has_its_size_read(options):
    assert pixel_size(io.BytesIO(stored(Pillow.new("RGB", (1000, 3)), "webp", **options))) == (1000, 3)


def test_a_jpeg_with_large_segments_before_its_frame_has_its_size_read():
    data = stored(Pillow.new("RGB", (20, 30)), "jpeg")
    segment = b"\xff\xe2" + struct.pack(">H", 65535) + bytes(65533)
    assert pixel_size(io.BytesIO(data[:2] + segment * 20 + b"\xff\xff" + data[2:])) == (20, 30)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0\0", b"GIF89a", b"RIFF0000WEBPVP8 ", b"<svg/>"]
)
def test_a_size_that_is_not_told_is_none(data):
    assert pixel_size(io.BytesIO(data)) is None
    assert here(data).width is None


@pytest.mark.parametrize("format", ["png", "jpeg", "gif", "webp"])
def test_a_header_that_was_cut_or_changed_never_crashes(format):
    data = stored(Pillow.new("RGB", (20, 30)), format)[:100]
    for at in range(len(data)):
        pixel_size(io.BytesIO(data[:at]))
        pixel_size(io.BytesIO(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]))


@pytest.mark.parametrize(
    ("format", "kind", "extension"),
    [("jpg", "image/jpeg", ".jpg"), ("JPEG", "image/jpeg", ".jpg"), ("PNG", "image/png", ".png"),
     ("WebP", "image/webp", ".webp"), ("gif", "image/gif", ".gif"), (None, "image/png", ".png")],
)  # fmt: skip
def test_g08_formats_in_any_case_have_the_right_type_and_extension(format, kind, extension):
    image = Image.from_pil(Pillow.new("RGB", (3, 2)), format=format, repository="in_memory")
    assert image.content_type == kind
    assert image.url.startswith(f"data:{kind};base64,")
    assert image.file_name and image.file_name.endswith(extension)
    assert (image.width, image.height) == (3, 2)
    assert image.to_pil().size == (3, 2)


def test_g08_encoded_bytes_are_typed_by_their_format_or_by_themselves():
    data = stored(Pillow.new("RGB", (3, 2)), "jpeg")
    assert here(data, "jpg").content_type == here(data, "JPG").content_type == here(data).content_type == "image/jpeg"
    assert image_type("avif") == "image/avif"
    with pytest.raises(ValueError, match="docx"):
        here(data, "docx")


def test_g08_a_format_that_is_not_stored_is_named():
    with pytest.raises(ImageError, match="bmp"):
        Image.from_pil(Pillow.new("RGB", (1, 1)), format="bmp", repository="in_memory")


@pytest.mark.parametrize("mode", ["rgb", "", "BGR", 5])
def test_g08_a_mode_that_is_none_is_named(mode):
    with pytest.raises(ImageError, match="no mode of Pillow"):
        here(stored(Pillow.new("RGB", (1, 1)), "png")).to_pil(mode)


def test_g08_a_loaded_image_keeps_its_format_and_jpeg_its_quality():
    noise = Pillow.effect_noise((200, 200), 80).convert("RGB")
    loaded = Pillow.open(io.BytesIO(stored(noise, "jpeg", quality=95)))
    assert loaded.format == "JPEG"
    again = Image.from_pil(loaded, repository="in_memory")
    assert again.content_type == "image/jpeg"
    assert again.file_size == len(stored(loaded, "jpeg", quality=95)) > len(stored(loaded, "jpeg", quality=75))


def test_g08_an_image_loaded_from_another_format_becomes_png():
    loaded = Pillow.open(io.BytesIO(stored(Pillow.new("RGB", (3, 2)), "bmp")))
    assert Image.from_pil(loaded, repository="in_memory").content_type == "image/png"


def test_png_is_compressed_for_speed():
    image = Pillow.effect_noise((100, 100), 10)
    assert Image.from_pil(image, repository="in_memory").file_data == stored(image, "png", compress_level=1)


def test_g07_what_is_transparent_becomes_white_in_jpeg():
    clear = Pillow.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert Image.from_pil(clear, format="jpeg", repository="in_memory").to_pil().getpixel((4, 4)) == (255, 255, 255)


def test_g07_sixteen_bits_become_eight_not_white():
    data = stored(Pillow.new("I;16", (2, 2), 0x8000), "png")
    assert here(data).to_pil().getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize(("kind", "marks"), [("II", "<"), ("MM", ">")])
def test_g07_sixteen_bits_of_a_tiff_are_read_in_either_order(kind, marks):
    data = tiff_of_16_bits(kind.encode(), marks, (0, 0x8000, 0xFFFF))
    assert pixels_of(here(data).to_pil("L")) == [0, 128, 255]
    assert pixels_of(here(data).to_pil("I")) == [0, 0x8000, 0xFFFF]


def test_g07_sixteen_bits_of_a_pgm_become_eight_not_white():
    assert pixels_of(here(b"P5 2 1 65535\n\0\0\x80\0").to_pil("L")) == [0, 128]


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_g07_sixteen_bits_stay_sixteen_in_png_and_become_eight_elsewhere(mode):
    deep = Pillow.new(mode, (16, 16), 0x8123)
    image = Image.from_pil(deep, repository="in_memory")
    assert set(pixels_of(image.to_pil("I"))) == set(pixels_of(image.to_pil("I;16"))) == {0x8123}
    for format in ("jpeg", "webp", "gif"):
        shallow = Image.from_pil(deep, format=format, repository="in_memory").to_pil("L")
        assert abs(pixels_of(shallow)[0] - 0x81) < 3


@pytest.mark.parametrize("format", ["png", "gif", "webp", "jpeg"])
@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_g07_a_colour_that_is_named_transparent_stays_so_and_is_white_in_jpeg(mode, format):
    clear = Pillow.new("RGB", (16, 16), (7, 7, 7)).convert(mode)
    clear.info["transparency"] = {"P": bytes(256), "L": 7, "RGB": (7, 7, 7)}[mode]
    seen: Any = Image.from_pil(clear, format=format, repository="in_memory").to_pil("RGBA").getpixel((4, 4))
    assert seen == (255, 255, 255, 255) if format == "jpeg" else seen[3] == 0


def test_a_palette_with_degrees_of_transparency_is_decoded_without_a_warning():
    palette = Pillow.new("P", (2, 2))
    palette.putpalette([255, 0, 0])
    image = here(stored(palette, "png", transparency=b"\x80"))
    assert image.to_pil().getpixel((0, 0)) == (255, 127, 127), "half of it is white"
    as_it_is = image.to_pil("P")
    assert as_it_is.mode == "P" and as_it_is.convert("RGBA").getpixel((0, 0)) == (255, 0, 0, 128)


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "gif"])
def test_g07_an_image_of_no_size_or_too_large_for_its_format_is_an_error(format):
    with pytest.raises(ImageError):
        Image.from_pil(Pillow.new("RGB", (0, 0)), format=format, repository="in_memory")
    if format in ("jpeg", "webp"):
        with pytest.raises(ImageError):
            Image.from_pil(Pillow.new("L", (70_000, 1)), format=format, repository="in_memory")


def test_g07_cmyk_and_a_palette_with_transparency_are_decoded():
    cmyk = stored(Pillow.new("CMYK", (9, 7), (0, 255, 255, 0)), "jpeg")
    assert here(cmyk).to_pil().mode == "RGB"
    palette = Pillow.new("P", (2, 2))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    data = stored(palette, "png", transparency=0)
    assert here(data).to_pil("RGBA").getpixel((0, 0)) == (255, 0, 0, 0)
    assert here(data).to_pil().mode == "RGB"


@pytest.mark.parametrize("where", [here, distant], ids=["in memory", "behind its URL"])
def test_g07_exif_turns_the_image_upright(where):
    image = Pillow.new("RGB", (40, 20), "red")
    image.paste("blue", (0, 0, 20, 20))
    exif = Pillow.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    upright = where(stored(image, "jpeg", exif=exif, quality=95)).to_pil()
    assert upright.size == (20, 40)
    red, _, blue = upright.getpixel((10, 5))
    assert blue > 200 > red


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read", "ignore:Possibly corrupt EXIF")
def test_g07_garbage_in_the_place_of_exif_turns_nothing(exif):
    data = stored(Pillow.new("RGB", (4, 3)), "jpeg")
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    assert here(data[:2] + segment + data[2:]).to_pil().size == (4, 3)


@pytest.mark.parametrize("where", [here, distant], ids=["in memory", "behind its URL"])
def test_g07_an_image_that_declares_too_many_pixels_is_not_decoded(where):
    with pytest.raises(ImageTooLarge, match="65535 x 65535"):
        where(png_of(65_535, 65_535)).to_pil()
    with pytest.raises(ImageTooLarge):
        where(stored(Pillow.new("RGB", (100, 100)), "png")).to_pil(max_pixels=9_999)


@pytest.mark.parametrize("format", ["bmp", "tiff"])
def test_g07_the_limit_holds_for_formats_whose_header_pillow_reads(format):
    with pytest.raises(ImageTooLarge):
        here(stored(Pillow.new("L", (100, 100)), format)).to_pil(max_pixels=9_999)


@pytest.mark.parametrize("format", ["png", "jpeg", "gif", "webp", "tiff"])
def test_g07_a_truncated_image_is_an_error(format):
    data = stored(Pillow.effect_noise((64, 64), 50).convert("RGB"), format)
    with pytest.raises(ImageError):
        here(data[: len(data) // 2]).to_pil()


def test_g07_of_ten_thousand_frames_one_is_decoded():
    """The frames behind the first are no frames at all: nobody may look at them."""
    data = stored(Pillow.new("P", (50, 50)), "gif")
    frame = data[data.index(b"\x2c") : -1]
    bomb = data[:-1] + frame * 10_000 + b"garbage"
    image = here(bomb).to_pil()
    assert image.size == (50, 50)
    assert getattr(image, "n_frames", 1) == 1


def test_g07_an_absent_codec_is_named():
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    with pytest.raises(ImageError, match="image/heic"):
        here(heic).to_pil()


MEMORY_PROGRAM = """
import resource, sys
from entrepot.toolkit.image import Image
from entrepot.toolkit.errors import ImageTooLarge
from PIL import Image as Pillow, ImageOps
data = sys.stdin.buffer.read()
limit = 700 * 1024 * 1024
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    Image.from_bytes(data, repository="in_memory").to_pil()
except ImageTooLarge:
    print("too large")
"""


def test_g07_a_gigabyte_of_pixels_is_refused_in_little_memory():
    """33,000 x 11,000 pixels are 1 GB as RGB; the process may have 700 MiB of addresses."""
    assert resource.RLIMIT_AS
    done = subprocess.run([sys.executable, "-c", MEMORY_PROGRAM], input=png_of(33_000, 11_000), capture_output=True)
    assert (done.stdout.strip(), done.returncode) == (b"too large", 0), done.stderr


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(%pipe%touch evil) (w) file\n%%EOF\n",
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
    ],
    ids=["eps", "svg", "hls", "concat"],
)
def test_f12_nothing_that_reads_other_files_or_runs_programs_is_decoded(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError):
        here(data).to_pil()
    assert list(tmp_path.iterdir()) == []


def test_presets_have_the_documented_sizes():
    assert get_image_size("landscape_16_9") == ImageSize(width=1024, height=576)
    assert get_image_size(ImageSize(width=3, height=4)) == ImageSize(width=3, height=4)
    assert {name: (s.width, s.height) for name, s in IMAGE_SIZE_PRESETS.items()}["portrait_4_3"] == (768, 1024)
    with pytest.raises(TypeError, match="huge"):
        get_image_size("huge")  # type: ignore[arg-type]


def test_a_size_that_is_given_wins():
    data = stored(Pillow.new("RGB", (3, 2)), "png")
    image = Image.from_bytes(data, "png", ImageSize(width=30, height=20), repository="in_memory")
    assert (image.width, image.height) == (30, 20)


def segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


def with_chunk(data: bytes, more: bytes, *, last: bool = False) -> bytes:
    at = len(data) - 12 if last else 33
    return data[:at] + more + data[at:]


LONG = zlib.compress(bytes(2_000_000), 1)
BEHIND_PNG = {
    "zTXt": chunk(b"zTXt", b"key\0\0" + LONG),
    "iTXt": chunk(b"iTXt", b"key\0\1\0\0\0" + LONG),
    "100 texts": chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(1_000_000), 1)) * 100,
    "profile": chunk(b"iCCP", b"name\0\0" + LONG),
    "profile cut": chunk(b"iCCP", b"name\0\0" + LONG[:50]),
    "text with a wrong checksum": chunk(b"tEXt", b"key\0text")[:-4] + bytes(4),
    "text without a key": chunk(b"iTXt", b"key\0"),
    "colours cut": chunk(b"cHRM", b"\0") + chunk(b"gAMA", b"\0") + chunk(b"sRGB", b"") + chunk(b"pHYs", b"\0"),
}
BEFORE_JPEG = {
    "JFIF cut": segment(0xE0, b"JFIF"),
    "profile cut": segment(0xE2, b"ICC_PROFILE\0"),
    "Adobe cut": segment(0xEE, b"Adobe"),
    "Photoshop cut": segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\xff\xff"),
    "20 MB of application data": segment(0xE1, bytes(65000)) * 300,
    "comments": segment(0xFE, bytes(65000)) * 20,
}


@pytest.mark.parametrize("last", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("what", BEHIND_PNG)
def test_i08_what_only_describes_a_png_is_passed_over(what, last):
    data = with_chunk(stored(Pillow.new("RGB", (3, 2), (9, 8, 7)), "png"), BEHIND_PNG[what], last=last)
    assert here(data).to_pil().getpixel((1, 1)) == (9, 8, 7)


@pytest.mark.parametrize("what", BEFORE_JPEG)
def test_i08_what_only_describes_a_jpeg_is_passed_over(what):
    exif = Pillow.Exif()
    exif[0x0112] = 6
    data = stored(Pillow.new("RGB", (3, 2), "red"), "jpeg", exif=exif)
    image = here(data[:2] + BEFORE_JPEG[what] + data[2:])
    assert image.to_pil().size == (image.width, image.height) == (2, 3), "the orientation stays"


def test_i08_a_large_profile_of_a_png_is_applied():
    """Pillow refuses one above 1 MiB."""
    from PIL import ImageCms

    from unit.toolkit.test_image_table import RGB

    assert ImageCms
    data = stored(Pillow.new("RGB", (3, 2), (128, 128, 128)), "png", icc_profile=RGB + bytes(2_000_000))
    image = here(data).to_pil()
    assert abs(image.getpixel((1, 1))[0] - 188) <= 2  # type: ignore[index]
    assert "icc_profile" not in image.info


@pytest.mark.parametrize("format", ["webp", "tiff", "avif"])
def test_i08_other_formats_may_have_much_beside_their_pixels(format):
    image = Pillow.new("RGB", (3, 2), (200, 100, 50))
    try:
        data = stored(image, format, icc_profile=bytes(2_000_000), xmp=bytes(2_000_000))
    except KeyError:
        pytest.skip(f"this Pillow has no {format}")
    assert abs(here(data).to_pil().getpixel((1, 1))[0] - 200) < 9  # type: ignore[index]


@pytest.mark.parametrize("format", ["bmp", "tiff", "avif", "jpeg2000", "ppm", "qoi"])
def test_i09_width_and_height_are_filled_for_what_pillow_reads(format, monkeypatch, tmp_path):
    try:
        data = stored(Pillow.new("RGB", (30, 20)), format)
    except KeyError:
        pytest.skip(f"this Pillow has no {format}")
    (tmp_path / "image").write_bytes(data)
    for image in (here(data), Image.from_path(tmp_path / "image", repository="in_memory")):
        assert (image.width, image.height) == (30, 20)
    if format in ("bmp", "ppm", "qoi"):
        assert here(data[:60]).width == 30, "the header is enough"
    monkeypatch.setitem(sys.modules, "PIL", None)
    image = here(data)
    assert (image.width, image.height) == (None, None)
    with pytest.raises(ImportError, match=r"\[images\]"):
        image.to_pil()


def test_i09_an_avif_that_is_turned_has_the_size_of_the_upright_picture():
    exif = Pillow.Exif()
    exif[0x0112] = 8
    try:
        image = here(stored(Pillow.new("RGB", (30, 20)), "avif", exif=exif))
    except KeyError:
        pytest.skip("this Pillow has no AVIF")
    assert (image.width, image.height) == image.to_pil().size == (20, 30)


@pytest.mark.parametrize("data", [b"<svg/>", b"8BPS\0\x01" + bytes(40), b"BM", b"II*\0\x08\0\0\0", b"P6 0 0 255\n"])
def test_i09_what_is_not_read_has_no_size(data):
    assert here(data).width is None


@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("mark", [b"II*\0", b"MM\0*"])
def test_i01_an_orientation_of_any_type_and_order_is_read(mark, kind):
    order: Any = "<" if mark[:1] == b"I" else ">"
    value = struct.pack(order + {3: "H2x", 4: "L"}[kind], 6)
    exif = b"Exif\0\0" + mark + struct.pack(order + "LHHHL", 8, 1, 0x0112, kind, 1) + value + bytes(4)
    data = stored(Pillow.new("RGB", (4, 2)), "jpeg")
    image = here(data[:2] + segment(0xE1, exif) + data[2:])
    assert (image.width, image.height) == image.to_pil().size == (2, 4)
