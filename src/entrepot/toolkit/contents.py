"""The bytes behind a file's URL: in memory, or in a place of the caller's, whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from entrepot import atomic
from entrepot.domain.mediatypes import OCTET_STREAM
from entrepot.domain.sniffing import HEAD_SIZE, sniff
from entrepot.toolkit import inline, localfiles
from entrepot.toolkit.download import Wish, download
from entrepot.toolkit.errors import DownloadError, FileTooLarge
from entrepot.toolkit.naming import with_ending
from entrepot.toolkit.reaching import fetcher

MIB = 1024 * 1024
# What is taken into memory at most, in bytes, unless the caller says otherwise.
MAX_BYTES = 1024 * MIB
_FILE_MODE = 0o666  # less the umask, as every program's files


def read(url: str, most: int = MAX_BYTES) -> bytes:
    """The bytes behind a URL, at most so many. Raises DownloadError (FileTooLarge), OSError."""
    if inline.is_data_uri(url):
        return inline.decode(url, most).data
    with temp_file(url, most) as path:
        return path.read_bytes()


@contextmanager
def temp_file(url: str, most: int | None = None, *, private: bool = True) -> Iterator[Path]:
    """The bytes behind a URL as a file that goes away with the block. Raises as `read`."""
    with tempfile.TemporaryDirectory(prefix="entrepot-") as folder:
        yield fetched(url, Path(folder), most, private=private)


def fetched(url: str, folder: Path, most: int | None = None, *, private: bool = True) -> Path:
    """The bytes behind a URL as a new file in a folder that is private to the caller. Strangers' URLs are fetched with
    care (docs of `download_file`); a `file:` URL is read only when it is of our own local repository. `private`: what
    our own key alone may read at the configured servers is read too."""
    scheme = url.partition(":")[0].lower()  # more is told of it, without its secrets, by who reads it
    if scheme == "file":
        path = _local(url, folder)
    elif scheme in ("http", "https", "data"):
        path = download(Wish(url, folder.resolve(), force=True, limit=most, typed=True), fetcher(private=private))
    else:
        raise DownloadError("The file's URL is none that can be downloaded.", "It must begin with https:// or data:")
    path = _with_ending(path)
    if most is not None and path.stat().st_size > most:
        raise FileTooLarge(f"The file has more than {most} bytes.", "Save it to a file, or allow more.")
    return path


def _with_ending(path: Path) -> Path:
    """The file, under a name with the extension of what it looks like where its URL and its server told none."""
    with path.open("rb") as file:
        name = with_ending(path.name, sniff(file.read(HEAD_SIZE)) or OCTET_STREAM)
    return path if name == path.name else path.rename(path.with_name(name))


def save(url: str, data: bytes | None, path: Path, *, overwrite: bool) -> Path:
    """Put a file at a path, from memory when its bytes are there. Nothing else in the folder is touched, and the path
    has the whole file or what it had before. A link at the path is replaced, not followed.

    Raises FileExistsError, IsADirectoryError, DownloadError, OSError.
    """
    target = Path(os.path.realpath(path.parent)) / path.name
    if target.is_dir() and not target.is_symlink():
        raise IsADirectoryError(f"{target} is a folder")
    if os.path.lexists(target) and not overwrite:
        raise FileExistsError(f"File {target} already exists")
    target.parent.mkdir(parents=True, exist_ok=True)
    if data is not None:
        (atomic.write_file if overwrite else atomic.create_file)(target, data, _FILE_MODE)
        return target
    private = Path(tempfile.mkdtemp(prefix=".entrepot-", dir=target.parent))
    try:
        _place(fetched(url, private), target, overwrite=overwrite)
    finally:
        shutil.rmtree(private, ignore_errors=True)
    with closing(atomic.Folder.open(target.parent)) as folder:
        folder.sync()
    return target


def _place(source: Path, target: Path, *, overwrite: bool) -> None:
    if not overwrite:
        try:
            os.link(source, target, follow_symlinks=False)
            return
        except FileExistsError:
            raise FileExistsError(f"File {target} already exists") from None
        except OSError:  # no links here: the name is taken first, empty for a moment
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE))
    os.replace(source, target)


def _local(url: str, folder: Path) -> Path:
    handle = localfiles.open_url(url)
    if handle is None:
        fix = f"Only files right in the local repository's folder are: {localfiles.VARIABLE} says which."
        raise DownloadError("A file: URL of another place is not read.", fix)
    path = folder / localfiles.name_of(url)
    with open(handle, "rb") as source, closing(atomic.Folder.open(folder)) as held:
        file = held.create(path.name, _FILE_MODE, masked=True)
        try:
            while chunk := source.read(MIB):
                file.write([chunk])
        finally:
            file.close()
    return path
