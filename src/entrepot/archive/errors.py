"""Why an archive is not unpacked. Nothing of it was kept."""

from __future__ import annotations


class ArchiveError(Exception):
    """It is damaged, or of no kind that is read. `message` says what is wrong, `fix` what to do."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class ArchiveRefused(ArchiveError):
    """It has what no honest archive has: a link, a device, a name that leads elsewhere, a name twice."""


class ArchiveTooLarge(ArchiveError):
    """More comes out of it than the limits allow."""


class ArchiveEncrypted(ArchiveError):
    """It needs a password."""
