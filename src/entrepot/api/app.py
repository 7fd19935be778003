"""The route table: which handler answers which request, on one screen.

| Path                       | Method      | Handler                |
|----------------------------|-------------|------------------------|
| /files/b/<store>/<name>    | GET, HEAD   | serve.get_object       |
| /files/b/<store>/<name>    | PUT         | cdn.signed_put         |
| .../multipart/<id>         | GET, DELETE | multipart.listing, .abort |
| .../multipart/<id>/<n>     | PUT         | multipart.part         |
| .../multipart/<id>/complete | POST       | multipart.complete     |
| /files/upload              | POST        | cdn.upload             |
| /upload                    | PUT, POST   | cdn.old_upload         |
| /upload/files/b/...        | PUT, POST   | multipart.old_part, .old_complete |
| /files/upload/existing     | POST        | cdn.existing           |
| /files/upload/multipart    | POST        | multipart.create       |
| /v1/assets/uploads         | POST        | assets.upload          |
| /v1/assets/...             | all         | assets.absent: 404     |
| /v1/..., /files/list, ...  |             | volume/routes.py       |
| everything else            |             | control plane, rest.py |

The byte path is plain ASGI in front of the FastAPI control plane: a framework's request costs more than a small file.
"""

from __future__ import annotations

from entrepot import wire
from entrepot.api import assets, cdn, multipart, rest, serve
from entrepot.api.doors import Doors
from entrepot.api.front import App, Front, Methods
from entrepot.api.volume import routes as volume

_OBJECT: Methods = {"GET": serve.get_object, "HEAD": serve.get_object, "PUT": cdn.signed_put}
_MULTIPART: Methods = {"GET": multipart.listing, "HEAD": multipart.listing, "DELETE": multipart.abort}
_OLD_MULTIPART: Methods = {"PUT": multipart.old_part, "POST": multipart.old_complete}
_PART: Methods = {"PUT": multipart.part}
_COMPLETE: Methods = {"POST": multipart.complete}
_FIXED: dict[bytes, Methods] = {
    wire.UPLOAD.encode(): {"POST": cdn.upload},
    wire.OLD_UPLOAD.encode(): {"PUT": cdn.old_upload, "POST": cdn.old_upload},
    wire.EXISTING_UPLOAD.encode(): {"POST": cdn.existing},
    wire.MULTIPART_UPLOAD.encode(): {"POST": multipart.create},
}
_OBJECTS_PREFIX = wire.OBJECTS.encode()
_OLD_PREFIX = f"{wire.OLD_UPLOAD}{wire.OBJECTS}".encode()
_PLATFORM_PREFIX = wire.PLATFORM.encode()


def byte_path(raw_path: bytes) -> Methods | None:
    """The methods of a byte-path URL, none where nothing is; None sends the request to the control plane."""
    if not raw_path.startswith(_OBJECTS_PREFIX):
        if raw_path.startswith(_PLATFORM_PREFIX):
            return _assets(raw_path) or volume.find(raw_path)
        if raw_path.startswith(_OLD_PREFIX):
            return _OLD_MULTIPART
        return _FIXED.get(raw_path) or volume.find(raw_path) or None
    below = raw_path.split(b"/", 5)[5:]  # what follows /files/b/<store>/<name>/
    if not below or not below[0].startswith(b"multipart/"):
        return _OBJECT
    depth = below[0].count(b"/")
    if depth == 1:
        return _MULTIPART
    return _COMPLETE if below[0].endswith(b"/complete") else _PART


def _assets(raw_path: bytes) -> Methods | None:
    if raw_path == wire.ASSET_UPLOADS.encode():
        return assets.UPLOADS
    below = raw_path.removeprefix(wire.ASSETS.encode())
    return assets.ABSENT if below != raw_path and below[:1] in (b"", b"/") else None


def build(doors: Doors, lifespan: App) -> Front:
    """The one ASGI app of the server."""
    return Front(doors, byte_path, rest.build(doors), lifespan)
