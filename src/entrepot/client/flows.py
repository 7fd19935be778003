"""An upload from its wish to its URL: which way, and on to the next when a server cannot be reached (docs/protocol.md
8.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from entrepot import wire
from entrepot.client import multipart
from entrepot.client.asking import Answer, Context, Token, ask, ask_cdn, fresh_token, has_token
from entrepot.client.commands import Call, Flow, Request
from entrepot.client.doors import door_of
from entrepot.client.errors import AllFailed, Attempt, EntrepotError, ServerError, SourceError
from entrepot.client.material import FileMaterial, StreamMaterial, material_of
from entrepot.client.meter import Meter
from entrepot.client.profile import Profile
from entrepot.client.replies import link
from entrepot.client.retry import Policy, brief, failing, is_elsewhere, passing
from entrepot.client.sources import Source, Stream, Window
from entrepot.client.types import FileUrl
from entrepot.client.whole import send_whole
from entrepot.client.wish import Way, Wish, initiation, uploaded

# A server that has no door for it answers so, and one that does not tell who may not know.
_NOT_HELD = {403, 404, 405}


def ways(targets: Sequence[Profile], repositories: Sequence[str], policy: Policy) -> list[Way]:
    """Every server with every repository, in order. Nobody waits long at one while there is another."""
    found = []
    for target in targets:
        more = target != targets[-1]
        for repository in repositories:
            is_last = not more and repository == repositories[-1]
            before = policy if is_last else passing(policy, server=more)
            sending = passing(policy, server=True) if more else policy if is_last else failing(policy)
            found.append(Way(target, repository, brief(before), sending))
    return found


def upload(ctx: Context, chain: Sequence[Way], opened: Callable[[], Source | Stream], wish: Wish) -> Flow[FileUrl]:
    """Open the source and upload it. Raises EntrepotError; AllFailed when several ways were tried in vain."""
    source: Source | Stream = yield Call(opened)
    try:
        material = yield from material_of(source, wish.part_size)
        return (yield from _by_any(ctx, chain, material, wish))
    finally:
        source.close()


def _by_any(ctx: Context, chain: Sequence[Way], material: FileMaterial | StreamMaterial, wish: Wish) -> Flow[FileUrl]:
    failed: list[Attempt] = []
    meter = Meter(wish.progress, material.size if isinstance(material, FileMaterial) else None)
    for way in chain:
        if failed and has_token(ctx, way.target):
            way = replace(way, policy=way.sending)  # the server was there: it is waited for
        try:
            return (yield from _by(ctx, way, material, wish, meter))
        except EntrepotError as error:
            failed.append(Attempt(way.target.url, way.repository, error))
            if not is_elsewhere(error) or material.spent or len(failed) == len(chain):
                # What is wrong with the file is no server's fault.
                if len(failed) == 1 or isinstance(error, SourceError):
                    raise
                raise AllFailed(failed) from error
        meter.restart()
    raise AssertionError("the last way returns or raises")


def _by(ctx: Context, way: Way, material: FileMaterial | StreamMaterial, wish: Wish, meter: Meter) -> Flow[FileUrl]:
    if isinstance(material, StreamMaterial):
        return (yield from multipart.upload(door_of(ctx, way, wish), material, wish, meter))
    if wish.skip_existing and way.repository == "fal_v3" and material.size >= wire.EXISTING_FLOOR:
        found = yield from _existing(ctx, way, material, wish, meter)
        if found is not None:
            return found
    if material.size > wish.threshold:
        return (yield from multipart.upload(door_of(ctx, way, wish), material, wish, meter))
    return (yield from _single(ctx, way, material, wish, meter))


def _single(ctx: Context, way: Way, material: FileMaterial, wish: Wish, meter: Meter) -> Flow[FileUrl]:
    """One request with all bytes."""
    by = _put if way.repository == "fal" else _post

    def send(window: Window, digest: dict[str, str]) -> Flow[tuple[str, Answer]]:
        return by(ctx, way, wish, window, {**wish.headers(), **digest}, material.source.check)

    url, answer = yield from send_whole(material, meter, send)
    assert material.sha256 is not None
    return uploaded(url, answer.body, material.sha256, material.size, wish.content_type)


def _post(
    ctx: Context, way: Way, wish: Wish, window: Window, headers: Mapping[str, str], check: Callable[[], None]
) -> Flow[tuple[str, Answer]]:
    """The CDN's door (docs/protocol.md 3.1). The idempotency key makes a repetition give the first one's URL."""
    unique = {wire.IDEMPOTENCY_KEY: ctx.new_id()}

    def make(token: Token) -> Request:
        return Request("POST", token.base_url + wire.UPLOAD, {**headers, **unique, **token.credential}, window)

    yield from fresh_token(ctx, way.target, way.policy)
    answer = yield from ask_cdn(ctx, way.target, make, way.sending, check)
    return link(answer.body, "access_url"), answer


def _put(
    ctx: Context, way: Way, wish: Wish, window: Window, headers: Mapping[str, str], check: Callable[[], None]
) -> Flow[tuple[str, Answer]]:
    """The REST door (docs/protocol.md 2.3, 2.4)."""
    begun = yield from ask(ctx, partial(initiation, ctx.new_id(), way.target, wish, wire.INITIATE), way.policy)
    sent = {name: value for name, value in headers.items() if name != wire.FILE_NAME}
    url = link(begun.body, "upload_url", way.target.url)
    answer = yield from ask(ctx, partial(Request, "PUT", url, sent, window), way.sending, check)
    return link(begun.body, "file_url"), answer


def _existing(ctx: Context, way: Way, material: FileMaterial, wish: Wish, meter: Meter) -> Flow[FileUrl | None]:
    """The URL of a new file with bytes that the account holds already; None when it does not."""
    sha256 = yield from material.hash_all(meter.hashed)
    yield Call(material.source.check)
    headers = {**wish.headers(), "repr-digest": wire.repr_digest(sha256), wire.IDEMPOTENCY_KEY: ctx.new_id()}

    def make(token: Token) -> Request:
        url = f"{token.base_url}{wire.EXISTING_UPLOAD}?size={material.size}"
        return Request("POST", url, {**headers, **token.credential})

    try:
        answer = yield from ask_cdn(ctx, way.target, make, way.policy)
    except ServerError as error:
        if error.status_code in _NOT_HELD:
            return None
        raise
    meter.publishing()
    return uploaded(link(answer.body, "access_url"), answer.body, sha256, material.size, wish.content_type)
