"""How domain values are spelled on HTTP: paths, headers and JSON fields, shared by the server and the client.

Sources are the sections of docs/protocol.md; every name here is fixed by programs that are in use.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

from entrepot.domain.acl import Decision, Rule
from entrepot.domain.errors import Code, Problem
from entrepot.domain.headers import text_of
from entrepot.domain.lifecycle import MAX_LIFETIME, MAX_RULES, UNSET, AclChoice, Lifecycle, Unset
from entrepot.domain.uploads import EXISTING_FLOOR as EXISTING_FLOOR

# Paths (docs/protocol.md 2 and 3)
OBJECTS = "/files/b/"
UPLOAD = "/files/upload"
OLD_UPLOAD = "/upload"  # of the repository fal_v2 in old toolkits, on a host of its own
EXISTING_UPLOAD = "/files/upload/existing"
MULTIPART_UPLOAD = "/files/upload/multipart"
TOKEN = "/storage/auth/token"
INITIATE = "/storage/upload/initiate"
INITIATE_MULTIPART = "/storage/upload/initiate-multipart"
OLD_INITIATE_MULTIPART = "/upload/initiate-multipart"
CURRENT_USER = "/users/current"
TEAMS = "/users/teams"
PLATFORM = "/v1/"
ASSETS = "/v1/assets"
ASSET_UPLOADS = "/v1/assets/uploads"
VOLUME_FILES = "/files"  # docs/protocol.md 6.5
JOBS = "/v1/jobs"
PLATFORM_FILES = "/v1/serverless/files"  # docs/protocol.md 6.4
GCS_MULTIPART = "/storage/files/{key}/multipart/{upload_id}"

# Headers, lower case as ASGI gives them
FILE_NAME = "x-fal-file-name"
LIFECYCLE = "x-fal-object-lifecycle"
LIFECYCLE_PREFERENCE = "x-fal-object-lifecycle-preference"
SOURCE_REQUEST = "x-fal-request-id"
REQUEST_ID = "x-request-id"
EXPIRES_AT = "x-entrepot-expires-at"
NEXT_CURSOR = "x-entrepot-next-cursor"
WARNING = "x-entrepot-warning"
IDEMPOTENCY_KEY = "idempotency-key"

# Purposes of signed claims
CDN_TOKEN = "cdn"
UPLOAD_SIGNATURE = "upload"
SIGNATURE_PARAMETER = "signature"

FORM_FILE = "file_upload"  # the field of a form that holds a file of the volume (docs/protocol.md 6.6)
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800.0, 253_402_300_799.0  # of the years 1 to 9999
STORAGE_TYPES = ("fal-cdn-v3", "gcs", "fal-cdn")
MAX_LIFECYCLE_BYTES = 16 * 1024
_LIFECYCLE_FIELDS = {"expiration_duration_seconds", "initial_acl", "allow_io_storage"}
# Spellings of clients that are in use: the toolkit `fal` 1.0 to 1.5.
_LIFECYCLE_ALIASES = {"expriation_duration_seconds": "expiration_duration_seconds"}
MAX_WARNINGS = 8  # of one reply


Json = Mapping[str, Any] | Sequence[Any] | bool


def compact(value: Json) -> bytes:
    """JSON with no blanks and no escaped slashes, which shell programs cut with sed (docs/protocol.md C5)."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")


def timestamp(seconds: float) -> str:
    """ISO 8601 with microseconds and `+00:00`, which every `datetime.fromisoformat` reads (docs/protocol.md 2.2)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def timestamp_ms(seconds: float) -> str:
    """ISO 8601 with milliseconds and `Z` (docs/protocol.md 6.4). A file may have a time that no calendar has.

    A page of a listing has thousands, most of them of few seconds.
    """
    within = min(max(seconds, _FIRST_SECOND), _LAST_SECOND)
    second = int(within // 1)
    micros = round((within - second) * 1e6)
    if micros == 1_000_000:
        second, micros = second + 1, 0
    return f"{_second(second)}.{micros // 1000:03}Z"


@lru_cache(1024)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


NO_NUMBER = "It must be a whole number, in digits without a sign or leading zeros."


def whole_number(text: str, most_digits: int = 9) -> int | None:
    """The number that a text is in its one spelling: ASCII digits, no sign, no blanks, no leading zeros. None for all
    else: what one program takes for a number another may take for something else."""
    plain = text.isascii() and text.isdigit() and len(text) <= most_digits and (text == "0" or text[0] != "0")
    return int(text) if plain else None


def decode_file_name(raw: bytes | None) -> str | None:
    """Read X-Fal-File-Name: UTF-8, else Latin-1 (docs/protocol.md C6); only the `UTF-8''...` form is
    percent-decoded."""
    if raw is None:
        return None
    if raw[:7].lower() == b"utf-8''":
        raw = unquote_to_bytes(raw[7:])
    return text_of(raw)


def encode_file_name(name: str) -> str:
    """The header value for any name: verbatim when it is plain ASCII, else the `UTF-8''...` form. Blanks at the ends
    of a value are no part of it (RFC 9110, 5.5), so a name that has some is encoded too."""
    if name.isascii() and name.isprintable() and name == name.strip() and not name.lower().startswith("utf-8''"):
        return name
    return "UTF-8''" + "".join(f"%{b:02X}" if not _is_plain(b) else chr(b) for b in name.encode())


def _is_plain(byte: int) -> bool:
    return chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "-._~")


def repr_digest(sha256: bytes) -> str:
    """The value of Repr-Digest (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


def parse_lifecycle(headers: Mapping[str, bytes], warnings: list[str] | None = None) -> Lifecycle:
    """Read the lifecycle from either header name (docs/protocol.md 4.1). Both may come, if they say the same. A field
    that is not known is passed over, as fal does, and named in `warnings`; unless it may have been meant to close the
    file.

    Raises Problem(VALIDATION_FAILED) that names the header and the field.
    """
    warnings = [] if warnings is None else warnings
    found = [(name, headers[name]) for name in (LIFECYCLE, LIFECYCLE_PREFERENCE) if headers.get(name, b"").strip()]
    parsed = [_parse_lifecycle_header(name, raw, warnings) for name, raw in found]
    if len(parsed) == 2 and parsed[0] != parsed[1]:
        raise _invalid((LIFECYCLE_PREFERENCE,), f"It differs from {LIFECYCLE}; send one of them, or the same in both.")
    return parsed[0] if parsed else Lifecycle()


def _parse_lifecycle_header(name: str, raw: bytes, warnings: list[str]) -> Lifecycle:
    if len(raw) > MAX_LIFECYCLE_BYTES:
        raise _invalid((name,), f"It is longer than {MAX_LIFECYCLE_BYTES} bytes.")
    value = _load_json(name, raw)
    if value is None:
        return Lifecycle()
    if not isinstance(value, dict):
        raise _invalid((name,), "It must be a JSON object.")
    for alias, field in _LIFECYCLE_ALIASES.items():
        if alias in value and value.setdefault(field, value[alias]) != value.pop(alias):
            raise _invalid((name, alias), f"It differs from {field}; send that alone.")
    unknown = [field for field in value if field not in _LIFECYCLE_FIELDS]
    _refuse_unknown((name,), [field for field in unknown if "acl" in field.lower()], _LIFECYCLE_FIELDS)
    warnings += [passed_over(name, field) for field in unknown]
    return Lifecycle(_lifetime(name, value), _acl_choice((name, "initial_acl"), value.get("initial_acl")))


def _load_json(name: str, raw: bytes) -> Any:
    try:
        return strict_json(raw)
    except ValueError as error:
        raise _invalid((name,), f"It is not valid JSON: {error}") from None


def strict_json(raw: bytes) -> Any:
    """JSON in which no key occurs twice and no NaN; `3.0` is the whole number that it is. Raises ValueError."""
    try:
        return json.loads(raw, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else value


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _lifetime(name: str, value: Mapping[str, Any]) -> int | Unset | None:
    if "expiration_duration_seconds" not in value:
        return UNSET
    seconds = value["expiration_duration_seconds"]
    if seconds is None:
        return None
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 1 <= seconds <= MAX_LIFETIME:
        raise _invalid(
            (name, "expiration_duration_seconds"),
            f"It must be a whole number of seconds from 1 to {MAX_LIFETIME}, or null for no expiry.",
        )
    return seconds


def _acl_choice(where: tuple[str, ...], value: Any) -> AclChoice | Unset:
    if value is None:
        return UNSET
    if not isinstance(value, dict):
        raise _invalid(where, "It must be an object with 'default' and 'rules'.")
    _refuse_unknown(where, value, {"default", "rules"})
    default, rules = value.get("default"), value.get("rules")
    if rules is not None and not isinstance(rules, list):
        raise _invalid((*where, "rules"), "It must be a list of {user, decision}.")
    if len(rules or ()) > MAX_RULES:
        raise _invalid((*where, "rules"), f"It has more than {MAX_RULES} rules.")
    chosen = None if default is None else _decision((*where, "default"), default)
    return AclChoice(chosen, tuple(_rule((*where, "rules", i), rule) for i, rule in enumerate(rules or ())))


def _rule(where: tuple[str | int, ...], value: Any) -> Rule:
    if not isinstance(value, dict):
        raise _invalid(where, "It must be an object with 'user' and 'decision'.")
    _refuse_unknown(where, value, {"user", "decision"})
    user = value.get("user")
    if not isinstance(user, str) or not user:
        raise _invalid((*where, "user"), "It must be the nickname or id of an account.")
    return Rule(user, _decision((*where, "decision"), value.get("decision")))


def _decision(where: tuple[str | int, ...], value: Any) -> Decision:
    try:
        return Decision(value)
    except ValueError:
        raise _invalid(where, "It must be 'allow', 'forbid' or 'hide'.") from None


def passed_over(where: str, field: str) -> str:
    """The warning that a field of a request says nothing here: plain ASCII, fit for a header."""
    return f"{where}: the field {json.dumps(field[:64])} is not known and was passed over"


def _refuse_unknown(where: tuple[str | int, ...], value: Iterable[str], known: Iterable[str]) -> None:
    """A misspelt field must not turn a private file into a public one."""
    for key in value:
        if key not in known:
            raise _invalid((*where, key[:64]), f"There is no such field; known are {', '.join(sorted(known))}.")


def _invalid(where: tuple[str | int, ...], message: str) -> Problem:
    return Problem(Code.VALIDATION_FAILED, message, where=("header", *where))
