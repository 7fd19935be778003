"""Uploads from URLs, as the request that asks for one sees them: a job, and the wait for its end.

The file of a URL of this server is taken at once, with the rights of the caller; nothing is fetched then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol
from urllib.parse import unquote

from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem, not_found
from entrepot.domain.jobs import Job
from entrepot.fetch import FetchError, Policy, shown, urls
from entrepot.service.async_fetch import problem_of
from entrepot.service.jobs import Jobs
from entrepot.service.sink import Entry, Entry_co, Place, Place_contra, Sink, When, When_contra

VOLUME_IMPORT = "import into the volume"  # the kind of its jobs
OBJECT_IMPORT = "import into the CDN"


class ObjectCopies(Protocol[Place_contra, When_contra, Entry_co]):
    """How an object of this server becomes a file."""

    async def keep(self, who: Principal, path: Place_contra, url_path: str, when: When_contra) -> Entry_co: ...


class Imports(Generic[Place, When, Entry]):
    """Files of a volume from URLs. Stored is what the URL gives, whatever its type.

    `write_target` gives a place and its conditions as JSON values for the job.
    """

    def __init__(
        self,
        sink_of: Callable[[Principal], Sink[Place, When, Entry]],
        copies: ObjectCopies[Place, When, Entry],
        policy: Policy,
        jobs: Jobs,
        write_target: Callable[[Place, When], Mapping[str, Any]],
    ) -> None:
        self._sink_of = sink_of
        self._copies = copies
        self._policy = policy
        self._jobs = jobs
        self._write_target = write_target

    async def run(self, who: Principal, path: Place, url: str, when: When) -> None:
        """Return when the file is at `path`. A caller that is cancelled cancels the job.

        Raises Problem: VALIDATION_FAILED for what is no URL, BLOCKED_ADDRESS, TOO_LARGE, FETCH_FAILED for all that a
        remote server and the way there can do wrong, RATE_LIMITED when the account's turn did not come; and as the sink
        does.
        """
        self._sink_of(who)  # may the caller write there at all?
        own_path = own_object_path(self._policy, url)
        if own_path is not None:
            await self._copies.keep(who, path, own_path, when)
        else:
            await self._jobs.result(who, VOLUME_IMPORT, *self._described(path, url, when))

    async def start(self, who: Principal, path: Place, url: str, when: When) -> Job:
        """Submit the job of an import and do not wait. Raises Problem as far as the request itself is wrong."""
        self._sink_of(who)
        own_object_path(self._policy, url)
        return await self._jobs.submit(who, VOLUME_IMPORT, *self._described(path, url, when))

    def _described(self, path: Place, url: str, when: When) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"url": url, **self._write_target(path, when)}, {"path": str(path), "url": shown(url)}


def own_object_path(policy: Policy, url: str) -> str | None:
    """The decoded path of an object of this server; None for the URL of another one. Raises Problem."""
    try:
        target = urls.read(url)
    except FetchError as error:
        raise Problem(Code.VALIDATION_FAILED, str(error), where=("body", "url"), fix=error.fix) from None
    if not policy.is_own(target):
        return None
    try:
        policy.check_target(target)
        return unquote(target.resource.partition("?")[0], errors="strict")
    except FetchError as error:
        raise problem_of(error) from None
    except UnicodeDecodeError:
        raise not_found() from None
