"""`Image`: a file with a width and a height, to and from Pillow (docs/protocol.md 7.5); and the sizes that models are
asked for."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Self

from entrepot.client.errors import ImageNotEncodable
from entrepot.client.image_encoding import encode_image_bytes, format_name
from entrepot.domain.mediatypes import type_for_name
from entrepot.toolkit import contents, pixels
from entrepot.toolkit.errors import ImageError
from entrepot.toolkit.filedata import FileData
from entrepot.toolkit.files import Fallback, File, Kwargs, Repository, kwargs_of
from entrepot.toolkit.models import BaseModel, ConfigDict, Field
from entrepot.toolkit.repositories import DEFAULT_REPOSITORY, FALLBACK_REPOSITORY

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

FORMATS = ("png", "jpeg", "jpg", "webp", "gif")
ImageFormat = Literal["png", "jpeg", "jpg", "webp", "gif"]
# PNG is compressed for speed: an output is made once and fetched a few times. JPEG as good as anybody sees.
_OPTIONS: dict[str, dict[str, Any]] = {"png": {"compress_level": 1}, "jpeg": {"quality": 95}}
ImageSizePreset = Literal["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]


class ImageSize(BaseModel):
    """Width and height in pixels."""

    width: int = Field(default=512, description="The width of the generated image.", gt=0, le=14142)
    height: int = Field(default=512, description="The height of the generated image.", gt=0, le=14142)


ImageSizeInput = ImageSize | ImageSizePreset
IMAGE_SIZE_PRESETS: dict[str, ImageSize] = {
    "square_hd": ImageSize(width=1024, height=1024),
    "square": ImageSize(width=512, height=512),
    "portrait_4_3": ImageSize(width=768, height=1024),
    "portrait_16_9": ImageSize(width=576, height=1024),
    "landscape_4_3": ImageSize(width=1024, height=768),
    "landscape_16_9": ImageSize(width=1024, height=576),
}


def get_image_size(source: ImageSizeInput) -> ImageSize:
    """The size that an input means. Raises TypeError for what is neither a size nor a preset's name."""
    if isinstance(source, ImageSize):
        return source
    if isinstance(source, str) and source in IMAGE_SIZE_PRESETS:
        return IMAGE_SIZE_PRESETS[source].model_copy()
    raise TypeError(f"Invalid value for ImageSize: {source!r}; presets are {', '.join(IMAGE_SIZE_PRESETS)}")


class Image(File):
    """Represents an image file."""

    model_config = ConfigDict(json_schema_extra={"ui": {"field": "image"}})

    width: int | None = Field(default=None, description="The width of the image in pixels.", examples=[1024])
    height: int | None = Field(default=None, description="The height of the image in pixels.", examples=[1024])

    @classmethod
    def _facts(cls, file: IO[bytes]) -> dict[str, Any]:
        size = pixels.size_of(file)
        return {"width": size[0], "height": size[1]} if size else {}

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        format: ImageFormat | str | None = None,
        size: ImageSize | None = None,
        file_name: str | None = None,
        repository: Repository = DEFAULT_REPOSITORY,
        fallback_repository: Fallback = FALLBACK_REPOSITORY,
        request: Any = None,
        save_kwargs: Kwargs = None,
        fallback_save_kwargs: Kwargs = None,
    ) -> Self:
        """Upload an encoded image. `format` in any case, `jpg` is `jpeg`; None: what name and bytes say. Width and
        height are those of `size`, else of the image's header. Raises ValueError for a format that is no image's."""
        return cls._of_bytes(
            FileData(data, image_type(format), file_name),
            repository,
            fallback_repository,
            kwargs_of(request, save_kwargs),
            kwargs_of(request, fallback_save_kwargs),
            **({"width": size.width, "height": size.height} if size else {}),
        )

    @classmethod
    async def from_bytes_async(
        cls,
        data: bytes,
        format: ImageFormat | str | None = None,
        size: ImageSize | None = None,
        file_name: str | None = None,
        repository: Repository = DEFAULT_REPOSITORY,
        fallback_repository: Fallback = FALLBACK_REPOSITORY,
        request: Any = None,
        save_kwargs: Kwargs = None,
        fallback_save_kwargs: Kwargs = None,
    ) -> Self:
        """As `from_bytes`, in a thread."""
        rest = (repository, fallback_repository, request, save_kwargs, fallback_save_kwargs)
        return await asyncio.to_thread(cls.from_bytes, data, format, size, file_name, *rest)

    @classmethod
    def from_pil(
        cls,
        pil_image: PilImage,
        format: ImageFormat | str | None = None,
        file_name: str | None = None,
        repository: Repository = DEFAULT_REPOSITORY,
        fallback_repository: Fallback = FALLBACK_REPOSITORY,
        request: Any = None,
        save_kwargs: Kwargs = None,
        fallback_save_kwargs: Kwargs = None,
    ) -> Self:
        """Encode and upload a Pillow image: png (fast), jpeg (quality 95; what is transparent becomes white), webp or
        gif, in any case. `format` None: the one it was loaded from, else png. It is stored upright (EXIF), its current
        frame alone. Raises ImageError."""
        data = FileData(*_encoded(pil_image, format), file_name)
        kwargs = kwargs_of(request, save_kwargs), kwargs_of(request, fallback_save_kwargs)
        return cls._of_bytes(data, repository, fallback_repository, *kwargs)

    @classmethod
    async def from_pil_async(
        cls,
        pil_image: PilImage,
        format: ImageFormat | str | None = None,
        file_name: str | None = None,
        repository: Repository = DEFAULT_REPOSITORY,
        fallback_repository: Fallback = FALLBACK_REPOSITORY,
        request: Any = None,
        save_kwargs: Kwargs = None,
        fallback_save_kwargs: Kwargs = None,
    ) -> Self:
        """As `from_pil`, in a thread."""
        rest = (repository, fallback_repository, request, save_kwargs, fallback_save_kwargs)
        return await asyncio.to_thread(cls.from_pil, pil_image, format, file_name, *rest)

    def to_pil(
        self, mode: str = "RGB", *, max_pixels: int = pixels.MAX_PIXELS, max_bytes: int = pixels.MAX_IMAGE_BYTES
    ) -> PilImage:
        """The image for Pillow, upright (EXIF), in one of Pillow's modes; of several frames the first. Downloaded when
        it is not here. Raises ImageTooLarge before anything is decoded, ImageError, DownloadError, ImportError."""
        if self.file_data is not None:
            return pixels.decode(io.BytesIO(self.file_data), mode, max_pixels)
        return pil_of(self.url, mode, max_pixels=max_pixels, max_bytes=max_bytes)

    async def to_pil_async(
        self, mode: str = "RGB", *, max_pixels: int = pixels.MAX_PIXELS, max_bytes: int = pixels.MAX_IMAGE_BYTES
    ) -> PilImage:
        """As `to_pil`, in a thread."""
        return await asyncio.to_thread(self.to_pil, mode, max_pixels=max_pixels, max_bytes=max_bytes)


def pil_of(
    url: str,
    mode: str = "RGB",
    *,
    max_pixels: int = pixels.MAX_PIXELS,
    max_bytes: int = pixels.MAX_IMAGE_BYTES,
    private: bool = True,
) -> PilImage:
    """The image behind a URL; with `private` as `contents.fetched` has it. Raises as `Image.to_pil`."""
    with contents.temp_file(url, max_bytes, private=private) as path, Path(path).open("rb") as file:
        return pixels.decode(file, mode, max_pixels)


def _encoded(image: Any, format: str | None) -> tuple[bytes, str]:
    try:
        kind = format_name(image, format)
        if kind not in FORMATS and format is not None:
            fix = f"Choose {', '.join(FORMATS)}."
            raise ImageError(f"{format!r} is no format that images are stored in.", fix)
        kind = kind if kind in FORMATS else "png"
        return encode_image_bytes(image, kind, **_OPTIONS.get(kind, {}))
    except ImageNotEncodable as error:
        raise ImageError(error.message, error.fix) from error


def image_type(format: str | None) -> str | None:
    """The media type that a format's name means: `image/jpeg` for `jpg` and `JPG`. Raises ValueError for none."""
    if format is None:
        return None
    name = format.lower().removeprefix("image/")
    found = type_for_name(f"x.{name}")
    if found is None or not found.startswith("image/"):
        raise ValueError(f"{format!r} is no image format; the usual ones are {', '.join(FORMATS)}")
    return found
