"""An upload in parts: begun or gone on with, parts side by side, then published (protocol 2.5, 3.2 to 3.4)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from entrepot import wire
from entrepot.client import resume
from entrepot.client.asking import Answer, Context, Token, ask, ask_cdn
from entrepot.client.commands import Call, Flow, Join, Request, Sleep, Spawn
from entrepot.client.errors import EntrepotError, IntegrityError, ServerError, SourceChanged
from entrepot.client.material import FileMaterial, Part, StreamMaterial
from entrepot.client.meter import Meter
from entrepot.client.replies import link, moment, text
from entrepot.client.resume import Claim
from entrepot.client.retry import Policy, hasty
from entrepot.client.sources import FileSource, HashedWindow, Window
from entrepot.client.types import FileUrl
from entrepot.client.wish import Way, Wish, initiation, uploaded

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
    signed: bool
    held: dict[int, tuple[int, str]] = field(default_factory=dict)
    resumed: bool = False
    published: bool = False

    def at(self, suffix: str = "") -> str:
        """The URL of a part, of `complete`, or of the upload itself; the number goes before the query."""
        parts = urlsplit(self.base)
        return urlunsplit(parts._replace(path=parts.path + (f"/{suffix}" if suffix else "")))


def upload(ctx: Context, way: Way, material: FileMaterial | StreamMaterial, wish: Wish, meter: Meter) -> Flow[FileUrl]:
    """Send a material in parts. What a part raises ends the others."""
    claim: Claim | None = yield Call(partial(_claim, way, material, wish))
    try:
        if isinstance(material, FileMaterial):
            yield Call(material.source.settle)
        session = yield from _session(ctx, way, material, wish, meter, claim)
        try:
            found = yield from _send_or_abandon(ctx, way, session, material, wish, meter, claim)
        except (ServerError, IntegrityError) as error:
            if not session.resumed or (isinstance(error, ServerError) and error.status_code not in _UNFIT):
                raise
            # It ended between being found and being finished, or was published as something else.
            meter.restart()
            session = yield from _begin(ctx, way, material, wish, meter, claim)
            found = yield from _send_or_abandon(ctx, way, session, material, wish, meter, claim)
        if claim:
            yield Call(claim.drop)
        return found
    finally:
        if claim:
            claim.close()


def _send_or_abandon(
    ctx: Context,
    way: Way,
    session: Session,
    material: FileMaterial | StreamMaterial,
    wish: Wish,
    meter: Meter,
    claim: Claim | None,
) -> Flow[FileUrl]:
    """Send and publish. What nobody can go on with does not stay on the server."""
    try:
        return (yield from send_all(ctx, way, session, material, wish, meter))
    except Exception as error:
        if claim is None or isinstance(error, SourceChanged):
            yield from abandon(ctx, way, session)
            if claim:
                yield Call(claim.drop)
        raise


def _claim(way: Way, material: FileMaterial | StreamMaterial, wish: Wish) -> Claim | None:
    source = material.source if isinstance(material, FileMaterial) else None
    if wish.states is None or not isinstance(source, FileSource) or source.identity is None:
        return None
    return resume.claim(wish.states, way.target.url, way.repository, way.target.key_id, source.identity.path)


def _session(
    ctx: Context,
    way: Way,
    material: FileMaterial | StreamMaterial,
    wish: Wish,
    meter: Meter,
    claim: Claim | None,
) -> Flow[Session]:
    """The upload that was cut, when the same file was to become the same; else a new one."""
    state: Mapping[str, Any] | None = (yield Call(claim.load)) if claim else None
    if state is None:
        return (yield from _begin(ctx, way, material, wish, meter, claim))
    try:
        url, base = link(state, "url"), link(state, "base", way.target.url)
    except EntrepotError:  # somebody wrote into the file
        return (yield from _begin(ctx, way, material, wish, meter, claim))
    session = Session(url, base, way.repository == "fal", resumed=True)
    if state.get("of") != _binding(material, wish):
        yield from abandon(ctx, way, session)
    elif (yield from _look(ctx, way, session, meter)):
        return session
    return (yield from _begin(ctx, way, material, wish, meter, claim))


def _begin(
    ctx: Context,
    way: Way,
    material: FileMaterial | StreamMaterial,
    wish: Wish,
    meter: Meter,
    claim: Claim | None,
) -> Flow[Session]:
    session = yield from begin(ctx, way, wish, meter)
    if claim:
        state = {"url": session.url, "base": session.base, "of": _binding(material, wish)}
        yield Call(partial(claim.save, state))
    return session


def begin(ctx: Context, way: Way, wish: Wish, meter: Meter, extra: Mapping[str, str] | None = None) -> Flow[Session]:
    """A new upload: its URL is known from here on. `extra` are headers of this one request, in lower case."""
    unique = ctx.new_id()
    if way.repository == "fal":
        request = partial(initiation, unique, way.target, wish, wire.INITIATE_MULTIPART)
        answer = yield from ask(ctx, lambda: _with(request(), extra or {}), way.policy)
        url, base = link(answer.body, "file_url"), link(answer.body, "upload_url", way.target.url)
        session = Session(url, base, signed=True)
    else:
        creation = partial(_creation, unique, wish)
        answer = yield from ask_cdn(ctx, way.target, lambda token: _with(creation(token), extra or {}), way.policy)
        url = link(answer.body, "access_url", way.target.url)
        session = Session(url, f"{url}/multipart/{text(answer.body, 'uploadId')}", signed=False)
    meter.lasts(moment(answer.body.get("expires_at")))
    return session


def _with(request: Request, extra: Mapping[str, str]) -> Request:
    return replace(request, headers={**extra, **request.headers})


def _creation(unique: str, wish: Wish, token: Token) -> Request:
    name = {wire.FILE_NAME: "upload.bin"} if wish.name is None else {}
    headers = {**wish.headers(), **name, wire.IDEMPOTENCY_KEY: unique, **token.credential}
    return Request("POST", token.base_url + wire.MULTIPART_UPLOAD, headers)


def _binding(material: FileMaterial | StreamMaterial, wish: Wish) -> list[Any]:
    """What must be the same for an upload to go on; a JSON value."""
    source = material.source if isinstance(material, FileMaterial) else None
    identity = source.identity if isinstance(source, FileSource) else None
    modified = identity.modified_ns if identity else None
    return [material.size, modified, material.part_size, wish.name, wish.content_type, wish.lifecycle]


def _look(ctx: Context, way: Way, session: Session, meter: Meter) -> Flow[bool]:
    """Ask the server which parts it holds; whether the upload can go on."""
    try:
        answer = yield from _ask(ctx, way, session, "GET", "")
    except ServerError as error:
        if error.status_code in _UNFIT:
            return False
        raise
    session.held.update(_held(answer.body.get("parts")))
    meter.lasts(moment(answer.body.get("expires_at")))
    session.published = answer.body.get("state") == "published"
    return session.published or answer.body.get("state") == "open"


def _held(parts: object) -> Iterable[tuple[int, tuple[int, str]]]:
    """The parts of a listing. What makes no sense is not held: it is sent."""
    for each in parts if isinstance(parts, list) else ():
        if isinstance(each, dict):
            number, size, digest = each.get("partNumber"), each.get("size"), each.get("digest")
            if isinstance(number, int) and isinstance(size, int) and isinstance(digest, str):
                yield number, (size, digest.removeprefix("sha256:"))


def send_all(
    ctx: Context,
    way: Way,
    session: Session,
    material: FileMaterial | StreamMaterial,
    wish: Wish,
    meter: Meter,
) -> Flow[FileUrl]:
    """Send every part that the server has not, and publish them."""
    cited: dict[int, bytes] = {}
    if not session.published:
        cited = yield from _bring_all(ctx, way, session, material, wish, meter)
    if isinstance(material, FileMaterial):
        if session.published:  # as what, its complete will tell
            yield from material.hash_all(meter.verified)
            meter.keep(material.size, resumed=True)
        material.digests = cited
        yield Call(material.source.check)
        if (yield Call(material.source.touched)):
            yield from material.hash_again(meter.verified)
    meter.publishing()
    return (yield from _finish(ctx, way, session, material, wish, meter, cited))


def _bring_all(
    ctx: Context, way: Way, session: Session, material: FileMaterial | StreamMaterial, wish: Wish, meter: Meter
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
            yield Spawn(_send_part(ctx, way, session, part, wish, meter), limit)
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


def _send_part(
    ctx: Context, way: Way, session: Session, part: Part, wish: Wish, meter: Meter
) -> Flow[tuple[int, bytes]]:
    """PUT a part until the server has the bytes that were sent, which its ETag tells; its number and digest."""
    window = HashedWindow(part.source, part.start, part.size, meter.sent)
    headers, attempt = {"content-type": wish.content_type}, 1
    while True:
        answer = yield from _ask(ctx, way, session, "PUT", str(part.number), headers, window, check=part.source.check)
        if _etag(answer) == window.sha256.hex():
            break
        pause = ctx.policy.pause(attempt, error := _garbled(), ctx.random())
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


def _finish(
    ctx: Context,
    way: Way,
    session: Session,
    material: FileMaterial | StreamMaterial,
    wish: Wish,
    meter: Meter,
    cited: Mapping[int, bytes],
) -> Flow[FileUrl]:
    parts = [{"partNumber": number, "etag": sha256.hex()} for number, sha256 in sorted(cited.items())]
    told: dict[str, Any] = {"parts": parts, "size": material.size}
    if material.sha256 is not None:
        told["digest"] = f"sha256:{material.sha256.hex()}"
    headers = {"content-type": "application/json"}
    answer = yield from _ask(ctx, way, session, "POST", "complete", headers, json.dumps(told).encode())
    sha256 = material.sha256 or _digest_of(answer.body)
    if sha256 is None:  # the server was not ready with it
        assert isinstance(material, FileMaterial)  # a stream knows its own
        sha256 = yield from material.hash_all(meter.verified)
        yield Call(material.source.check)
    return uploaded(session.url, answer.body, sha256, material.size, wish.content_type)


def _digest_of(body: Mapping[str, object]) -> bytes | None:
    try:
        return bytes.fromhex(str(body.get("digest") or "").removeprefix("sha256:")) or None
    except ValueError:
        return None


def abandon(ctx: Context, way: Way, session: Session) -> Flow[None]:
    """Free what the server holds. Should that fail, the server does it when the upload's time is over."""
    try:
        yield from _ask(ctx, way, session, "DELETE", "", policy=hasty(ctx.policy))
    except EntrepotError:
        return


def _ask(
    ctx: Context,
    way: Way,
    session: Session,
    method: str,
    suffix: str,
    headers: Mapping[str, str] | None = None,
    body: Window | bytes = b"",
    check: Callable[[], None] | None = None,
    *,
    policy: Policy | None = None,
) -> Flow[Answer]:
    """A request of an upload: by its own signature, else with a token, which is renewed when its time comes."""
    url, known = session.at(suffix), headers or {}
    if session.signed:
        return (yield from ask(ctx, lambda: Request(method, url, known, body), policy, check))

    def make(token: Token) -> Request:
        return Request(method, url, {**known, **token.credential}, body)

    return (yield from ask_cdn(ctx, way.target, make, policy, check))
