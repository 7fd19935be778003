"""What a URL of the volume names, as it came."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from entrepot.api.doors import Doors
from entrepot.api.exchange import Exchange
from entrepot.domain.errors import Code, Problem
from entrepot.volume.paths import Path, parse


@dataclass(frozen=True, slots=True)
class Place:
    """`raw` is the path of a file as the URL spells it, escaped; `ids` are the single segments that a route names. On
    the legacy routes all spellings of a path mean one below /data."""

    legacy: bool
    raw: bytes = b""
    ids: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The place in the volume. Raises Problem."""
        return parse(Exchange.decoded(self.raw), legacy=self.legacy)

    def field(self, text: str, name: str) -> Path:
        """Another place, which a field of the body names. Raises Problem that tells which."""
        try:
            return parse(text, legacy=self.legacy)
        except Problem as problem:
            raise Problem(problem.code, problem.message, where=("body", name), fix=problem.fix) from None

    def text(self, name: str) -> str:
        """A single segment of the URL. Raises Problem."""
        return Exchange.decoded(self.ids[name])

    def number(self, name: str) -> int:
        """The number of a part; its bounds are the volume's. Raises Problem."""
        text = self.text(name)
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            raise Problem(Code.VALIDATION_FAILED, "It must be a whole number from 1.", where=("path", name))
        return int(text)


# A handler of these routes: like those of the byte path, with what its URL names.
Deed = Callable[[Exchange, Doors, Place], Awaitable[None]]
