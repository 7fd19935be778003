"""Uploads. Ours are durable when they are answered; what the peer does about that is in the peer's name."""

from __future__ import annotations

import os
from collections.abc import Callable

from benchmarks.cases import Bench, Case, Pair
from benchmarks.load import Stopwatch, put, wrk

LARGE = 500_000_000
SMALL = 100 * 1024

POSTS = """
wrk.method = "POST"
wrk.body = string.rep("entrepot", {size} / 8)
wrk.headers["Authorization"] = "Key {key}"
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.headers["X-Fal-File-Name"] = "small.bin"
"""
# Every PUT makes a new file, as every upload of ours makes a new object.
PUTS = """
wrk.method = "PUT"
wrk.body = string.rep("entrepot", {size} / 8)
local n = 0
function request()
   n = n + 1
   return wrk.format(nil, "/put/{prefix}-" .. n)
end
"""


def large(bench: Bench) -> Pair:
    """One body on one connection, from a file in memory. MB a second."""
    fd = os.memfd_create("body")
    block = os.urandom(10_000_000)
    for _ in range(LARGE // len(block)):
        os.write(fd, block)

    def ours() -> float:
        target = bench.ours.begin("large.bin")
        return _timed(lambda: put(bench.ours.port, target, fd, LARGE))

    def peer() -> float:
        file = bench.nginx.files / "put" / "large.bin"

        def deed() -> None:
            put(bench.nginx.port, "/put/large.bin", fd, LARGE)
            with file.open("rb") as written:
                os.fsync(written.fileno())

        try:
            return _timed(deed)
        finally:
            file.unlink(missing_ok=True)

    return Pair(ours, peer)


def _timed(deed: Callable[[], object]) -> float:
    os.sync()  # what others left unwritten is not counted
    watch = Stopwatch()
    deed()
    return LARGE / 1e6 / watch.seconds


def small(bench: Bench) -> Pair:
    """32 clients, a new object for each request."""
    posts, puts = bench.folder / "posts.lua", bench.folder / "puts.lua"
    posts.write_text(POSTS.format(size=SMALL, key=bench.ours.key))
    folder = bench.nginx.files / "put"

    def ours() -> float:
        os.sync()
        return wrk(bench.ours.port, "/files/upload", bench.seconds, 32, posts)

    def peer() -> float:
        puts.write_text(PUTS.format(size=SMALL, prefix="small"))
        os.sync()
        try:
            return wrk(bench.nginx.port, "/put/", bench.seconds, 32, puts)
        finally:
            for file in folder.iterdir():  # wrk leaves while the last ones are still written
                file.unlink(missing_ok=True)

    return Pair(ours, peer)


CASES = [
    Case(
        "put-500m",
        "one signed PUT of 500 MB on one connection, durable",
        "nginx dav + fsync",
        "MB/s",
        0.60,
        1.00,
        large,
        ("nginx dav",),
    ),
    Case(
        "put-100k",
        "wrk -t1 -c32, one request per file of 100 KiB, durable; the marks are those against SeaweedFS",
        "nginx dav, no fsync",
        "req/s",
        1.00,
        1.50,
        small,
        ("wrk", "nginx dav"),
    ),
]
