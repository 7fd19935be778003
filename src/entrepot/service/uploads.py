"""Uploads: the one way from a body to a published object, whatever door it came through.

Order of the commit (design, section 4): bytes under keys of their own, synced; then ONE metadata transaction makes the
object exist; then the reply. A crash between leaves bytes that no row names, never a row without bytes.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from entrepot.domain import media
from entrepot.domain.acl import Principal, Rule
from entrepot.domain.digests import Expected
from entrepot.domain.errors import Code, Problem, not_found
from entrepot.domain.lifecycle import AclChoice, Lifecycle, Terms, contradiction, fill, resolve
from entrepot.domain.names import clean_name, new_id, quote_segment, segment
from entrepot.domain.objects import Blob, Object
from entrepot.domain.signing import Claims, Signer
from entrepot.domain.uploads import Draft, Intent, Upload, UploadKind, UploadState
from entrepot.metadata.base import Metadata
from entrepot.service.access import Clock, require_account
from entrepot.storage.base import Storage, Stored

log = logging.getLogger("entrepot.uploads")

HEAD_SIZE = 4096  # bytes that decide what a file is


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes on their way in. `length` is the declared one; `expected` are digests that the client declared.

    `lifecycle` may say what the begin of the upload left open.
    """

    stream: AsyncIterator[bytes]
    length: int | None = None
    content_type: str | None = None
    expected: tuple[Expected, ...] = ()
    lifecycle: Lifecycle = Lifecycle()


@dataclass(frozen=True, slots=True)
class Begun:
    """A begun upload and the signature that lets anyone who has it finish it."""

    upload: Upload
    signature: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What bounds uploads: bytes, seconds, and the store's 8 hex digits and path prefix of object URLs."""

    store: str
    prefix: str
    purpose: str
    max_upload: int
    upload_ttl: float


class Uploads:
    """Begin, write and put. Clock and randomness are passed in."""

    def __init__(
        self,
        metadata: Metadata,
        storage: Storage,
        signer: Signer,
        rules: Rules,
        clock: Clock,
        random: Callable[[int], bytes],
    ) -> None:
        self._metadata = metadata
        self._storage = storage
        self._signer = signer
        self._rules = rules
        self._clock = clock
        self._random = random

    async def begin(self, who: Principal, intent: Intent) -> Begun:
        """Reserve a URL and return the right to write it once. Nothing can be read there before it is written.

        With an idempotency key, equal calls give equal answers; the key with another wish raises Problem.
        """
        require_account(who)
        draft = await self._draft(who, intent)
        now = self._clock()
        wish = Upload(
            new_id(self._random),
            draft,
            UploadKind.SINGLE,
            now,
            now + self._rules.upload_ttl,
            idempotency_key=intent.idempotency_key,
            fingerprint=intent.fingerprint() if intent.idempotency_key else None,
        )
        upload = await self._metadata.begin_upload(wish)
        if upload.fingerprint != wish.fingerprint:
            raise Problem(
                Code.VALIDATION_FAILED,
                "This idempotency key was used with another request.",
                where=("header", "idempotency-key"),
            )
        return Begun(upload, self._sign(upload))

    async def write(self, who: Principal, path: str, body: Body) -> Object:
        """Finish a begun upload with its bytes (the signed PUT). The same bytes again give the same object.

        Raises Problem: NOT_FOUND, GONE when its time is over, ALREADY_PUBLISHED for other bytes than the first.
        """
        if who.upload_path != path:
            raise Problem(Code.FORBIDDEN, "This URL can be written only with the signature of its upload_url.")
        upload = await self._metadata.upload_of(object_id_of(path))
        if upload is None or upload.draft.path != path:
            raise not_found()
        if upload.state is UploadState.PUBLISHED:
            return await self._compare(upload, await _digest(self._bounded(body), body))
        if upload.state is UploadState.ABORTED or self._clock() >= upload.expires_at:
            raise Problem(Code.GONE, "The time to write to this URL is over.", fix="Begin the upload again.")
        return await self._finish(await self._settled(upload.draft, body.lifecycle), body, upload)

    async def put(self, who: Principal, intent: Intent, body: Body) -> Object:
        """Store a body in one request and publish it under a new URL."""
        require_account(who)
        self._check_length(body)
        return await self._finish(await self._draft(who, intent), body, None)

    async def _draft(self, who: Principal, intent: Intent) -> Draft:
        account_id, key_id = require_account(who)
        declared = intent.content_type
        if declared and not media.is_valid_type(declared):
            raise Problem(
                Code.VALIDATION_FAILED, "It is not a media type such as image/png.", where=("body", "content_type")
            )
        object_id, name = new_id(self._random), clean_name(intent.file_name)
        last = segment(object_id, name, media.extension_for(declared or "application/octet-stream"))
        return Draft(
            object_id=object_id,
            path=f"{self._rules.prefix}{self._rules.store}/{quote_segment(last)}",
            name=name,
            account_id=account_id,
            key_id=key_id,
            declared_type=declared,
            lifecycle=await self._named(intent.lifecycle),
            request_id=intent.request_id,
        )

    async def _named(self, asked: Lifecycle) -> Lifecycle:
        """Turn nicknames into account ids. Unknown users are dropped (protocol 4.4): a rule must not come to life when
        somebody takes that nickname later."""
        if not isinstance(asked.acl, AclChoice) or not asked.acl.rules:
            return asked
        ids = await self._metadata.account_ids({rule.user for rule in asked.acl.rules})
        rules = tuple(Rule(ids[r.user], r.decision) for r in asked.acl.rules if r.user in ids)
        return replace(asked, acl=AclChoice(asked.acl.default, rules))

    async def _settled(self, draft: Draft, later: Lifecycle) -> Draft:
        """The draft with what the request that brings the bytes says of its lifecycle."""
        named = await self._named(later)
        field = contradiction(draft.lifecycle, named)
        if field is not None:
            message = "It differs from what the upload was begun with."
            raise Problem(Code.VALIDATION_FAILED, message, where=("header", "x-fal-object-lifecycle", field))
        return replace(draft, lifecycle=fill(draft.lifecycle, named))

    async def _terms(self, draft: Draft) -> Terms:
        account = await self._metadata.account(draft.account_id)
        return resolve(draft.lifecycle, account.defaults if account else Lifecycle())

    async def _finish(self, draft: Draft, body: Body, upload: Upload | None) -> Object:
        """The one completion path: receive, publish, and of two that race the second compares."""
        self._check_length(body)
        stored, head = await self._receive(draft, body)
        obj, blob = self._build(draft, await self._terms(draft), body, stored, head)
        published = await self._metadata.publish(obj, blob, upload.id if upload else None)
        # A publish that raised may still have happened: only the keeper, which reads the rows, may remove its bytes.
        if published is obj or (published and published.blob_id == blob.id):
            return published
        await self._discard(stored)
        if published is None or upload is None:
            raise Problem(Code.GONE, "The time to write to this URL is over.", fix="Begin the upload again.")
        return _same_or_refused(published, stored.size, stored.sha256)

    async def _receive(self, draft: Draft, body: Body) -> tuple[Stored, bytes]:
        head = bytearray()
        hashes = [expected.hasher() for expected in body.expected]
        facts = {"object": draft.object_id, "name": draft.name, "account": draft.account_id}
        stored = await self._storage.put(_with_head(self._bounded(body), head), facts, hashes)
        for expected, hasher in zip(body.expected, hashes, strict=True):
            if not hmac.compare_digest(hasher.digest(), expected.value):
                await self._discard(stored)
                raise Problem(Code.DIGEST_MISMATCH, f"The {expected.algorithm} of the body is not the declared one.")
        return stored, bytes(head)

    def _build(self, draft: Draft, terms: Terms, body: Body, stored: Stored, head: bytes) -> tuple[Object, Blob]:
        verdict = media.judge(_declared(body.content_type) or draft.declared_type, draft.name, head)
        now = self._clock()
        blob = Blob(new_id(self._random), stored.size, stored.sha256, stored.segments)
        obj = Object(
            id=draft.object_id,
            path=draft.path,
            name=draft.name,
            account_id=draft.account_id,
            blob_id=blob.id,
            size=stored.size,
            sha256=stored.sha256,
            content_type=verdict.content_type,
            sniffed_type=verdict.sniffed_type,
            inline=verdict.inline,
            acl=terms.acl,
            published_at=now,
            expires_at=terms.expires_at(now),
            request_id=draft.request_id,
        )
        return obj, blob

    async def _compare(self, upload: Upload, received: tuple[int, bytes]) -> Object:
        obj = await self._metadata.object(upload.draft.object_id)
        if obj is None:
            raise not_found()
        return _same_or_refused(obj, *received)

    async def _discard(self, stored: Stored) -> None:
        """Free bytes that no row will ever name, even when the client is gone meanwhile."""
        await asyncio.shield(self._storage.delete([s.key for s in stored.segments]))

    def _sign(self, upload: Upload) -> str:
        draft = upload.draft
        return self._signer.sign(Claims(self._rules.purpose, draft.key_id, int(upload.expires_at), draft.path))

    def _check_length(self, body: Body) -> None:
        if body.length is not None and body.length > self._rules.max_upload:
            raise _too_large(self._rules.max_upload)

    async def _bounded(self, body: Body) -> AsyncIterator[bytes]:
        """The body's stream, refused above the limit and when it is not as long as it declared to be."""
        received = 0
        async for chunk in body.stream:
            received += len(chunk)
            if received > self._rules.max_upload:
                raise _too_large(self._rules.max_upload)
            yield chunk
        if body.length is not None and received != body.length:
            raise Problem(Code.INVALID_REQUEST, f"The body has {received} bytes, {body.length} were declared.")


def object_id_of(path: str) -> str:
    """The id in an object path; garbage in gives an id that no object has."""
    return path.rpartition("/")[2][:22]


async def _with_head(stream: AsyncIterator[bytes], head: bytearray) -> AsyncIterator[bytes]:
    async for chunk in stream:
        if len(head) < HEAD_SIZE:
            head += chunk[: HEAD_SIZE - len(head)]
        yield chunk


async def _digest(stream: AsyncIterator[bytes], body: Body) -> tuple[int, bytes]:
    """Size and SHA-256 of a body that is only compared."""
    hasher, size = Expected("sha-256", b"").hasher(), 0
    async for chunk in stream:
        size += len(chunk)
        hasher.update(chunk)
    return size, hasher.digest()


def _declared(content_type: str | None) -> str | None:
    """The PUT's own type counts when it says something that the begin did not."""
    bare = (content_type or "").partition(";")[0].strip().lower()
    return (
        None
        if bare in ("", "application/octet-stream") or not media.is_valid_type(content_type or "")
        else content_type
    )


def _same_or_refused(obj: Object, size: int, sha256: bytes) -> Object:
    if obj.size != size or obj.sha256 is None or not hmac.compare_digest(obj.sha256, sha256):
        raise Problem(Code.ALREADY_PUBLISHED, "This URL was written already, with other bytes.")
    return obj


def _too_large(limit: int) -> Problem:
    return Problem(Code.TOO_LARGE, f"The body is larger than the limit of {limit} bytes.")
