"""Single uploads: from one body to a published object.

Order of the commit (design, section 4): bytes under keys of their own, synced; then ONE metadata transaction makes the
object exist; then the reply. A crash between leaves bytes that no row names, never a row without bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem, not_found
from entrepot.domain.objects import Object
from entrepot.domain.signing import Claims, Signer
from entrepot.domain.uploads import Draft, Intent, Upload, UploadKind, UploadState
from entrepot.metadata.base import Conflict, Metadata, MetadataFull
from entrepot.service.access import Clock, require_account
from entrepot.service.bodies import Body, Receiver, Slots
from entrepot.service.drafts import Begun, Drafts, Rules, over, same_or_refused
from entrepot.storage.base import Storage


class Uploads:
    """Begin, write and put."""

    def __init__(
        self,
        metadata: Metadata,
        storage: Storage,
        signer: Signer,
        rules: Rules,
        clock: Clock,
        random: Callable[[int], bytes],
        slots: Slots | None = None,
    ) -> None:
        """`slots` are shared with the other services of a process that take bodies."""
        self._metadata = metadata
        self._slots = slots or Slots(rules.max_bodies)
        self._receiver = Receiver(storage, rules.max_upload, self._slots)
        self._drafts = Drafts(metadata, rules, clock, random)
        self._signer = signer
        self._rules = rules
        self._clock = clock

    async def begin(self, who: Principal, intent: Intent) -> Begun:
        """Reserve a URL and return the right to write it once. Nothing can be read there before it is written.

        With an idempotency key, equal calls give equal answers; the key with another wish raises Problem.
        """
        _, key_id = require_account(who)
        upload = await self._drafts.begin(who, intent, UploadKind.SINGLE)
        # The key of who asks now: what it is given dies with it, and not with the key that began.
        claims = Claims(self._rules.purpose, key_id, int(upload.expires_at), upload.draft.path)
        return Begun(upload, self._signer.sign(claims))

    async def write(self, who: Principal, path: str, body: Body) -> Object:
        """Finish a begun upload with its bytes (the signed PUT). The same bytes again give the same object.

        Raises Problem: NOT_FOUND, GONE when its time is over, ALREADY_PUBLISHED for other bytes than the first.
        """
        if who.upload_path != path:
            raise Problem(Code.FORBIDDEN, "This URL can be written only with the signature of its upload_url.")
        upload = await self._metadata.upload_of(object_id_of(path))
        if upload is None or upload.draft.path != path or upload.kind is not UploadKind.SINGLE:
            raise not_found()
        return await self._write(upload, body)

    async def put(self, who: Principal, intent: Intent, body: Body) -> Object:
        """Store a body in one request and publish it under a new URL.

        With an idempotency key it is a begin and a write: what was cut stays open for the call that repeats it, and the
        same bytes again give the same object. Raises Problem as these two do.
        """
        require_account(who)
        self._receiver.check_length(body)
        self._slots.refuse_when_full()
        if intent.idempotency_key is None:
            return await self._finish(await self._drafts.draft(who, intent), body, None)
        return await self._write(await self._drafts.begin(who, intent, UploadKind.SINGLE), body)

    async def _write(self, upload: Upload, body: Body) -> Object:
        if upload.state is UploadState.PUBLISHED:
            return await self._compare(upload, body)
        if upload.state is UploadState.ABORTED or self._clock() >= upload.expires_at:
            raise over()
        return await self._finish(await self._drafts.settled(upload.draft, body.lifecycle), body, upload)

    async def _finish(self, draft: Draft, body: Body, upload: Upload | None) -> Object:
        """Receive and publish; of two that race for one upload the second compares."""
        facts = {"object": draft.object_id, "name": draft.name, "account": draft.account_id}
        received = await self._receiver.receive(body, facts, await self._drafts.room(draft.account_id))
        stored = received.stored
        blob = self._drafts.blob(stored.segments, stored.size, stored.sha256)
        try:
            obj = await self._drafts.publish(
                draft, body.content_type, received.head, blob, upload.id if upload else None
            )
        except (Problem, Conflict, MetadataFull):
            # These say that nothing was written. After any other failure the publish may still be found after a
            # restart: only the keeper, which reads the rows, may remove its bytes then.
            await self._receiver.discard(stored)
            raise
        if obj.blob_id != blob.id:
            await self._receiver.discard(stored)
            return same_or_refused(obj, stored.size, stored.sha256)
        return obj

    async def _compare(self, upload: Upload, body: Body) -> Object:
        obj = await self._metadata.object(upload.draft.object_id)
        if obj is None:
            raise not_found()
        return same_or_refused(obj, *await self._receiver.measure(body))


def object_id_of(path: str) -> str:
    """The id in an object path; garbage in gives an id that no object has."""
    return path.rpartition("/")[2][:22]
