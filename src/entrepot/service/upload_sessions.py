"""Upload sessions: the id and URL of a future object, the record of a begun upload, and the publish at its end."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace

from entrepot.domain import media
from entrepot.domain.acl import Principal, Rule
from entrepot.domain.errors import Code, Problem
from entrepot.domain.lifecycle import AclChoice, Lifecycle, contradiction, fill, resolve
from entrepot.domain.mediatypes import checked_type
from entrepot.domain.names import clean_name, new_timed_id, quote_segment, segment
from entrepot.domain.objects import Blob, Object, Segment
from entrepot.domain.uploads import Draft, Finish, Intent, Upload, UploadKind, UploadState
from entrepot.metadata.accounts import AccountRecords
from entrepot.metadata.base import KeyEnded
from entrepot.metadata.objects import ObjectRecords
from entrepot.metadata.uploads import UploadSessionRecords
from entrepot.service.access import Clock, Keys, require_account, revoked

# How long a client that has too many unfinished uploads is told to wait, in seconds.
RETRY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Rules:
    """What bounds uploads. `store` and `prefix` make object paths; `purpose` is that of upload signatures; sizes in
    bytes, times in seconds. `max_bodies` is per process, `max_open` (in shares of its keys) and `quota` per account."""

    store: str
    prefix: str
    purpose: str
    max_upload: int
    upload_ttl: float
    multipart_ttl: float = 7 * 86_400
    max_open: int = 5000
    max_bodies: int = 128
    quota: int | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """A begun upload and the signature that lets anyone who has it finish it."""

    upload: Upload
    signature: str


class UploadSessions:
    """Makes drafts and uploads, and turns drafts into objects. Clock and randomness are passed in."""

    def __init__(
        self,
        accounts: AccountRecords,
        uploads: UploadSessionRecords,
        objects: ObjectRecords,
        rules: Rules,
        clock: Clock,
        random: Callable[[int], bytes],
    ) -> None:
        self._accounts = accounts
        self._uploads = uploads
        self._objects = objects
        self._keys = Keys(accounts, clock)
        self._rules = rules
        self._clock = clock
        self._random = random

    async def draft(self, who: Principal, intent: Intent) -> Draft:
        """Give the object to be its id and URL. Raises Problem for a type that is none."""
        account_id, key_id = require_account(who)
        declared = checked_type(intent.content_type, "body", "content_type")
        object_id, name = intent.object_id or self._new_id(), clean_name(intent.file_name)
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

    async def begin(
        self,
        who: Principal,
        intent: Intent,
        kind: UploadKind,
        *,
        limited: bool = True,
    ) -> Upload:
        """Put an upload on record. With an idempotency key, equal calls give the first one again. One whose bytes come
        in the same request needs no place among the open ones: it is not `limited`.

        Raises Problem: RATE_LIMITED when there are too many unfinished ones (`may_begin`), VALIDATION_FAILED for an
        idempotency key that came with another wish, UNAUTHORIZED when the key of `who` was revoked meanwhile.
        """
        draft, now = await self.draft(who, intent), self._clock()
        ttl = self._rules.upload_ttl if kind is UploadKind.SINGLE else self._rules.multipart_ttl
        wish = Upload(
            self._new_id(),
            draft,
            kind,
            now,
            now + ttl,
            idempotency_key=intent.idempotency_key,
            fingerprint=intent.fingerprint() if intent.idempotency_key else None,
        )
        try:
            upload = await self._uploads.begin(wish, self._rules.max_open if limited else None)
        except KeyEnded:
            raise revoked(who) from None
        if upload is None:
            raise Problem(
                Code.RATE_LIMITED,
                f"Too many unfinished uploads: an account has at most {self._rules.max_open}, and each key its share.",
                fix="Finish or abort some of them, or wait until their time is over.",
                retry_after=RETRY_SECONDS,
            )
        _check_wish(upload, wish.fingerprint, kind)
        return upload

    async def published(self, who: Principal, intent: Intent, kind: UploadKind) -> Upload | None:
        """The upload that an earlier call with the same idempotency key led to its end. Raises Problem as `begin`."""
        account_id, _ = require_account(who)
        if intent.idempotency_key is None:
            return None
        upload = await self._uploads.with_idempotency_key(account_id, intent.idempotency_key)
        if upload is None or upload.state is not UploadState.PUBLISHED:
            return None
        _check_wish(upload, intent.fingerprint(), kind)
        return upload

    async def room(self, account_id: str) -> int | None:
        """Bytes that the account may still store; None without a quota. Bodies in flight are not counted yet."""
        quota = self._rules.quota
        return None if quota is None else max(0, quota - await self._accounts.usage(account_id))

    async def settled(self, draft: Draft, later: Lifecycle) -> Draft:
        """The draft with what a later request of the same upload says of its lifecycle."""
        named = await self._named(later)
        field = contradiction(draft.lifecycle, named)
        if field is not None:
            message = "It differs from what the upload was begun with."
            raise Problem(Code.VALIDATION_FAILED, message, where=("header", "x-fal-object-lifecycle", field))
        return replace(draft, lifecycle=fill(draft.lifecycle, named))

    def blob(self, segments: tuple[Segment, ...], size: int, sha256: bytes | None) -> Blob:
        """A new blob of these segments."""
        return Blob(self._new_id(), size, sha256, segments)

    def _new_id(self) -> str:
        return new_timed_id(self._clock(), self._random)

    def check_key(self, who: Principal) -> None:
        """Look again whether the key of `who` is valid: a request may take hours. Raises Problem."""
        self._keys.check(who)

    async def publish(
        self,
        who: Principal,
        draft: Draft,
        declared: str | None,
        head: bytes,
        blob: Blob,
        upload_id: str | None,
        finish: Finish | None = None,
    ) -> Object:
        """Publish an object, by whatever route its bytes came: one metadata transaction.

        `declared` is a type that came with the bytes, `head` are their first 4 KiB. Of two that race for one upload
        the second gets the first one's object: compare `blob_id`. Raises Problem: GONE when the upload has ended,
        UNAUTHORIZED or FORBIDDEN when the key of `who` was revoked meanwhile, whatever its bytes have cost.
        A publish that raised anything else may still have happened: only the keeper, which reads the rows, may remove
        its bytes.
        """
        account = await self._accounts.get(draft.account_id)
        terms = resolve(draft.lifecycle, account.defaults if account else Lifecycle())
        verdict = media.judge(_meant(declared) or draft.declared_type, draft.name, head)
        now = self._clock()
        obj = Object(
            id=draft.object_id,
            path=draft.path,
            name=draft.name,
            account_id=draft.account_id,
            blob_id=blob.id,
            size=blob.size,
            sha256=blob.sha256,
            content_type=verdict.content_type,
            sniffed_type=verdict.sniffed_type,
            inline=verdict.inline,
            acl=terms.acl,
            published_at=now,
            expires_at=terms.expires_at(now),
            request_id=draft.request_id,
        )
        try:
            published = await self._objects.publish(obj, blob, upload_id, who.key_id, finish)
        except KeyEnded:
            raise revoked(who) from None
        if published is None:
            raise over()
        return published

    async def _named(self, asked: Lifecycle) -> Lifecycle:
        """Turn nicknames into account ids. Unknown users are dropped (docs/protocol.md 4.4): a rule must not come to
        life when somebody takes that nickname later."""
        if not isinstance(asked.acl, AclChoice) or not asked.acl.rules:
            return asked
        ids = await self._accounts.ids_of({rule.user for rule in asked.acl.rules})
        rules = tuple(Rule(ids[r.user], r.decision) for r in asked.acl.rules if r.user in ids)
        return replace(asked, acl=AclChoice(asked.acl.default, rules))


def _check_wish(upload: Upload, fingerprint: bytes | None, kind: UploadKind) -> None:
    if upload.fingerprint != fingerprint or upload.kind is not kind:
        message = "This idempotency key was used with another request."
        raise Problem(Code.VALIDATION_FAILED, message, where=("header", "idempotency-key"))


def over() -> Problem:
    """The upload was aborted, or its time is over."""
    return Problem(Code.GONE, "The time to write to this URL is over.", fix="Begin the upload again.")


def same_or_refused(obj: Object, size: int, sha256: bytes) -> Object:
    """The object that is there, when these are its bytes. Raises Problem(ALREADY_PUBLISHED)."""
    if obj.size != size or obj.sha256 is None or not hmac.compare_digest(obj.sha256, sha256):
        raise Problem(Code.ALREADY_PUBLISHED, "This URL was written already, with other bytes.")
    return obj


def check_repeated(upload: Upload, finish: Finish) -> None:
    """Raise Problem(ALREADY_PUBLISHED) for other arguments than those that the upload was published with."""
    if upload.finish is not None and upload.finish != finish.fingerprint:
        raise Problem(Code.ALREADY_PUBLISHED, "This upload was finished already, with other arguments.")


def _meant(content_type: str | None) -> str | None:
    """A type that says something; octet-stream does not."""
    bare = (content_type or "").partition(";")[0].strip().lower()
    vague = bare in ("", "application/octet-stream")
    return None if vague or not media.is_valid_type(content_type or "") else content_type
