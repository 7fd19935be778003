"""The route table: which handler answers which request, on one screen.

| Path                       | Method      | Handler                |
|----------------------------|-------------|------------------------|
| /files/b/<store>/<name>    | GET, HEAD   | serve.get_object       |
| /files/b/<store>/<name>    | PUT         | cdn.signed_put         |
| /files/upload              | POST        | cdn.upload             |
| everything else            |             | control plane, rest.py |

The byte path is plain ASGI in front of the FastAPI control plane: a framework's request costs more than a small file.
"""

from __future__ import annotations

from entrepot import wire
from entrepot.api import cdn, rest, serve
from entrepot.api.doors import Doors
from entrepot.api.front import App, Front, Methods

_OBJECT: Methods = {"GET": serve.get_object, "HEAD": serve.get_object, "PUT": cdn.signed_put}
_UPLOAD: Methods = {"POST": cdn.upload}
_OBJECTS_PREFIX = wire.OBJECTS.encode()
_UPLOAD_PATH = wire.UPLOAD.encode()


def byte_path(raw_path: bytes) -> Methods | None:
    """The methods of a byte-path URL; None sends the request to the control plane."""
    if raw_path.startswith(_OBJECTS_PREFIX):
        return _OBJECT
    return _UPLOAD if raw_path == _UPLOAD_PATH else None


def build(doors: Doors, lifespan: App) -> Front:
    """The one ASGI app of the server."""
    return Front(doors, byte_path, rest.build(doors), lifespan)
