"""How long the outputs of a request shall live: what its caller prefers, from the request to the uploads it makes.

An app host sets it around each request; a program may pass the request, or the preference itself.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from entrepot import wire
from entrepot.client.types import Lifetime, settings_of

Preference = Mapping[str, Any]

_log = logging.getLogger("entrepot.toolkit")
_current: ContextVar[Preference | None] = ContextVar("entrepot_lifecycle", default=None)


@contextmanager
def use_lifecycle(preference: Lifetime | None) -> Iterator[None]:
    """Every upload of an output within the block, in this thread or task and those it starts by `asyncio`, has this
    preference: fields of X-Fal-Object-Lifecycle-Preference (`{"expiration_duration_seconds": 3600}`, docs/protocol.md
    4.1), settings, or a lifetime such as "1h". None: what the account says."""
    token = _current.set(as_preference(preference))
    try:
        yield
    finally:
        _current.reset(token)


def preference_of(request: Any = None) -> Preference | None:
    """What an upload shall be told: of `request`, when one is given, else that of the request in flight."""
    return _current.get() if request is None else _from_headers(getattr(request, "headers", None))


def as_preference(preference: Lifetime | None) -> Preference | None:
    """The same as fields."""
    if preference is None or (isinstance(preference, Mapping) and "expires_in" not in preference):
        return preference
    settings = settings_of(preference)
    found: Preference = json.loads((settings and settings.header()) or "{}")
    return found


def header_of(preference: Lifetime | None) -> str | None:
    """The value of X-Fal-Object-Lifecycle; None when there is nothing to say."""
    fields = as_preference(preference)
    return json.dumps(dict(fields)) if fields else None


def _from_headers(headers: Any) -> Preference | None:
    """The preference in a request's headers, whatever their case. One that is no JSON object is passed over, with a
    warning in the log: a caller's slip must not lose the output."""
    items = headers.items() if isinstance(headers, Mapping) else headers or ()
    for name, value in items:
        if str(name).lower() == wire.LIFECYCLE_PREFERENCE:
            try:
                found = json.loads(value)
            except (ValueError, TypeError, RecursionError):
                found = None
            if isinstance(found, dict):
                return found
            _log.warning("The request's %s is no JSON object; it is passed over.", wire.LIFECYCLE_PREFERENCE)
    return None
