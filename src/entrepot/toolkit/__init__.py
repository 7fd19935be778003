"""Files in and files out of a model: downloads, file types, inputs.

`from entrepot.toolkit import ...` takes the place of `from fal.toolkit import ...`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from entrepot.toolkit.archive import Extracted, Limits, extract
    from entrepot.toolkit.clone import clone_repository
    from entrepot.toolkit.compressed import CompressedFile
    from entrepot.toolkit.download import download_file, download_file_async
    from entrepot.toolkit.errors import (
        ArchiveEncrypted,
        ArchiveError,
        ArchiveRefused,
        ArchiveTooLarge,
        DownloadError,
        FileUploadException,
        FileUploadFallbackException,
        ImageError,
        ImageTooLarge,
        ToolkitError,
    )
    from entrepot.toolkit.fields import AudioField, FileField, ImageField, VideoField
    from entrepot.toolkit.filedata import FileData
    from entrepot.toolkit.files import File
    from entrepot.toolkit.image import IMAGE_SIZE_PRESETS, Image, ImageSize, ImageSizeInput, get_image_size
    from entrepot.toolkit.inputs import DataUri, FileInput, HttpsUrl, ImageInput
    from entrepot.toolkit.lifetime import use_lifecycle
    from entrepot.toolkit.media import Audio, Video
    from entrepot.toolkit.pending import PendingFile
    from entrepot.toolkit.repositories import FileRepository, Reservation, register_repository
    from entrepot.toolkit.volume import FAL_MODEL_WEIGHTS_DIR, FAL_PERSISTENT_DIR, FAL_REPOSITORY_DIR
    from entrepot.toolkit.weights import download_model_weights

# Where each name comes from: it is loaded when it is first used, so that an import of the package stays light.
_HOMES = {
    "archive": ("Extracted", "Limits", "extract"),
    "clone": ("clone_repository",),
    "compressed": ("CompressedFile",),
    "download": ("download_file", "download_file_async"),
    "errors": (
        "ArchiveEncrypted",
        "ArchiveError",
        "ArchiveRefused",
        "ArchiveTooLarge",
        "DownloadError",
        "FalTookitException",
        "FileUploadException",
        "FileUploadFallbackException",
        "ImageError",
        "ImageTooLarge",
        "ToolkitError",
    ),
    "fields": ("AudioField", "FileField", "ImageField", "VideoField"),
    "filedata": ("FileData",),
    "files": ("File",),
    "image": ("IMAGE_SIZE_PRESETS", "Image", "ImageSize", "ImageSizeInput", "get_image_size"),
    "inputs": ("DataUri", "FileInput", "HttpsUrl", "ImageInput"),
    "lifetime": ("use_lifecycle",),
    "media": ("Audio", "Video"),
    "pending": ("PendingFile",),
    "repositories": ("FileRepository", "Reservation", "register_repository"),
    "volume": ("FAL_MODEL_WEIGHTS_DIR", "FAL_PERSISTENT_DIR", "FAL_REPOSITORY_DIR"),
    "weights": ("download_model_weights",),
}
_PLACES = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "FAL_MODEL_WEIGHTS_DIR",
    "FAL_PERSISTENT_DIR",
    "FAL_REPOSITORY_DIR",
    "IMAGE_SIZE_PRESETS",
    "ArchiveEncrypted",
    "ArchiveError",
    "ArchiveRefused",
    "ArchiveTooLarge",
    "Audio",
    "AudioField",
    "CompressedFile",
    "DataUri",
    "DownloadError",
    "Extracted",
    "FalTookitException",
    "File",
    "FileData",
    "FileField",
    "FileInput",
    "FileRepository",
    "FileUploadException",
    "FileUploadFallbackException",
    "HttpsUrl",
    "Image",
    "ImageError",
    "ImageField",
    "ImageInput",
    "ImageSize",
    "ImageSizeInput",
    "ImageTooLarge",
    "Limits",
    "PendingFile",
    "Reservation",
    "ToolkitError",
    "Video",
    "VideoField",
    "clone_repository",
    "download_file",
    "download_file_async",
    "download_model_weights",
    "extract",
    "get_image_size",
    "register_repository",
    "use_lifecycle",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'entrepot.toolkit' has no attribute {name!r}")
    globals()[name] = getattr(import_module(f"entrepot.toolkit.{_PLACES[name]}"), name)
    return globals()[name]


def __dir__() -> list[str]:
    return __all__
