"""Reads of a public object from page cache, beside the same file on nginx."""

from __future__ import annotations

import os
import urllib.request
from functools import partial

from benchmarks.cases import Bench, Case, Measure
from benchmarks.load import wrk
from benchmarks.servers import Nginx, Ours

KIB, MIB = 1024, 1024 * 1024
RANGE_OBJECT = 300_000_000

# Random ranges of 1 MiB.
RANGES = f"""
function request()
   local start = math.random(0, {RANGE_OBJECT} - 1048576)
   return wrk.format("GET", nil, {{ ["Range"] = "bytes=" .. start .. "-" .. (start + 1048575) }})
end
"""


def _case(name: str, what: str, mark: float, goal: float, size: int, connections: int, script: str = "") -> Case:
    def measure(bench: Bench, server: Ours | Nginx) -> Measure:
        """Read an object of `size` bytes, which is compared first."""
        data = os.urandom(size)
        path = server.store(data, f"read-{size}.bin")
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}") as reply:
            if reply.read() != data:
                raise RuntimeError(f"port {server.port} served other bytes")
        file = bench.folder / f"{name}.lua" if script else None
        if file:
            file.write_text(script)
        return partial(wrk, server.port, path, bench.seconds, connections, file)

    def ours(bench: Bench) -> Measure:
        return measure(bench, bench.ours)

    def peer(bench: Bench) -> Measure:
        return measure(bench, bench.nginx)

    return Case(name, what, "nginx", "req/s", mark, goal, ours, peer, ("wrk",), ("nginx",))


CASES = [
    _case("get-8k", "wrk -t1 -c32, an object of 8 KiB", 0.25, 0.35, 8 * KIB, 32),
    _case("get-100k", "wrk -t1 -c32, an object of 100 KiB", 0.50, 0.70, 100 * KIB, 32),
    _case("get-10m", "wrk -t1 -c4, an object of 10 MiB", 0.90, 1.00, 10 * MIB, 4),
    _case("get-range", "wrk -t1 -c4, random 1 MiB of 300 MB", 0.70, 0.95, RANGE_OBJECT, 4, RANGES),
]
