"""Private files of the configured servers, opened with the token of our own key (docs/protocol.md 1.6).

The token goes to the server that gave it and to where that server keeps its files, and to these only for a file's URL
that the caller named: never after a redirect, and never unless the file is closed to everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Protocol

from entrepot.client.errors import EntrepotError
from entrepot.fetch import Call, Fetcher, Response, origins, urls
from entrepot.fetch.errors import BlockedAddress
from entrepot.fetch.urls import Target

if TYPE_CHECKING:
    from entrepot.client.asking import Token
    from entrepot.client.reserve import OutputClient

# What a server answers to nobody in particular for a file that is not for everybody (docs/protocol.md 4.4).
_CLOSED = frozenset({401, 403, 404})


class Opener(Protocol):
    """What opens URLs; `fetch.Fetcher` does."""

    def open(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        max_bytes: int | None = None,
        call: Call | None = None,
    ) -> Response:
        """Raises FetchError."""


class Keyed:
    """Opens what a Fetcher opens, and private files of our own servers too."""

    def __init__(self, by: Fetcher) -> None:
        self._by = by
        self._tokens: dict[str, Token] = {}  # by the URL of the file that it opened

    def open(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        max_bytes: int | None = None,
        call: Call | None = None,
    ) -> Response:
        """As `Fetcher.open`. When no token helps, it is as if there were none."""
        ask = partial(Fetcher.open, url=url, headers=headers, method=method, max_bytes=max_bytes, call=call)
        token = self._tokens.get(url)
        if token is None:
            try:
                response = ask(self._by)
            except BlockedAddress:  # where our server keeps its files may be a neighbour that only it knows of
                token = _token(urls.read(url))
                if token is None:
                    raise
            else:
                token = _token(urls.read(url)) if response.status in _CLOSED else None
                if token is None:
                    return response
                response.close()
        own = self._by.knowing(origins([url]))
        response = ask(own, credential=token.credential)
        if response.status == 401 and (newer := _token(urls.read(url), token)):
            response.close()
            token, response = newer, ask(own, credential=newer.credential)
        if response.status not in _CLOSED:
            self._tokens[url] = token
        return response


def _token(target: Target, refused: Token | None = None) -> Token | None:
    """The token for a file of a configured server. None: it is of another, or no file, or the server gives none."""
    if not urls.is_object(target):
        return None
    try:
        servers = client().servers()
    except EntrepotError:
        return None
    for server in sorted(servers, key=lambda each: target.origin not in origins([each.url])):
        try:
            token = client().token(server, refused)
        except EntrepotError:
            continue
        if target.origin in origins([server.url, token.base_url]):
            return token
    return None


@lru_cache(maxsize=1)
def client() -> OutputClient:
    """The one client of this process, for outputs and for tokens; it looks up server and key each time."""
    from entrepot.client.reserve import OutputClient  # takes long, and public files do without

    return OutputClient()
