"""Images as bytes, and bytes in the text of a URL."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest

from entrepot.client.datauri import encode_image
from entrepot.client.errors import ImageNotEncodable
from entrepot.client.image_encoding import encode_image_bytes

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "CMYK", "1", "LA"])
@pytest.mark.parametrize(("format", "kind"), [("jpeg", "image/jpeg"), ("jpg", "image/jpeg"), ("JPEG", "image/jpeg")])
def test_an_image_of_any_mode_becomes_a_jpeg(mode: str, format: str, kind: str) -> None:
    data, told = encode_image_bytes(Image.new(mode, (3, 2)), format)
    again = Image.open(io.BytesIO(data))
    assert (told, again.format, again.size) == (kind, "JPEG", (3, 2))


def test_other_formats_keep_what_they_can() -> None:
    data, told = encode_image_bytes(Image.new("RGBA", (3, 2), (1, 2, 3, 4)), "png")
    assert (told, Image.open(io.BytesIO(data)).getpixel((0, 0))) == ("image/png", (1, 2, 3, 4))


def test_an_image_is_encoded_as_it_is_uploaded() -> None:
    image = Image.new("RGBA", (3, 2))
    data, _ = encode_image_bytes(image, "jpeg")
    assert encode_image(image) == f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


class Figure:
    """Writes itself as an image without being one of Pillow's."""

    def save(self, file: io.BytesIO, format: str) -> None:
        file.write(b"drawn as " + format.encode())


@pytest.mark.parametrize(
    ("format", "name", "kind"),
    [("jpeg", "jpeg", "image/jpeg"), ("JPG", "jpeg", "image/jpeg"), ("png", "png", "image/png"),
     (None, "png", "image/png"), ("tif", "tiff", "image/tiff"), ("svg", "svg", "image/svg+xml")],
)  # fmt: skip
def test_c4_what_can_save_itself_is_an_image(format: str | None, name: str, kind: str) -> None:
    expected = (b"drawn as " + name.encode(), kind)
    assert encode_image_bytes(Figure(), format) == expected
    assert encode_image(Figure(), format) == f"data:{kind};base64,{base64.b64encode(expected[0]).decode()}"


@pytest.mark.parametrize("image", [None, "picture.png", b"bytes", 5, object()], ids=lambda each: type(each).__name__)
def test_c4_what_is_no_image_is_named(image: object) -> None:
    with pytest.raises(ImageNotEncodable, match=f"{type(image).__name__} is no image"):
        encode_image(image)


def test_c4_an_error_of_its_own_is_its_own() -> None:
    class Broken(Figure):
        def save(self, file: io.BytesIO, format: str) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        encode_image(Broken())


@pytest.mark.parametrize(
    ("format", "real", "kind"),
    [("jpg", "JPEG", "image/jpeg"), ("PNG", "PNG", "image/png"), ("image/png", "PNG", "image/png"),
     (None, "PNG", "image/png"), ("tif", "TIFF", "image/tiff"), ("WebP", "WEBP", "image/webp"),
     ("bmp", "BMP", "image/bmp"), ("jp2", "JPEG2000", "image/jp2"), ("ico", "ICO", "image/x-icon")],
)  # fmt: skip
def test_g08_formats_in_any_case_have_the_right_type(format: str | None, real: str, kind: str) -> None:
    data, told = encode_image_bytes(Image.new("RGB", (16, 16)), format)
    assert (Image.open(io.BytesIO(data)).format, told) == (real, kind)


def test_g08_an_image_that_is_closed_is_an_error() -> None:
    with io.BytesIO() as file:
        Image.new("RGB", (3, 2)).save(file, format="png")
        with Image.open(io.BytesIO(file.getvalue())) as image:
            pass
    image.close()
    with pytest.raises(ImageNotEncodable, match="not closed"):
        encode_image_bytes(image, "png")


def test_g08_without_a_format_an_image_keeps_its_own() -> None:
    for format, kind in (("jpeg", "image/jpeg"), ("gif", "image/gif"), ("ppm", "image/png")):
        with io.BytesIO() as file:
            Image.new("RGB", (3, 2)).save(file, format=format)
            assert encode_image_bytes(Image.open(io.BytesIO(file.getvalue())), None)[1] == kind


@pytest.mark.parametrize("format", ["docx", "", 5, "psd", b"png"])
def test_g08_a_format_that_is_none_is_named(format: Any) -> None:
    with pytest.raises(ImageNotEncodable, match=r"no .*format"):
        encode_image_bytes(Image.new("RGB", (3, 2)), format)


@pytest.mark.parametrize("mode", ["1", "LA", "RGB", "RGBA"])
def test_g08_every_format_of_pillow_is_written_or_refused(mode: str) -> None:
    Image.init()
    for format in set(Image.SAVE) - {"IM"}:  # deprecated
        try:
            data, kind = encode_image_bytes(Image.new(mode, (16, 16)), format)
        except ImageNotEncodable:
            assert format in ("BLP", "BUFR", "EPS", "GRIB", "HDF5", "MSP", "PALM", "SGI", "WMF", "XBM"), format
        else:
            assert data and "/" in kind
