"""How the toolkit reaches URLs: its policy, and a fetch's failures as the toolkit's own errors."""

from __future__ import annotations

import os
from pathlib import Path

from entrepot.client import profile
from entrepot.client.errors import ConfigurationError
from entrepot.fetch import Fetcher, FetchError, Policy, allowed_networks, configured_proxy, exempted, origins, shown
from entrepot.fetch.errors import BadStatus, Blocked, Cancelled, TooLarge
from entrepot.toolkit.errors import (
    AddressRefused,
    DownloadCancelled,
    DownloadError,
    FileTooLarge,
    RemoteRefused,
)
from entrepot.toolkit.own import Keyed, Opener

PRIVATE_VARIABLE = "ENTREPOT_FETCH_PRIVATE"


def fetcher(*, private: bool = True) -> Opener:
    """What variables and profile allow: public addresses, ENTREPOT_FETCH_ALLOW, files of the configured servers; with
    `private` those that only our own key may read, too, unless ENTREPOT_FETCH_PRIVATE=0 forbids it.

    Raises DownloadError when a variable cannot be read.
    """
    try:
        policy = Policy(
            allow=allowed_networks(), own_origins=_own_origins(), proxy=configured_proxy(), no_proxy=exempted()
        )
    except FetchError as error:
        raise DownloadError(f"{error}.", error.fix) from error
    by = Fetcher(policy)
    is_off = os.environ.get(PRIVATE_VARIABLE, "").lower() in ("0", "false", "no", "off")
    return Keyed(by) if private and not is_off else by


def _own_origins() -> frozenset[str]:
    try:
        return origins(each.url for each in profile.targets())
    except ConfigurationError:
        return origins(os.environ.get("ENTREPOT_URL", "").replace(",", " ").split())


def as_download_error(error: FetchError, url: str, target: Path | None = None) -> DownloadError:
    """With the beginnings that fal's package has (docs/protocol.md 7.2), cause and remedy after them."""
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
            return FileTooLarge(failed, "Raise the limit (filesize_limit or max_bytes), or use a smaller file.")
        case Cancelled():
            return DownloadCancelled(failed, error.fix)
    other = DownloadError(failed, error.fix)
    other.code = error.code
    return other
