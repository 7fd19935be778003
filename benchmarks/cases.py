"""The types of a benchmark: what it may use, what one measurement returns, and its two sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.seaweed import Seaweed
from benchmarks.servers import Nginx, Ours


@dataclass(frozen=True, slots=True)
class Bench:
    """The servers and the scratch folder of a case. `seconds` is how long one measurement under load lasts. `secure` is
    there for cases that need `tls`, `seaweed` for those that need `weed`, and nginx listens for those that need it."""

    ours: Ours
    nginx: Nginx
    folder: Path
    seconds: float
    secure: Ours | None = None
    seaweed: Seaweed | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement: a rate in the unit of its case, higher is better, and how many requests were answered. An upload
    or download of one large file counts as one request."""

    rate: float
    requests: int = 1


Measure = Callable[[], Measured]


@dataclass(frozen=True, slots=True)
class Case:
    """A benchmark: a measurement of ours and one of a peer, each made ready by a function of the bench. `mark` is what
    the ratio must reach, `goal` where it is to go. `needs` names the programs that ours cannot do without, `peer_needs`
    those of the peer; `nginx dav` is an nginx with the dav module."""

    name: str
    what: str
    peer: str
    unit: str
    mark: float
    goal: float
    measure_ours: Callable[[Bench], Measure]
    measure_peer: Callable[[Bench], Measure]
    needs: tuple[str, ...] = ()
    peer_needs: tuple[str, ...] = ()
