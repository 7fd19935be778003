"""Entrepot: upload a file in one line and get a URL, on your own disks and with your own keys.

`import entrepot as fal_client` runs the upload part of programs that were written for fal's client.
"""

from __future__ import annotations

from importlib import import_module

from entrepot.domain.version import __version__

TYPE_CHECKING = False  # for type checkers it is true; `typing` would be most of what an import of this takes
if TYPE_CHECKING:
    from typing import Any

    from entrepot.client.clients import AsyncClient, SyncClient
    from entrepot.client.datauri import encode, encode_file, encode_image
    from entrepot.client.errors import EntrepotError
    from entrepot.client.errors import EntrepotError as FalClientError
    from entrepot.client.errors import ServerError as FalClientHTTPError
    from entrepot.client.errors import Stalled as FalClientTimeoutError
    from entrepot.client.shortcuts import upload, upload_file, upload_image
    from entrepot.client.shortcuts_async import upload_async, upload_file_async, upload_image_async
    from entrepot.client.types import (
        FileUrl,
        ObjectExpiration,
        Phase,
        Progress,
        StorageACL,
        StorageACLDecision,
        StorageACLRule,
        StorageSettings,
    )

# Where each name comes from: it is loaded when it is first used, so that `import entrepot` alone stays light.
_HOMES = {
    "clients": ("AsyncClient", "SyncClient"),
    "datauri": ("encode", "encode_file", "encode_image"),
    "errors": ("EntrepotError",),
    "shortcuts": ("upload", "upload_file", "upload_image"),
    "shortcuts_async": ("upload_async", "upload_file_async", "upload_image_async"),
    "types": (
        "FileUrl",
        "ObjectExpiration",
        "Phase",
        "Progress",
        "StorageACL",
        "StorageACLDecision",
        "StorageACLRule",
        "StorageSettings",
    ),
}
# The names that fal's client has for the same.
_FAL_NAMES = {
    "FalClientError": "EntrepotError",
    "FalClientHTTPError": "ServerError",
    "FalClientTimeoutError": "Stalled",
}
_PLACES = {name: (home, name) for home, names in _HOMES.items() for name in names}
_PLACES |= {name: ("errors", ours) for name, ours in _FAL_NAMES.items()}

__all__ = [
    "AsyncClient",
    "EntrepotError",
    "FalClientError",
    "FalClientHTTPError",
    "FalClientTimeoutError",
    "FileUrl",
    "ObjectExpiration",
    "Phase",
    "Progress",
    "StorageACL",
    "StorageACLDecision",
    "StorageACLRule",
    "StorageSettings",
    "SyncClient",
    "__version__",
    "encode",
    "encode_file",
    "encode_image",
    "upload",
    "upload_async",
    "upload_file",
    "upload_file_async",
    "upload_image",
    "upload_image_async",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'entrepot' has no attribute {name!r}")
    home, theirs = _PLACES[name]
    globals()[name] = getattr(import_module(f"entrepot.client.{home}"), theirs)
    return globals()[name]


def __dir__() -> list[str]:
    return __all__
