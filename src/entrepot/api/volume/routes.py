"""The routes of the volume on one screen, and how a URL finds its own.

`{dir}`, `{file}`, `{target_path}` and `{path}` take as many segments as there are, empty ones too; other names take
one. So a URL is matched from both ends. Slashes of a path may come raw or as `%2F`; only raw ones are ends of segments,
so that a path that is spelled with `%2F` is never taken for one of the longer routes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from entrepot import wire
from entrepot.api.http_context import HttpContext
from entrepot.api.routing import Handler, Methods, Route, pattern_of
from entrepot.api.services import Services
from entrepot.api.volume import apps, download, legacy, multipart, platform, writing
from entrepot.api.volume.place import Deed, Place

_OLD, _V1 = wire.VOLUME_FILES, wire.PLATFORM_FILES

# Of two routes that fit, the upper one answers.
ROUTES: Mapping[str, Mapping[str, Deed]] = {
    f"{_OLD}/list": {"GET": legacy.list_folder},
    f"{_OLD}/list/{{dir}}": {"GET": legacy.list_folder},
    f"{_OLD}/rename/{{file}}": {"POST": legacy.rename},
    f"{_OLD}/dir/check_hash/{{target_path}}": {"POST": legacy.check_hash},
    f"{_OLD}/missing_hashes": {"POST": apps.missing},
    f"{_OLD}/file/exists/{{file}}": {"POST": legacy.exists},
    f"{_OLD}/file/url/{{file}}": {"POST": writing.upload_url},
    f"{_OLD}/file/local/{{target_path}}/multipart/{{upload_id}}/cancel": {"POST": multipart.cancel},
    f"{_OLD}/file/local/{{target_path}}": {"POST": writing.upload_form},
    f"{_OLD}/file/multipart/{{target_path}}/initiate": {"POST": multipart.initiate},
    f"{_OLD}/file/multipart/{{target_path}}/{{upload_id}}/complete": {"POST": multipart.complete},
    f"{_OLD}/file/multipart/{{target_path}}/{{upload_id}}/cancel": {"POST": multipart.cancel},
    f"{_OLD}/file/multipart/{{target_path}}/{{upload_id}}/{{part_number}}": {"PUT": multipart.part},
    f"{_OLD}/file/{{file}}": {"GET": download.download, "DELETE": legacy.delete},
    f"{_OLD}/app/multipart/{{hash}}/initiate": {"POST": apps.initiate},
    f"{_OLD}/app/multipart/{{hash}}/{{upload_id}}/complete": {"POST": apps.complete},
    f"{_OLD}/app/multipart/{{hash}}/{{upload_id}}/cancel": {"POST": apps.cancel},
    f"{_OLD}/app/multipart/{{hash}}/{{upload_id}}/{{part_number}}": {"PUT": apps.part},
    f"{_V1}/list": {"GET": platform.list_folder},
    f"{_V1}/list/{{dir}}": {"GET": platform.list_folder},
    f"{_V1}/stat/{{path}}": {"GET": platform.stat},
    f"{_V1}/usage": {"GET": platform.usage},
    f"{_V1}/usage/{{dir}}": {"GET": platform.usage},
    f"{_V1}/rename/{{file}}": {"POST": platform.rename},
    f"{_V1}/copy/{{file}}": {"POST": platform.copy},
    f"{_V1}/dir/{{path}}": {"POST": platform.make_folder},
    f"{_V1}/publish/{{file}}": {"POST": platform.publish},
    f"{_V1}/keep/{{file}}": {"POST": platform.keep},
    f"{_V1}/trash": {"GET": platform.list_trash},
    f"{_V1}/trash/{{trash_id}}/restore": {"POST": platform.restore},
    f"{_V1}/trash/{{trash_id}}": {"DELETE": platform.drop},
    f"{_V1}/file/url/{{file}}": {"POST": writing.upload_url},
    f"{_V1}/file/local/{{target_path}}": {"POST": writing.upload_form},
    f"{_V1}/file/multipart/{{path}}/initiate": {"POST": multipart.initiate},
    f"{_V1}/file/multipart/{{path}}/{{upload_id}}/complete": {"POST": multipart.complete},
    f"{_V1}/file/multipart/{{path}}/{{upload_id}}/cancel": {"POST": multipart.cancel},
    f"{_V1}/file/multipart/{{path}}/{{upload_id}}/{{part_number}}": {"PUT": multipart.part},
    f"{_V1}/file/multipart/{{path}}/{{upload_id}}": {"GET": multipart.listing, "DELETE": multipart.cancel},
    f"{_V1}/file/{{file}}": {"GET": download.download, "PUT": writing.put, "DELETE": platform.delete},
}
_Compiled = list[tuple[re.Pattern[bytes], Mapping[str, Deed]]]


def _compiled(start: str) -> _Compiled:
    return [(pattern_of(template), methods) for template, methods in ROUTES.items() if template.startswith(start)]


_LEGACY, _PLATFORM = _compiled(_OLD + "/"), _compiled(_V1 + "/")


def find(raw_path: bytes) -> Methods:
    """The handlers of a URL; none when it is no route of the volume."""
    found: dict[str, tuple[Route, Mapping[str, bytes]]] = {}
    for methods, place in fitting(raw_path):
        for method, deed in methods.items():
            found.setdefault(method, (Route(method, "", _at(place, deed)), place.ids))
    if "GET" in found:
        found["HEAD"] = found["GET"]
    return found


def fitting(raw_path: bytes) -> Iterator[tuple[Mapping[str, Deed], Place]]:
    """All routes that a URL fits, and what it names on each."""
    legacy = not raw_path.startswith(wire.PLATFORM.encode())
    for pattern, methods in _LEGACY if legacy else _PLATFORM:
        match = pattern.fullmatch(raw_path)
        if match:
            ids = match.groupdict(b"")
            yield methods, Place(legacy, ids.pop("path", b""), ids)


def _at(place: Place, deed: Deed) -> Handler:
    async def handler(ctx: HttpContext, services: Services) -> None:
        await deed(ctx, services, place)

    return handler
