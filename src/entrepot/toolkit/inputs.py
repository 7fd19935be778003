"""Types of inputs: URLs and data URIs that a caller sends, as text that can be read (docs/protocol.md 7.6).

What is validated is a `str` that keeps its methods. A URL is one that the guarded fetch can read, by its own parser:
https, and a host with a dot or a public address; with ENTREPOT_INPUT_HTTP=1 plain http and other hosts (localhost,
private addresses) are taken too, for development. Where a URL may lead is the fetch's business, whatever it looks like.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from entrepot.fetch import FetchError, addresses, urls
from entrepot.toolkit import contents, inline
from entrepot.toolkit.models import GetCoreSchemaHandler, GetJsonSchemaHandler, core_schema

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

MAX_DATA_URI_LENGTH = 10 * 1024 * 1024
MAX_HTTPS_URL_LENGTH = 2048
OPEN_VARIABLE = "ENTREPOT_INPUT_HTTP"
# For the JSON schema: all that is taken matches it, in any dialect of patterns, and little else does.
HTTPS_PATTERN = r"^[hH][tT][tT][pP][sS]:\/\/(?:\[[0-9a-fA-F:.]+\]|[^\s\/?#@:\[\]\\]+)(?::\d{0,5})?(?:[\/?#]\S*)?$"


class _Input(str):
    """A text of a caller's that names a file."""

    __slots__ = ()
    _longest: ClassVar[int]
    _pattern: ClassVar[str]
    _format: ClassVar[str]

    @contextmanager
    def as_temp_file(self, max_bytes: int | None = None) -> Iterator[Path]:
        """The file, downloaded to a path that goes away with the block: what everybody may read, since a caller chose
        the URL. Raises DownloadError (FileTooLarge)."""
        with contents.temp_file(str(self), max_bytes, private=False) as path:
            yield path

    @classmethod
    def _checked(cls, value: str) -> Self:
        raise NotImplementedError

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        text = core_schema.str_schema(max_length=cls._longest, strip_whitespace=True)
        plain = core_schema.to_string_ser_schema()
        return core_schema.no_info_after_validator_function(cls._checked, text, serialization=plain)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "type": "string", "pattern": cls._pattern, "format": cls._format}


class _ImageInput(_Input):
    """The same for images."""

    __slots__ = ()

    def to_pil(self, mode: str = "RGB") -> PilImage:
        """The image, upright, within the limits of `Image.to_pil`. Raises ImageError, DownloadError, ImportError."""
        from entrepot.toolkit.image import pil_of

        return pil_of(str(self), mode, private=False)


class HttpsUrl(_Input):
    """An https URL of at most 2048 characters that can be downloaded."""

    __slots__ = ()
    _longest, _pattern, _format = MAX_HTTPS_URL_LENGTH, HTTPS_PATTERN, "https-url"

    @classmethod
    def _checked(cls, value: str) -> Self:
        is_open = os.environ.get(OPEN_VARIABLE, "").lower() in ("1", "true", "yes", "on")
        try:
            target = urls.read(value)
        except FetchError as error:
            raise ValueError(f"URL must be one that can be downloaded: {error.reason}") from None
        if re.search(r"\s", value):
            raise ValueError("URL must have no blanks in it; write them as %20")
        if is_open or (target.scheme == "https" and _is_outside(target.host)):
            return cls(value)
        more = f" (plain http and other hosts are taken with {OPEN_VARIABLE}=1)"
        raise ValueError(f"URL must start with 'https://' and name a host with a dot or a public address{more}")


def _is_outside(host: str) -> bool:
    """Whether it may be a host of the internet: a public address, or a name with a dot."""
    address = addresses.literal(host)
    return addresses.is_public(address) if address else "." in host


class DataUri(_Input):
    """A data URI of at most 10 MiB."""

    __slots__ = ()
    _longest, _pattern, _format = MAX_DATA_URI_LENGTH, "^data:", "data-uri"

    @classmethod
    def _checked(cls, value: str) -> Self:
        if not inline.is_data_uri(value):
            raise ValueError("Data URI must start with 'data:'")
        return cls(value)


class ImageHttpsUrl(_ImageInput, HttpsUrl):
    """An `HttpsUrl` of an image."""

    __slots__ = ()


class ImageDataUri(_ImageInput, DataUri):
    """A `DataUri` of an image."""

    __slots__ = ()


FileInput = HttpsUrl | DataUri
ImageInput = ImageHttpsUrl | ImageDataUri
