"""Routes of both planes, and the search for the route of a URL.

URLs are matched as they come, still percent-encoded, so that `%2F` in a name is no end of a segment. The names of
`_MANY` take as many segments as there are, empty ones too, and are given as `path`; other names take one segment. When
several templates fit a URL, the one with the most literal characters answers.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from entrepot import wire
from entrepot.api import auth
from entrepot.api.http_context import HttpContext
from entrepot.api.services import Services

Handler = Callable[[HttpContext, Services], Awaitable[None]]
Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """A route as the OpenAPI document describes it (see `document.py`).

    `errors` are statuses; `412:PreconditionFailed` names another reply than the usual one of the status. `reply` is the
    type of the JSON of a 200, `replies` are all other good replies. `body` is the type of a JSON body, or the request
    body as the document spells it.
    """

    name: str
    tag: str
    summary: str
    errors: str = ""
    description: str = ""
    parameters: tuple[Schema, ...] = ()
    body: Any = None
    reply: Any = None
    replies: Mapping[str, Schema] = field(default_factory=dict)
    deprecated: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """A handler, and the right that is checked before it sees the request; it finds the caller in `ctx.principal`.

    A route that names no right asks for a credential, so that one which forgets it is closed and not open. Without an
    operation it is not in the OpenAPI document.
    """

    method: str
    template: str
    handler: Handler
    right: auth.Right = auth.account
    operation: Operation | None = None


# The routes of a URL by method, each with the raw values of its template's names.
Methods = Mapping[str, tuple[Route, Mapping[str, bytes]]]


class Router:
    """The routes of a server."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        by_template: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            by_template.setdefault(route.template, {})[route.method] = route
        self._fixed = {
            template.encode(): _with_head({method: (route, {}) for method, route in methods.items()})
            for template, methods in by_template.items()
            if "{" not in template or template.startswith(wire.OBJECTS)
        }
        self._patterns: dict[bytes, list[tuple[bytes, re.Pattern[bytes], dict[str, Route]]]] = {}
        for template in sorted(by_template, key=_literal_length, reverse=True):
            if "{" in template and not template.startswith(wire.OBJECTS):
                prefix = template.partition("{")[0].encode()
                row = (prefix, pattern_of(template), by_template[template])
                self._patterns.setdefault(_family(prefix), []).append(row)

    def find(self, raw_path: bytes) -> Methods:
        """The routes of a URL; none when there is no such route."""
        if raw_path.startswith(_OBJECTS):
            return self._fixed[_object_template(raw_path)]
        if fixed := self._fixed.get(raw_path):
            return fixed
        found: dict[str, tuple[Route, Mapping[str, bytes]]] = {}
        for prefix, pattern, methods in self._patterns.get(_family(raw_path), ()):
            if raw_path.startswith(prefix) and (match := pattern.fullmatch(raw_path)):
                for method, route in methods.items():
                    found.setdefault(method, (route, match.groupdict(b"")))
        return _with_head(found)


def _with_head(methods: dict[str, tuple[Route, Mapping[str, bytes]]]) -> Methods:
    if "GET" in methods:
        methods.setdefault("HEAD", methods["GET"])
    return methods


def _literal_length(template: str) -> int:
    return len(re.sub(r"\{\w+\}", "", template))


def _family(raw_path: bytes) -> bytes:
    """The first segment."""
    return raw_path.split(b"/", 2)[1]


OBJECT = wire.OBJECTS + "{store}/{name}"
MULTIPART = OBJECT + "/multipart/{upload_id}"
PART = MULTIPART + "/{part}"
COMPLETE = MULTIPART + "/complete"
_OBJECTS = wire.OBJECTS.encode()


def _object_template(raw_path: bytes) -> bytes:
    """The template of a URL below /files/b/, where small reads are counted in microseconds: no pattern is matched."""
    below = raw_path.split(b"/", 5)[5:]  # what follows /files/b/<store>/<name>/
    if not below or not below[0].startswith(b"multipart/"):
        return _OBJECT_KEY
    if below[0].count(b"/") == 1:
        return _MULTIPART_KEY
    return _COMPLETE_KEY if below[0].endswith(b"/complete") else _PART_KEY


_OBJECT_KEY, _MULTIPART_KEY, _PART_KEY, _COMPLETE_KEY = (t.encode() for t in (OBJECT, MULTIPART, PART, COMPLETE))

_MANY = {"dir", "file", "target_path", "path", "key"}
# Where an upload's id ends a URL of the volume its form tells it from the name of a file; other single segments are
# anything.
_FORMS = {"upload_id": rb"[0-9a-f]{32}", "part_number": rb"[0-9]{1,9}"}
# Within `file/multipart/...` the form of the whole URL tells that a part or an upload is meant, so that a wrong number
# or id is an error, never the name of a file; a single character is taken for no id. An upload without a path is an
# error too.
_VOLUME_MULTIPART = "/file/multipart/"
_LOOSE = {"upload_id": rb"[^/]*", "part_number": rb"[^/]*"}
_VOLUME_PART = rb"(?:(?P<path>.*)/(?P<upload_id>(?:[^/]{2,})?)|[0-9A-Fa-f]{32})/(?P<part_number>%s)"


def pattern_of(template: str) -> re.Pattern[bytes]:
    """The URLs of a template, with a group for each of its names; `path` for one of `_MANY`."""
    of_volume = template.startswith((f"{wire.VOLUME_FILES}/", f"{wire.PLATFORM_FILES}/"))
    if _VOLUME_MULTIPART in template and template.endswith("{part_number}"):
        # The legacy API has nothing that a PUT to its other multipart routes could mean.
        number = rb"(?!(?:complete|cancel)\Z)[^/]*" if template.startswith(wire.VOLUME_FILES) else rb"[^/]*"
        return re.compile(re.escape(template.partition("{")[0].encode()) + _VOLUME_PART % number, re.DOTALL)
    loose = _VOLUME_MULTIPART in template and not template.endswith("{upload_id}")
    forms = (_LOOSE if loose else _FORMS) if of_volume else {}
    found = b""
    for literal, name in re.findall(r"([^{]*)(?:\{(\w+)\})?", template):
        found += re.escape(literal.encode())
        if name in _MANY:
            found += b"(?P<path>.*)"
        elif name:
            found += b"(?P<%s>%s)" % (name.encode(), forms.get(name, b"[^/]+"))
    return re.compile(found, re.DOTALL)
