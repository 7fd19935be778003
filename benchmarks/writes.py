"""Uploads. Ours are durable when they are answered; what the peer does about that is in the peer's name."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

from benchmarks.cases import Bench, Case, Pair
from benchmarks.load import Stopwatch, put, wrk
from benchmarks.seaweed import BUCKET

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
   return wrk.format(nil, "{folder}/{prefix}-" .. n)
end
"""
# Begin an upload, then PUT its bytes to the URL that came: two requests for each file.
SIGNED = """
local body = string.rep("entrepot", {size} / 8)
local wish = '{{"file_name": "small.bin", "content_type": "application/octet-stream"}}'
local begins = {{["Authorization"] = "Key {key}", ["Content-Type"] = "application/json"}}
local targets = {{}}
function request()
   local target = table.remove(targets)
   if target then
      return wrk.format("PUT", target, {{["Content-Type"] = "application/octet-stream"}}, body)
   end
   return wrk.format("POST", "/storage/upload/initiate", begins, wish)
end
function response(status, headers, body)
   local target = body:match('"upload_url": ?"https?://[^/]+(/[^"]+)"')
   if target then table.insert(targets, target) end
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
    puts, folder = bench.folder / "puts.lua", bench.nginx.files / "put"
    puts.write_text(PUTS.format(size=SMALL, folder="/put", prefix="small"))

    def peer() -> float:
        os.sync()
        try:
            return wrk(bench.nginx.port, "/put/", bench.seconds, 32, puts)
        finally:
            for file in folder.iterdir():  # wrk leaves while the last ones are still written
                file.unlink(missing_ok=True)

    return Pair(_posting(bench), peer)


def small_beside_seaweed(bench: Bench) -> Pair:
    """The same, beside PUTs to an S3 door."""
    return Pair(_posting(bench), _putting(bench))


def signed_beside_seaweed(bench: Bench) -> Pair:
    """Files a second by two requests each, the second to a signed URL; beside one PUT each to an S3 door."""
    script = bench.folder / "signed.lua"
    script.write_text(SIGNED.format(size=SMALL, key=bench.ours.key))

    def ours() -> float:
        os.sync()
        return wrk(bench.ours.port, "/", bench.seconds, 32, script) / 2

    return Pair(ours, _putting(bench))


def _posting(bench: Bench) -> Callable[[], float]:
    script = bench.folder / "posts.lua"
    script.write_text(POSTS.format(size=SMALL, key=bench.ours.key))

    def ours() -> float:
        os.sync()
        return wrk(bench.ours.port, "/files/upload", bench.seconds, 32, script)

    return ours


def _putting(bench: Bench) -> Callable[[], float]:
    script, names = bench.folder / "weed.lua", itertools.count()

    def peer() -> float:
        if bench.seaweed is None:
            raise RuntimeError("this case needs weed")
        script.write_text(PUTS.format(size=SMALL, folder=f"/{BUCKET}", prefix=f"small-{next(names)}"))
        os.sync()
        return wrk(bench.seaweed.port, f"/{BUCKET}", bench.seconds, 32, script)

    return peer


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
        "wrk -t1 -c32, one request per file of 100 KiB, durable",
        "SeaweedFS S3, no fsync",
        "files/s",
        1.00,
        1.50,
        small_beside_seaweed,
        ("wrk", "weed"),
    ),
    Case(
        "put-100k-signed",
        "the same by two requests per file: one begins it, one PUTs it to the signed URL",
        "SeaweedFS S3, no fsync",
        "files/s",
        0.60,
        1.00,
        signed_beside_seaweed,
        ("wrk", "weed"),
    ),
    Case(
        "put-100k-nginx",
        "put-100k beside the fastest there is that makes nothing durable; it has no mark of its own",
        "nginx dav, no fsync",
        "files/s",
        0.00,
        1.00,
        small,
        ("wrk", "nginx dav"),
    ),
]
