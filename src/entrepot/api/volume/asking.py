"""What requests of the volume's routes say beside their URL: JSON objects, queries and conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entrepot import wire
from entrepot.api import jsonbody
from entrepot.api.bytes.conditional import tags_of
from entrepot.api.http_context import HttpContext
from entrepot.api.services import Services
from entrepot.api.volume.place import Place
from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem
from entrepot.volume.entries import Conditions
from entrepot.volume.registry import AccountVolume

MAX_HASHES = 4 * 1024 * 1024  # bytes: a list of 60,000 hashes
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


def account_volume(ctx: HttpContext, services: Services) -> tuple[Principal, AccountVolume]:
    """The caller and the volume of their account: of anybody else the body is not read. Raises Problem."""
    return ctx.principal, services.volumes.of(ctx.principal)


async def fields(
    ctx: HttpContext,
    services: Services,
    place: Place,
    *known: str,
    conditional: bool = False,
    most: int = jsonbody.MAX_FIELDS,
) -> dict[str, Any]:
    """The JSON object of the body; no body is an empty one. Raises Problem(VALIDATION_FAILED).

    The objects of the Platform API are closed (docs/protocol.md 6.1); the legacy routes pass over what they do not
    know. What such a body asks for has no conditions, unless the deed is `conditional` and reads them. `most` is in
    bytes.
    """
    if not conditional:
        unconditional(ctx)
    raw = await ctx.read_body(most, services.stall_timeout)
    try:
        value = await jsonbody.parsed(raw, wire.strict_json) if raw.strip() else {}
    except ValueError as error:
        raise _invalid((), f"It is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise _invalid((), "It must be a JSON object.")
    if not place.legacy and (unknown := [key for key in value if key not in known]):
        raise _invalid((unknown[0][:64],), f"There is no such field; known are {', '.join(known) or 'none'}.")
    return value


def text(given: Mapping[str, Any], name: str) -> str:
    """A field that must be there. Raises Problem(VALIDATION_FAILED)."""
    value = given.get(name)
    if not isinstance(value, str):
        raise _invalid((name,), "It must be a text." if name in given else "The field is required.")
    return value


def optional_text(given: Mapping[str, Any], name: str, most: int = 4096) -> str | None:
    """A field that may be left out or null. Raises Problem(VALIDATION_FAILED)."""
    value = None if given.get(name) is None else text(given, name)
    if value is not None and len(value) > most:
        raise _invalid((name,), f"It is longer than {most} characters.")
    return value


def texts(given: Mapping[str, Any], name: str) -> list[str]:
    """A field that must be a list of texts. Raises Problem(VALIDATION_FAILED)."""
    value = given.get(name)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _invalid((name,), "It must be a list of texts.")
    return value


def mapping(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A field that must be an object. Raises Problem(VALIDATION_FAILED)."""
    value = given.get(name)
    if not isinstance(value, dict):
        raise _invalid((name,), "It must be an object.")
    return value


def flag(given: Mapping[str, Any], name: str) -> bool:
    """A field that may be left out, which means no. Raises Problem(VALIDATION_FAILED)."""
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise _invalid((name,), "It must be true or false.")
    return value


def query_flag(ctx: HttpContext, name: str, default: bool = False) -> bool:
    """A yes or no of the query, in the spellings that clients have for it; some send one that is empty. Raises
    Problem(VALIDATION_FAILED)."""
    value = (query(ctx, name) or "").lower()
    if value in ("", "null"):
        return default
    found = _FLAGS.get(value)
    if found is None:
        raise Problem(Code.VALIDATION_FAILED, "It must be true or false.", where=("query", name))
    return found


def query_limit(ctx: HttpContext) -> int | None:
    """How many entries a page has; None for all. The volume has its bounds. Raises Problem(VALIDATION_FAILED)."""
    value = query(ctx, "limit")
    if value is None:
        return None
    limit = wire.whole_number(value)
    if limit is None and value.isascii() and value.isdigit() and value[0] != "0":
        return 10**9  # too many digits: beyond every bound, as the volume says
    if limit is None:
        raise Problem(Code.VALIDATION_FAILED, wire.NO_NUMBER, where=("query", "limit"))
    return limit


def query(ctx: HttpContext, name: str) -> str | None:
    """A parameter of the query. Raises Problem(VALIDATION_FAILED) when it is given twice."""
    values = ctx.queries(name)
    if len(values) > 1:
        raise Problem(Code.VALIDATION_FAILED, "It is given more than once.", where=("query", name))
    return values[0] if values else None


def conditions(ctx: HttpContext) -> Conditions:
    """If-Match and If-None-Match of a write. Raises Problem(VALIDATION_FAILED): a condition that is passed over costs
    somebody's bytes."""
    match, none = ctx.header("if-match"), ctx.header("if-none-match")
    if match is None and "if-match" in ctx.headers:
        raise _no_condition("if-match", "It is empty: name an ETag, or * for any file.")
    if none not in (None, "*") or (none is None and "if-none-match" in ctx.headers):
        raise _no_condition("if-none-match", "Of a write it can be * only: that nothing is there.")
    if "if-unmodified-since" in ctx.headers:
        raise _no_condition("if-unmodified-since", "A time tells no two writes of one second apart; send If-Match.")
    return Conditions(None if match is None else tags_of(match), none is not None)


def unconditional(ctx: HttpContext) -> None:
    """Refuse the conditions of a write where none is held. Raises Problem(VALIDATION_FAILED)."""
    for name in ("if-match", "if-none-match", "if-unmodified-since"):
        if name in ctx.headers:
            raise _no_condition(name, "It is not held here: only where the URL names the file that is written.")


def _no_condition(name: str, message: str) -> Problem:
    return Problem(Code.VALIDATION_FAILED, message, where=("header", name))


def wants_md5(ctx: HttpContext) -> bool:
    """Whether the MD5 of the whole is of use: Want-Repr-Digest (RFC 9530) may say which digests are."""
    wanted = ctx.header("want-repr-digest")
    if wanted is None:
        return True
    members = (member.partition("=") for member in wanted.lower().split(","))
    return any(name.strip() == "md5" and weight.strip() != "0" for name, _, weight in members)


def _invalid(where: tuple[str, ...], message: str) -> Problem:
    return Problem(Code.VALIDATION_FAILED, message, where=("body", *where))
