"""What a case is: two functions that measure once, ours and the peer's, called in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.seaweed import Seaweed
from benchmarks.servers import Nginx, Ours


@dataclass(frozen=True, slots=True)
class Bench:
    """What a case may use. `seconds` is how long one measurement under load lasts. `secure` is there for cases that
    need `tls`, `seaweed` for those that need `weed`."""

    ours: Ours
    nginx: Nginx
    folder: Path
    seconds: float
    secure: Ours | None = None
    seaweed: Seaweed | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Each call measures once and returns a rate, higher is better."""

    ours: Callable[[], float]
    peer: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Case:
    """`mark` is what the ratio must reach, `goal` where it is to go. `needs` names the programs it cannot do without;
    `nginx dav` is an nginx with the dav module."""

    name: str
    what: str
    peer: str
    unit: str
    mark: float
    goal: float
    prepare: Callable[[Bench], Pair]
    needs: tuple[str, ...] = ("wrk", "nginx")
