"""Files out of the volume: into a file of this machine, whole or not at all, or to who takes the bytes as they come."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from entrepot.client.commands import Arriving, Call, Flow, Join, Request, Spawn
from entrepot.client.errors import EntrepotError, IntegrityError, ServerError, SourceChanged, TargetError
from entrepot.client.filling import Changed, Downloaded, Filling, Slow, Target, begin_of, sha256_of
from entrepot.client.meter import Meter
from entrepot.client.retry import is_transient
from entrepot.client.transfer import BLOCK
from entrepot.client.types import OnProgress, Phase
from entrepot.client.volume import Volume

# After these nobody goes on with what came.
_HOPELESS = (SourceChanged, IntegrityError, TargetError)
# How often a file may change at the server while it is downloaded.
_CHANGES = 5


def download(volume: Volume, path: str, target: Target, progress: OnProgress | None = None) -> Flow[Downloaded]:
    """Bring the file at `path`, which was parsed. Raises EntrepotError; then nothing is at the target that was not
    there before."""
    filling: Filling | None = None
    try:
        meter = Meter(progress, None, Phase.RECEIVING)
        filling = yield Call(partial(Filling, volume.url("file", path), target, meter))
        assert filling is not None
        if filling.is_current:
            return filling.kept()
        yield Call(filling.open)
        for last in (False, True):
            if not (yield from _fill(volume, path, filling)):
                return filling.kept()
            if filling.is_sound:
                break
            if last:
                raise _damaged(path, "Try again;")
            yield Call(filling.renew)
        found: Downloaded = yield Call(filling.publish)
        return found
    except EntrepotError as error:  # one of them is an OSError too
        if filling and isinstance(error, _HOPELESS):
            filling.drop()
        raise
    except OSError as error:
        if filling:
            filling.drop()  # after a failed sync nobody knows what is on the disk
        raise _unusable(target.path, error) from error
    finally:
        if filling:
            filling.close()


def _fill(volume: Volume, path: str, filling: Filling) -> Flow[bool]:
    """Until it is whole; False when what is at the target is what would come. The patience with a line begins anew when
    it brought something."""
    changes = 0
    while not filling.is_whole:
        before = filling.partial.at
        try:
            if filling.slow:
                yield from _several(volume, filling)
            else:
                yield from volume.ask(filling.make, take=filling.take)
        except Slow:
            filling.slow = True
        except Changed:
            changes += 1
            if changes == _CHANGES:
                raise _changed(path, "downloaded") from None
            yield Call(filling.renew)
        except EntrepotError as error:
            if isinstance(error, ServerError) and error.status_code == 304:
                return filling.is_complete
            if filling.partial.at <= before or not is_transient(error):
                raise
    return True


def _several(volume: Volume, filling: Filling) -> Flow[None]:
    """What is left, in pieces side by side."""
    lanes, version = filling.lanes, filling.partial.version
    assert version is not None
    for begin in range(filling.partial.at, version.total, lanes.piece):
        if not filling.has(begin):
            end = min(begin + lanes.piece, version.total)
            yield Spawn(_piece(volume, filling, begin, end), lanes.connections)
    yield Join()
    filling.is_whole = True


def _piece(volume: Volume, filling: Filling, begin: int, end: int) -> Flow[None]:
    piece = yield Call(partial(filling.piece, begin, end))
    try:
        while not piece.is_whole:
            before = piece.at
            try:
                yield from volume.ask(piece.make, take=piece.take)
            except EntrepotError as error:
                if isinstance(error, ServerError) and error.status_code == 412:
                    raise Changed from error
                if piece.at == before or not is_transient(error):
                    raise
    finally:
        piece.close()
    yield Call(partial(filling.ended, begin, end))


def read(
    volume: Volume, path: str, write: Callable[[memoryview], object], start: int = 0, end: int | None = None
) -> Flow[int]:
    """Give the bytes of a file, or those from `start` to before `end`, to `write` as they come; how many they were.
    Raises EntrepotError: IntegrityError when all were given and are not those that the server announces."""
    passing = _Passing(volume.url("file", path), write, start, end)
    while not passing.is_whole:
        before = passing.at
        try:
            yield from volume.ask(passing.make, take=passing.take)
        except Changed:
            raise _changed(path, "read") from None
        except EntrepotError as error:
            if isinstance(error, ServerError) and error.status_code == 412:
                raise _changed(path, "read") from error
            if passing.at == before or not is_transient(error):
                raise
    if not passing.is_sound:
        raise _damaged(path, "Do not use them. Try again;")
    return passing.at - start


class _Passing:
    """Bytes that cannot be taken back: the rest of a broken reply is asked for, and must be of the same version."""

    def __init__(self, url: str, write: Callable[[memoryview], object], start: int, end: int | None) -> None:
        self._url = url
        self._write = write
        self._start, self._end = start, end
        self._etag = ""
        self._sha256: bytes | None = None
        self._hasher = hashlib.sha256()
        self.at = start
        self.is_whole = False

    @property
    def is_sound(self) -> bool:
        return self._sha256 is None or self._sha256 == self._hasher.digest()

    @property
    def _in_part(self) -> bool:
        return self.at > 0 or self._end is not None

    def make(self) -> Request:
        headers = {"if-match": self._etag} if self._etag else {}
        if self._in_part:
            headers["range"] = f"bytes={self.at}-{'' if self._end is None else self._end - 1}"
        return Request("GET", self._url, headers)

    def take(self, arriving: Arriving) -> None:
        etag = arriving.headers.get("etag", "")
        same = self.at == self._start or (self._etag and self._etag == etag)
        if not same or (self._in_part and begin_of(arriving) != self.at):
            raise Changed
        self._etag = etag if etag.startswith('"') else ""
        if not self._start and self._end is None:
            self._sha256 = sha256_of(arriving.headers)
        view = memoryview(bytearray(BLOCK))
        while got := arriving.readinto(view):
            self._write(view[:got])
            self._hasher.update(view[:got])
            self.at += got
        self.is_whole = True


def _changed(path: str, how: str) -> SourceChanged:
    return SourceChanged(f"{path!r} was written to while it was {how}.", "Do it again when nobody writes to it.")


def _damaged(path: str, first: str) -> IntegrityError:
    message = f"The bytes of {path!r} are not those that the server announces."
    return IntegrityError(message, f"{first} if it stays so, the file is damaged at the server.")


def _unusable(path: Path, error: OSError) -> TargetError:
    return TargetError(f"{path}: {error.strerror or error}.", "Check the folder, its permissions and the free space.")
