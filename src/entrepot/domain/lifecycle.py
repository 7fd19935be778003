"""How long an object lives and who may read it at first (docs/protocol.md 4.1-4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from entrepot.domain.acl import PUBLIC, Acl, Decision, Rule

# The longest finite lifetime that is accepted, in seconds (100 years): it keeps every date inside datetime's range.
MAX_LIFETIME = 100 * 366 * 86_400
MAX_RULES = 100


class Unset(Enum):
    """A field that the request does not carry, which differs from an explicit null."""

    UNSET = "unset"


UNSET = Unset.UNSET


@dataclass(frozen=True, slots=True)
class AclChoice:
    """An `initial_acl` as it came: its default may be missing."""

    default: Decision | None = None
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """What one request, or an account's settings, says. Seconds; None is 'never', UNSET is 'as before'."""

    lifetime: int | Unset | None = UNSET
    acl: AclChoice | Unset = UNSET


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for one object: lifetime in seconds from publish (None: for ever) and the ACL."""

    lifetime: int | None = None
    acl: Acl = PUBLIC

    def expires_at(self, published_at: float) -> float | None:
        """The epoch second from which no read succeeds. Life starts at publish, not at initiate."""
        return None if self.lifetime is None else published_at + self.lifetime


def contradiction(begun: Lifecycle, later: Lifecycle) -> str | None:
    """The wire's name of a field that a later request of the same upload sets otherwise; None when there is none."""
    if UNSET not in (begun.lifetime, later.lifetime) and begun.lifetime != later.lifetime:
        return "expiration_duration_seconds"
    return "initial_acl" if UNSET not in (begun.acl, later.acl) and begun.acl != later.acl else None


def fill(begun: Lifecycle, later: Lifecycle) -> Lifecycle:
    """What the begin of an upload left open may be said by its later requests."""
    return Lifecycle(
        later.lifetime if begun.lifetime is UNSET else begun.lifetime, later.acl if begun.acl is UNSET else begun.acl
    )


def resolve(requested: Lifecycle, account: Lifecycle) -> Terms:
    """Request over account over system default (public, for ever), field by field.

    A requested ACL replaces the account's, its rules are not merged; only a missing default falls back.
    """
    account_acl = AclChoice() if isinstance(account.acl, Unset) else account.acl
    chosen = account_acl if isinstance(requested.acl, Unset) else requested.acl
    default = chosen.default or account_acl.default or Decision.ALLOW
    lifetime = account.lifetime if isinstance(requested.lifetime, Unset) else requested.lifetime
    return Terms(None if isinstance(lifetime, Unset) else lifetime, Acl(default, chosen.rules))
