"""`download_file`: a file of a URL into a folder, whole or not at all, and only once."""

from __future__ import annotations

import errno
import functools
import hashlib
import itertools
import os
import random
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from entrepot import atomic
from entrepot.client import partial, retry
from entrepot.client.errors import ConnectionFailed as Broken
from entrepot.client.errors import EntrepotError, ServerError
from entrepot.client.partial import HIDDEN, Partial, Version, usual_mode
from entrepot.client.transfer import receive
from entrepot.domain.headers import retry_after
from entrepot.domain.sniffing import HEAD_SIZE, sniff
from entrepot.fetch import Call, FetchError, Response, shown
from entrepot.fetch.errors import BadReply, BadStatus, ConnectionFailed, InvalidHeader, TooLarge, WrongType
from entrepot.toolkit import inline
from entrepot.toolkit.errors import DigestMismatch, TargetUnusable
from entrepot.toolkit.freshness import (
    VERIFY,
    Remote,
    Verify,
    is_fresh,
    is_of_another,
    note_aside,
    place_of,
    remote_of,
    total_of,
)
from entrepot.toolkit.lease import Lease
from entrepot.toolkit.naming import identity, url_digest, with_ending
from entrepot.toolkit.own import Opener
from entrepot.toolkit.progress import Progress, reporter
from entrepot.toolkit.ranges import Adaptive, OpenRange
from entrepot.toolkit.reaching import as_download_error, fetcher
from entrepot.toolkit.volume import below_volume

MIB = 1024 * 1024
_PAUSE_SECONDS = 0.2  # before the second try; later ones wait longer
_BEAT_SECONDS = 5.0
# A part of a file under the file's name, or none at all, is not what was asked for.
_NOT_WANTED = ("range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
_PAGES = ("text/html", "application/xhtml+xml")
_NO_LINKS = frozenset({errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
# These are said by who connects. Programs copy them from browsers and mean nothing by it.
_NOT_THEIRS = ("host", "connection", "keep-alive", "proxy-connection", "te")


@dataclass(frozen=True, slots=True)
class Wish:
    """One download. `folder` is absolute, `limit` in bytes. More than one of `connections` are used where faster.
    `typed`: a name without an extension gets that of the content type. `weights`: a page, or nothing, is an error."""

    url: str
    folder: Path
    force: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    verify: Verify = None
    progress: Progress | bool | None = None
    call: Call = field(default_factory=Call)
    connections: int = 1
    typed: bool = False
    weights: bool = False

    @property
    def key(self) -> str:
        """What a download that was cut, and the one that goes on with it, share: what the URL names, and request
        headers. The server is asked for the rest, so that it sees who goes on."""
        return self._digest(identity(self.url))

    @property
    def turn(self) -> str:
        """What downloads share of which one works for all: the very URL, signature included, and request headers."""
        return self._digest(url_digest(self.url))

    def _digest(self, url: str) -> str:
        asked = "\0".join([url, *(f"{name}:{self.headers[name]}" for name in sorted(self.headers))])
        return hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()[:24]

    @property
    def asked(self) -> bool:
        """Whether request headers may decide what comes: a token, a language."""
        return any(name.lower() != "user-agent" for name in self.headers)

    @property
    def shown(self) -> str:
        return shown(self.url)


def download_file(
    url: str,
    target_dir: str | os.PathLike[str],
    *,
    force: bool = False,
    request_headers: Mapping[str, str] | None = None,
    filesize_limit: float | None = None,
    verify: Verify = None,
    progress: Progress | bool | None = None,
) -> Path:
    """Download a file into a folder, which is made if need be, and return its path.

    A relative folder is below the volume (ENTREPOT_VOLUME, else /data), `~` is the home folder. A file of this URL that
    is there already and is as long as the server says is returned as it is; `verify="etag"` and `"digest"` look closer,
    `force` always downloads. Where another URL's file has the name, `-` and 8 hex digits go before the extension.
    `filesize_limit` is in MiB. `progress` is called with bytes and total, True draws a bar on a terminal. Raises
    DownloadError; nothing is then at the target that was not there before.
    """
    return download(_wish(url, target_dir, force, request_headers, filesize_limit, verify, progress), fetcher())


async def download_file_async(
    url: str,
    target_dir: str | os.PathLike[str],
    *,
    force: bool = False,
    request_headers: Mapping[str, str] | None = None,
    filesize_limit: float | None = None,
    verify: Verify = None,
    progress: Progress | bool | None = None,
) -> Path:
    """As `download_file`, in a thread. Cancelling the task ends the transfer before it returns."""
    wish = _wish(url, target_dir, force, request_headers, filesize_limit, verify, progress)
    return await in_thread(lambda: download(wish, fetcher()), wish.call)


async def in_thread(work: Callable[[], Path], call: Call) -> Path:
    """Run `work`, which heeds `call`; a task that is cancelled waits until it has ended."""
    import asyncio  # takes long, and who does not await does without

    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        call.cancel()
        with suppress(Exception):
            await asyncio.wait([running])
            running.exception()
        raise


def _wish(
    url: str,
    target_dir: str | os.PathLike[str],
    force: bool,
    headers: Mapping[str, str] | None,
    limit: float | None,
    verify: Verify,
    progress: Progress | bool | None,
) -> Wish:
    if verify not in VERIFY:
        raise ValueError(f"verify is {verify!r}; it may be None, 'size', 'etag' or 'digest'")
    most = None if limit is None else int(limit * MIB)
    return Wish(str(url), below_volume(target_dir), force, dict(headers or {}), most, verify, progress)


def _sent(wish: Wish) -> dict[str, str]:
    """The caller's headers but those that are not theirs; values in all the types that Python's HTTP client takes.
    Raises InvalidHeader."""
    told: Mapping[str, object] = wish.headers
    sent = {}
    for name, value in told.items():
        if name.lower() in _NOT_THEIRS:
            continue
        if not isinstance(value, str | bytes | int):
            raise InvalidHeader(wish.shown, f"the request header {name!r} is no text but {type(value).__name__}")
        sent[name] = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return sent


def download(wish: Wish, by: Opener) -> Path:
    """Carry out a wish. Raises DownloadError."""
    try:
        wish.folder.mkdir(parents=True, exist_ok=True)
        if inline.is_data_uri(wish.url):
            return _from_text(wish)
        unwanted = [name for name in wish.headers if name.lower() in _NOT_WANTED]
        if unwanted:
            raise InvalidHeader(wish.shown, f"with the request header {unwanted[0]!r} a part of the file may come")
        return _from_network(replace(wish, headers=_sent(wish)), by)
    except FetchError as error:
        raise as_download_error(error, wish.url, wish.folder) from error
    except OSError as error:
        message = f"Failed to download {wish.shown} to {wish.folder}: {error.strerror or error}."
        raise TargetUnusable(message, "Check the folder, its permissions and the free space.") from error


def _from_text(wish: Wish) -> Path:
    """A data URI's bytes under the SHA-256 of the URI, as fal's package names them."""
    found = inline.decode(wish.url, wish.limit)
    data, name = found.data, url_digest(wish.url)
    path = wish.folder / (with_ending(name, found.content_type) if wish.typed else name)
    _check_target(wish, path)
    if wish.force or not path.is_file() or path.stat().st_size != len(data):
        atomic.write_file(path, data, usual_mode())
    return path


def _from_network(wish: Wish, by: Opener) -> Path:
    if wish.force:
        return _bring(wish, by, None)
    if _has_files(wish.folder) and (path := _cached(wish, by)):
        return path
    with Lease(wish.folder, wish.turn, wish.call, wish.shown) as lease:
        if lease.done and (path := _by_another(wish, *lease.done)):
            return path
        return _bring(wish, by, lease)


def _cached(wish: Wish, by: Opener) -> Path | None:
    """The file that is there, if a HEAD says that it will do. A server that refuses it is asked by GET later."""
    try:
        with by.open(wish.url, wish.headers, method="HEAD", max_bytes=wish.limit, call=wish.call) as response:
            return _match(wish, response) if response.status == 200 else None
    except (BadReply, ConnectionFailed):
        return None


def _match(wish: Wish, response: Response) -> Path | None:
    response.check_size()
    remote = remote_of(wish.url, response, typed=wish.typed)
    path = place_of(wish.folder, remote.name, wish.url)
    return path if is_fresh(path, wish.url, remote, wish.verify, asked=wish.asked) else None


def _by_another(wish: Wish, name: str, size: int) -> Path | None:
    """What another process downloaded while this one waited for it."""
    path = wish.folder / name
    if wish.limit is not None and size > wish.limit:
        raise TooLarge(wish.shown, f"the file has {size} bytes, over the limit of {wish.limit}")
    return path if path.is_file() and path.stat().st_size == size else None


def _bring(wish: Wish, by: Opener, lease: Lease | None) -> Path:
    """Transfer it, trying again as the client does: where a server asks for a pause, and where a connection broke that
    had brought something. What remains is gone on with by a later call."""
    policy = retry.brief(retry.Policy(base=_PAUSE_SECONDS))
    with atomic.Folder.open(wish.folder) as folder:
        # A forced download shares nothing with others.
        key = wish.key if lease else f"{wish.key}-{os.urandom(4).hex()}"
        file = (partial.claim(folder, key) if lease else None) or partial.create(folder, key)
        try:
            for number in itertools.count(1):
                before = file.at
                try:
                    return _attempt(wish, by, lease, file)
                except (BadStatus, ConnectionFailed) as error:
                    is_stuck = isinstance(error, ConnectionFailed) and (file.version is None or file.at == before)
                    pause = None if is_stuck else policy.pause(number, _as_client_error(error), random.random())
                    if pause is None:
                        error.reason += f", {number} times" if number > 1 else ""
                        raise
                    _wait(wish, lease, pause)
            raise AssertionError("the last try returns or raises")
        except (TooLarge, DigestMismatch, WrongType, OSError):
            file.drop()  # after a failed sync nobody knows what is on the disk
            raise
        finally:
            if not lease:
                file.drop()
            file.close()


def _as_client_error(error: BadStatus | ConnectionFailed) -> EntrepotError:
    """What the retry policy goes by."""
    if isinstance(error, BadStatus):
        return ServerError(error.reason, "", error.status, retry_after=retry_after(error.retry_after, time.time()))
    return Broken(error.reason)


def _wait(wish: Wish, lease: Lease | None, seconds: float) -> None:
    """Sleep, showing those who wait for this download that it lives. Raises Cancelled."""
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        wish.call.wait(max(0.0, min(left, _BEAT_SECONDS)), wish.shown)
        if left <= _BEAT_SECONDS:
            return
        if lease:
            lease.beat()


def _attempt(wish: Wish, by: Opener, lease: Lease | None, file: Partial) -> Path:
    with _ask(wish, by, file) as response:
        response.check_size()
        if wish.weights and response.media_type in _PAGES:
            raise _no_weights(wish, f"it sends a page ({response.media_type})")
        remote = remote_of(wish.url, response, typed=wish.typed)
        path = place_of(wish.folder, remote.name, wish.url)
        if not wish.force and is_fresh(path, wish.url, remote, wish.verify, asked=wish.asked):
            file.version = None
            return path
        _check_target(wish, path)
        if remote.sha256 and file.kind != "sha256":
            file.sum_by("sha256")
        _receive(wish, by, response, remote, lease, file)
    if remote.sha256 and file.sha256 != remote.sha256:
        raise DigestMismatch(
            f"Failed to download {wish.shown} to {path}: the bytes are not those that the server announced.",
            "Try again; if it stays so, the file is damaged at the server or on the way.",
        )
    if wish.weights and (not file.at or sniff(os.pread(file.file.fd, HEAD_SIZE, 0)) == "text/html"):
        raise _no_weights(wish, "it sends a page" if file.at else "it sends nothing")
    path = _publish(wish, remote, file)
    if lease:
        lease.finish(path.name, file.at)
    return path


def _no_weights(wish: Wish, what: str) -> WrongType:
    fix = "Use the URL of the file itself, and the credentials that it needs, as request_headers: it may be a login."
    return WrongType(wish.shown, f"{what} and no weights", fix)


def _publish(wish: Wish, remote: Remote, file: Partial) -> Path:
    """Give it its name. Another URL's file is never replaced, not even one that came a moment ago."""
    facts = remote.facts(wish.url, file.at, file.sha256, wish.asked)
    while True:
        path = place_of(wish.folder, remote.name, wish.url)
        _check_target(wish, path)
        is_there = os.path.lexists(path)
        if is_there and is_of_another(path, wish.url):
            continue
        try:
            file.publish(path.name, usual_mode(), facts, replace=is_there)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            file.publish(path.name, usual_mode(), facts)  # a file system that cannot keep the name of another
        note_aside(path, wish.url)
        return path


def _ask(wish: Wish, by: Opener, file: Partial) -> Response:
    """The reply whose body is what the file lacks: all of it, or the rest of the very version that it has."""
    version = file.version
    if version and 0 < file.at < version.total:
        headers = {**wish.headers, "range": f"bytes={file.at}-", "if-range": version.etag}
        limit = None if wish.limit is None else max(wish.limit - file.at, 0)
        response = by.open(wish.url, headers, max_bytes=limit, call=wish.call)
        if response.status == 206 and _goes_on(response, version, file.at):
            return response
        with response:
            if response.status in (429, 503):  # it wants a pause, and not a request for all of it
                response.expect(206)
    response = by.open(wish.url, wish.headers, max_bytes=wish.limit, call=wish.call)
    try:
        response.expect(200)
        strong = response.strong_etag
        file.begin(Version(strong, response.length) if strong and response.length else None)
    except BaseException:
        response.close()
        raise
    return response


def _ranges_of(wish: Wish, by: Opener, version: Version) -> OpenRange:
    """What opens ranges of this version and no other."""

    def open_range(begin: int, end: int, call: Call | None) -> Response:
        headers = {**wish.headers, "range": f"bytes={begin}-{end - 1}", "if-range": version.etag}
        response = by.open(wish.url, headers, max_bytes=end - begin, call=call or wish.call)
        same = total_of(response) == (begin, version.total) and response.strong_etag == version.etag
        if response.status != 206 or not same or response.length not in (None, end - begin):
            response.close()
            raise ConnectionFailed(wish.shown, "the file changed meanwhile, or the server sends no more ranges of it")
        return response

    return open_range


def _goes_on(response: Response, version: Version, at: int) -> bool:
    begin, total = total_of(response)
    rest = response.length is None or response.length == version.total - at
    return (begin, total) == (at, version.total) and response.strong_etag == version.etag and rest


def _receive(wish: Wish, by: Opener, response: Response, remote: Remote, lease: Lease | None, file: Partial) -> None:
    report = reporter(wish.progress)

    def moved(at: int) -> None:
        wish.call.check(wish.shown)
        if lease:
            lease.beat()
        report(at, remote.length)

    version, in_ranges = file.version, "bytes" in response.headers.get("accept-ranges", "")
    if wish.connections > 1 and version and (in_ranges or response.status == 206):
        ranges = _ranges_of(wish, by, version)
        heed = functools.partial(wish.call.check, wish.shown)
        with Adaptive(response, file.at, version.total, ranges, wish.connections, heed) as source:
            receive(source, file, moved)
    else:
        receive(response, file, moved)
    if remote.length is not None and file.at != remote.length:
        raise BadReply(wish.shown, f"it sent {file.at} bytes and announced {remote.length}")


def _check_target(wish: Wish, path: Path) -> None:
    """Raises TargetUnusable when something that is no file has the name: it is not ours to replace."""
    with suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            kind = "a folder" if stat.S_ISDIR(mode) else "no file"
            raise TargetUnusable(f"Failed to download {wish.shown} to {path}: that is {kind}.", "Use another folder.")


def _has_files(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(not entry.name.startswith(HIDDEN) for entry in entries)
