"""A first, plain client: one request, one URL. What is sent is hashed on the way and compared with what was stored."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2

from entrepot import wire
from entrepot.client import profile as profiles
from entrepot.client.errors import ConnectionFailed, EntrepotError, IntegrityError, ServerError
from entrepot.client.profile import Profile

Progress = Callable[[int, int], None]

_CHUNK = 1024 * 1024
_STALL_SECONDS = 60.0


def upload_file(path: str | os.PathLike[str]) -> str:
    """Upload a file and return its URL. The server, and the key, come from the environment or the profile."""
    return str(send_file(profiles.load(), Path(path))["access_url"])


def upload(data: bytes, content_type: str, file_name: str | None = None) -> str:
    """Upload bytes and return their URL."""
    return str(_send(profiles.load(), iter([data]), len(data), file_name, content_type)["access_url"])


def send_file(profile: Profile, path: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Upload one file; returns the server's reply (`access_url`, `size`, `digest`, `content_type`, `expires_at`).

    `progress` is called with bytes sent and the total. Raises EntrepotError, OSError.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return _send(profile, _chunks(iter(lambda: file.read(_CHUNK), b""), size, progress), size, path.name, None)


def _chunks(pieces: Iterator[bytes], size: int, progress: Progress | None) -> Iterator[bytes]:
    sent = 0
    for piece in pieces:
        sent += len(piece)
        if sent > size:
            break
        yield piece
        if progress:
            progress(sent, size)
    if sent != size:
        raise EntrepotError("The file changed while it was sent.", "Upload it again when nobody writes to it.")


def _send(
    profile: Profile, pieces: Iterator[bytes], size: int, name: str | None, content_type: str | None
) -> dict[str, Any]:
    hasher = hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        for piece in pieces:
            hasher.update(piece)
            yield piece

    headers = {
        "authorization": f"Key {profile.key.reveal()}",
        "content-length": str(size),
        "content-type": content_type or "application/octet-stream",
    }
    if name:
        headers[wire.FILE_NAME] = wire.encode_file_name(name)
    reply = _post(profile.url + wire.UPLOAD, headers, hashed())
    if reply.get("digest") != f"sha256:{hasher.hexdigest()}":
        raise IntegrityError("The server stored other bytes than were sent.", "Upload again; the URL must not be used.")
    return reply


def _post(url: str, headers: dict[str, str], content: Iterator[bytes]) -> dict[str, Any]:
    try:
        with httpx2.Client(timeout=httpx2.Timeout(_STALL_SECONDS, read=None)) as http:
            response = http.post(url, headers=headers, content=content)
    except httpx2.HTTPError as error:
        fix = "Check ENTREPOT_URL, and that the server runs: entrepot serve"
        raise ConnectionFailed(f"Cannot upload to {url}: {error}", fix) from error
    return _read(response)


def _read(response: httpx2.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    if response.is_success and isinstance(body, dict):
        return body
    known = body if isinstance(body, dict) else {}
    raise ServerError(
        str(known.get("message") or f"The server answered {response.status_code} {response.reason_phrase}."),
        str(known.get("fix") or "Check that the URL is that of an Entrepot server."),
        response.status_code,
        str(known.get("code") or ""),
        str(known.get("request_id") or response.headers.get(wire.REQUEST_ID, "")),
    )
