"""Which acknowledged attempts a multipart upload is made of (docs/protocol.md 2.5, 2.6, 3.4)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from entrepot.domain.errors import Code, Problem
from entrepot.domain.uploads import Part

MAX_PARTS = 10_000
# Numbers that an error message names before it says "and more".
_NAMED = 10


class Piece(Protocol):
    """An acknowledged attempt, wherever its bytes lie."""

    @property
    def number(self) -> int: ...

    @property
    def etag(self) -> str: ...

    @property
    def size(self) -> int: ...


P = TypeVar("P", bound=Piece)


@dataclass(frozen=True, slots=True)
class Cited:
    """A part as a client's list names it. `etag` None means the last attempt (docs/protocol.md 2.5: the header was
    lost)."""

    number: int
    etag: str | None


def etag_of(sha256: bytes) -> str:
    """A part's ETag, without quotes: equal bytes have an equal one."""
    return sha256.hex()


def bare_etag(etag: str) -> str:
    """An ETag as clients send it back: quoted, bare or with `W/`."""
    return etag.strip().removeprefix("W/").strip('"').lower()


def fingerprint(parts: Iterable[Part]) -> bytes:
    """32 bytes that name a list of attempts by their content, in order."""
    return hashlib.sha256(b"".join(part.sha256 for part in parts)).digest()


def cited_fingerprint(cited: Iterable[Cited]) -> bytes:
    """32 bytes that name a client's list of parts, in whatever order it came."""
    named = sorted((each.number, "" if each.etag is None else bare_etag(each.etag)) for each in cited)
    return hashlib.sha256(repr(named).encode()).digest()


def prefix(parts: Iterable[P]) -> list[P]:
    """The last attempt of each part from 1 on, as far as there is no gap."""
    last = {part.number: part for part in parts}
    found: list[P] = []
    while part := last.get(len(found) + 1):
        found.append(part)
    return found


def choose(held: Iterable[P], cited: Sequence[Cited]) -> list[P]:
    """The attempts that a finish cites, in order of their numbers; the list may come in any order.

    Raises Problem: INVALID_PARTS naming what is wrong with which numbers; EMPTY_PART for one without bytes beside
    others, which no client means and one stock client sends after an error of its own.
    """
    attempts: dict[int, dict[str, P]] = {}
    for part in held:
        attempts.setdefault(part.number, {})[part.etag] = part
    counts = Counter(each.number for each in cited)
    last = min(max(counts, default=1), MAX_PARTS)  # a list may name any number
    chosen = {each.number: _attempt(attempts.get(each.number, {}), each.etag) for each in cited}
    wrong = {
        "listed twice": [n for n, times in counts.items() if times > 1],
        "never uploaded": [n for n in counts if n not in attempts],
        "uploaded with another ETag": [n for n, part in chosen.items() if part is None and n in attempts],
        "uploaded and not listed": [n for n in attempts if n not in counts],
        "missing before the last": [n for n in range(1, last) if n not in counts],
    }
    if not cited or any(wrong.values()):
        raise Problem(Code.INVALID_PARTS, _complaint(wrong))
    ordered = [part for _, part in sorted(chosen.items()) if part is not None]
    if len(ordered) > 1 and (empty := [part.number for part in ordered if not part.size]):
        raise Problem(Code.EMPTY_PART, f"Parts without bytes: {_numbers(empty)}.")
    return ordered


def _attempt(attempts: dict[str, P], etag: str | None) -> P | None:
    if etag is None:
        return list(attempts.values())[-1] if attempts else None
    return attempts.get(bare_etag(etag))


def _complaint(wrong: dict[str, list[int]]) -> str:
    found = [f"{what}: {_numbers(numbers)}" for what, numbers in wrong.items() if numbers]
    return f"Parts {'; '.join(found)}." if found else "The list of parts is empty."


def _numbers(numbers: list[int]) -> str:
    shown = ", ".join(map(str, sorted(numbers)[:_NAMED]))
    return shown if len(numbers) <= _NAMED else f"{shown} and {len(numbers) - _NAMED} more"
