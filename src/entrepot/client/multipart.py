"""An upload in parts: begun or gone on with, parts side by side, then published. How a server is asked for it, the door
knows (doors.py, shelf.py)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

from entrepot.client import resume
from entrepot.client.asking import Answer, Context, Credential
from entrepot.client.commands import Call, Flow, Join, Request, Sleep, Spawn
from entrepot.client.errors import ConnectionFailed, EntrepotError, IntegrityError, ServerError, SourceChanged
from entrepot.client.material import FileMaterial, Part, StreamMaterial
from entrepot.client.meter import Meter
from entrepot.client.profile import Profile
from entrepot.client.replies import link, moment
from entrepot.client.resume import Claim
from entrepot.client.retry import Policy, hasty
from entrepot.client.sources import FileSource, HashedWindow, Window
from entrepot.client.wish import Wish

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# The server has no such upload any more, or never told of its parts.
_FORGOTTEN = {403, 404, 405, 410, 412}
# What a server may find wrong with an upload that was taken up again; with a new one it would not.
_UNFIT = _FORGOTTEN | {400, 409, 422}
# Parts of a stream are held in memory while they are sent.
STREAM_CONCURRENCY = 4


@dataclass(slots=True)
class Session:
    """An upload on the server. `base` is what its requests append to: its path and, at the REST door, its signature.
    `held` are the parts that it acknowledged: size and SHA-256 by number."""

    url: str
    base: str = field(repr=False)
    held: dict[int, tuple[int, str]] = field(default_factory=dict)
    resumed: bool = False
    published: bool = False

    def at(self, suffix: str = "") -> str:
        """The URL of a part, of `complete`, or of the upload itself; the number goes before the query."""
        parts = urlsplit(self.base)
        return urlunsplit(parts._replace(path=parts.path + (f"/{suffix}" if suffix else "")))


class Door(Protocol[T_co]):
    """A way to bring parts to a server, and what the whole comes to there."""

    @property
    def ctx(self) -> Context: ...

    @property
    def target(self) -> Profile: ...

    @property
    def name(self) -> tuple[str, ...]:
        """What tells uploads of a file by this door from those by others."""
        ...

    @property
    def terms(self) -> list[Any]:
        """What must be the same for an upload to go on, beside the file; JSON values."""
        ...

    @property
    def number(self) -> str:
        """What JSON calls the number of a part here."""
        ...

    def begin(self, meter: Meter) -> Flow[Session]:
        """A new upload."""
        ...

    def ask(
        self, make: Callable[[Credential], Request], policy: Policy | None, check: Callable[[], None] | None
    ) -> Flow[Answer]:
        """A request of an upload, with the headers that say who asks."""
        ...

    def finished(
        self, session: Session, answer: Answer, material: FileMaterial | StreamMaterial, meter: Meter
    ) -> Flow[T_co]:
        """What the answer to `complete` comes to. Raises IntegrityError."""
        ...


def upload(door: Door[T], material: FileMaterial | StreamMaterial, wish: Wish, meter: Meter) -> Flow[T]:
    """Send a material in parts. What a part raises ends the others."""
    claim: Claim | None = yield Call(partial(_claim, door, material, wish))
    try:
        if isinstance(material, FileMaterial):
            yield Call(material.source.settle)
        session = yield from _session(door, material, meter, claim)
        try:
            found = yield from _send_or_abandon(door, session, material, wish, meter, claim)
        except (ServerError, IntegrityError) as error:
            if not session.resumed or (isinstance(error, ServerError) and error.status_code not in _UNFIT):
                raise
            # It ended between being found and being finished, or was published as something else.
            meter.restart()
            session = yield from _begin(door, material, meter, claim)
            found = yield from _send_or_abandon(door, session, material, wish, meter, claim)
        if claim:
            yield Call(claim.drop)
        return found
    finally:
        if claim:
            claim.close()


def _send_or_abandon(
    door: Door[T],
    session: Session,
    material: FileMaterial | StreamMaterial,
    wish: Wish,
    meter: Meter,
    claim: Claim | None,
) -> Flow[T]:
    """Send and publish. What nobody can go on with does not stay on the server."""
    try:
        return (yield from send_all(door, session, material, wish, meter))
    except Exception as error:
        if claim is None or isinstance(error, SourceChanged):
            yield from abandon(door, session)
            if claim:
                yield Call(claim.drop)
        raise


def _claim(door: Door[Any], material: FileMaterial | StreamMaterial, wish: Wish) -> Claim | None:
    source = material.source if isinstance(material, FileMaterial) else None
    if wish.states is None or not isinstance(source, FileSource) or source.identity is None:
        return None
    return resume.claim(wish.states, *door.name, source.identity.path)


def _session(
    door: Door[Any], material: FileMaterial | StreamMaterial, meter: Meter, claim: Claim | None
) -> Flow[Session]:
    """The upload that was cut, when the same file was to become the same; else a new one."""
    state: Mapping[str, Any] | None = (yield Call(claim.load)) if claim else None
    if state is None:
        return (yield from _begin(door, material, meter, claim))
    try:
        session = Session(link(state, "url"), link(state, "base", door.target.url), resumed=True)
    except EntrepotError:  # somebody wrote into the file
        return (yield from _begin(door, material, meter, claim))
    if state.get("of") != _binding(door, material):
        yield from abandon(door, session)
        return (yield from _begin(door, material, meter, claim))
    try:
        goes_on = yield from _look(door, session, meter)
    except ConnectionFailed:
        return (yield from _out_of_reach(door, session, material, meter, claim))
    return session if goes_on else (yield from _begin(door, material, meter, claim))


def _out_of_reach(
    door: Door[Any], session: Session, material: FileMaterial | StreamMaterial, meter: Meter, claim: Claim | None
) -> Flow[Session]:
    """What to go on with when nobody answers where an upload was begun. Files have another address by now, or the
    server is back only just: then what it holds is not to be sent once more."""
    new = yield from door.begin(meter)
    is_back = urlsplit(new.base)[:2] == urlsplit(session.base)[:2]
    if is_back and (yield from _look(door, session, meter)):
        yield from abandon(door, new)
        return session
    return (yield from _kept(door, new, material, claim))


def _begin(
    door: Door[Any], material: FileMaterial | StreamMaterial, meter: Meter, claim: Claim | None
) -> Flow[Session]:
    session = yield from door.begin(meter)
    return (yield from _kept(door, session, material, claim))


def _kept(
    door: Door[Any], session: Session, material: FileMaterial | StreamMaterial, claim: Claim | None
) -> Flow[Session]:
    """The session, when it is written down for those who go on with it."""
    if claim:
        state = {"url": session.url, "base": session.base, "of": _binding(door, material)}
        yield Call(partial(claim.save, state))
    return session


def _binding(door: Door[Any], material: FileMaterial | StreamMaterial) -> list[Any]:
    """What must be the same for an upload to go on; a JSON value."""
    source = material.source if isinstance(material, FileMaterial) else None
    identity = source.identity if isinstance(source, FileSource) else None
    modified = identity.modified_ns if identity else None
    return [material.size, modified, material.part_size, *door.terms]


def _look(door: Door[Any], session: Session, meter: Meter) -> Flow[bool]:
    """Ask the server which parts it holds; whether the upload can go on."""
    try:
        answer = yield from _ask(door, session, "GET", "")
    except ServerError as error:
        if error.status_code in _UNFIT:
            return False
        raise
    session.held.update(_held(answer.body.get("parts"), door.number))
    meter.lasts(moment(answer.body.get("expires_at")))
    state = answer.body.get("state", "open")
    session.published = state == "published"
    return session.published or state == "open"


def _held(parts: object, name: str) -> Iterable[tuple[int, tuple[int, str]]]:
    """The parts of a listing. What makes no sense is not held: it is sent."""
    for each in parts if isinstance(parts, list) else ():
        if isinstance(each, dict):
            number, size, digest = each.get(name), each.get("size"), each.get("digest") or each.get("etag")
            if isinstance(number, int) and isinstance(size, int) and isinstance(digest, str):
                yield number, (size, digest.removeprefix("sha256:"))


def send_all(
    door: Door[T], session: Session, material: FileMaterial | StreamMaterial, wish: Wish, meter: Meter
) -> Flow[T]:
    """Send every part that the server has not, and publish them."""
    if session.published and isinstance(material, FileMaterial):
        # Its complete is answered once more, if these are the parts that it was published with.
        cited = yield from material.hash_parts(meter.verified)
        meter.keep(material.size, resumed=True)
    else:
        cited = yield from _bring_all(door, session, material, wish, meter)
    if isinstance(material, FileMaterial):
        material.digests = cited
        yield Call(material.source.check)
        if (yield Call(material.source.touched)):
            yield from material.hash_again(meter.verified)
    meter.publishing()
    parts = [{door.number: number, "etag": sha256.hex()} for number, sha256 in sorted(cited.items())]
    told: dict[str, Any] = {"parts": parts, "size": material.size}
    if material.sha256 is not None:
        told["digest"] = f"sha256:{material.sha256.hex()}"
    headers = {"content-type": "application/json"}
    answer = yield from _ask(door, session, "POST", "complete", headers, json.dumps(told).encode())
    return (yield from door.finished(session, answer, material, meter))


def _bring_all(
    door: Door[Any], session: Session, material: FileMaterial | StreamMaterial, wish: Wish, meter: Meter
) -> Flow[dict[int, bytes]]:
    """The digests of all parts by number, when the server has them all. Those that it had before are compared first."""
    in_file = isinstance(material, FileMaterial)
    limit = wish.concurrency if in_file else min(wish.concurrency, STREAM_CONCURRENCY)
    if isinstance(material, FileMaterial):
        for number in session.held:
            yield Spawn(_compare_part(session, material, number, meter), limit)
    found: dict[int, bytes] = {number: sha256 for number, sha256 in (yield Join()) if sha256}
    number = 1
    while (part := (yield from material.part(number))) is not None:
        if number not in found:
            yield Spawn(_send_part(door, session, part, wish, meter), limit)
        number += 1
    return found | dict((yield Join()))


def _compare_part(
    session: Session, material: FileMaterial, number: int, meter: Meter
) -> Flow[tuple[int, bytes | None]]:
    """The digest of a part when the server has these bytes of it."""
    part: Part | None = yield from material.part(number)
    size, digest = session.held[number]
    if part is None or part.size != size:
        return number, None
    sha256: bytes = yield Call(part.digest)
    if sha256.hex() != digest:
        return number, None
    meter.keep(size, resumed=True)
    return number, sha256


def _send_part(door: Door[Any], session: Session, part: Part, wish: Wish, meter: Meter) -> Flow[tuple[int, bytes]]:
    """PUT a part until the server has the bytes that were sent, which its ETag tells; its number and digest."""
    window = HashedWindow(part.source, part.start, part.size, meter.sent)
    headers, attempt = {"content-type": wish.content_type}, 1
    while True:
        answer = yield from _ask(door, session, "PUT", str(part.number), headers, window, check=part.source.check)
        if _etag(answer) == window.sha256.hex():
            break
        pause = door.ctx.policy.pause(attempt, error := _garbled(), door.ctx.random())
        if pause is None:
            raise error
        yield Sleep(pause)
        yield Call(part.source.check)
        attempt += 1
    meter.keep(part.size)
    return part.number, window.sha256


def _etag(answer: Answer) -> str:
    return str(answer.body.get("etag") or answer.headers.get("etag")).strip('"')


def _garbled() -> IntegrityError:
    message = "The bytes are changed on the way to the server, each time."
    return IntegrityError(message, "Look for a proxy that changes them, or for a broken device.")


def abandon(door: Door[Any], session: Session) -> Flow[None]:
    """Free what the server holds. Should that fail, the server does it when the upload's time is over."""
    try:
        yield from _ask(door, session, "DELETE", "", policy=hasty(door.ctx.policy))
    except EntrepotError:
        return


def _ask(
    door: Door[Any],
    session: Session,
    method: str,
    suffix: str,
    headers: Mapping[str, str] | None = None,
    body: Window | bytes = b"",
    check: Callable[[], None] | None = None,
    *,
    policy: Policy | None = None,
) -> Flow[Answer]:
    url, known = session.at(suffix), headers or {}
    return (yield from door.ask(lambda who: Request(method, url, {**known, **who}, body), policy, check))
