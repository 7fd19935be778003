"""Rows to domain values and back. The order of columns is that of the statements in sql/*.sql.

Built for the hot path: states are looked up in a dict, a public ACL is NULL and never parsed, and equal ACL
texts are parsed once (values are immutable, so they may be shared).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from entrepot.domain.accounts import Account, AccountState, KeyRecord
from entrepot.domain.acl import PUBLIC, Acl, Decision, Rule
from entrepot.domain.lifecycle import UNSET, AclChoice, Lifecycle, Unset
from entrepot.domain.objects import Object, ObjectState, Segment
from entrepot.domain.uploads import Draft, Part, Upload, UploadKind, UploadState
from entrepot.metadata.base import Row

_ACCOUNT_STATES = {state.value: state for state in AccountState}
_OBJECT_STATES = {state.value: state for state in ObjectState}
_UPLOAD_STATES = {state.value: state for state in UploadState}
_UPLOAD_KINDS = {kind.value: kind for kind in UploadKind}


def array(items: Iterable[str | int]) -> str:
    """A JSON array, for `IN (SELECT value FROM json_each(?))`."""
    return json.dumps(list(items))


def acl_text(acl: Acl) -> str | None:
    """`{"default": "hide", "rules": [["<account id>", "allow"], ...]}`, None for the public ACL."""
    return None if acl == PUBLIC else _dump({"default": acl.default.value, "rules": _rule_pairs(acl.rules)})


@lru_cache(maxsize=4096)
def _parsed_acl(text: str) -> Acl:
    fields = json.loads(text)
    return Acl(Decision(fields["default"]), _rules(fields["rules"]))


def lifecycle_text(lifecycle: Lifecycle) -> str | None:
    """`{"lifetime": 60, "acl": {"default": null, "rules": []}}`; what is unset is not there, None: all is."""
    fields: dict[str, Any] = {}
    if not isinstance(lifecycle.lifetime, Unset):
        fields["lifetime"] = lifecycle.lifetime
    if not isinstance(lifecycle.acl, Unset):
        default = lifecycle.acl.default
        fields["acl"] = {"default": default and default.value, "rules": _rule_pairs(lifecycle.acl.rules)}
    return _dump(fields) if fields else None


def lifecycle_of(text: str | None) -> Lifecycle:
    fields = json.loads(text) if text else {}
    acl = fields.get("acl")
    return Lifecycle(fields.get("lifetime", UNSET), UNSET if acl is None else _choice(acl))


def _choice(acl: dict[str, Any]) -> AclChoice:
    default = acl["default"]
    return AclChoice(None if default is None else Decision(default), _rules(acl["rules"]))


def _rule_pairs(rules: Iterable[Rule]) -> list[tuple[str, str]]:
    return [(rule.user, rule.decision.value) for rule in rules]


def _rules(pairs: Iterable[tuple[str, str]]) -> tuple[Rule, ...]:
    return tuple(Rule(user, Decision(decision)) for user, decision in pairs)


def _dump(fields: dict[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"))


def account_row(account: Account) -> Row:
    defaults = lifecycle_text(account.defaults)
    return (account.id, account.nickname, account.created_at, defaults, account.state.value)


def account_of(row: Row) -> Account:
    account_id, nickname, created_at, defaults, state = row
    return Account(account_id, nickname, created_at, lifecycle_of(defaults), _ACCOUNT_STATES[state])


def key_row(key: KeyRecord) -> Row:
    """Without the account's state: that is the account's own."""
    return (key.id, key.account_id, key.name, key.secret_hash, key.created_at, key.revoked_at)


def key_of(row: Row) -> KeyRecord:
    key_id, account_id, name, secret_hash, created_at, revoked_at, state = row
    return KeyRecord(key_id, account_id, name, secret_hash, created_at, revoked_at, _ACCOUNT_STATES[state])


def object_row(obj: Object, blob_nr: int) -> Row:
    """Without the digest: that is the blob's."""
    return (
        obj.id, obj.path, obj.name, obj.account_id, blob_nr, obj.size,
        obj.content_type, obj.sniffed_type, int(obj.inline), acl_text(obj.acl),
        obj.published_at, obj.expires_at, obj.state.value, obj.request_id,
    )  # fmt: skip


def object_of(row: Row) -> Object:
    (
        object_id, path, name, account_id, blob_id, size, sha256, content_type, sniffed_type, inline,
        acl, published_at, expires_at, state, request_id,
    ) = row  # fmt: skip
    return Object(
        object_id, path, name, account_id, blob_id, size, sha256, content_type, sniffed_type, inline == 1,
        PUBLIC if acl is None else _parsed_acl(acl),
        published_at, expires_at, _OBJECT_STATES[state], request_id,
    )  # fmt: skip


def segment_of(row: Row) -> Segment:
    return Segment(*row)


def upload_row(upload: Upload) -> Row:
    draft = upload.draft
    return (
        upload.id, draft.object_id, draft.path, draft.name, draft.account_id, draft.key_id,
        draft.declared_type, lifecycle_text(draft.lifecycle), draft.request_id,
        upload.kind.value, upload.created_at, upload.expires_at, upload.state.value,
        upload.idempotency_key, upload.fingerprint,
    )  # fmt: skip


def upload_of(row: Row) -> Upload:
    upload_id, kind, created_at, expires_at, state, *rest = row[:1] + row[9:]
    return Upload(
        upload_id,
        _draft_of(row[1:9]),
        _UPLOAD_KINDS[kind],
        created_at,
        expires_at,
        _UPLOAD_STATES[state],
        *rest,
    )


def _draft_of(row: Row) -> Draft:
    object_id, path, name, account_id, key_id, declared_type, lifecycle, request_id = row
    return Draft(object_id, path, name, account_id, key_id, declared_type, lifecycle_of(lifecycle), request_id)


def part_row(part: Part, blob_nr: int) -> Row:
    return (part.upload_id, part.number, part.etag, part.size, part.sha256, blob_nr, part.received_at)


def part_of(row: Row) -> Part:
    return Part(*row)
