"""A URL now, its bytes later: an upload in parts is begun, and finished when somebody has the bytes.

And uploads by one way that the caller chose, for who keeps a chain of ways of its own; and tokens for who reads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from entrepot.client import multipart
from entrepot.client.asking import Context, Token, token_after
from entrepot.client.clients import SyncClient
from entrepot.client.commands import Call, Flow
from entrepot.client.doors import door_of
from entrepot.client.errors import AllFailed, Attempt, EntrepotError
from entrepot.client.flows import upload, ways
from entrepot.client.material import FileMaterial
from entrepot.client.meter import Meter
from entrepot.client.multipart import Door, Session
from entrepot.client.profile import Profile
from entrepot.client.retry import Policy, hasty, is_elsewhere
from entrepot.client.sources import Source, Stream
from entrepot.client.types import FileUrl
from entrepot.client.wish import Way, Wish


@dataclass(frozen=True, slots=True)
class Reserved:
    """An upload that was begun: by which door, what is to become of it, and where."""

    door: Door[FileUrl]
    wish: Wish
    session: Session

    @property
    def url(self) -> str:
        """Where the file will be; until it is there, readers get 404."""
        return self.session.url


def reserve(ctx: Context, chain: list[Way], wish: Wish, extra: Mapping[str, str]) -> Flow[Reserved]:
    """Begin an upload at the first server that takes it. Raises EntrepotError, AllFailed."""
    failed: list[Attempt] = []
    for way in chain:
        try:
            door = door_of(ctx, way, wish, extra)
            session = yield from door.begin(Meter(None, None))
            return Reserved(door, wish, session)
        except EntrepotError as error:
            failed.append(Attempt(way.target.url, way.repository, error))
            if not is_elsewhere(error):
                raise
    raise failed[0].error if len(failed) == 1 else AllFailed(failed)


def fill(reserved: Reserved, opened: Callable[[], Source | Stream]) -> Flow[FileUrl]:
    """Send the bytes and publish them. There is no other way any more: the URL is out. What fails may be tried
    again until the server forgets the upload. Raises EntrepotError."""
    source: Source | Stream = yield Call(opened)
    if isinstance(source, Stream):
        raise TypeError("what is reserved is filled with bytes or with a file")
    try:
        material = FileMaterial(source, reserved.wish.part_size)
        meter = Meter(reserved.wish.progress, material.size)
        return (yield from multipart.send_all(reserved.door, reserved.session, material, reserved.wish, meter))
    finally:
        source.close()


class OutputClient(SyncClient):
    """A client for who chooses the way of each upload itself. `is_last` False: give up soon, there is another way."""

    def store(
        self, opened: Callable[[], Source | Stream], wish: Wish, repository: str, *, is_last: bool = True
    ) -> FileUrl:
        """Upload by one repository (`fal_v3` or `fal`). Raises EntrepotError."""
        return self._driver.run(upload(self._context, self._ways(repository, is_last), opened, wish))

    def reserve(self, wish: Wish, repository: str = "fal_v3", extra: Mapping[str, str] | None = None) -> Reservation:
        """A URL whose bytes come later. `extra` are headers of the request that begins it. Raises EntrepotError."""
        headers = {name.lower(): value for name, value in (extra or {}).items()}
        reserved = self._driver.run(reserve(self._context, self._ways(repository, True), wish, headers))
        return Reservation(self, reserved)

    def servers(self) -> tuple[Profile, ...]:
        """Those that are configured, with their keys. Raises ConfigurationError."""
        return self._targets()

    def token(self, server: Profile, refused: Token | None = None) -> Token:
        """What opens private files of a server; another one than that which it refused. Raises EntrepotError, at
        once: what waits for it can do without."""
        return self._driver.run(token_after(self._context, server, refused, Policy(attempts=1)))

    def _ways(self, repository: str, is_last: bool) -> list[Way]:
        policy = self._context.policy
        return ways(self._targets(), [repository], policy if is_last else hasty(policy))


class Reservation:
    """A URL that is out, and its end: `complete` or `abort`, in any thread."""

    def __init__(self, client: OutputClient, reserved: Reserved) -> None:
        self._client = client
        self._reserved = reserved
        self._lock = threading.Lock()
        self.url = reserved.url

    def complete(self, opened: Callable[[], Source | Stream]) -> FileUrl:
        """Publish the bytes. Raises EntrepotError; then it may be called again."""
        with self._lock:
            return self._client._driver.run(fill(self._reserved, opened))

    def abort(self) -> None:
        """Give the URL up; what the server holds is freed. Quiet when the server does not hear it: it forgets by
        itself."""
        with self._lock:
            self._client._driver.run(multipart.abandon(self._reserved.door, self._reserved.session))
