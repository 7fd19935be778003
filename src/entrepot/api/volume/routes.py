"""The routes of the volume on one screen, and how a URL finds its own.

`{dir}`, `{file}`, `{target_path}` and `{path}` take as many segments as there are, empty ones too; other names take
one. So a URL is matched from both ends. Slashes of a path may come raw or as `%2F`; only raw ones are ends of segments,
so that a path that is spelled with `%2F` is never taken for one of the longer routes.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping

from entrepot import wire
from entrepot.api.bytes import volume as volume_bytes
from entrepot.api.bytes import volume_lists
from entrepot.api.front import Handler, Methods, Route
from entrepot.api.http_context import HttpContext
from entrepot.api.services import Services
from entrepot.api.volume import apps, legacy, multipart, platform
from entrepot.api.volume_request import WHOLE_PATHS, VolumeRequest

_OLD, _V1 = wire.VOLUME_FILES, wire.PLATFORM_FILES

VolumeHandler = Callable[[VolumeRequest], Awaitable[None]]
# Of two routes that fit, the upper one answers.
ROUTES: Mapping[str, Mapping[str, VolumeHandler]] = {
    f"{_OLD}/list": {"GET": volume_lists.list_folder_legacy},
    f"{_OLD}/list/{{dir}}": {"GET": volume_lists.list_folder_legacy},
    f"{_OLD}/rename/{{file}}": {"POST": legacy.rename},
    f"{_OLD}/dir/check_hash/{{target_path}}": {"POST": legacy.check_hash},
    f"{_OLD}/missing_hashes": {"POST": apps.missing},
    f"{_OLD}/file/exists/{{file}}": {"POST": legacy.exists},
    f"{_OLD}/file/url/{{file}}": {"POST": multipart.upload_url},
    f"{_OLD}/file/local/{{target_path}}/multipart/{{upload_id}}/cancel": {"POST": multipart.cancel},
    f"{_OLD}/file/local/{{target_path}}": {"POST": volume_bytes.upload_form},
    f"{_OLD}/file/multipart/{{target_path}}/initiate": {"POST": multipart.initiate},
    f"{_OLD}/file/multipart/{{target_path}}/{{upload_id}}/complete": {"POST": multipart.complete},
    f"{_OLD}/file/multipart/{{target_path}}/{{upload_id}}/cancel": {"POST": multipart.cancel},
    f"{_OLD}/file/multipart/{{target_path}}/{{upload_id}}/{{part_number}}": {"PUT": volume_bytes.put_part},
    f"{_OLD}/file/{{file}}": {"GET": volume_bytes.download, "DELETE": legacy.delete},
    f"{_OLD}/app/multipart/{{hash}}/initiate": {"POST": apps.initiate},
    f"{_OLD}/app/multipart/{{hash}}/{{upload_id}}/complete": {"POST": apps.complete},
    f"{_OLD}/app/multipart/{{hash}}/{{upload_id}}/cancel": {"POST": apps.cancel},
    f"{_OLD}/app/multipart/{{hash}}/{{upload_id}}/{{part_number}}": {"PUT": volume_bytes.put_app_part},
    f"{_V1}/list": {"GET": volume_lists.list_folder},
    f"{_V1}/list/{{dir}}": {"GET": volume_lists.list_folder},
    f"{_V1}/stat/{{path}}": {"GET": platform.stat},
    f"{_V1}/usage": {"GET": platform.usage},
    f"{_V1}/usage/{{dir}}": {"GET": platform.usage},
    f"{_V1}/rename/{{file}}": {"POST": platform.rename},
    f"{_V1}/copy/{{file}}": {"POST": platform.copy},
    f"{_V1}/dir/{{path}}": {"POST": platform.make_folder},
    f"{_V1}/publish/{{file}}": {"POST": platform.publish},
    f"{_V1}/keep/{{file}}": {"POST": platform.keep},
    f"{_V1}/trash": {"GET": volume_lists.list_trash},
    f"{_V1}/trash/{{trash_id}}/restore": {"POST": platform.restore},
    f"{_V1}/trash/{{trash_id}}": {"DELETE": platform.drop},
    f"{_V1}/file/url/{{file}}": {"POST": multipart.upload_url},
    f"{_V1}/file/local/{{target_path}}": {"POST": volume_bytes.upload_form},
    f"{_V1}/file/multipart/{{path}}/initiate": {"POST": multipart.initiate},
    f"{_V1}/file/multipart/{{path}}/{{upload_id}}/complete": {"POST": multipart.complete},
    f"{_V1}/file/multipart/{{path}}/{{upload_id}}/cancel": {"POST": multipart.cancel},
    f"{_V1}/file/multipart/{{path}}/{{upload_id}}/{{part_number}}": {"PUT": volume_bytes.put_part},
    f"{_V1}/file/multipart/{{path}}/{{upload_id}}": {"GET": volume_lists.list_parts, "DELETE": multipart.cancel},
    f"{_V1}/file/{{file}}": {"GET": volume_bytes.download, "PUT": volume_bytes.put, "DELETE": platform.delete},
}
# Where an upload's id ends a URL its form tells it from the name of a file; other single segments are anything.
_FORMS = {"upload_id": rb"[0-9a-f]{32}", "part_number": rb"[0-9]{1,9}"}
# Within `file/multipart/...` the form of the whole URL tells that a part or an upload is meant, so that a wrong number
# or id is an error, never the name of a file; a single character is taken for no id. An upload without a path is an
# error too.
_MULTIPART = "/file/multipart/"
_LOOSE = {"upload_id": rb"[^/]*", "part_number": rb"[^/]*"}
_PART = rb"(?:(?P<path>.*)/(?P<upload_id>(?:[^/]{2,})?)|[0-9A-Fa-f]{32})/(?P<part_number>%s)"


def _pattern(template: str) -> re.Pattern[bytes]:
    """What URLs of a template look like, with a group for each of its names; `path` for a whole path."""
    if _MULTIPART in template and template.endswith("{part_number}"):
        # The legacy API has nothing that a PUT to its other multipart routes could mean.
        number = rb"(?!(?:complete|cancel)\Z)[^/]*" if template.startswith(_OLD) else rb"[^/]*"
        return re.compile(re.escape(template.partition("{")[0].encode()) + _PART % number, re.DOTALL)
    forms = _LOOSE if _MULTIPART in template and not template.endswith("{upload_id}") else _FORMS
    found = b""
    for literal, name in re.findall(r"([^{]*)(?:\{(\w+)\})?", template):
        found += re.escape(literal.encode())
        if name in WHOLE_PATHS:
            found += b"(?P<path>.*)"
        elif name:
            found += b"(?P<%s>%s)" % (name.encode(), forms.get(name, b"[^/]+"))
    return re.compile(found, re.DOTALL)


_Compiled = list[tuple[re.Pattern[bytes], Mapping[str, VolumeHandler]]]


def _compiled(start: str) -> _Compiled:
    return [(_pattern(template), methods) for template, methods in ROUTES.items() if template.startswith(start)]


_LEGACY, _PLATFORM = _compiled(_OLD + "/"), _compiled(_V1 + "/")


def find(raw_path: bytes) -> Methods:
    """The handlers of a URL; none when it is no route of the volume."""
    found: dict[str, Route] = {}
    for methods, params in fitting(raw_path):
        for method, handler in methods.items():
            found.setdefault(method, Route(_bound(handler, params)))
    if "GET" in found:
        found["HEAD"] = found["GET"]
    return found


def fitting(raw_path: bytes) -> Iterator[tuple[Mapping[str, VolumeHandler], Mapping[str, bytes]]]:
    """All routes that a URL fits, and its parameters on each; a whole path is `path`."""
    for pattern, methods in _PLATFORM if raw_path.startswith(wire.PLATFORM.encode()) else _LEGACY:
        match = pattern.fullmatch(raw_path)
        if match:
            yield methods, match.groupdict(b"")


def _bound(handle: VolumeHandler, params: Mapping[str, bytes]) -> Handler:
    async def handler(ctx: HttpContext, services: Services) -> None:
        await handle(VolumeRequest(ctx, services, params))

    return handler
