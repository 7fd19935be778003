"""The doors that make files with a URL of parts: the CDN's with a token (docs/protocol.md 3.2 to 3.4), and REST with a
signature in the upload's own URL (2.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from entrepot import wire
from entrepot.client.asking import Answer, Context, Credential, Token, ask, ask_cdn
from entrepot.client.commands import Call, Flow, Request
from entrepot.client.material import FileMaterial, StreamMaterial
from entrepot.client.meter import Meter
from entrepot.client.multipart import Door, Session
from entrepot.client.profile import Profile
from entrepot.client.replies import link, moment, text
from entrepot.client.retry import Policy
from entrepot.client.types import FileUrl
from entrepot.client.wish import Way, Wish, initiation, uploaded


@dataclass(frozen=True, slots=True)
class _UrlDoor:
    """What both have in common. `extra` are headers of the request that begins, in lower case."""

    ctx: Context
    way: Way
    wish: Wish
    extra: Mapping[str, str] = field(default_factory=dict)
    number = "partNumber"

    @property
    def target(self) -> Profile:
        return self.way.target

    @property
    def name(self) -> tuple[str, ...]:
        return self.way.target.url, self.way.repository, self.way.target.key_id

    @property
    def terms(self) -> list[Any]:
        return [self.wish.name, self.wish.content_type, self.wish.lifecycle]

    def finished(
        self, session: Session, answer: Answer, material: FileMaterial | StreamMaterial, meter: Meter
    ) -> Flow[FileUrl]:
        sha256 = material.sha256 or _digest_of(answer.body)
        if sha256 is None:  # the server was not ready with it
            assert isinstance(material, FileMaterial)  # a stream knows its own
            sha256 = yield from material.hash_all(meter.verified)
            yield Call(material.source.check)
        return uploaded(session.url, answer.body, sha256, material.size, self.wish.content_type)

    def _with_extra(self, request: Request) -> Request:
        return replace(request, headers={**self.extra, **request.headers})


class CdnDoor(_UrlDoor):
    """`/files/upload/multipart`, and below the URL of the future file."""

    def begin(self, meter: Meter) -> Flow[Session]:
        unique = self.ctx.new_id()
        answer = yield from ask_cdn(
            self.ctx, self.target, lambda token: self._with_extra(self._creation(unique, token)), self.way.policy
        )
        url = link(answer.body, "access_url", self.target.url)
        meter.lasts(moment(answer.body.get("expires_at")))
        return Session(url, f"{url}/multipart/{text(answer.body, 'uploadId')}")

    def ask(
        self, make: Callable[[Credential], Request], policy: Policy | None, check: Callable[[], None] | None
    ) -> Flow[Answer]:
        """With a token, which is renewed when its time comes."""
        return (yield from ask_cdn(self.ctx, self.target, lambda token: make(token.credential), policy, check))

    def _creation(self, unique: str, token: Token) -> Request:
        name = {wire.FILE_NAME: "upload.bin"} if self.wish.name is None else {}
        headers = {**self.wish.headers(), **name, wire.IDEMPOTENCY_KEY: unique, **token.credential}
        return Request("POST", token.base_url + wire.MULTIPART_UPLOAD, headers)


class RestDoor(_UrlDoor):
    """`/storage/upload/initiate-multipart`."""

    def begin(self, meter: Meter) -> Flow[Session]:
        request = partial(initiation, self.ctx.new_id(), self.target, self.wish, wire.INITIATE_MULTIPART)
        answer = yield from ask(self.ctx, lambda: self._with_extra(request()), self.way.policy)
        meter.lasts(moment(answer.body.get("expires_at")))
        return Session(link(answer.body, "file_url"), link(answer.body, "upload_url", self.target.url))

    def ask(
        self, make: Callable[[Credential], Request], policy: Policy | None, check: Callable[[], None] | None
    ) -> Flow[Answer]:
        """By the upload's own signature."""
        return (yield from ask(self.ctx, lambda: make({}), policy, check))


def door_of(ctx: Context, way: Way, wish: Wish, extra: Mapping[str, str] | None = None) -> Door[FileUrl]:
    """The door of a way."""
    return (RestDoor if way.repository == "fal" else CdnDoor)(ctx, way, wish, extra or {})


def _digest_of(body: Mapping[str, object]) -> bytes | None:
    try:
        return bytes.fromhex(str(body.get("digest") or "").removeprefix("sha256:")) or None
    except ValueError:
        return None
