"""Single uploads: from one body to a published object.

Order of the commit (docs/architecture.md): bytes under keys of their own, synced; then ONE metadata transaction makes
the object exist; then the reply. A crash between leaves bytes that no row names, never a row without bytes.
"""

from __future__ import annotations

import hashlib
import logging

from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem, not_found
from entrepot.domain.lifecycle import Lifecycle
from entrepot.domain.names import leading_id
from entrepot.domain.objects import Blob, Object
from entrepot.domain.signing import Claims, Signer
from entrepot.domain.uploads import EXISTING_FLOOR, Draft, Finish, Intent, Upload, UploadKind, UploadState
from entrepot.metadata.base import Conflict, MetadataFull
from entrepot.metadata.objects import ObjectRecords
from entrepot.metadata.uploads import UploadSessionRecords
from entrepot.service.access import Clock, require_account, require_reader
from entrepot.service.peek import Damaged, read_head
from entrepot.service.request_bodies import Receiver, RequestBody, RequestSource, UploadLimiter, UploadSource, no_room
from entrepot.service.upload_sessions import Begun, Rules, UploadSessions, check_repeated, over, same_or_refused
from entrepot.storage.base import Storage, StorageFailed

log = logging.getLogger("entrepot.uploads")


class SingleUploads:
    """Begin, write, put and reuse."""

    def __init__(
        self,
        sessions: UploadSessions,
        uploads: UploadSessionRecords,
        objects: ObjectRecords,
        storage: Storage,
        signer: Signer,
        rules: Rules,
        clock: Clock,
        slots: UploadLimiter | None = None,
    ) -> None:
        """`slots` are shared with the other services of a process that take bodies."""
        self._sessions = sessions
        self._uploads = uploads
        self._objects = objects
        self._storage = storage
        self._slots = slots or UploadLimiter(rules.max_bodies)
        self._receiver = Receiver(storage, rules.max_upload, self._slots)
        self._signer = signer
        self._rules = rules
        self._clock = clock

    async def begin(self, who: Principal, intent: Intent) -> Begun:
        """Reserve a URL and return the right to write it once. Nothing can be read there before it is written.

        With an idempotency key, equal calls give equal answers; the key with another wish raises Problem.
        """
        _, key_id = require_account(who)
        upload = await self._sessions.begin(who, intent, UploadKind.SINGLE)
        # The key of who asks now: what it is given dies with it, and not with the key that began.
        claims = Claims(self._rules.purpose, key_id, int(upload.expires_at), upload.draft.path)
        return Begun(upload, self._signer.sign(claims))

    async def write(self, who: Principal, path: str, body: RequestBody) -> Object:
        """Finish a begun upload with its bytes (the signed PUT). The same bytes again give the same object.

        Raises Problem: NOT_FOUND, GONE when its time is over, ALREADY_PUBLISHED for other bytes than the first, or
        another type or lifecycle beside them.
        """
        if who.upload_path != path:
            raise Problem(Code.FORBIDDEN, "This URL can be written only with the signature of its upload_url.")
        upload = await self._uploads.of_object(object_id_of(path))
        if upload is None or upload.draft.path != path or upload.kind is not UploadKind.SINGLE:
            raise not_found()
        return await self._write(who, upload, RequestSource(self._receiver, body), body.lifecycle)

    def check_size(self, size: int) -> None:
        """Raise Problem(TOO_LARGE) for a size that no upload may have, before its bytes come."""
        self._receiver.check_size(size)

    async def put(self, who: Principal, intent: Intent, body: RequestBody) -> Object:
        """Store a body in one request and publish it under a new URL.

        With an idempotency key it is a begin and a write: what was cut stays open for the call that repeats it, and the
        same bytes again give the same object. Raises Problem as these two do.
        """
        require_account(who)
        self._receiver.check_length(body)
        self._slots.refuse_when_full(body.key)
        return await self.take(who, intent, RequestSource(self._receiver, body))

    async def take(self, who: Principal, intent: Intent, incoming: UploadSource) -> Object:
        """As `put`, for bytes that come from anywhere."""
        require_account(who)
        if intent.idempotency_key is None:
            return await self._finish(who, await self._sessions.draft(who, intent), incoming, None)
        upload = await self._sessions.begin(who, intent, UploadKind.SINGLE, limited=False)
        return await self._write(who, upload, incoming, Lifecycle())

    async def published(self, who: Principal, intent: Intent) -> Object | None:
        """The object of an earlier call with the same idempotency key and the same wish. Raises Problem when the wish
        was another one."""
        done = await self._sessions.published(who, intent, UploadKind.SINGLE)
        return await self._object_of(done) if done else None

    async def reuse(self, who: Principal, intent: Intent, sha256: bytes, size: int) -> Object:
        """Publish bytes that the account holds already under one more URL, without receiving them again.

        Raises Problem: NOT_FOUND when they are to be sent, because it does not hold them (whoever else may) or they
        cannot be read now; QUOTA_EXCEEDED. With an idempotency key, equal calls give equal answers, as with `put`.
        """
        account_id, _ = require_reader(who)
        if size < EXISTING_FLOOR:
            raise _not_held()
        if done := await self._sessions.published(who, intent, UploadKind.SINGLE):
            return same_or_refused(await self._object_of(done), size, sha256)
        blob_id, head = await self._held(account_id, sha256, size)
        room = await self._sessions.room(account_id)
        if room is not None and size > room:
            raise no_room(room)
        upload = None
        if intent.idempotency_key:
            upload = await self._sessions.begin(who, intent, UploadKind.SINGLE, limited=False)
        draft = upload.draft if upload else await self._sessions.draft(who, intent)
        # Without segments: a blob that went meanwhile is a conflict then, and never a row without bytes.
        blob = Blob(blob_id, size, sha256, ())
        try:
            obj = await self._sessions.publish(who, draft, None, head, blob, upload.id if upload else None)
        except Conflict:
            raise _not_held() from None
        return same_or_refused(obj, size, sha256)

    async def _held(self, account_id: str, sha256: bytes, size: int) -> tuple[str, bytes]:
        """A blob of the account that has these bytes, and its first 4 KiB. Raises Problem(NOT_FOUND)."""
        blob_id = await self._objects.held_blob(account_id, sha256, size, self._clock())
        first = await self._objects.segments_from(blob_id, 0, 1) if blob_id else ()
        if blob_id is None or not first:
            raise _not_held()
        try:
            return blob_id, await read_head(self._objects, self._storage, first[0][1])
        except (Damaged, StorageFailed) as error:
            if await self._objects.segments_from(blob_id, 0, 1):  # else the sweep was here
                log.error("damaged bytes: blob=%s (%s): they are asked for again", blob_id, error)
            raise _not_held() from None

    async def _write(self, who: Principal, upload: Upload, incoming: UploadSource, lifecycle: Lifecycle) -> Object:
        """`lifecycle` may say what the begin of the upload left open."""
        finish = _finish_of(incoming, lifecycle)
        if upload.state is UploadState.PUBLISHED:
            check_repeated(upload, finish)
            return same_or_refused(await self._object_of(upload), *await incoming.measure())
        if upload.state is UploadState.ABORTED or self._clock() >= upload.expires_at:
            raise over()
        draft = await self._sessions.settled(upload.draft, lifecycle)
        return await self._finish(who, draft, incoming, upload, finish)

    async def _finish(
        self, who: Principal, draft: Draft, incoming: UploadSource, upload: Upload | None, finish: Finish | None = None
    ) -> Object:
        """Receive and publish; of two that race for one upload the second compares."""
        facts = {"object": draft.object_id, "name": draft.name, "account": draft.account_id}
        received = await incoming.store(facts, await self._sessions.room(draft.account_id))
        stored = received.stored
        blob = self._sessions.blob(stored.segments, stored.size, stored.sha256)
        try:
            obj = await self._sessions.publish(
                who, draft, incoming.content_type, received.head, blob, upload.id if upload else None, finish
            )
        except (Problem, Conflict, MetadataFull):
            # These say that nothing was written. After any other failure the publish may still be found after a
            # restart: only the keeper, which reads the rows, may remove its bytes then.
            await self._receiver.discard(stored)
            raise
        if obj.blob_id != blob.id:
            await self._receiver.discard(stored)
            if upload and finish and (first := await self._uploads.get(upload.id)):
                check_repeated(first, finish)
            return same_or_refused(obj, stored.size, stored.sha256)
        return obj

    async def _object_of(self, upload: Upload) -> Object:
        obj = await self._objects.get(upload.draft.object_id)
        if obj is None:
            raise not_found()
        return obj


def _finish_of(incoming: UploadSource, lifecycle: Lifecycle) -> Finish:
    """What a write says beside its bytes, which are compared themselves."""
    return Finish(hashlib.sha256(repr((incoming.content_type, lifecycle)).encode()).digest())


def _not_held() -> Problem:
    message = "This account holds no file of these bytes that could be stored again."
    return Problem(Code.NOT_FOUND, message, fix="Send the bytes.")


def object_id_of(path: str) -> str:
    """The id in an object path; garbage in gives an id that no object has."""
    return leading_id(path.rpartition("/")[2])
