"""What a URL of the volume names, as it came."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from re import compile as pattern

from entrepot.api.http_context import HttpContext
from entrepot.api.services import Services
from entrepot.domain.errors import Code, Problem
from entrepot.volume.paths import Path, check_new, parse

_UPLOAD_ID = pattern(r"[0-9a-f]{32}")
_PART_NUMBER = pattern(r"[1-9][0-9]{0,8}")
_FIX = (
    "Send parts to .../file/multipart/{path}/{upload_id}/{part_number}; in a file's own path write its slashes as %2F."
)


@dataclass(frozen=True, slots=True)
class Place:
    """`raw` is the path of a file as the URL spells it, escaped; `ids` are the single segments that a route names. On
    the legacy routes all spellings of a path mean one below /data."""

    legacy: bool
    raw: bytes = b""
    ids: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The place in the volume, of something that is there. Raises Problem."""
        return parse(HttpContext.decoded(self.raw), legacy=self.legacy)

    @property
    def target(self) -> Path:
        """The place in the volume, of something that is to be made. Raises Problem."""
        path = self.path
        check_new(path)
        return path

    def field(self, text: str, name: str) -> Path:
        """The place of something that is to be made, which a field of the body names. Raises Problem that tells
        which."""
        try:
            path = parse(text, legacy=self.legacy)
            check_new(path)
            return path
        except Problem as problem:
            raise Problem(problem.code, problem.message, where=("body", name), fix=problem.fix) from None

    def text(self, name: str) -> str:
        """A single segment of the URL. Raises Problem."""
        return HttpContext.decoded(self.ids[name])

    @property
    def upload_id(self) -> str:
        """The id of an upload in parts. Raises Problem(NOT_FOUND) for what is none."""
        text = self.text("upload_id")
        if not _UPLOAD_ID.fullmatch(text):
            raise Problem(Code.NOT_FOUND, "This is no id of an upload: those have 32 lower-case hex digits.", fix=_FIX)
        return text

    @property
    def part_number(self) -> int:
        """The number of a part; its upper bound is the volume's. Raises Problem."""
        text = self.text("part_number")
        if not _PART_NUMBER.fullmatch(text):
            message = "The number of a part is a whole number from 1, without a sign or leading zeros."
            raise Problem(Code.VALIDATION_FAILED, message, where=("path", "part_number"), fix=_FIX)
        return int(text)


# A handler of these routes: like those of the byte path, with what its URL names.
Deed = Callable[[HttpContext, Services, Place], Awaitable[None]]
