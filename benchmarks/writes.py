"""Uploads. Ours are durable when they are answered; what the peer does about that is in the peer's name."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.cases import Bench, Case, Measure, Measured
from benchmarks.load import Stopwatch, body, put, wrk
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
local wanted = '{{"file_name": "small.bin", "content_type": "application/octet-stream"}}'
local begins = {{["Authorization"] = "Key {key}", ["Content-Type"] = "application/json"}}
local targets = {{}}
function request()
   local target = table.remove(targets)
   if target then
      return wrk.format("PUT", target, {{["Content-Type"] = "application/octet-stream"}}, body)
   end
   return wrk.format("POST", "/storage/upload/initiate", begins, wanted)
end
function response(status, headers, body)
   local target = body:match('"upload_url": ?"https?://[^/]+(/[^"]+)"')
   if target then table.insert(targets, target) end
end
"""


def large(bench: Bench) -> Measure:
    """One body on one connection, from a file in memory. MB a second."""

    def measure() -> Measured:
        target = bench.ours.begin("large.bin")
        return _timed(lambda: put(bench.ours.port, target, body(LARGE), LARGE))

    return measure


def large_on_nginx(bench: Bench) -> Measure:
    file = bench.nginx.files / "put" / "large.bin"

    def durably() -> None:
        put(bench.nginx.port, "/put/large.bin", body(LARGE), LARGE)
        with file.open("rb") as written:
            os.fsync(written.fileno())

    def measure() -> Measured:
        try:
            return _timed(durably)
        finally:
            file.unlink(missing_ok=True)

    return measure


def _timed(upload: Callable[[], object]) -> Measured:
    os.sync()  # what others left unwritten is not counted
    watch = Stopwatch()
    upload()
    return Measured(LARGE / 1e6 / watch.seconds)


def small(bench: Bench) -> Measure:
    """32 clients, a new object for each request."""
    script = bench.folder / "posts.lua"
    script.write_text(POSTS.format(size=SMALL, key=bench.ours.key))
    return partial(_synced, bench.ours.port, "/files/upload", bench.seconds, script)


def small_signed(bench: Bench) -> Measure:
    """Files a second by two requests each, the second to a signed URL."""
    script = bench.folder / "signed.lua"
    script.write_text(SIGNED.format(size=SMALL, key=bench.ours.key))

    def measure() -> Measured:
        both = _synced(bench.ours.port, "/", bench.seconds, script)
        return Measured(both.rate / 2, both.requests)

    return measure


def small_on_seaweed(bench: Bench) -> Measure:
    """PUTs to an S3 gateway, each makes a new file."""
    script, names = bench.folder / "weed.lua", itertools.count()

    def measure() -> Measured:
        if bench.seaweed is None:
            raise RuntimeError("this case needs weed")
        script.write_text(PUTS.format(size=SMALL, folder=f"/{BUCKET}", prefix=f"small-{next(names)}"))
        return _synced(bench.seaweed.port, f"/{BUCKET}", bench.seconds, script)

    return measure


def small_on_nginx(bench: Bench) -> Measure:
    script, folder = bench.folder / "puts.lua", bench.nginx.files / "put"
    script.write_text(PUTS.format(size=SMALL, folder="/put", prefix="small"))

    def measure() -> Measured:
        try:
            return _synced(bench.nginx.port, "/put/", bench.seconds, script)
        finally:
            for file in folder.iterdir():  # wrk leaves while the last ones are still written
                file.unlink(missing_ok=True)

    return measure


def _synced(port: int, path: str, seconds: float, script: Path) -> Measured:
    os.sync()
    return wrk(port, path, seconds, 32, script)


CASES = [
    Case(
        "put-500m",
        "one signed PUT of 500 MB on one connection, durable",
        "nginx dav + fsync",
        "MB/s",
        0.60,
        1.00,
        large,
        large_on_nginx,
        peer_needs=("nginx dav",),
    ),
    Case(
        "put-100k",
        "wrk -t1 -c32, one request per file of 100 KiB, durable",
        "SeaweedFS S3, no fsync",
        "files/s",
        1.00,
        1.50,
        small,
        small_on_seaweed,
        ("wrk",),
        ("weed",),
    ),
    Case(
        "put-100k-signed",
        "the same by two requests per file: one begins it, one PUTs it to the signed URL",
        "SeaweedFS S3, no fsync",
        "files/s",
        0.60,
        1.00,
        small_signed,
        small_on_seaweed,
        ("wrk",),
        ("weed",),
    ),
    Case(
        "put-100k-nginx",
        "put-100k beside the fastest there is that makes nothing durable; it has no mark of its own",
        "nginx dav, no fsync",
        "files/s",
        0.00,
        1.00,
        small,
        small_on_nginx,
        ("wrk",),
        ("nginx dav",),
    ),
]
