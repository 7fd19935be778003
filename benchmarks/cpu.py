"""CPU times of a running server, read from /proc: Linux only, elsewhere there are none."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import Ours

PROC = Path("/proc")
LISTENING = "0A"
QUIET_SECONDS = 0.25
PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds, user and system, of the processes that answer requests and of those in the background."""

    serving: float
    background: float

    @property
    def total(self) -> float:
        return self.serving + self.background


def has_cpu_times() -> bool:
    return (PROC / "self" / "stat").exists()


def cpu_of(server: Ours) -> Cpu:
    """What a server has used until now. Those that hold a listening socket of its port answer, and so does the parent;
    its other children are the keeper and helpers of Python."""
    sockets = listening_inodes((PROC / "net" / "tcp").read_text(), server.port)
    serving = background = 0.0
    for pid in server.processes():
        seconds = cpu_seconds((PROC / str(pid) / "stat").read_text())
        if pid == server.pid or sockets & _sockets(pid):
            serving += seconds
        else:
            background += seconds
    return Cpu(serving, background)


def settled(servers: Sequence[Ours]) -> list[Cpu | None]:
    """The CPU times when all servers have come to rest: what a request leaves behind is counted as its own, and is no
    burden on the next measurement."""
    if not has_cpu_times():
        return [None] * len(servers)
    deadline = time.monotonic() + PATIENCE_SECONDS
    before = [cpu_of(server) for server in servers]
    while True:
        time.sleep(QUIET_SECONDS)
        after = [cpu_of(server) for server in servers]
        moved = max(b.total - a.total for a, b in zip(before, after, strict=True))
        if moved <= 1.5 / os.sysconf("SC_CLK_TCK") or time.monotonic() > deadline:
            return list(after)
        before = after


def cpu_seconds(stat: str) -> float:
    """User and system time of a process and of its children that have ended, from its `stat` line (proc(5))."""
    fields = stat.rpartition(")")[2].split()  # the name of a process may hold spaces
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def listening_inodes(table: str, port: int) -> set[str]:
    """The inodes of the sockets that listen on a port, from a table like /proc/net/tcp."""
    lines = [line.split() for line in table.splitlines()[1:]]
    return {line[9] for line in lines if line[3] == LISTENING and int(line[1].rpartition(":")[2], 16) == port}


def _sockets(pid: int) -> set[str]:
    links = [str(link.readlink()) for link in (PROC / str(pid) / "fd").iterdir() if link.is_symlink()]
    return {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:[")}
