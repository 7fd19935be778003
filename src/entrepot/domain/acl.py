"""Who may read an object: principals, rules and the decision (docs/protocol.md 4.4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Decision(Enum):
    """What a reader gets: the bytes, 403, or the same 404 as for an object that never was."""

    ALLOW = "allow"
    FORBID = "forbid"
    HIDE = "hide"


# Several identities of one requester: the most permissive decision wins.
_PERMISSIVE_FIRST = (Decision.ALLOW, Decision.FORBID, Decision.HIDE)


@dataclass(frozen=True, slots=True)
class Rule:
    """A decision for one account. `user` is an account id once it is stored, a nickname or id on the wire."""

    user: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class Acl:
    """A default and the exceptions from it. Of several rules for one user the most permissive counts."""

    default: Decision = Decision.ALLOW
    rules: tuple[Rule, ...] = ()


PUBLIC = Acl()


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `account_id` is None for an anonymous reader.

    `by_key` says that the key itself was shown, not something made with it. `upload_path` narrows a principal made from
    an upload signature: it may finish that one upload and nothing else.
    """

    account_id: str | None = None
    key_id: str | None = None
    upload_path: str | None = None
    by_key: bool = False

    @property
    def reader_ids(self) -> tuple[str, ...]:
        """The account ids that count when an ACL is read; an upload signature reads nothing."""
        return (self.account_id,) if self.account_id and self.upload_path is None else ()


ANONYMOUS = Principal()


def decide(acl: Acl, owner: str, identities: Iterable[str]) -> Decision:
    """Return the decision for a requester that showed these account ids (none: anonymous)."""
    if not acl.rules:
        return Decision.ALLOW if owner in identities else acl.default
    ids = set(identities)
    if owner in ids:
        return Decision.ALLOW
    matched = {rule.decision for rule in acl.rules if rule.user in ids}
    return next((d for d in _PERMISSIVE_FIRST if d in matched), acl.default)
