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


COMPRESSIONS = {
    "application/gzip": "gzip",
    "application/x-bzip2": "bzip2",
    "application/x-xz": "xz",
    "application/zstd": "Zstandard",
}


def single_file(kind: str) -> ArchiveError:
    """The error for one compressed file, which has no name and no folder to unpack."""
    message = f"This is one file compressed with {COMPRESSIONS[kind]}, not an archive of files."
    if kind == "application/zstd":
        message = "This is one file, or a tar of several, compressed with Zstandard, which is not unpacked here."
    return ArchiveError(message, "Take it as it is and decompress it, or pack it as ZIP.")


def unreadable(kind: str | None, *, only_zip: bool) -> ArchiveError:
    """The error for what is no archive, or none that is read here."""
    if kind == "application/zip":
        message = "This ZIP archive has no end, where the list of its files is: it was cut off."
        return ArchiveError(message, "Send or download it again, whole.")
    what = f"It looks like {kind}." if kind else "It looks like nothing known."
    fix = "Pack it as ZIP." if only_zip else "Pack it as ZIP, or as tar with gz, bz2 or xz."
    return ArchiveError(f"This is no archive that can be read. {what}", fix)
