"""`download_model_weights`: one folder of the volume for each URL, reused without asking the network."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from entrepot import atomic
from entrepot.client.partial import HIDDEN
from entrepot.domain.sniffing import HEAD_SIZE, sniff
from entrepot.toolkit.download import Wish, download
from entrepot.toolkit.naming import url_digest
from entrepot.toolkit.reaching import fetcher
from entrepot.toolkit.volume import below_volume

_RECORD = f"{HIDDEN}weights.json"
_USED = ".fal_used"
_DAY = 86400.0
_CONNECTIONS = 4  # at most, where one is slow and several are faster


def download_model_weights(url: str, force: bool = False, request_headers: Mapping[str, str] | None = None) -> Path:
    """Download a file into `<volume>/.fal/model_weights/<sha256 of the URL>/` and return its path.

    What is there is returned without a look at the network, if it is as long as it was when it came; the time of
    the last use is kept in `.fal_used`, to the day. `force` downloads anew. A page, such as a login, is never taken for
    weights. Raises DownloadError.
    """
    folder = below_volume(".fal/model_weights") / url_digest(url)
    path = None if force else _held(folder)
    if path is None:
        # What is not whole must not be taken for a hit: a size alone does not tell.
        anew = force or any(_files(folder))
        headers = dict(request_headers or {})
        path = download(Wish(url, folder, anew, headers, connections=_CONNECTIONS, weights=True), fetcher())
        record = json.dumps({"name": path.name, "size": path.stat().st_size}).encode()
        with suppress(OSError):
            atomic.write_file(folder / _RECORD, record, 0o644)
    _mark_used(folder)
    return path


def _held(folder: Path) -> Path | None:
    """The whole file that is there. What others put there, of which no size is known, is believed as it is."""
    names = [name for name in _files(folder) if not _is_page(folder / name)]
    try:
        record = json.loads((folder / _RECORD).read_bytes())
        name, size = str(record["name"]), int(record["size"])
    except (OSError, ValueError, KeyError, TypeError):
        return folder / names[0] if names else None
    path = folder / name
    return path if name in names and path.is_file() and path.stat().st_size == size else None


def _files(folder: Path) -> list[str]:
    """All names but our own and those of fal's package."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(".fal"))
    except OSError:
        return []


def _is_page(path: Path) -> bool:
    """Whether it is HTML, as former releases kept it when a server answered with a login."""
    try:
        with path.open("rb") as file:
            return sniff(file.read(HEAD_SIZE)) == "text/html"
    except OSError:
        return False


def _mark_used(folder: Path) -> None:
    """Touch `.fal_used` when it is older than a day: what sweeps unused weights looks at it."""
    used = folder / _USED
    with suppress(OSError):
        if not used.exists() or used.stat().st_mtime < time.time() - _DAY:
            used.touch()
