"""JSON objects in the bodies of the volume's requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entrepot import wire
from entrepot.api import jsonbody
from entrepot.api.http_context import HttpContext
from entrepot.api.services import Services
from entrepot.api.volume_request import VolumeRequest, unconditional
from entrepot.domain.errors import Code, Problem

MAX_HASHES = 4 * 1024 * 1024  # bytes: a list of 60,000 hashes


async def fields(
    call: VolumeRequest, *known: str, conditional: bool = False, most: int = jsonbody.MAX_FIELDS
) -> dict[str, Any]:
    """The JSON object of the body; no body is an empty one. Raises Problem(VALIDATION_FAILED).

    The objects of the Platform API are closed (docs/protocol.md 6.1); the legacy routes ignore unknown fields. Unless
    the request is `conditional`, its conditions are refused. `most` is in bytes.
    """
    return await read_object(
        call.ctx, call.services, *known, closed=not call.legacy, conditional=conditional, most=most
    )


async def read_object(
    ctx: HttpContext, services: Services, *known: str, closed: bool, conditional: bool = False, most: int
) -> dict[str, Any]:
    """As `fields`, for a request of any API."""
    if not conditional:
        unconditional(ctx)
    raw = await ctx.read_body(most, services.stall_timeout)
    try:
        value = await jsonbody.parsed(raw, wire.strict_json) if raw.strip() else {}
    except ValueError as error:
        raise _invalid((), f"It is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise _invalid((), "It must be a JSON object.")
    if closed and (unknown := [key for key in value if key not in known]):
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


def _invalid(where: tuple[str, ...], message: str) -> Problem:
    return Problem(Code.VALIDATION_FAILED, message, where=("body", *where))
