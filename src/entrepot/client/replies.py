"""From an HTTP reply to values or to an error that a person can read: pure."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from entrepot import wire
from entrepot.client.commands import Reply, Request
from entrepot.client.errors import EntrepotError, ServerError

_TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_SHOWN = 200  # characters of a page or text that an error message quotes
_NOT_OURS = "Check the URL: between here and the server something else answers, such as a proxy or a login page."


def answered(reply: Reply, request: Request, now: float) -> dict[str, Any]:
    """The JSON object of a success; empty when the success has no body. Raises ServerError for all else."""
    body = _json(reply.body)
    if not 200 <= reply.status < 300:
        raise _refused(reply, request, body, now)
    if body is None and reply.body:
        message = f"{_place(request)} answered {reply.status} with no JSON: {_quoted(reply.body)}"
        raise ServerError(message, _NOT_OURS, reply.status, "not_json", headers=reply.headers)
    return body or {}


def text(body: Mapping[str, Any], field: str) -> str:
    """A field that a reply must have. Raises EntrepotError."""
    value = body.get(field)
    if not isinstance(value, str) or not value:
        raise EntrepotError(f"The server's reply has no {field!r}.", _NOT_OURS)
    return value


def moment(value: object) -> datetime | None:
    """A time of a reply; None when there is none."""
    try:
        return datetime.fromisoformat(str(value)) if value else None
    except ValueError:
        return None


def _refused(reply: Reply, request: Request, body: dict[str, Any] | None, now: float) -> ServerError:
    known = body or {}
    if 300 <= reply.status < 400:
        message = f"{_place(request)} redirects to {reply.headers.get('location', 'nowhere')}; uploads do not follow."
        return ServerError(message, "Set ENTREPOT_URL to the final address.", reply.status, headers=reply.headers)
    return ServerError(
        _message(known) or f"{_place(request)} answered {reply.status}: {_quoted(reply.body)}",
        str(known.get("fix") or (_NOT_OURS if body is None else "")),
        reply.status,
        str(known.get("code") or ""),
        str(known.get("request_id") or reply.headers.get(wire.REQUEST_ID, "")),
        _retry_after(reply.headers.get("retry-after", ""), now),
        reply.headers,
    )


def _message(known: Mapping[str, Any]) -> str:
    """Ours has `message`; fal's has `detail`, a text or a list of field errors (protocol 1.5)."""
    detail = known.get("detail")
    if isinstance(detail, list):
        fields = [f"{'.'.join(map(str, d.get('loc', ())))}: {d.get('msg')}" for d in detail if isinstance(d, dict)]
        return "; ".join(fields)
    return str(known.get("message") or detail or "")


def _json(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _quoted(body: bytes) -> str:
    """A page's title, else the beginning of the text, on one line and without what a terminal would act on."""
    title = _TITLE.search(body[:65536])
    shown = html.unescape((title[1] if title else body[: 4 * _SHOWN]).decode("utf-8", "replace"))
    plain = " ".join("".join(c if c.isprintable() else " " for c in shown).split())
    return repr(plain[:_SHOWN]) if plain else "nothing"


def _retry_after(value: str, now: float) -> float | None:
    """Retry-After: seconds or a date (RFC 9110, 10.2.3)."""
    if not value:
        return None
    if value.isascii() and value.strip().isdecimal():
        return float(value)
    from email.utils import parsedate_to_datetime  # takes long, and is seldom needed

    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now)


def _place(request: Request) -> str:
    """The URL without its query, which may hold a signature."""
    return request.url.partition("?")[0]
