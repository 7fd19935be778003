"""Multipart uploads: parts in any order, each an immutable attempt; finish writes a list and copies nothing.

Every multipart route (CDN, REST, GCS style) comes here. A part is durable when it is acknowledged; a retry is another
attempt beside it; `finish` cites the attempt it means by its ETag. What arrives during or after finish changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem, not_found
from entrepot.domain.multipart import MAX_PARTS, Cited, choose, cited_fingerprint, etag_of, fingerprint, prefix
from entrepot.domain.objects import Object
from entrepot.domain.signing import Claims, Signer
from entrepot.domain.uploads import Finish, Intent, Part, Upload, UploadKind, UploadState
from entrepot.metadata.base import Conflict, KeyEnded, MetadataFull
from entrepot.metadata.objects import ObjectRecords
from entrepot.metadata.uploads import UploadSessionRecords
from entrepot.service.access import Clock, require_account, revoked
from entrepot.service.peek import Damaged, read_head
from entrepot.service.request_bodies import Receiver, RequestBody, UploadLimiter, no_room
from entrepot.service.upload_sessions import Begun, Rules, UploadSessions, check_repeated, over
from entrepot.storage.base import Storage, Stored

# How long `finish` waits for the digest of the whole, which follows the parts; then the object goes without at first.
DIGEST_WAIT = 3.0
DIGEST_LOOK = 0.02
# How often `finish` begins anew because parts were sent again meanwhile.
FINISH_TRIES = 5
# Signed paths of a multipart upload are all below this one.
MULTIPART = "/multipart/"


@dataclass(frozen=True, slots=True)
class PartListing:
    """An upload and its acknowledged parts, by number, then by time."""

    upload: Upload
    parts: Sequence[Part]


class Multipart:
    """Begin, write, finish, abort, list."""

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
        self._sessions = sessions
        self._uploads = uploads
        self._objects = objects
        self._storage = storage
        self._receiver = Receiver(storage, rules.max_upload, slots or UploadLimiter(rules.max_bodies))
        self._signer = signer
        self._rules = rules
        self._clock = clock

    async def begin(self, who: Principal, intent: Intent) -> Begun:
        """Open an upload whose URL can be given out at once; nothing can be read there before it is finished.

        The signature is good for all paths below the upload's: parts, finish, list and abort.
        """
        _, key_id = require_account(who)
        upload = await self._sessions.begin(who, intent, UploadKind.MULTIPART)
        return self._begun(upload, key_id)

    async def grant(self, who: Principal, path: str, number: int) -> Begun:
        """The right to put a part of an upload that the account of `who` began."""
        _, key_id = require_account(who)
        upload = await self._open(who, path)
        _check_number(number)
        return self._begun(upload, key_id)

    async def write(self, who: Principal, path: str, number: int, body: RequestBody) -> Part:
        """Store one attempt at one part. The same bytes again give the same part.

        Raises Problem: NOT_FOUND for an upload of somebody else, GONE when its time is over, ALREADY_PUBLISHED after
        finish, VALIDATION_FAILED for a number that is not in 1 to 10,000.
        """
        upload = await self._open(who, path)
        _check_number(number)
        self._check_open(upload)
        facts = {"object": upload.draft.object_id, "account": upload.draft.account_id, "part": str(number)}
        room = await self._room(upload, number, body)
        received = await self._receiver.receive(body, {**facts, "name": upload.draft.name}, room)
        return await self._record(who, upload, number, received.stored)

    async def finish(
        self, who: Principal, path: str, cited: Sequence[Cited], size: int | None = None, sha256: bytes | None = None
    ) -> Object:
        """Publish the cited attempts as one object. Repeated and concurrent calls give one object; those that cite
        other parts than the first, or declare another size, are ALREADY_PUBLISHED.

        Raises Problem: INVALID_PARTS naming every number that is missing, doubled or foreign, EMPTY_PART,
        SIZE_MISMATCH when `size` is not the sum, DIGEST_MISMATCH when `sha256` is not that of the whole, as far as that
        is known by now, INTEGRITY_FAILED for a part whose bytes are gone or damaged, which is to be sent again; the
        upload stays open then.
        """
        upload = await self._open(who, path)
        finish = Finish(cited_fingerprint(cited), sha256)
        if upload.state is UploadState.PUBLISHED:
            return await self._published(upload, finish, size)
        self._check_open(upload)
        tries = 0
        while True:
            held = await self._uploads.list_parts(upload.id)
            try:
                # The digest is waited for once: stock clients give up an end after ten seconds.
                return await self._publish(who, upload, held, cited, size, finish, 0.0 if tries else DIGEST_WAIT)
            except (Problem, Conflict) as error:
                # Another call may have been first: it took the parts that it cited, and the others are being removed.
                upload = await self._uploads.get(upload.id) or upload
                if upload.state is UploadState.PUBLISHED:
                    return await self._published(upload, finish, size)
                self._sessions.check_key(who)
                self._check_open(upload)
                if held == await self._uploads.list_parts(upload.id):
                    raise
                tries += 1
                if tries == FINISH_TRIES:
                    raise _restless() if isinstance(error, Conflict) else error from None

    async def abort(self, who: Principal, path: str) -> None:
        """End an upload and free its parts. Repeatable; a published one stays as it is (ALREADY_PUBLISHED)."""
        upload = await self._open(who, path)
        if upload.state is UploadState.PUBLISHED:
            raise _published()
        if not await self._uploads.abort(upload.id):
            now = await self._uploads.get(upload.id)
            if now is not None and now.state is UploadState.PUBLISHED:
                raise _published()  # meanwhile

    async def list(self, who: Principal, path: str) -> PartListing:
        """The parts that are held, so that a client can go on after its own death or the server's."""
        upload = await self._open(who, path)
        return PartListing(upload, await self._uploads.list_parts(upload.id))

    def _begun(self, upload: Upload, key_id: str) -> Begun:
        """`key_id` is of who asks now: what it is given dies with it, and not with the key that began."""
        claims = Claims(self._rules.purpose, key_id, int(upload.expires_at), path_of(upload))
        return Begun(upload, self._signer.sign(claims))

    async def _open(self, who: Principal, path: str) -> Upload:
        """The upload at a multipart path, if `who` may act on it: by its signature, or as its account."""
        if who.upload_path is not None and who.upload_path != path:
            raise Problem(Code.FORBIDDEN, "This signature is for another upload.")
        if who.upload_path is None:
            require_account(who)
        self._sessions.check_key(who)
        upload = await self._uploads.get(path.rpartition("/")[2])
        mine = upload is not None and upload.draft.account_id == who.account_id and path_of(upload) == path
        if upload is None or not mine or upload.kind is not UploadKind.MULTIPART:
            raise not_found()
        return upload

    def _check_open(self, upload: Upload) -> None:
        if upload.state is UploadState.PUBLISHED:
            raise _published()
        if upload.state is UploadState.ABORTED or self._clock() >= upload.expires_at:
            raise over()

    async def _record(self, who: Principal, upload: Upload, number: int, stored: Stored) -> Part:
        blob = self._sessions.blob(stored.segments, stored.size, stored.sha256)
        etag = etag_of(stored.sha256)
        part = Part(upload.id, number, etag, stored.size, stored.sha256, blob.id, self._clock())
        try:
            await self._check_room(upload, part)
            kept = await self._uploads.add_part(part, blob, who.key_id)
        except (Problem, Conflict, KeyEnded, MetadataFull) as error:
            # These say that no row was written, and nobody else would ever remove the bytes while we live.
            await self._receiver.discard(stored)
            if isinstance(error, KeyEnded):
                raise revoked(who) from None
            raise
        if kept is None:
            await self._receiver.discard(stored)
            self._check_open(await self._uploads.get(upload.id) or upload)
            raise over()
        return kept

    async def _room(self, upload: Upload, number: int, body: RequestBody) -> int | None:
        """Bytes that this body may have. One that is sent again takes the place of what is held, so an account that is
        full takes it again."""
        room = await self._sessions.room(upload.draft.account_id)
        if room is None or (body.length is not None and body.length <= room):
            return room
        held = await self._uploads.list_parts(upload.id)
        return room + max((part.size for part in held if part.number == number), default=0)

    async def _check_room(self, upload: Upload, part: Part) -> None:
        """Others may have filled the account while these bytes came. Raises Problem(QUOTA_EXCEEDED)."""
        room = await self._sessions.room(upload.draft.account_id)
        if room is None or part.size <= room:
            return
        held = await self._uploads.list_parts(upload.id)
        if not any((other.number, other.etag) == (part.number, part.etag) for other in held):
            raise no_room(room)

    async def _publish(
        self,
        who: Principal,
        upload: Upload,
        held: Sequence[Part],
        cited: Sequence[Cited],
        size: int | None,
        finish: Finish,
        patience: float,
    ) -> Object:
        parts = choose(held, cited)
        total = sum(part.size for part in parts)
        if size is not None and size != total:
            message = f"The parts have {total} bytes together, {size} were declared."
            raise Problem(Code.SIZE_MISMATCH, message)
        segments = await self._uploads.segments_of_parts(upload.id)
        stored = [Stored(segments.get(part.blob_id, ()), part.size, part.sha256) for part in parts]
        head = await self._head(parts, stored)
        # The keeper follows the last attempts: the digest of others would be waited for in vain.
        sha256 = await self._digest(upload, parts, patience if parts == prefix(held) else 0.0)
        _check_digest(sha256, finish.sha256)
        whole = tuple(segment for each in stored for segment in each.segments)
        blob = self._sessions.blob(whole, total, sha256)
        obj = await self._sessions.publish(who, upload.draft, None, head, blob, upload.id, finish)
        if obj.blob_id != blob.id:  # another call was first
            return await self._published(await self._uploads.get(upload.id) or upload, finish, size)
        return obj

    async def _published(self, upload: Upload, finish: Finish, size: int | None) -> Object:
        """The object that an upload became, for a call that asks for the same once more."""
        obj = await self._objects.get(upload.draft.object_id)
        if obj is None:
            raise over()
        _check_digest(obj.sha256 or upload.finish_sha256, finish.sha256)
        if size is not None and size != obj.size:
            raise _published()
        check_repeated(upload, finish)
        return obj

    async def _head(self, parts: Sequence[Part], stored: Sequence[Stored]) -> bytes:
        """The first bytes of the object, which decide what it is, verified. Raises Problem(INTEGRITY_FAILED)."""
        for part, segment in ((part, s) for part, each in zip(parts, stored, strict=True) for s in each.segments):
            try:
                return await read_head(self._objects, self._storage, segment)
            except Damaged:
                raise _damaged([part.number]) from None
        return b""

    async def _digest(self, upload: Upload, parts: Sequence[Part], patience: float) -> bytes | None:
        """The SHA-256 of the whole: of one part, its own; else the keeper's, which may need a moment for the tail."""
        if len(parts) == 1:
            return parts[0].sha256
        wanted = fingerprint(parts)
        deadline = asyncio.get_running_loop().time() + patience
        while (found := await self._uploads.whole_digest(upload.id, wanted)) is None:
            if asyncio.get_running_loop().time() >= deadline:
                return None
            await asyncio.sleep(DIGEST_LOOK)
        return found


def _check_number(number: int) -> None:
    if not 1 <= number <= MAX_PARTS:
        message = f"It must be from 1 to {MAX_PARTS}."
        raise Problem(Code.VALIDATION_FAILED, message, where=("path", "part_number"))


def path_of(upload: Upload) -> str:
    """The path that all requests of a multipart upload are below."""
    return f"{upload.draft.path}{MULTIPART}{upload.id}"


def _check_digest(known: bytes | None, declared: bytes | None) -> None:
    if known is not None and declared is not None and known != declared:
        raise Problem(
            Code.DIGEST_MISMATCH,
            "The SHA-256 of the whole is not the declared one.",
            fix="The ETag of a part is its SHA-256: send what differs again, then finish. A published file stays.",
        )


def _damaged(numbers: Sequence[int]) -> Problem:
    message = f"The stored bytes of these parts are damaged: {', '.join(map(str, numbers))}."
    return Problem(Code.INTEGRITY_FAILED, message, fix="Send these parts again, then finish.")


def _restless() -> Problem:
    message = "Parts of the list are being sent again."
    return Problem(Code.INVALID_PARTS, message, fix="Finish again when no part is on its way.")


def _published() -> Problem:
    return Problem(Code.ALREADY_PUBLISHED, "This upload is finished; its content does not change any more.")
