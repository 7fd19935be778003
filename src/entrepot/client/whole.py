"""A file in one request. Its digest goes before its bytes, so that the server publishes these bytes or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from entrepot import wire
from entrepot.client.commands import Call, Flow
from entrepot.client.errors import IntegrityError, ServerError
from entrepot.client.material import FileMaterial
from entrepot.client.meter import Meter
from entrepot.client.sources import Window

T = TypeVar("T")


def send_whole(material: FileMaterial, meter: Meter, send: Callable[[Window, dict[str, str]], Flow[T]]) -> Flow[T]:
    """`send` makes the request of a body and headers that tell its digest. Raises SourceChanged, IntegrityError."""
    sha256 = yield from material.hash_all(meter.hashed)
    window = Window(material.source, 0, material.size, meter.sent)
    yield Call(material.source.check)
    try:
        return (yield from send(window, {"repr-digest": wire.repr_digest(sha256)}))
    except ServerError as error:
        if error.code == "digest_mismatch":
            yield Call(material.source.check)
            yield from material.hash_again(meter.verified)
            raise IntegrityError("The bytes are changed on the way to the server, each time.", error.fix) from error
        raise
