"""Paths of the volume as users write them: `models/a.bin`, or `/data/models/a.bin` as programs on a runner do. Pure."""

from __future__ import annotations

from urllib.parse import quote

from entrepot.client.entries import ROOT
from entrepot.client.errors import PathError

# Below `.../files/file/` these are no folders.
_ROUTES = {"multipart", "local", "url"}


def parse(text: str) -> str:
    """The path below the volume; empty for the volume itself. Names are taken as they are, byte for byte. Raises
    PathError."""
    parts = [part for part in text.split("/") if part]
    if text.startswith("/") and parts:
        if parts[0] != ROOT[1:]:
            raise PathError(
                f"{text!r} is not on the volume.", f"Its paths are like models/a.bin or {ROOT}/models/a.bin."
            )
        parts = parts[1:]
    if parts == ["."]:
        return ""
    if "." in parts or ".." in parts:
        raise PathError(f"{text!r} has a '.' or '..' in it.", "Write the path without them.")
    try:
        "/".join(parts).encode()
    except UnicodeEncodeError:
        raise PathError(f"{text!r} is no UTF-8.", "Rename it: the volume's names are Unicode.") from None
    if "\0" in text:
        raise PathError(f"{text!r} has a zero byte in it.", "No name has one.")
    return "/".join(parts)


def join(folder: str, *names: str) -> str:
    """A path below another; empty ones count for nothing."""
    return "/".join(part for part in (folder, *names) if part)


def quoted(path: str) -> str:
    """A path in a URL. Where it begins as a longer route does, `%2F` tells that it is none; elsewhere it would only be
    lost on some proxies."""
    first, slash, rest = path.partition("/")
    between = "%2F" if first in _ROUTES else "/"
    return quote(first, safe="") + (f"{between}{quote(rest)}" if slash else "")
