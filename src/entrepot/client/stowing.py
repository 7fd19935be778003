"""Files into the volume: small ones in one request, large ones in parts that can be gone on with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from entrepot.client import multipart
from entrepot.client.asking import Answer, Context, Credential
from entrepot.client.commands import Call, Flow, Request
from entrepot.client.entries import Entry, Uploaded, entry_of
from entrepot.client.errors import EntrepotError, IntegrityError, ServerError
from entrepot.client.material import FileMaterial, StreamMaterial, material_of
from entrepot.client.meter import Meter
from entrepot.client.multipart import Session
from entrepot.client.profile import Profile
from entrepot.client.replies import NOT_OURS, moment, text
from entrepot.client.retry import Policy, brief
from entrepot.client.sources import Source, Stream, Window
from entrepot.client.types import MIB
from entrepot.client.volume import Conditions, Repeated, Volume, is_missing
from entrepot.client.whole import send_whole
from entrepot.client.wish import Wish

# Above this a file goes in parts: a smaller one is sent again as a whole when the line breaks.
THRESHOLD = 16 * MIB
# A file below it is sent sooner than it is asked for.
_FLOOR = MIB
# To compute others, the MD5 of the whole, would take the server most of what the upload costs it.
_WANTED = {"want-repr-digest": "sha-256=1"}
_UNIFORM = {"content-type": "application/octet-stream"}


def upload(
    volume: Volume, opened: Callable[[], Source | Stream], path: str, wish: Wish, when: Conditions
) -> Flow[Uploaded]:
    """Open the source and put it at `path`, which was parsed. Raises EntrepotError."""
    source: Source | Stream = yield Call(opened)
    try:
        material = yield from material_of(source, wish.part_size)
        if isinstance(material, StreamMaterial):
            meter = Meter(wish.progress, None)
            return _uploaded((yield from multipart.upload(_Door(volume, path, when), material, wish, meter)))
        meter = Meter(wish.progress, material.size)
        if wish.skip_existing and material.size >= _FLOOR and when.overwrite:
            found = yield from _same(volume, path, material, meter)
            if found is not None and when.if_match in (None, found.etag):
                return _uploaded(found, sent=False)
        if material.size > wish.threshold:
            return _uploaded((yield from multipart.upload(_Door(volume, path, when), material, wish, meter)))
        return _uploaded((yield from _put(volume, path, material, when, meter)))
    finally:
        source.close()


def _uploaded(entry: Entry, sent: bool = True) -> Uploaded:
    return Uploaded(**{each.name: getattr(entry, each.name) for each in fields(entry)}, sent=sent)


def _same(volume: Volume, path: str, material: FileMaterial, meter: Meter) -> Flow[Entry | None]:
    """What is there when it has these bytes. The file is read only when the sizes are the same."""
    try:
        found = yield from volume.stat(path)
    except ServerError as error:
        if is_missing(error):
            return None
        raise
    if not found.is_file or found.size != material.size or found.digest is None:
        return None
    sha256 = yield from material.hash_all(meter.hashed)
    yield Call(material.source.check)
    return found if found.digest == f"sha256:{sha256.hex()}" else None


def _put(volume: Volume, path: str, material: FileMaterial, when: Conditions, meter: Meter) -> Flow[Entry]:
    """One request with all bytes; it may be repeated, for it makes the same file."""
    repeated = Repeated()

    def send(window: Window, digest: dict[str, str]) -> Flow[Answer]:
        request = Request("PUT", volume.url("file", path), {**_UNIFORM, **when.headers(), **digest}, window)
        return volume.ask(lambda: request, check=material.source.check, repeated=repeated)

    try:
        answer = yield from send_whole(material, meter, send)
    except ServerError as error:
        if not repeated or error.status_code != 412:
            raise
        assert material.sha256 is not None
        return (yield from _found(volume, path, material.sha256, error))
    assert material.sha256 is not None
    return _checked(entry_of(answer.body), material.size, material.sha256)


def _found(volume: Volume, path: str, sha256: bytes, error: ServerError) -> Flow[Entry]:
    """The file that a request made whose reply was lost. Raises `error` when it is another."""
    found = yield from volume.stat(path, checksum=True)
    if found.digest != f"sha256:{sha256.hex()}":
        raise error
    return found


def _checked(entry: Entry, size: int, sha256: bytes | None) -> Entry:
    """Raises IntegrityError when the server stored something else than was sent."""
    told = f"sha256:{sha256.hex()}" if sha256 else entry.digest
    if entry.size != size or entry.digest not in (None, told):
        message = f"The server stored other bytes than were sent: {entry.digest}, {entry.size} bytes."
        raise IntegrityError(message, "Upload it again; the file must not be used.")
    return entry


@dataclass(frozen=True, slots=True)
class _Door:
    """`/file/multipart/{path}`: a Door of multipart.py."""

    volume: Volume
    path: str
    when: Conditions
    number = "part_number"

    @property
    def ctx(self) -> Context:
        return self.volume.ctx

    @property
    def target(self) -> Profile:
        return self.volume.target

    @property
    def name(self) -> tuple[str, ...]:
        return self.target.url, "volume", self.target.key_id, self.path

    @property
    def terms(self) -> list[Any]:
        return [self.when.if_match, self.when.overwrite]

    def begin(self, meter: Meter) -> Flow[Session]:
        headers = {**self.when.headers(), **_WANTED}
        request = Request("POST", self.volume.url("file/multipart", self.path, "initiate"), headers)
        answer = yield from self.volume.ask(lambda: request, brief(self.ctx.policy))
        meter.lasts(moment(answer.body.get("expires_at")))
        place = self.volume.url("file/multipart", self.path, text(answer.body, "upload_id"))
        return Session(place, place)

    def ask(
        self, make: Callable[[Credential], Request], policy: Policy | None, check: Callable[[], None] | None
    ) -> Flow[Answer]:
        return (yield from self.volume.ask(lambda: make({}), policy, check))

    def finished(
        self, session: Session, answer: Answer, material: FileMaterial | StreamMaterial, meter: Meter
    ) -> Flow[Entry]:
        entry = answer.body.get("entry")
        if not isinstance(entry, dict):
            raise EntrepotError("The server's reply has no 'entry'.", NOT_OURS)
        yield from ()  # a flow, like those of the other doors
        return _checked(entry_of(entry), material.size, material.sha256)
