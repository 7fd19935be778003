"""How far a transfer is: counted in any thread, told to one callback."""

from __future__ import annotations

import threading
from datetime import datetime

from entrepot.client.types import OnProgress, Phase, Progress


class Meter:
    """Counts bytes of one upload or download. Without a callback it only counts."""

    def __init__(self, tell: OnProgress | None, total: int | None, moving: Phase = Phase.SENDING) -> None:
        """`moving` is what is said of bytes under way."""
        self._tell = tell
        self._moving = moving
        self._lock = threading.Lock()
        self._total = total
        self._hashed = 0
        self._sent = 0
        self._verified = 0
        self._safe = 0
        self._resumed = 0
        self._until: datetime | None = None

    def hashed(self, count: int) -> None:
        """Bytes that were read before any is sent."""
        with self._lock:
            self._hashed += count
            self._report(Phase.HASHING, self._hashed)

    def verified(self, count: int) -> None:
        """Bytes that were read again to know their digest, when all were sent."""
        with self._lock:
            self._verified += count
            self._report(Phase.VERIFYING, self._verified)

    def sent(self, count: int) -> None:
        """Bytes that were taken for sending, or came; negative when they did not count. After the last one they are
        verified."""
        with self._lock:
            self._sent += count
            if count > 0:
                self._report_moved()

    def keep(self, count: int, *, resumed: bool = False) -> None:
        """Bytes that stay where they are if the transfer is cut; with `resumed` they were there before."""
        with self._lock:
            self._safe += count
            if resumed:
                self._resumed += count
                self._sent += count
            self._report_moved()

    def expects(self, total: int | None) -> None:
        """How many bytes will come, when that is told."""
        with self._lock:
            self._total = total

    def lasts(self, until: datetime | None) -> None:
        """Until when the server keeps what it holds."""
        with self._lock:
            self._until = until

    def publishing(self) -> None:
        """All is there; the server is asked to make it a file."""
        with self._lock:
            self._report(Phase.PUBLISHING, self._sent if self._total is None else self._total)

    def restart(self) -> None:
        """Another way is tried: nothing is there yet."""
        with self._lock:
            self._sent = self._safe = self._resumed = 0
            self._until = None

    def _report_moved(self) -> None:
        self._report(Phase.VERIFYING if self._sent == self._total else self._moving, self._sent)

    def _report(self, phase: Phase, done: int) -> None:
        if self._tell:
            self._tell(Progress(phase, done, self._total, self._safe, self._resumed, self._until))
