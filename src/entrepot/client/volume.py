"""What can be done on a server's volume in a request or two. Files in and out: stowing.py, downloads.py."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from entrepot import wire
from entrepot.client.asking import Answer, Context, ask, key_header
from entrepot.client.commands import Flow, Request, Take
from entrepot.client.entries import Entry, Trashed, Usage, entry_of, trashed_of, usage_of
from entrepot.client.errors import EntrepotError, PathError, ServerError
from entrepot.client.paths import parse, quoted
from entrepot.client.profile import Profile
from entrepot.client.replies import moment, text
from entrepot.client.retry import Policy, brief, hasty
from entrepot.client.types import FileUrl

FILES = "/v1/serverless/files"
FIRST_PAGE, PAGE = 500, 1000  # somebody waits for the first one
_NEXT = "x-entrepot-next-cursor"
# Seconds that a server may work without a word: over a whole tree, and over a URL (it gives that up sooner itself).
_LONG, _IMPORT = 600.0, 900.0
# What may stand in If-Match: the server compares it.
_TAG = re.compile(r"[!-~](?:[ -~]*[!-~])?")


Query = Mapping[str, str | None]


class Page(NamedTuple):
    """Entries in the order of their names, and where the next page begins; None after the last."""

    entries: list[Entry]
    cursor: str | None


class TrashPage(NamedTuple):
    """As `Page`, of what was deleted."""

    entries: list[Trashed]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Conditions:
    """When a write may happen: over a file with this entity tag, or only where nothing is."""

    if_match: str | None = None
    overwrite: bool = True

    def __post_init__(self) -> None:
        if self.if_match is not None and not _TAG.fullmatch(self.if_match):
            raise ValueError(f"if_match is no entity tag such as that of an Entry: {self.if_match!r}")

    def headers(self) -> dict[str, str]:
        found = {} if self.if_match is None else {"if-match": self.if_match}
        return found if self.overwrite else {**found, "if-none-match": "*"}


@dataclass(slots=True)
class Repeated:
    """How often a request was made: what was done by one whose reply was lost looks like a refusal of the next."""

    times: int = 0

    def __bool__(self) -> bool:
        return self.times > 1


@dataclass(frozen=True, slots=True)
class Volume:
    """The volume of a server. Its methods are flows; paths are as users write them."""

    ctx: Context
    target: Profile

    def url(self, deed: str, path: str = "", end: str = "", query: Query | None = None) -> str:
        """Where a deed is done to a path that was parsed; `end` follows the path."""
        said = urlencode({name: value for name, value in (query or {}).items() if value is not None})
        parts = [f"{self.target.url}{FILES}/{deed}", quoted(path), end]
        return "/".join(part for part in parts if part) + (f"?{said}" if said else "")

    def ask(
        self,
        make: Callable[[], Request],
        policy: Policy | None = None,
        check: Callable[[], None] | None = None,
        repeated: Repeated | None = None,
        take: Take | None = None,
    ) -> Flow[Answer]:
        """Send a request with the key until it is answered, as `asking.ask` does. Raises ServerError, with the code
        `no_volume` when the server has none."""

        def made() -> Request:
            if repeated is not None:
                repeated.times += 1
            request = make()
            return replace(request, headers={**request.headers, **key_header(self.target)})

        if policy is None and self.target.url not in self.ctx.heard:
            policy = brief(self.ctx.policy)  # a server that is not there is told of soon
        try:
            answer = yield from ask(self.ctx, made, policy, check, take)
            self.ctx.heard.add(self.target.url)
            return answer
        except ServerError as error:
            self.ctx.heard.add(self.target.url)
            if error.code == "not_found" and error.error_type is None:  # not the Platform API's form of an error
                fix = "Update the server; it is older than this command."
                said = f"The server at {self.target.url} has no volume."
                raise ServerError(said, fix, error.status_code, "no_volume", error.request_id) from error
            raise

    def stat(self, path: str, checksum: bool = False) -> Flow[Entry]:
        """What is at a path; with `checksum` its digest is computed when it is not known."""
        answer = yield from self._get("stat", path, {"checksum": "true"} if checksum else {})
        return entry_of(answer.body)

    def page(self, path: str, *, recursive: bool = False, cursor: str | None = None) -> Flow[Page]:
        """Some entries of a folder, or of all below it."""
        limit = PAGE if cursor else FIRST_PAGE
        query = {"limit": str(limit), "cursor": cursor, "recursive": "true" if recursive else None}
        answer = yield from self._get("list", path, query)
        return Page([entry_of(row) for row in answer.rows], answer.headers.get(_NEXT) or None)

    def all(self, path: str, *, recursive: bool = False) -> Flow[list[Entry]]:
        """All entries of a folder, or of all below it."""
        found: list[Entry] = []
        cursor = None
        while True:
            page = yield from self.page(path, recursive=recursive, cursor=cursor)
            found += page.entries
            if (cursor := page.cursor) is None:
                return found

    def usage(self, path: str = "") -> Flow[Usage]:
        """What a folder holds, all below it included."""
        return usage_of((yield from self._get("usage", path)).body)

    def make_folder(self, path: str) -> Flow[Entry]:
        """A folder and those above it; one that is there already is fine."""
        return entry_of((yield from self._post("dir", path)).body)

    def rename(self, path: str, destination: str, overwrite: bool = False) -> Flow[Entry]:
        """Move a file or folder; `destination` is its whole new path."""
        target, repeated = _inner(destination), Repeated()
        before = yield from self.stat(_inner(path))
        try:
            told = {"destination": target, "overwrite": overwrite}
            return entry_of((yield from self._post("rename", path, told, repeated)).body)
        except ServerError as error:
            found = (yield from self._found(target)) if repeated and error.status_code == 404 else None
            if found and _looks(found) == _looks(before):
                return found
            raise

    def copy(self, path: str, destination: str, overwrite: bool = False) -> Flow[Entry]:
        """Copy a file, or a folder with all below it, on the server."""
        target, repeated = _inner(destination), Repeated()
        try:
            told = {"destination": target, "overwrite": overwrite}
            return entry_of((yield from self._post("copy", path, told, repeated)).body)
        except ServerError as error:
            if repeated and error.status_code == 409 and (found := (yield from self._found(target, checksum=True))):
                source = yield from self.stat(path, checksum=True)
                if source.digest and source.digest == found.digest:
                    return found
            raise

    def delete(
        self, path: str, *, recursive: bool = False, permanent: bool = False, if_match: str | None = None
    ) -> Flow[str | None]:
        """Move a file or folder into the trash; its id there. With `permanent` it goes for good, and None comes."""
        query = {"recursive": "true" if recursive else "false", "permanent": "true" if permanent else None}
        headers = Conditions(if_match).headers()
        place, repeated = _inner(path), Repeated()
        request = Request("DELETE", self.url("file", place, query=query), headers, silence=_LONG)
        try:
            answer = yield from self.ask(lambda: request, brief(self.ctx.policy), repeated=repeated)
        except ServerError as error:
            if repeated and error.status_code == 404:
                if permanent:
                    return None
                if found := (yield from self.last_deleted(place)):
                    return found.id
            raise
        told = answer.body.get("trash_id")
        return str(told) if told else None

    def trash_page(self, limit: int = PAGE, cursor: str | None = None) -> Flow[TrashPage]:
        """Some of what was deleted and can be put back."""
        answer = yield from self._get("trash", "", {"limit": str(limit), "cursor": cursor})
        return TrashPage([trashed_of(row) for row in answer.rows], answer.headers.get(_NEXT) or None)

    def trash(self) -> Flow[list[Trashed]]:
        """All that was deleted and can be put back."""
        found: list[Trashed] = []
        cursor = None
        while True:
            page = yield from self.trash_page(cursor=cursor)
            found += page.entries
            if (cursor := page.cursor) is None:
                return found

    def last_deleted(self, path: str) -> Flow[Trashed | None]:
        """What was last deleted from a path that was parsed."""
        same = [each for each in (yield from self.trash()) if each.path == path]
        return max(same, key=lambda each: each.deleted_at.timestamp() if each.deleted_at else 0.0, default=None)

    def restore(self, trash_id: str, destination: str | None = None) -> Flow[Entry]:
        """Put back what was deleted, where it was or elsewhere."""
        told = {} if destination is None else {"destination": parse(destination)}
        request = self._told("POST", f"trash/{_escaped(trash_id)}/restore", "", told)
        return entry_of((yield from self.ask(lambda: request, brief(self.ctx.policy))).body)

    def drop(self, trash_id: str) -> Flow[None]:
        """End what was deleted for good."""
        request, repeated = Request("DELETE", self.url(f"trash/{_escaped(trash_id)}"), silence=_LONG), Repeated()
        try:
            yield from self.ask(lambda: request, brief(self.ctx.policy), repeated=repeated)
        except ServerError as error:
            if not repeated or error.status_code != 404:
                raise

    def upload_url(self, url: str, path: str) -> Flow[None]:
        """Have the server fetch a URL into a file. Comes back when the file is there."""
        request = replace(self._told("POST", "file/url", path, {"url": url}), silence=_IMPORT)
        yield from self.ask(lambda: request, hasty(self.ctx.policy))

    def publish(self, path: str, told: Mapping[str, str], lifecycle: str | None) -> Flow[FileUrl]:
        """Make a file with a URL of its own of one on the volume."""
        unique = {wire.IDEMPOTENCY_KEY: self.ctx.new_id()}
        headers = unique if lifecycle is None else {**unique, wire.LIFECYCLE: lifecycle}
        request = self._told("POST", "publish", path, told)
        request = replace(request, headers={**request.headers, **headers})
        answer = yield from self.ask(lambda: request, brief(self.ctx.policy))
        return _published(answer.body)

    def keep(self, url: str, path: str, overwrite: bool = False) -> Flow[Entry]:
        """Make a file on the volume of one with a URL of this server."""
        return entry_of((yield from self._post("keep", path, {"url": url, "overwrite": overwrite})).body)

    def _get(self, deed: str, path: str, query: Query | None = None) -> Flow[Answer]:
        request = Request("GET", self.url(deed, parse(path), query=query), silence=_LONG)
        return (yield from self.ask(lambda: request, brief(self.ctx.policy)))

    def _post(
        self, deed: str, path: str, told: Mapping[str, Any] | None = None, repeated: Repeated | None = None
    ) -> Flow[Answer]:
        request = Request("POST", self.url(deed, parse(path))) if told is None else self._told("POST", deed, path, told)
        return (yield from self.ask(lambda: request, brief(self.ctx.policy), repeated=repeated))

    def _told(self, method: str, deed: str, path: str, told: Mapping[str, Any]) -> Request:
        headers = {"content-type": "application/json"}
        return Request(method, self.url(deed, parse(path)), headers, json.dumps(told).encode(), _LONG)

    def _found(self, path: str, checksum: bool = False) -> Flow[Entry | None]:
        try:
            return (yield from self.stat(path, checksum))
        except ServerError as error:
            if error.status_code == 404:
                return None
            raise


def _escaped(trash_id: str) -> str:
    """An id in a URL, as one part of its path. Raises ValueError."""
    if not trash_id:
        raise ValueError("an empty id names nothing in the trash")
    return quote(trash_id, safe="", errors="replace")


def _inner(path: str) -> str:
    """A path that is not the volume itself, to which nothing of the kind is done. Raises PathError."""
    parsed = parse(path)
    if not parsed:
        raise PathError("This would be the whole volume.", "Name a file or folder on it.")
    return parsed


def _looks(entry: Entry) -> tuple[object, ...]:
    """What an entry keeps under another name."""
    return entry.is_file, entry.size, entry.updated_at


def _published(body: Mapping[str, object]) -> FileUrl:
    size, digest, kind = body.get("size"), body.get("digest"), body.get("content_type")
    return FileUrl(
        text(body, "access_url"),
        str(digest) if digest else "",
        size if isinstance(size, int) else 0,
        str(kind) if kind else None,
        moment(body.get("expires_at")),
    )


def is_missing(error: EntrepotError) -> bool:
    """Whether there is nothing at the path, and not that there is no volume."""
    return isinstance(error, ServerError) and error.status_code == 404 and error.code != "no_volume"
