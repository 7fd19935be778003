"""From an HTTP reply to values or to an error that a person can read: pure."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from entrepot import wire
from entrepot.client.commands import Reply, Request
from entrepot.client.errors import ConnectionFailed, EntrepotError, ServerError
from entrepot.domain.headers import retry_after, text_of

_TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_SHOWN = 200  # characters of a page or text that an error message quotes
_SHORTEST_SECRET = 8  # what is shorter protects nothing, and is found in any text
_LONGEST = 2000  # characters of what a server says in a field that is meant to be read
NOT_OURS = "Check the URL: between here and the server something else answers, such as a proxy or a login page."


def answered(reply: Reply, request: Request, now: float) -> Any:
    """The JSON value of a success; an empty object when the success has no body. Raises ServerError for all else, and
    ConnectionFailed for a request that arrived garbled, and for JSON that ends too early: of a reply that says no
    length its end is told by that alone."""
    if reply.status == 400 and not reply.body and wire.REQUEST_ID not in reply.headers:
        # So says an HTTP library, before the server hears of it: bytes were lost or doubled before this request.
        raise ConnectionFailed(f"{_place(request)} could not read the request.", "Try again.")
    body = _json(reply.body)
    if not 200 <= reply.status < 300:
        raise _refused(_unechoed(reply, request), request, now)
    if body is None and "json" in reply.headers.get("content-type", ""):
        # It is not quoted: what there is of it may be a token.
        raise ConnectionFailed(f"The reply of {_place(request)} is cut after {len(reply.body)} bytes.", "Try again.")
    if body is None and reply.body:
        reply = _unechoed(reply, request)
        message = f"{_place(request)} answered {reply.status} with no JSON: {_quoted(reply.body)}"
        raise ServerError(message, NOT_OURS, reply.status, "not_json", headers=reply.headers)
    return {} if body is None else body


def text(body: Mapping[str, Any], field: str) -> str:
    """A field that a reply must have. Raises EntrepotError."""
    value = body.get(field)
    if not isinstance(value, str) or not value:
        raise EntrepotError(f"The server's reply has no {field!r}.", NOT_OURS)
    return value


def link(body: Mapping[str, Any], field: str, asked: str = "") -> str:
    """A URL that a reply must have. When something is sent there and the server was `asked` over TLS, that goes over
    TLS too. Raises EntrepotError."""
    url = text(body, field)
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname and parts.hostname.encode("idna")) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.scheme not in ("http", "https") or not url.isascii() or not url.isprintable() or " " in url:
        raise EntrepotError(f"The server's reply has no URL in {field!r}.", NOT_OURS)
    if asked.startswith("https:") and parts.scheme != "https":
        fix = "Tell the server its address: entrepot serve --public-url https://..."
        raise EntrepotError(f"The server is asked over TLS and names an address without it in {field!r}.", fix)
    return url


def moment(value: object) -> datetime | None:
    """A time of a reply; None when there is none."""
    try:
        return datetime.fromisoformat(str(value)) if value else None
    except ValueError:
        return None


def _unechoed(reply: Reply, request: Request) -> Reply:
    """The reply without the credentials of the request: a page for debugging, or a server that is none of ours, may
    repeat them, and errors are printed and logged."""
    credential = request.headers.get("authorization", "").rpartition(" ")[2]
    told = (credential, credential.rpartition(":")[2], urlsplit(request.url).query)
    secrets = [each for each in told if len(each) >= _SHORTEST_SECRET]
    return Reply(
        reply.status,
        {name: _without(value.encode("utf-8", "replace"), secrets).decode() for name, value in reply.headers.items()},
        _without(reply.body, secrets),
    )


def _without(text: bytes, secrets: Iterable[str]) -> bytes:
    for each in secrets:
        text = text.replace(each.encode(), b"***")
    return text


def _refused(reply: Reply, request: Request, now: float) -> ServerError:
    body = _json(reply.body)
    known = body if isinstance(body, dict) else {}
    if isinstance(known.get("error"), dict):  # the Platform API's form (docs/protocol.md 6.1)
        known = known["error"]
    if 300 <= reply.status < 400:
        where = _plain(text_of(reply.headers.get("location", "nowhere")).partition("?")[0], _SHOWN)
        message = f"{_place(request)} redirects to {where}; that is not followed."
        return ServerError(message, "Set ENTREPOT_URL to the final address.", reply.status, headers=reply.headers)
    error = ServerError(
        _message(known) or f"{_place(request)} answered {reply.status}: {_quoted(reply.body)}",
        _said(known.get("fix")) or (NOT_OURS if body is None else ""),
        reply.status,
        _said(known.get("code")),
        _said(known.get("request_id")) or _plain(reply.headers.get(wire.REQUEST_ID, ""), _SHOWN),
        retry_after(reply.headers.get("retry-after", ""), now),
        reply.headers,
    )
    # The body wins over the header, as in fal's client; the Platform API calls it `type`.
    error.error_type = _said(known.get("error_type")) or error.error_type or _said(known.get("type")) or None
    return error


def _message(known: Mapping[str, Any]) -> str:
    """Ours has `message`; fal's has `detail`, a text or a list of field errors (docs/protocol.md 1.5)."""
    detail = known.get("detail")
    if isinstance(detail, list):
        return _plain("; ".join(_field(each) for each in detail if isinstance(each, dict)), _LONGEST)
    return _said(known.get("message")) or _said(detail)


def _field(error: Mapping[str, Any]) -> str:
    place = error.get("loc")
    return f"{'.'.join(map(str, place)) if isinstance(place, list) else place}: {error.get('msg')}"


def _said(value: object) -> str:
    """A field that is meant to be read; empty when it is no text."""
    return _plain(value, _LONGEST) if isinstance(value, str) else ""


def _plain(text: str, most: int) -> str:
    """On one line, without what a terminal would act on, and no longer than that."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())[:most]


def _json(body: bytes) -> Any:
    """None when it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _quoted(body: bytes) -> str:
    """A page's title, else the beginning of the text, on one line and without what a terminal would act on."""
    title = _TITLE.search(body[:65536])
    shown = html.unescape((title[1] if title else body[: 4 * _SHOWN]).decode("utf-8", "replace"))
    plain = _plain(shown, _SHOWN)
    return repr(plain) if plain else "nothing"


def _place(request: Request) -> str:
    """The URL without its query, which may hold a signature."""
    return request.url.partition("?")[0]
