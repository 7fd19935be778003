"""Errors of the operating system as errors of the API: the volume raises Problem alone."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from entrepot.domain.errors import Code, Problem
from entrepot.volume.paths import NotPlain, Path

LOOK = "List the folder to see what is there."
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# Of the disk or of ourselves, whatever was looked at.
FAILING = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_LINK = frozenset({errno.ELOOP, errno.EXDEV})
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR})
_WHY_NOT = {
    errno.EXDEV: "is on another file system than the volume.",
    errno.EBUSY: "is where a file system is mounted.",
    errno.ENOENT: "was changed by another program in the same moment.",
}
_NAME = frozenset({errno.ENAMETOOLONG, errno.EILSEQ})


@contextmanager
def translated() -> Iterator[None]:
    """Say an OSError of the disk as a Problem."""
    try:
        yield
    except OSError as error:
        raise _failure(error) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say what the way to something that is read led to."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, *_LINK, *_NAME):
            raise missing(path) from None
        raise _wrong_kind(path, error) or error from None


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Say what the way to something that is moved or deleted led to."""
    try:
        yield
    except OSError as error:
        if error.errno in _LINK:
            raise beyond(path) from None
        if error.errno in (errno.ENOENT, errno.ENOTDIR, *_NAME):
            raise missing(path) from None
        raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say what the way to something that is written led to."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise conflict(f"There is a file where a folder of {path} should be.") from None
        if error.errno in _LINK:
            raise beyond(path) from None
        if error.errno in _NAME:
            raise Problem(Code.VALIDATION_FAILED, f"The disk takes no such name: {path}.") from None
        raise _wrong_kind(path, error) or error from None


@contextmanager
def renaming(path: Path) -> Iterator[None]:
    """Say why something did not get to its place by a rename."""
    try:
        yield
    except OSError as error:
        if error.errno in _TAKEN:
            raise taken(path) from None
        if error.errno in _WHY_NOT:
            raise conflict(f"{path} {_WHY_NOT[error.errno]}") from None
        if error.errno == errno.EINVAL:
            message = f"{path} is inside of what is moved there, or a name that the disk does not take."
            raise Problem(Code.VALIDATION_FAILED, message, fix=LOOK) from None
        raise


def taken(path: Path) -> Problem:
    return conflict(f"There is something at {path} already.")


def missing(path: Path) -> Problem:
    return Problem(Code.NOT_FOUND, f"There is nothing at {str(path) or 'the root'} in the volume.", fix=LOOK)


def conflict(message: str) -> Problem:
    return Problem(Code.CONFLICT, message, fix=LOOK)


def beyond(path: Path) -> Problem:
    """A link on the way leads out of the volume, or nowhere."""
    return Problem(Code.VALIDATION_FAILED, f"A link on the way to {path} is not followed.", fix=LOOK)


def special(path: Path) -> Problem:
    return Problem(Code.VALIDATION_FAILED, f"{path} is neither a file nor a folder.", fix=LOOK)


def wrong_cursor() -> Problem:
    message = "This is no cursor that such a listing gave."
    return Problem(Code.VALIDATION_FAILED, message, where=("query", "cursor"), fix="Begin again without a cursor.")


def _wrong_kind(path: Path, error: OSError) -> Problem | None:
    if isinstance(error, NotPlain):
        return special(path)
    if isinstance(error, IsADirectoryError):
        return conflict(f"{str(path) or 'The volume'} is a folder.")
    return None


def _failure(error: OSError) -> Problem:
    if error.errno in FULL:
        return Problem(Code.INSUFFICIENT_STORAGE, "The volume's disk has no room for this; nothing was stored.")
    if error.errno in (errno.EACCES, errno.EPERM):
        fix = "Change owner or mode of the file or folder on the server's disk."
        return Problem(Code.FORBIDDEN, "The server itself may not do this on its disk.", fix=fix)
    cause = "too many open files" if error.errno in (errno.EMFILE, errno.ENFILE) else error.strerror or str(error)
    return Problem(Code.UNAVAILABLE, f"The volume cannot be read or written: {cause}. Nothing was acknowledged.")
