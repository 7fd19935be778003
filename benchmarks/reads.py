"""Reads of a public object from page cache, beside the same file on nginx."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.cases import Bench, Case, Pair
from benchmarks.load import wrk

KIB, MIB = 1024, 1024 * 1024
RANGE_OBJECT = 300_000_000

# Random ranges of 1 MiB.
RANGES = """
function request()
   local start = math.random(0, {size} - 1048576)
   return wrk.format("GET", nil, {{ ["Range"] = "bytes=" .. start .. "-" .. (start + 1048575) }})
end
"""


def whole(size: int, connections: int) -> Callable[[Bench], Pair]:
    """Read a whole object of `size` bytes."""

    def prepare(bench: Bench) -> Pair:
        return _pair(bench, size, connections, None)

    return prepare


def ranges(bench: Bench) -> Pair:
    script = bench.folder / "ranges.lua"
    script.write_text(RANGES.format(size=RANGE_OBJECT))
    return _pair(bench, RANGE_OBJECT, 4, script)


def _pair(bench: Bench, size: int, connections: int, script: Path | None) -> Pair:
    data = os.urandom(size)
    name = f"read-{size}.bin"
    places = [(server.port, server.store(data, name)) for server in (bench.ours, bench.nginx)]
    for port, path in places:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as reply:
            if reply.read() != data:
                raise RuntimeError(f"port {port} served other bytes")
    measure = [partial(wrk, port, path, bench.seconds, connections, script) for port, path in places]
    return Pair(*measure)


CASES = [
    Case("get-8k", "wrk -t1 -c32, an object of 8 KiB", "nginx", "req/s", 0.25, 0.35, whole(8 * KIB, 32)),
    Case("get-100k", "wrk -t1 -c32, an object of 100 KiB", "nginx", "req/s", 0.50, 0.70, whole(100 * KIB, 32)),
    Case("get-10m", "wrk -t1 -c4, an object of 10 MiB", "nginx", "req/s", 0.90, 1.00, whole(10 * MIB, 4)),
    Case("get-range", "wrk -t1 -c4, random 1 MiB of 300 MB", "nginx", "req/s", 0.70, 0.95, ranges),
]
