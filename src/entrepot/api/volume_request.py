"""A request to the volume of its caller's account, as both planes read it: paths, query and conditions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from re import compile as pattern

from entrepot import wire
from entrepot.api import auth
from entrepot.api.bytes.conditional import tags_of
from entrepot.api.http_context import HttpContext
from entrepot.api.services import Services
from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code, Problem
from entrepot.volume.entries import Conditions
from entrepot.volume.paths import Path, check_new, parse

_UPLOAD_ID = pattern(r"[0-9a-f]{32}")
_PART_NUMBER = pattern(r"[1-9][0-9]{0,8}")
_FIX = (
    "Send parts to .../file/multipart/{path}/{upload_id}/{part_number}; in a file's own path write its slashes as %2F."
)
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


class VolumeRequest:
    """The path parameters are those of `ctx`. On the legacy routes all spellings of a path mean one below /data."""

    def __init__(self, ctx: HttpContext, services: Services, who: Principal) -> None:
        """Raises Problem unless the caller's account has a volume and the path is one."""
        self.ctx = ctx
        self.services = services
        self.who = who
        self.mine = services.volumes.of(who)
        self.legacy = not ctx.raw_path.startswith(wire.PLATFORM.encode())
        self.path = parse(ctx.path_param("path") if "path" in ctx.path_params else "", legacy=self.legacy)

    @property
    def target(self) -> Path:
        """The path of a file to be written. Raises Problem, for a name that may not be made too."""
        check_new(self.path)
        return self.path

    def field(self, text: str, name: str) -> Path:
        """The path of a file to be written, from a field of the body. Raises Problem that names the field."""
        try:
            path = parse(text, legacy=self.legacy)
            check_new(path)
            return path
        except Problem as problem:
            raise Problem(problem.code, problem.message, where=("body", name), fix=problem.fix) from None

    @property
    def upload_id(self) -> str:
        """The id of an upload in parts. Raises Problem(NOT_FOUND) for one that cannot be."""
        text = self.ctx.path_param("upload_id")
        if not _UPLOAD_ID.fullmatch(text):
            raise Problem(Code.NOT_FOUND, "This is no id of an upload: those have 32 lower-case hex digits.", fix=_FIX)
        return text

    @property
    def part_number(self) -> int:
        """The number of a part; the volume checks its upper bound. Raises Problem."""
        text = self.ctx.path_param("part_number")
        if not _PART_NUMBER.fullmatch(text):
            message = "The number of a part is a whole number from 1, without a sign or leading zeros."
            raise Problem(Code.VALIDATION_FAILED, message, where=("path", "part_number"), fix=_FIX)
        return int(text)

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean of the query, in the spellings that clients use; some send an empty one. Raises
        Problem(VALIDATION_FAILED)."""
        value = (self.ctx.single_query(name) or "").lower()
        if value in ("", "null"):
            return default
        found = _FLAGS.get(value)
        if found is None:
            raise Problem(Code.VALIDATION_FAILED, "It must be true or false.", where=("query", name))
        return found

    def limit(self) -> int | None:
        """The most entries of a page; None for all. The volume checks the bounds. Raises Problem(VALIDATION_FAILED)."""
        value = self.ctx.single_query("limit")
        if value is None:
            return None
        limit = wire.whole_number(value)
        if limit is None and value.isascii() and value.isdigit() and value[0] != "0":
            return 10**9  # too many digits: beyond every bound
        if limit is None:
            raise Problem(Code.VALIDATION_FAILED, wire.NO_NUMBER, where=("query", "limit"))
        return limit

    def conditions(self) -> Conditions:
        """If-Match and If-None-Match of a write. Raises Problem(VALIDATION_FAILED): an ignored condition costs
        somebody's bytes."""
        ctx = self.ctx
        match, none = ctx.header("if-match"), ctx.header("if-none-match")
        if match is None and "if-match" in ctx.headers:
            raise _no_condition("if-match", "It is empty: name an ETag, or * for any file.")
        if none not in (None, "*") or (none is None and "if-none-match" in ctx.headers):
            raise _no_condition("if-none-match", "Of a write it can be * only: that nothing is there.")
        if "if-unmodified-since" in ctx.headers:
            raise _no_condition("if-unmodified-since", "A time tells no two writes of one second apart; send If-Match.")
        return Conditions(None if match is None else tags_of(match), none is not None)

    def wants_md5(self) -> bool:
        """Whether the MD5 of the whole is of use: Want-Repr-Digest (RFC 9530) may say which digests are."""
        wanted = self.ctx.header("want-repr-digest")
        if wanted is None:
            return True
        members = (member.partition("=") for member in wanted.lower().split(","))
        return any(name.strip() == "md5" and weight.strip() != "0" for name, _, weight in members)


def unconditional(ctx: HttpContext) -> None:
    """Refuse the conditions of a write where none is held. Raises Problem(VALIDATION_FAILED)."""
    for name in ("if-match", "if-none-match", "if-unmodified-since"):
        if name in ctx.headers:
            raise _no_condition(name, "It is not held here: only where the URL names the file that is written.")


def _no_condition(name: str, message: str) -> Problem:
    return Problem(Code.VALIDATION_FAILED, message, where=("header", name))


_REQUEST = "entrepot.volume_request"


async def volume_user(ctx: HttpContext, services: Services) -> Principal:
    """The right of the volume's routes: a key of an account that has a volume, and a valid path. Of any other request
    the body is not read. Raises Problem."""
    who = await auth.key_holder(ctx, services)
    ctx.scope[_REQUEST] = VolumeRequest(ctx, services, who)
    return who


def volume_request(ctx: HttpContext) -> VolumeRequest:
    """The request of a caller with the right `volume_user`."""
    found: VolumeRequest = ctx.scope[_REQUEST]
    return found


VolumeHandler = Callable[[VolumeRequest], Awaitable[None]]
