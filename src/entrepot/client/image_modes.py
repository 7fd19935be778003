"""Changes the mode of a Pillow image and keeps what it shows: orientation, transparency, colours, bit depth.

Encoder (`image_encoding`) and decoder (`toolkit.pixels`) share it; docs/toolkit.md has the rules as tables. It needs
Pillow, so it is imported where pixels are asked for.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Container
from functools import reduce
from typing import Any

from PIL import Image, ImageChops, ImageCms, ImageMath, ImageOps

# What Pillow raises for content that is broken.
BROKEN = (
    OSError, ValueError, SyntaxError, TypeError, LookupError, EOFError, ArithmeticError, RuntimeError, AssertionError,
    struct.error,
)  # fmt: skip
# A larger profile is applied instead of kept: Pillow refuses PNG files with one.
MAX_PROFILE_BYTES = 1024 * 1024
# Modes with an alpha channel, and the mode of their colours.
ALPHA = {"LA": "L", "La": "L", "PA": "RGB", "RGBA": "RGB", "RGBa": "RGB"}
# ICC.1, table 19: the colour space that a profile must be of to describe the pixels of a mode.
_SPACES = {
    **dict.fromkeys(("L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"), b"GRAY"),
    **dict.fromkeys(("P", "PA", "RGB", "RGBA", "RGBa", "RGBX"), b"RGB "),
    "CMYK": b"CMYK",
}


class ValuesOutOfRange(ValueError):
    """The numbers of an image say nothing about how bright they are meant."""


def has_alpha(image: Image.Image) -> bool:
    """Whether some of the image may be transparent: by a channel, its palette, or a colour that is named."""
    by_palette = image.mode == "P" and image.palette is not None and image.palette.mode == "RGBA"
    return image.mode in ALPHA or by_palette or "transparency" in image.info


def upright(image: Image.Image) -> Image.Image:
    """A loaded copy, turned by its EXIF orientation, with `info["transparency"]` and 16-bit values on the scale of its
    mode. Call it before anything has loaded the image: of its file's bit depth Pillow tells only until then."""
    tile = getattr(image, "tile", None)
    rawmode = tile[0].args if tile and image.format == "PNG" else None
    tags = getattr(image, "tag_v2", {})
    image.load()
    try:
        turned = ImageOps.exif_transpose(image)
    except BROKEN:  # garbage in the place of EXIF turns nothing
        turned = image.copy()
    if turned.mode in ("I;16B", "I;16L", "I;16N") or (image.format == "PPM" and turned.mode == "I"):
        turned = turned.convert("I").convert("I;16")
    if turned.mode == "I;16" and tags:  # Pillow hands out the bare numbers of a TIFF
        bits, is_white_zero = tags.get(258, (16,))[0], tags.get(262) == 0
        scale = 65535 / (2**bits - 1) if 8 < bits < 16 else 1.0
        if is_white_zero or scale != 1:
            factor, offset = (-scale, 65535.5) if is_white_zero else (scale, 0.5)
            turned = turned.convert("I").point(lambda value: value * factor + offset).convert("I;16")
    clear = _named(turned, rawmode)
    turned.info.pop("transparency", None)
    if clear is not None:
        turned.info["transparency"] = clear
    return turned


def converted(image: Image.Image, mode: str, *, named: Container[str] = ("P",), profile: bool = True) -> Image.Image:
    """What `upright` gave, in another mode; itself when nothing changes. A transparent colour stays by name in the
    modes of `named`, else becomes alpha; where the mode has no alpha, what is transparent becomes white. The profile is
    kept where it fits the mode and `profile` is true, else the colours become sRGB. Raises ValuesOutOfRange, and
    ValueError as Pillow."""
    icc = _fitting_profile(image, image.mode)
    keeps = profile and icc is not None and len(icc) <= MAX_PROFILE_BYTES
    if image.mode == mode and (keeps or icc is None) and (mode in named or mode in ALPHA or not has_alpha(image)):
        return _with_profile(image, icc)
    base = ALPHA.get(mode, mode)
    colour, mask = _apart(image)
    if not is_deep(base):
        colour = eight_bits(colour)
    elif colour.mode == "F" and base != "F":
        colour = sixteen_bits(colour)
    if icc and not (keeps and _SPACES.get(base) == _SPACES.get(image.mode)):
        colour, icc = _in_srgb(colour, icc), None
    if mask and mode not in ALPHA:
        colour = _on_white(colour, mask)
    if base.startswith("I;16") and not is_deep(colour.mode):
        colour = colour.convert("L").convert("I").point(lambda value: value * 257)
    if base.startswith("I;16") and colour.mode != base:
        colour = _in_range(colour.convert("I"))[0]
    colour = colour.convert(base)
    if mode in ALPHA:
        colour.putalpha(mask or 255)
        colour = colour.convert(mode)
    return _with_profile(colour, icc)


def eight_bits(image: Image.Image) -> Image.Image:
    """More than eight bits as eight: of sixteen the upper ones; of `I` too when a value is above 255; of `F` from 0 to
    1 the whole range, else from 0 to 255 as they are. Raises ValuesOutOfRange for others."""
    if image.mode == "F":
        scale = 255.0 if _float_top(image) == 1 else 1.0
        return image.point(lambda value: value * scale + 0.5).convert("L")
    if not is_deep(image.mode):
        return image
    whole, high = _in_range(image) if image.mode == "I" else (image.convert("I"), 65535)
    return whole.convert("L") if high <= 255 else whole.point(lambda value: value / 256).convert("L")


def sixteen_bits(image: Image.Image) -> Image.Image:
    """`F` as sixteen bits, by the rule of `eight_bits`."""
    scale = 65535.0 / _float_top(image)
    return image.point(lambda value: value * scale + 0.5).convert("I").convert("I;16")


def on_or_off(image: Image.Image) -> Image.Image:
    """RGBA without degrees: at least half opaque is opaque, on white; the rest is transparent, and white below."""
    alpha = image.getchannel("A")
    flat = _on_white(image.convert("RGB"), alpha)
    mask = alpha.point([255 * (value >= 128) for value in range(256)])
    result = Image.composite(flat, Image.new("RGB", flat.size, "white"), mask)
    result.putalpha(mask)
    return result


def is_deep(mode: str) -> bool:
    """Whether a mode has more than eight bits."""
    return mode in ("I", "F") or mode.startswith("I;16")


def _in_range(image: Image.Image) -> tuple[Image.Image, int]:
    """The same, and its largest value, if sixteen bits hold all values."""
    extrema: Any = image.getextrema()
    low, high = extrema
    if low < 0 or high > 65535:
        raise ValuesOutOfRange(f"its whole numbers go from {low} to {high}, and 0 to 65535 can be told")
    return image, high


def _float_top(image: Image.Image) -> int:
    """What is white: 1 or 255."""
    extrema: Any = image.getextrema()
    low, high = extrema
    equal: Any = ImageMath.lambda_eval(lambda args: args["x"] == args["x"], x=image)
    if equal.getextrema()[0] == 0 or low < 0 or high > 255 or 1 < high < 2:
        what = "its floating-point numbers are neither from 0 to 1 nor from 0 to 255"
        raise ValuesOutOfRange(f"{what}, but from {low:g} to {high:g}, or some are no numbers")
    return 1 if high <= 1 else 255


def _named(image: Image.Image, rawmode: Any) -> Any:
    """The transparent colour (of a palette: index, or all alphas) on the scale of the image's mode; None without."""
    clear = image.info.get("transparency")
    if image.mode == "P":
        return clear if isinstance(clear, bytes) or (isinstance(clear, int) and 0 <= clear < 256) else None
    values = clear if isinstance(clear, tuple | list) else (clear,)
    bands = 3 if image.mode == "RGB" else 1 if image.mode in ("1", "L", "I", "I;16") else 0
    if len(values) != bands or not all(isinstance(value, int) for value in values):
        return None
    if rawmode == "RGB;16B" or (bands == 3 and max(values) > 255):
        values = [value >> 8 for value in values]
    scale = {"L;2": 85, "L;4": 17}.get(rawmode, 1)
    values = [(255 if value else 0) if image.mode == "1" else value * scale for value in values]
    if not all(0 <= value < (65536 if is_deep(image.mode) else 256) for value in values):
        return None
    return tuple(values) if bands == 3 else values[0]


def _apart(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours (1, L, RGB, CMYK or deep) and alpha, if there is any."""
    mask = None
    if image.mode in ALPHA or image.mode == "P":
        alpha_mode = "LA" if image.mode in ("LA", "La") else "RGBA"
        if has_alpha(image):
            image = image.convert(alpha_mode)
            mask = image.getchannel("A")
        colour = image.convert(ALPHA[alpha_mode])
    elif (clear := image.info.get("transparency")) is not None:
        values = clear if isinstance(clear, tuple) else (clear,)
        whole = image.convert("I") if is_deep(image.mode) else image.convert("L") if image.mode == "1" else image
        opaque = [_differs(band, value) for band, value in zip(whole.split(), values, strict=True)]
        colour, mask = image.copy(), reduce(ImageChops.lighter, opaque)
    else:
        colour = image.copy() if image.mode in ("1", "L", "CMYK") or is_deep(image.mode) else image.convert("RGB")
    colour.info.pop("transparency", None)
    return colour, mask


def _differs(band: Image.Image, value: int) -> Image.Image:
    """255 where the band has another value, else 0."""
    if band.mode == "L":
        return band.point([255] * value + [0] + [255] * (255 - value))
    different: Any = ImageMath.lambda_eval(lambda args: (args["x"] != value) * 255, x=band)
    mask: Image.Image = different.convert("L")
    return mask


def _on_white(image: Image.Image, mask: Image.Image) -> Image.Image:
    deep = is_deep(image.mode)
    image = image.convert("I") if deep else image.convert("L") if image.mode == "1" else image
    white = Image.new(image.mode, image.size, 65535 if deep else "white")
    return Image.composite(image, white, mask)


def _fitting_profile(image: Image.Image, mode: str) -> bytes | None:
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile[16:20] == _SPACES.get(mode, b"") else None


def _with_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    image.info.pop("icc_profile", None)
    if profile:
        image.info["icc_profile"] = profile
    return image


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The colours of 8-bit pixels as the profile means them; as they are when it is broken or they are deeper."""
    if image.mode not in ("L", "RGB", "CMYK"):
        return image
    try:
        there: Any = ImageCms.createProfile("sRGB")
        result = ImageCms.profileToProfile(image, io.BytesIO(profile), there, outputMode="RGB")
    except (ImageCms.PyCMSError, ImportError, *BROKEN):
        return image
    return result or image
