"""How far all transfers of a command are, in one line."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from entrepot.cli import exits, formats
from entrepot.client.types import Phase, Progress

# Seconds over which the rate is taken, and how many there must be.
_WINDOW = 10.0
_LEAST = 1.0
# What the whole is said to be doing: the first of these that any transfer does.
_ORDER = (Phase.SENDING, Phase.RECEIVING, Phase.HASHING, Phase.VERIFYING, Phase.PUBLISHING)
_LATE = (Phase.VERIFYING, Phase.PUBLISHING)
_NAMEABLE = 8  # columns, below which a name says nothing


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes of unfinished transfers that are known to stay where they are, until `until`. `begun`: there are uploads in
    parts of which more may have arrived; `whole`: something was sent to its last byte, and may be stored."""

    safe: int
    total: int
    until: datetime | None
    begun: bool = False
    whole: bool = False


class Board:
    """Counts the transfers of a command. `note` may be called from any thread."""

    def __init__(
        self, sizes: Sequence[int | None], clock: Callable[[], float], names: Sequence[str] = (), far: str = ""
    ) -> None:
        """`sizes` by the number of the transfer; None where nobody knows it. `names` are what is shown of them; `far`
        is who verifies and publishes in the end, when that is not this machine."""
        self._sizes = sizes
        self._names = names
        self._far = far
        self._total = None if None in sizes else sum(filter(None, sizes))
        self._clock = clock
        self._guard = threading.Lock()
        self._active: dict[int, Progress] = {}
        self._moved: dict[int, int] = {}
        self._over: set[int] = set()
        self._bytes_over = self._moved_over = 0
        self.ended = 0
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)])

    def note(self, number: int, progress: Progress) -> None:
        """A transfer tells how far it is."""
        with self._guard:
            if number in self._over:
                return  # a thread of a transfer that failed
            self._active[number] = progress
            if progress.phase is not Phase.HASHING:
                moved = progress.done - progress.resumed
                self._moved[number] = max(self._moved.get(number, 0), moved)

    def over(self, number: int, size: int | None) -> None:
        """A transfer ended; `size` None: in vain."""
        with self._guard:
            self._over.add(number)
            self._active.pop(number, None)
            self._moved_over += self._moved.pop(number, 0)
            if size is None:
                self._total = None if self._total is None else self._total - (self._sizes[number] or 0)
            else:
                self.ended += 1
                self._bytes_over += size

    def kept(self, numbers: Callable[[int], bool]) -> Kept:
        """What is kept of the transfers that `numbers` picks and that are under way."""
        with self._guard:
            found = [each for number, each in self._active.items() if numbers(number)]
            whole = any(each.phase in _LATE and each.done == each.total for each in self._active.values())
        held = [each for each in found if each.safe]
        ends = [each.until for each in held or found if each.until]
        safe, total = sum(each.safe for each in held), sum(each.total or 0 for each in held)
        return Kept(safe, total, min(ends, default=None), bool(ends), whole)

    def line(self, width: int | None = None) -> str:
        """Phase, bytes, share, rate, time left, files, a name; what does not fit into `width` is left out."""
        with self._guard:
            at_work = dict(self._active)
            moved = self._moved_over + sum(self._moved.values())
            over, total = self._bytes_over, self._total
        active = list(at_work.values())
        phase = next((each for each in _ORDER if any(one.phase is each for one in active)), None)
        counted = [one for one in active if one.phase is not Phase.HASHING or phase is Phase.HASHING]
        done = over + sum(one.done for one in counted)
        rate = self._rate(moved)
        hashed = phase is Phase.HASHING and all(one.done == one.total for one in active)
        word = phase.value if phase and not hashed else "waiting for the server"
        # Each with the order in which it is left out.
        fields = [(word, 0), (formats.share(done, total) if total else formats.size(done), 0)]
        if total:
            fields.append((f"{min(100, 100 * done // total)} %", 1))
        if phase in (Phase.SENDING, Phase.RECEIVING) and rate > 0:
            fields.append((f"{formats.size(rate)}/s", 4))
            if total:
                fields.append((f"{formats.duration((total - done) / rate)} left", 2))
        if self._far and phase in _LATE and all(one.done == one.total for one in active):
            fields.append((f"waiting for {self._far}", 3))
        if len(self._sizes) > 1:
            fields.append((f"{self.ended} of {len(self._sizes)} files", 3))
        return _named(_fitted(fields, width), self._name(at_work, phase), width)

    def _name(self, at_work: dict[int, Progress], phase: Phase | None) -> str:
        """The first transfer of those that the line is about."""
        numbers = [number for number, one in at_work.items() if one.phase is phase]
        return exits.one_line(self._names[min(numbers)]) if numbers and self._names else ""

    def _rate(self, moved: int) -> float:
        """Bytes a second; 0 while it is not known."""
        now = self._clock()
        self._samples.append((now, moved))
        while len(self._samples) > 2 and now - self._samples[1][0] >= _WINDOW:
            self._samples.popleft()
        before, then = self._samples[0]
        return max(0, moved - then) / (now - before) if now - before >= _LEAST else 0.0


def _named(text: str, name: str, width: int | None) -> str:
    """With the name behind, or its end, when there is room for some of it."""
    room = formats.cells(name) if width is None else width - formats.cells(text) - 2
    if formats.cells(name) > room:
        if room < _NAMEABLE:
            return text
        while formats.cells(name) > room - 3:
            name = name[1:]
        name = f"...{name}"
    return f"{text}  {name}" if name else text


def _fitted(fields: list[tuple[str, int]], width: int | None) -> str:
    while True:
        text = "  ".join(field for field, _ in fields)
        if width is None or len(text) <= width:
            return text
        least = max(fields, key=lambda field: field[1])
        if least[1] == 0:
            return text[:width]
        fields.remove(least)
