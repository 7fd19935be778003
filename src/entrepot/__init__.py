"""Entrepot: upload a file in one line and get a URL, on your own disks and with your own keys."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "upload", "upload_file"]

if TYPE_CHECKING:
    from entrepot.client.plain import upload, upload_file


def __getattr__(name: str) -> Any:
    """Load the client when it is first used: `import entrepot` alone stays light."""
    if name in ("upload", "upload_file"):
        return getattr(import_module("entrepot.client.plain"), name)
    raise AttributeError(f"module 'entrepot' has no attribute {name!r}")
