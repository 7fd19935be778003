"""How the toolkit reaches URLs: its policy, and a fetch's failures as the toolkit's own errors."""

from __future__ import annotations

import os
from pathlib import Path

from entrepot.client import profile
from entrepot.client.errors import ConfigurationError
from entrepot.fetch import Fetcher, FetchError, Policy, allowed_networks, origins, shown
from entrepot.fetch.errors import BadStatus, Blocked, Cancelled, TooLarge
from entrepot.toolkit.errors import (
    AddressRefused,
    DownloadCancelled,
    DownloadError,
    FileTooLarge,
    RemoteRefused,
)


def fetcher() -> Fetcher:
    """What variables and profile allow: public addresses, ENTREPOT_FETCH_ALLOW, files of the configured servers.
    Raises DownloadError when ENTREPOT_FETCH_ALLOW cannot be read."""
    try:
        return Fetcher(Policy(allow=allowed_networks(), own_origins=_own_origins()))
    except FetchError as error:
        raise DownloadError(f"{error}.", error.fix) from error


def _own_origins() -> frozenset[str]:
    try:
        return origins(each.url for each in profile.targets())
    except ConfigurationError:
        return origins(os.environ.get("ENTREPOT_URL", "").replace(",", " ").split())


def as_download_error(error: FetchError, url: str, target: Path | None = None) -> DownloadError:
    """With the beginnings that fal's package has (protocol 7.2), cause and remedy after them."""
    place = shown(url)
    via = "" if error.url in (place, "") else f" ({error.url})"
    failed = f"Failed to download {place}{f' to {target}' if target else ''}: {error.reason}{via}."
    match error:
        case Blocked():
            refused = AddressRefused(f"{error.reason}: {place}{via}.", error.fix)
            refused.code = error.code
            return refused
        case BadStatus():
            message = f"Failed to get remote file properties for {place}: {error.reason}{via}."
            return RemoteRefused(message, error.fix, error.status)
        case TooLarge():
            return FileTooLarge(failed, "Raise filesize_limit, or use a smaller file.")
        case Cancelled():
            return DownloadCancelled(failed, error.fix)
    other = DownloadError(failed, error.fix)
    other.code = error.code
    return other
