"""Outputs in a folder of this machine, for development without a server.

The folder is `ENTREPOT_LOCAL_FILES`, else `entrepot-files` below the user's data folder (XDG_DATA_HOME). A `file:` URL
is read only when it names a file right in that folder, never through a link: URLs come from strangers too.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from entrepot.atomic import Folder
from entrepot.client.local import expanded
from entrepot.domain.names import clean_name, new_id, segment

VARIABLE = "ENTREPOT_LOCAL_FILES"
_CHUNK = 1024 * 1024


def folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where local files are."""
    if environ.get(VARIABLE):
        return Path(os.path.abspath(expanded(environ[VARIABLE])))
    base = environ.get("XDG_DATA_HOME")
    return (Path(expanded(base)) if base else Path.home() / ".local" / "share") / "entrepot-files"


def new_name(file_name: str) -> str:
    """A name that nobody has: a new id and the file's own name."""
    return segment(new_id(secrets.token_bytes), clean_name(file_name), "")


def url_of(name: str) -> str:
    """The `file:` URL of a local file."""
    return (folder() / name).as_uri()


def write(name: str, content: bytes | Path) -> str:
    """Make a local file of bytes or of another file, whole or not at all; its URL. Raises OSError."""
    place = folder()
    place.mkdir(parents=True, exist_ok=True)
    beside = f".{secrets.token_hex(8)}.tmp"
    with Folder.open(place) as held:
        file = held.create(beside, 0o644, masked=True)
        try:
            try:
                for chunk in [content] if isinstance(content, bytes) else _chunks(content):
                    file.write([chunk])
                file.sync()
            finally:
                file.close()
            held.rename(beside, name)
            held.sync()
        except BaseException:
            with suppress(OSError):
                held.unlink(beside)
            raise
    return url_of(name)


def open_url(url: str) -> int | None:
    """A handle of the local file that a `file:` URL names; None when it names none of ours. Raises OSError."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    path = Path(unquote(parts.path))
    is_ours = parts.netloc in ("", "localhost") and path.parent == folder() and path.name not in ("", "..")
    if parts.scheme != "file" or not is_ours or "\0" in path.name:
        return None
    with Folder.open(folder()) as held:
        return os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=held.fd)


def name_of(url: str) -> str:
    """The name at the end of the `file:` URL of a local file."""
    return Path(unquote(urlsplit(url).path)).name


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
