"""Files in and files out of a model: downloads, file types, inputs.

`from entrepot.toolkit import ...` takes the place of `from fal.toolkit import ...`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from entrepot.toolkit.clone import clone_repository
    from entrepot.toolkit.download import download_file, download_file_async
    from entrepot.toolkit.errors import (
        DownloadError,
        FileUploadException,
        FileUploadFallbackException,
        ToolkitError,
    )
    from entrepot.toolkit.weights import download_model_weights

# Where each name comes from: it is loaded when it is first used, so that an import of the package stays light.
_HOMES = {
    "clone": ("clone_repository",),
    "download": ("download_file", "download_file_async"),
    "errors": ("DownloadError", "FileUploadException", "FileUploadFallbackException", "ToolkitError"),
    "weights": ("download_model_weights",),
}
_PLACES = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DownloadError",
    "FileUploadException",
    "FileUploadFallbackException",
    "ToolkitError",
    "clone_repository",
    "download_file",
    "download_file_async",
    "download_model_weights",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'entrepot.toolkit' has no attribute {name!r}")
    globals()[name] = getattr(import_module(f"entrepot.toolkit.{_PLACES[name]}"), name)
    return globals()[name]


def __dir__() -> list[str]:
    return __all__
