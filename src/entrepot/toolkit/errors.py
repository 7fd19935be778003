"""What can go wrong in the toolkit: two branches of the one tree of the user's side, downloads and uploads.

Every error has a stable `code`, says what happened with the URL as it may be shown (no credentials, no query), and
what to do about it (`fix`). The cause is chained.
"""

from __future__ import annotations

from collections.abc import Sequence

from entrepot.client.errors import EntrepotError


class ToolkitError(EntrepotError):
    """Base of all errors of the toolkit."""

    code = "toolkit_failed"


FalTookitException = ToolkitError  # as fal's package spells it


class DownloadError(ToolkitError):
    """A file could not be downloaded. No partial file is at the target, and what was there before is as it was."""

    code = "download_failed"


class AddressRefused(DownloadError):
    """The URL, or one that it redirects to, leads where a stranger's URL must not lead. No packet was sent there."""

    code = "blocked_address"


class RemoteRefused(DownloadError):
    """The other server answered with an error. `status` is the HTTP status."""

    code = "remote_refused"

    def __init__(self, message: str, fix: str = "", status: int = 0) -> None:
        super().__init__(message, fix)
        self.status = status


class FileTooLarge(DownloadError):
    """The file is larger than the limit that was set."""

    code = "too_large"


class DigestMismatch(DownloadError):
    """The bytes that came are not those that the server announced."""

    code = "digest_mismatch"


class InvalidDataUri(DownloadError):
    """A data URI that cannot be decoded."""

    code = "invalid_data_uri"


class TargetUnusable(DownloadError):
    """The folder cannot be written to, or something that is no file has the name."""

    code = "target_unusable"


class DownloadCancelled(DownloadError):
    """The download was cancelled from outside."""

    code = "cancelled"


class CloneError(ToolkitError):
    """A repository could not be cloned. What was at the target before is as it was."""

    code = "clone_failed"


class FileUploadException(ToolkitError):
    """A file could not be uploaded. With `falls_back` False no other repository is tried."""

    code = "upload_failed"
    falls_back = True


class FileUploadFallbackException(FileUploadException):
    """Every repository was tried; `errors` lists why each failed, in order."""

    code = "all_uploads_failed"

    def __init__(self, message: str, fix: str = "", errors: Sequence[Exception] = ()) -> None:
        super().__init__(message, fix)
        self.errors = tuple(errors)


class ArchiveError(ToolkitError):
    """An archive cannot be unpacked: damaged, or of no kind that is read. Nothing of it was kept."""

    code = "archive_unreadable"


class ArchiveRefused(ArchiveError):
    """An archive has what no honest one has: a link, a device, a name that leads elsewhere, a name twice."""

    code = "archive_refused"


class ArchiveTooLarge(ArchiveError):
    """More comes out of an archive than the limits allow."""

    code = "archive_too_large"


class ArchiveEncrypted(ArchiveError):
    """An archive needs a password."""

    code = "archive_encrypted"


class ImageError(ToolkitError, ValueError):
    """An image cannot be decoded or encoded."""

    code = "image_unreadable"


class ImageTooLarge(ImageError):
    """An image has more pixels than the limit. It was not decoded."""

    code = "image_too_large"
