"""How far all transfers of a command are, in one line."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from entrepot.cli import formats
from entrepot.client.types import Phase, Progress

# Seconds over which the rate is taken, and how many there must be.
_WINDOW = 10.0
_LEAST = 1.0
# What the whole is said to be doing: the first of these that any transfer does.
_ORDER = (Phase.SENDING, Phase.RECEIVING, Phase.HASHING, Phase.VERIFYING, Phase.PUBLISHING)


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes of unfinished transfers that stay where they are, until `until`."""

    safe: int
    total: int
    until: datetime | None


class Board:
    """Counts the transfers of a command. `note` may be called from any thread."""

    def __init__(self, sizes: Sequence[int | None], clock: Callable[[], float]) -> None:
        """`sizes` by the number of the transfer; None where nobody knows it."""
        self._sizes = sizes
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
            held = [each for number, each in self._active.items() if each.safe and numbers(number)]
        ends = [each.until for each in held if each.until]
        return Kept(sum(each.safe for each in held), sum(each.total or 0 for each in held), min(ends, default=None))

    def line(self, width: int | None = None) -> str:
        """Phase, bytes, share, rate, time left, files; what does not fit into `width` is left out."""
        with self._guard:
            active, moved = list(self._active.values()), self._moved_over + sum(self._moved.values())
            over, total = self._bytes_over, self._total
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
        if len(self._sizes) > 1:
            fields.append((f"{self.ended} of {len(self._sizes)} files", 3))
        return _fitted(fields, width)

    def _rate(self, moved: int) -> float:
        """Bytes a second; 0 while it is not known."""
        now = self._clock()
        self._samples.append((now, moved))
        while len(self._samples) > 2 and now - self._samples[1][0] >= _WINDOW:
            self._samples.popleft()
        before, then = self._samples[0]
        return max(0, moved - then) / (now - before) if now - before >= _LEAST else 0.0


def _fitted(fields: list[tuple[str, int]], width: int | None) -> str:
    while True:
        text = "  ".join(field for field, _ in fields)
        if width is None or len(text) <= width:
            return text
        least = max(fields, key=lambda field: field[1])
        if least[1] == 0:
            return text[:width]
        fields.remove(least)
