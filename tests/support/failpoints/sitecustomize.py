"""Read by every Python process whose PYTHONPATH has this folder: a server made to die at a chosen operation.

`ENTREPOT_TEST_KILL=<kind>:<k>` makes a worker kill itself with SIGKILL just before its k-th operation of that kind
(from 1), counted from the moment when the file `ENTREPOT_TEST_ARMED` is there; `<kind>:<k>:entrepot-keeper` the
keeper. Kinds are those of
`entrepot.atomic.Kind`, and of SQLite's files `db_write` and `db_sync` (the sync of a commit); `reply` dies just after
that sync, so that all is durable and nobody is told.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from typing import Any


class Failpoint:
    """Counts operations of one kind in one kind of process, and ends the process at the k-th."""

    def __init__(self, text: str, armed: str) -> None:
        self.kind, k, *process = text.split(":")
        self.process = process[0] if process else "granian-worker"
        self._left = int(k)
        self._armed = armed
        self._lock = threading.Lock()

    def meet(self, kind: str) -> None:
        if kind != self.kind or multiprocessing.current_process().name != self.process:
            return
        with self._lock:
            if os.path.exists(self._armed):
                self._left -= 1
                if not self._left:
                    os.kill(os.getpid(), signal.SIGKILL)


def install(failpoint: Failpoint) -> None:
    import apsw

    from entrepot import atomic

    class DeadlyVfs(apsw.VFS):
        def __init__(self) -> None:
            super().__init__("deadly", "unix", makedefault=True)

        def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
            return DeadlyFile("unix", name, flags)

    class DeadlyFile(apsw.VFSFile):
        commits = False

        def xWrite(self, data: Any, offset: int) -> None:
            failpoint.meet("db_write")
            super().xWrite(data, offset)
            # The header of a frame of the log; its second word is not zero in the last frame of a transaction.
            if len(data) == 24:
                self.commits = any(data[4:8])

        def xSync(self, flags: int) -> None:
            if not self.commits:
                return super().xSync(flags)
            self.commits = False
            failpoint.meet("db_sync")
            super().xSync(flags)
            failpoint.meet("reply")

    atomic.tap = lambda op: failpoint.meet(op.kind.value)
    install.vfs = DeadlyVfs()  # type: ignore[attr-defined]  # it must live as long as the process


if wanted := os.environ.get("ENTREPOT_TEST_KILL"):
    install(Failpoint(wanted, os.environ["ENTREPOT_TEST_ARMED"]))
