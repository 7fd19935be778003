"""Credentials and principals: who a request acts for, and the checks that service methods begin with."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from entrepot.domain.accounts import Account
from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem
from entrepot.domain.keys import matches, parse_key
from entrepot.domain.signing import Claims, Signer
from entrepot.metadata.accounts import AccountRecords

Clock = Callable[[], float]

# A CDN token may be asked for up to 30 days (docs/protocol.md 2.2); stock clients refetch one with less than an hour
# left.
MAX_TOKEN_LIFETIME = 30 * 86_400
MIN_TOKEN_LIFETIME = 3_700


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A CDN bearer token; times in epoch seconds."""

    text: str
    created_at: float
    expires_at: float

    def __repr__(self) -> str:
        return f"Token(***, expires_at={self.expires_at})"


class Access:
    """Checks keys, tokens and upload signatures. All of them die with the key that they carry."""

    def __init__(self, accounts: AccountRecords, signer: Signer, clock: Clock, token_ttl: float) -> None:
        self._accounts = accounts
        self._signer = signer
        self._clock = clock
        self._token_ttl = token_ttl

    async def by_key(self, text: str) -> Principal:
        """The principal of `id:secret`. Raises Problem(UNAUTHORIZED), the same for all that can be wrong."""
        given = parse_key(text)
        if given is None:
            raise _unauthorized("The credential is not of the form <id>:<secret>.")
        record = await self._accounts.key(given.id)
        right = matches(given.secret, record.secret_hash if record else None)
        if record is None or not right or not record.valid:
            raise _wrong_key()
        return Principal(record.account_id, record.id, by_key=True)

    async def by_token(self, text: str, purpose: str) -> Principal:
        """The principal of a bearer token. Raises Problem(UNAUTHORIZED)."""
        claims = self._signer.verify(text, purpose, self._clock())
        principal = await self._holder(claims)
        if principal is None:
            raise _unauthorized("This token is invalid or over, or its key was revoked.")
        return principal

    async def by_signature(self, text: str, purpose: str, path: str) -> Principal:
        """A principal that may finish the upload to `path`, and nothing else. Raises Problem(FORBIDDEN)."""
        claims = self._signer.verify(text, purpose, self._clock(), path)
        holder = await self._holder(claims)
        if holder is None:
            raise _wrong_signature()
        return Principal(holder.account_id, holder.key_id, path)

    async def account(self, who: Principal) -> Account:
        """The account that `who` acts for. Raises Problem(UNAUTHORIZED)."""
        account_id, _ = require_account(who)
        account = await self._accounts.get(account_id)
        if account is None:
            raise _unauthorized("This account is gone.")
        return account

    async def issue_token(self, who: Principal, purpose: str, lifetime: float | None) -> IssuedToken:
        """A token for the holder of a key, bounded to 30 days. Raises Problem(UNAUTHORIZED).

        A token makes no other token: its end would mean nothing.
        """
        _, key_id = require_account(who)
        if not who.by_key:
            raise _unauthorized("A token is given for a key, not for another token.")
        now = self._clock()
        seconds = min(max(lifetime or self._token_ttl, MIN_TOKEN_LIFETIME), MAX_TOKEN_LIFETIME)
        expires_at = int(now + seconds)
        return IssuedToken(self._signer.sign(Claims(purpose, key_id, expires_at)), now, expires_at)

    async def _holder(self, claims: Claims | None) -> Principal | None:
        record = await self._accounts.key(claims.key_id) if claims else None
        return Principal(record.account_id, record.id) if record and record.valid else None


class Keys:
    """What work in threads asks about keys, while it holds a lock: the methods block."""

    def __init__(self, accounts: AccountRecords, clock: Clock) -> None:
        self._accounts = accounts
        self._clock = clock

    def check(self, who: Principal) -> None:
        """Raise Problem when the key of `who` is not valid any more."""
        if who.key_id is not None and self._accounts.is_ended_key(who.key_id, self._clock()):
            raise revoked(who)

    def live(self, account_id: str) -> Collection[str]:
        """The ids of the keys of an account that are not revoked."""
        return self._accounts.live_keys(account_id)


def require_account(who: Principal) -> tuple[str, str]:
    """The account and key ids of one who may act for an account. Raises Problem(UNAUTHORIZED)."""
    if who.account_id is None or who.key_id is None or who.upload_path is not None:
        raise _unauthorized("Authorization header is required.")
    return who.account_id, who.key_id


def require_reader(who: Principal) -> tuple[str, str]:
    """The account and key ids of one who may know what the account holds. Raises Problem(UNAUTHORIZED).

    An upload signature may not. Every key may, as keys have no scopes yet; one that may only upload will stop here.
    """
    return require_account(who)


def revoked(who: Principal) -> Problem:
    """The key of `who` was revoked since the request began: said as to a request that begins now."""
    return _wrong_key() if who.upload_path is None else _wrong_signature()


def _wrong_key() -> Problem:
    return _unauthorized("This key is unknown, wrong or revoked.")


def _wrong_signature() -> Problem:
    return Problem(
        Code.FORBIDDEN,
        "The signature of this upload URL is wrong or over, or its key was revoked.",
        fix="Begin the upload again and use the new upload_url unchanged.",
    )


def _unauthorized(message: str) -> Problem:
    return Problem(Code.UNAUTHORIZED, message)
