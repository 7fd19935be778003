"""The route table of the byte path: which handler answers which request, and by what right.

The routes of the volume are in volume/routes.py; all other paths are the control plane's, rest.py. The byte path is
plain ASGI in front of the FastAPI control plane: a framework's request costs more than a small file.
"""

from __future__ import annotations

from collections.abc import Mapping

from entrepot import wire
from entrepot.api import assets, auth, rest
from entrepot.api.bytes import multipart, objects, uploads
from entrepot.api.front import App, Front, Methods, Route
from entrepot.api.services import Services
from entrepot.api.volume import routes as volume

# Whoever asks may be anybody here: the object's ACL decides. All other routes want a credential or a signature.
_READ = Route(objects.get_object, auth.principal)
_LISTING = Route(multipart.listing, auth.multipart_writer)
_OLD_UPLOAD = Route(uploads.old_upload)
_OBJECT = wire.OBJECTS + "{store}/{name}"
_MULTIPART = _OBJECT + "/multipart/{upload_id}"
_OLD_MULTIPART = wire.OLD_UPLOAD + _MULTIPART
_ASSETS_BELOW = wire.ASSETS + "/{path}"
ROUTES: Mapping[str, Methods] = {
    _OBJECT: {"GET": _READ, "HEAD": _READ, "PUT": Route(uploads.signed_put, auth.uploader)},
    _MULTIPART: {"GET": _LISTING, "HEAD": _LISTING, "DELETE": Route(multipart.abort, auth.multipart_writer)},
    _MULTIPART + "/{part_number}": {"PUT": Route(multipart.part, auth.part_writer)},
    _MULTIPART + "/complete": {"POST": Route(multipart.complete, auth.part_writer)},
    wire.UPLOAD: {"POST": Route(uploads.upload)},
    wire.EXISTING_UPLOAD: {"POST": Route(uploads.existing)},
    wire.MULTIPART_UPLOAD: {"POST": Route(multipart.create)},
    wire.OLD_UPLOAD: {"PUT": _OLD_UPLOAD, "POST": _OLD_UPLOAD},
    _OLD_MULTIPART: {
        "PUT": Route(multipart.old_part, auth.old_multipart_writer),
        "POST": Route(multipart.old_complete, auth.old_multipart_writer),
    },
    wire.ASSET_UPLOADS: {"POST": Route(assets.upload, auth.key_holder)},
    wire.ASSETS: assets.ABSENT,
    _ASSETS_BELOW: assets.ABSENT,
}
_FIXED = {path.encode(): methods for path, methods in ROUTES.items() if "{" not in path}
_OBJECTS_PREFIX = wire.OBJECTS.encode()
_OLD_PREFIX = f"{wire.OLD_UPLOAD}{wire.OBJECTS}".encode()
_PLATFORM_PREFIX = wire.PLATFORM.encode()
_ASSETS_PREFIX = f"{wire.ASSETS}/".encode()


def byte_path(raw_path: bytes) -> Methods | None:
    """The methods of a byte-path URL, none where nothing is; None sends the request to the control plane."""
    if not raw_path.startswith(_OBJECTS_PREFIX):
        if fixed := _FIXED.get(raw_path):
            return fixed
        if raw_path.startswith(_OLD_PREFIX):
            return ROUTES[_OLD_MULTIPART]
        if raw_path.startswith(_ASSETS_PREFIX):
            return ROUTES[_ASSETS_BELOW]
        if raw_path.startswith(_PLATFORM_PREFIX):
            return volume.find(raw_path)
        return volume.find(raw_path) or None
    below = raw_path.split(b"/", 5)[5:]  # what follows /files/b/<store>/<name>/
    if not below or not below[0].startswith(b"multipart/"):
        return ROUTES[_OBJECT]
    depth = below[0].count(b"/")
    if depth == 1:
        return ROUTES[_MULTIPART]
    return ROUTES[_MULTIPART + ("/complete" if below[0].endswith(b"/complete") else "/{part_number}")]


def build(services: Services, lifespan: App, *, as_json: bool = True) -> Front:
    """The one ASGI app of the server; its access lines are JSON objects or lines to read."""
    return Front(services, byte_path, rest.build(services), lifespan, as_json=as_json)
