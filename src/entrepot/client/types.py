"""What users pass in and get back. Names and meaning are those of `fal_client` 1.0.3 (docs/protocol.md 8.1)."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Literal, Self, TypedDict

from entrepot.domain.lifecycle import MAX_LIFETIME

MIB = 1024 * 1024

ObjectExpiration = Literal["never", "immediate", "1h", "1d", "7d", "30d", "1y"] | int
StorageACLDecision = Literal["allow", "forbid", "hide"]
Repository = Literal["fal_v3", "cdn", "fal"]

# Seconds (docs/protocol.md 4.2). `never` is an explicit null here: fal's own client leaves the field out, and the
# account's default, which may be an hour, applies.
_LIFETIMES: dict[str, int | None] = {
    "never": None,
    "immediate": 60,
    "1h": 3_600,
    "1d": 86_400,
    "7d": 604_800,
    "30d": 2_592_000,
    "1y": 31_536_000,
}


@dataclass(frozen=True)
class StorageACLRule:
    """What one account may do, named by nickname or id."""

    user: str
    decision: StorageACLDecision

    def __post_init__(self) -> None:
        if not self.user:
            raise ValueError("a rule needs the nickname or id of a user")
        _check_decision(self.decision)


@dataclass(frozen=True)
class StorageACL:
    """Who may read: a default (None: the account's) and the exceptions from it."""

    default: StorageACLDecision | None = None
    rules: list[StorageACLRule] | None = None

    def __post_init__(self) -> None:
        if self.default is not None:
            _check_decision(self.default)
        if self.rules is not None:
            object.__setattr__(self, "rules", _rules_of(self.rules))


@dataclass(frozen=True)
class StorageSettings:
    """How long a file lives and who may read it. What is None is left to the account's settings.

    `expires_in` is a number of seconds or one of never, immediate (a minute), 1h, 1d, 7d, 30d, 1y.
    """

    expires_in: ObjectExpiration | None = None
    initial_acl: StorageACL | None = None

    def __post_init__(self) -> None:
        if self.expires_in is not None:
            _seconds(self.expires_in)
        object.__setattr__(self, "initial_acl", _acl_of(self.initial_acl))

    def header(self) -> str | None:
        """The value of X-Fal-Object-Lifecycle (docs/protocol.md 4.1); None when there is nothing to say."""
        value: dict[str, Any] = {}
        if self.expires_in is not None:
            value["expiration_duration_seconds"] = _seconds(self.expires_in)
        if self.initial_acl is not None and (acl := _acl(self.initial_acl)):
            value["initial_acl"] = acl
        return json.dumps(value) if value else None


Lifetime = StorageSettings | ObjectExpiration | Mapping[str, Any]


def settings_of(lifecycle: Lifetime | None, expires: ObjectExpiration | None = None) -> StorageSettings | None:
    """The settings that an upload is told: settings as they are (those of `fal_client` too), a lifetime such as "7d" or
    3600, or their fields: `{"expires_in": "7d", "initial_acl": {"default": "forbid"}}`, or as on the wire
    (`expiration_duration_seconds`). `expires` is the lifetime, where the settings name none.

    Raises ValueError for a value or a field that is not known, TypeError for anything else: what is passed over would
    leave a private file open to all.
    """
    found = _settings(lifecycle)
    if expires is None:
        return found
    if found is None:
        return StorageSettings(expires)
    if found.expires_in is not None:
        raise ValueError("lifecycle and expires both say how long the file lives; give one of them")
    return StorageSettings(expires, found.initial_acl)


def _settings(lifecycle: Any) -> StorageSettings | None:
    if lifecycle is None or isinstance(lifecycle, StorageSettings):
        return lifecycle
    if isinstance(lifecycle, int | str):
        return StorageSettings(lifecycle)  # type: ignore[arg-type]  # it says what a lifetime may be
    given = dict(lifecycle) if isinstance(lifecycle, Mapping) else lifecycle
    if isinstance(given, dict) and "expiration_duration_seconds" in given:
        if "expires_in" in given:
            raise ValueError("expires_in and expiration_duration_seconds mean the same; give one of them")
        seconds = given.pop("expiration_duration_seconds")
        given["expires_in"] = "never" if seconds is None else seconds
    fields = _fields("lifecycle", given, ("expires_in", "initial_acl"))
    return StorageSettings(fields["expires_in"], _acl_of(fields["initial_acl"]))


def _acl_of(acl: Any) -> StorageACL | None:
    if acl is None or isinstance(acl, StorageACL):
        return acl
    if isinstance(acl, str):
        return StorageACL(acl)  # type: ignore[arg-type]  # it checks the decision
    fields = _fields("initial_acl", acl, ("default", "rules"))
    return StorageACL(fields["default"], fields["rules"] or None)


def _rules_of(rules: Any) -> list[StorageACLRule]:
    if not isinstance(rules, list | tuple):
        raise TypeError(f"rules are a list, not {rules!r}")
    return [each if isinstance(each, StorageACLRule) else _rule_of(each) for each in rules]


def _rule_of(rule: Any) -> StorageACLRule:
    return StorageACLRule(**_fields("a rule", rule, ("user", "decision")))


def _fields(what: str, given: Any, names: Sequence[str]) -> dict[str, Any]:
    """These fields of a mapping or an object; None for one that is missing. Raises ValueError, TypeError."""
    if isinstance(given, Mapping):
        if unknown := sorted(map(str, given.keys() - set(names))):
            raise ValueError(f"{what} has no field {', '.join(map(repr, unknown))}; there are {', '.join(names)}")
        return {name: given.get(name) for name in names}
    if not all(hasattr(given, name) for name in names):
        raise TypeError(f"{what} cannot be {given!r}; it has the fields {', '.join(names)}, as a dict or an object")
    return {name: getattr(given, name) for name in names}


class FileUrl(str):
    """The URL of an uploaded file: a `str` that also tells what is stored there.

    `digest` is `sha256:<hex>` of the bytes, `size` their number, `expires_at` None for a file that stays.
    """

    digest: str
    size: int
    content_type: str | None
    expires_at: datetime | None

    def __new__(
        cls, url: str, digest: str, size: int, content_type: str | None = None, expires_at: datetime | None = None
    ) -> Self:
        self = super().__new__(cls, url)
        self.digest, self.size, self.content_type, self.expires_at = digest, size, content_type, expires_at
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.digest, self.size, self.content_type, self.expires_at)


class Phase(Enum):
    """What an upload or a download is doing."""

    HASHING = "hashing"
    SENDING = "sending"
    RECEIVING = "receiving"
    VERIFYING = "verifying"
    PUBLISHING = "publishing"


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes done in this phase; `total` is None while nobody knows it.

    In an upload in parts `safe` bytes are on the server and stay there until `until`, should this process end; in a
    download they are on this machine. `resumed` of them were there before it began.
    """

    phase: Phase
    done: int
    total: int | None
    safe: int = 0
    resumed: int = 0
    until: datetime | None = None


OnProgress = Callable[[Progress], None]


class Options(TypedDict, total=False):
    """Keyword arguments that all uploads take.

    `lifecycle` says how long the file lives and who may read it, `expires` alone how long (`"7d"`, seconds).
    `repository` and `fallback_repository` are ways of uploading, tried in this order: `fal_v3` (the CDN's doors) and
    `fal` (REST). `progress` is called from any thread, one call at a time. With `skip_existing` bytes that the account
    holds already are not sent. Sizes are in bytes: a file above `multipart_threshold` goes in parts of `part_size`,
    `concurrency` at a time. `resume=False` keeps no state on this machine.
    """

    repository: Repository | None
    fallback_repository: Repository | list[Repository] | None
    lifecycle: Lifetime | None
    expires: ObjectExpiration | None
    progress: OnProgress | None
    skip_existing: bool
    multipart_threshold: int
    part_size: int
    concurrency: int
    resume: bool


def check_names(given: Collection[str], known: Collection[str]) -> None:
    """Raise TypeError for a keyword argument that there is not, as Python does for a function that lists its own:
    passed over, a misspelt `lifecycle` would leave a private file open to all, a misspelt `overwrite` would replace."""
    if unknown := sorted(set(given) - set(known)):
        raise TypeError(f"an upload has no argument {', '.join(map(repr, unknown))}")


def _check_decision(decision: str) -> None:
    if decision not in ("allow", "forbid", "hide"):
        raise ValueError(f"an ACL decision is allow, forbid or hide, not {decision!r}")


def _seconds(expires_in: ObjectExpiration) -> int | None:
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | str):
        raise ValueError(f"expires_in is a number of seconds or a name, not {expires_in!r}")
    if isinstance(expires_in, str):
        if expires_in not in _LIFETIMES:
            raise ValueError(f"expires_in is one of {', '.join(_LIFETIMES)} or a number of seconds, not {expires_in!r}")
        return _LIFETIMES[expires_in]
    if not 1 <= expires_in <= MAX_LIFETIME:
        raise ValueError(f"expires_in must be from 1 to {MAX_LIFETIME} seconds, not {expires_in}")
    return expires_in


def _acl(acl: StorageACL) -> dict[str, Any]:
    value: dict[str, Any] = {} if acl.default is None else {"default": acl.default}
    if acl.rules:
        value["rules"] = [{"user": rule.user, "decision": rule.decision} for rule in acl.rules]
    return value
