"""Upload from URL: what a stranger's server sends becomes a file, whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol
from urllib.parse import unquote

from entrepot.domain.acl import Principal
from entrepot.domain.digests import Expected
from entrepot.domain.errors import Code, Problem, not_found
from entrepot.fair_queue import FairQueue, at_most
from entrepot.fetch import Fetcher, FetchError, Policy, Response, origins, urls
from entrepot.fetch.addresses import read_networks
from entrepot.fetch.network import Network
from entrepot.service.access import require_account
from entrepot.service.async_fetch import AsyncFetch, problem_of
from entrepot.service.sink import Entry, Entry_co, Place, Place_contra, Sink, When, When_contra

FETCHES = 32  # that a process makes at once, a thread each
PATIENCE = 60.0  # seconds that an import waits for its turn
RETRY_SECONDS = 30


class Keeping(Protocol[Place_contra, When_contra, Entry_co]):
    """How an object of our own becomes a file."""

    async def keep(self, who: Principal, path: Place_contra, url_path: str, when: When_contra) -> Entry_co: ...


@dataclass(frozen=True, slots=True)
class ImportBounds:
    """`max_size` in bytes; `timeout` of a whole fetch and `stall`, in which a byte must come, in seconds; `per_account`
    are those at once. `allow` are networks that may be read although they are not public, `own` the origins of this
    server."""

    max_size: int
    timeout: float
    stall: float
    per_account: int
    allow: tuple[str, ...] = ()
    own: tuple[str, ...] = ()

    def policy(self) -> Policy:
        return Policy(
            allow=read_networks(",".join(self.allow)),
            own_origins=origins(self.own),
            stall_seconds=self.stall,
            total_seconds=self.timeout,
        )


class Imports(Generic[Place, When, Entry]):
    """One deed: run. Stored is what the URL gives, whatever its type: a page with a login form is a file too."""

    def __init__(
        self,
        sink_of: Callable[[Principal], Sink[Place, When, Entry]],
        own: Keeping[Place, When, Entry],
        bounds: ImportBounds,
        network: Network | None = None,
    ) -> None:
        """`network` takes the place of the system's."""
        self._sink_of = sink_of
        self._own = own
        self._fetcher = Fetcher(bounds.policy(), network)
        self._bounds = bounds
        self._turns = FairQueue(at_most(bounds.per_account), FETCHES)
        self._pool = ThreadPoolExecutor(FETCHES, thread_name_prefix="import")
        self._running: set[AsyncFetch] = set()

    async def run(self, who: Principal, path: Place, url: str, when: When) -> Entry:
        """The file that is then at `path`. Files of this server are not fetched but kept, with the rights of `who`.

        Raises Problem: VALIDATION_FAILED for what is no URL, BLOCKED_ADDRESS, TOO_LARGE, FETCH_FAILED for all that a
        remote server and the way there can do wrong, RATE_LIMITED when the account's turn did not come; and as the sink
        does.
        """
        sink = self._sink_of(who)
        require_account(who)
        own_path = self.own_path(url)
        if own_path is not None:
            return await self._own.keep(who, path, own_path, when)
        async with self.fetched(who, url) as (response, pieces):
            entry, _ = await sink.take(
                who, path, pieces, length=response.length, expected=declared(response), when=when
            )
        return entry

    @contextlib.asynccontextmanager
    async def fetched(self, who: Principal, url: str) -> AsyncIterator[tuple[Response, AsyncIterator[bytes]]]:
        """The reply of another server and its body as it comes, in the turn of the key. Raises Problem as `run`."""
        account_id, key_id = require_account(who)
        async with self._turn(account_id, key_id, url) as fetching:
            response = await fetching.open(self._bounds.max_size)
            async with contextlib.aclosing(fetching.pieces(response)) as pieces:
                yield response, pieces

    def close(self) -> None:
        """End what runs. Threads end with the step that they take."""
        for fetching in tuple(self._running):
            fetching.end(lambda: None)
        self._pool.shutdown(wait=False)

    @contextlib.asynccontextmanager
    async def _turn(self, account_id: str, key_id: str, url: str) -> AsyncIterator[AsyncFetch]:
        """A fetch in the key's turn, which is over when nothing of the fetch is left."""
        if not await self._turns.take(key_id, PATIENCE, account_id):
            message = f"This account has {self._bounds.per_account} uploads from URLs under way, and others wait."
            raise Problem(Code.RATE_LIMITED, message, retry_after=RETRY_SECONDS)
        fetching = AsyncFetch(self._fetcher, self._pool, url, self._bounds.timeout)
        self._running.add(fetching)
        try:
            yield fetching
        finally:
            self._running.discard(fetching)
            fetching.end(lambda: self._turns.give_back(key_id, account_id))

    def own_path(self, url: str) -> str | None:
        """The decoded path of one of our own files; None for the URL of another server. Raises Problem."""
        try:
            target = urls.read(url)
        except FetchError as error:
            raise Problem(Code.VALIDATION_FAILED, str(error), where=("body", "url"), fix=error.fix) from None
        if not self._fetcher.policy.is_own(target):
            return None
        try:
            self._fetcher.policy.check_target(target)
            return unquote(target.resource.partition("?")[0], errors="strict")
        except FetchError as error:
            raise problem_of(error) from None
        except UnicodeDecodeError:
            raise not_found() from None


def declared(response: Response) -> tuple[Expected, ...]:
    """What the remote server says of the file, so that no changed byte is taken for it."""
    return (Expected("sha-256", response.sha256),) if response.sha256 else ()
