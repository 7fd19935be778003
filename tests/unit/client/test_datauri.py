"""Images as bytes, and bytes in the text of a URL."""

from __future__ import annotations

import base64
import io

import pytest

from entrepot.client.datauri import encode_image
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
