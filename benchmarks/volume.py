"""The volume: one large file in and out, and the first page of a long folder."""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.cases import Bench, Case, Measure, Measured
from benchmarks.load import Stopwatch, body, get, put
from benchmarks.servers import Ours

LARGE = 500_000_000
MANY = 100_000
PAGE, LONG_PAGE = 500, 1000  # what our client asks for first, and then
PAGES = 20
FILES = "/v1/serverless/files"


def large_in(bench: Bench) -> Measure:
    """One body on one connection, from a file in memory. MB a second."""
    file = bench.ours.volume / "large.bin"
    return partial(_put, bench.ours.port, f"{FILES}/file/large.bin", file, bench.ours.key)


def large_in_nginx(bench: Bench) -> Measure:
    return partial(_put, bench.nginx.port, "/put/large.bin", bench.nginx.files / "put" / "large.bin", "")


def _put(port: int, target: str, file: Path, key: str) -> Measured:
    """With a key the answer says that the file is durable; without one it is synced here."""
    os.sync()  # what others left unwritten is not counted
    watch = Stopwatch()
    try:
        put(port, target, body(LARGE), LARGE, key=key)
        if not key:
            with file.open("rb") as written:
                os.fsync(written.fileno())
        return Measured(LARGE / 1e6 / watch.seconds)
    finally:
        file.unlink(missing_ok=True)


def large_out(bench: Bench) -> Measure:
    """500 MB in page cache; they are received and not looked at. MB a second."""
    (bench.ours.volume / "read.bin").write_bytes(_large())
    return partial(_get, bench.ours.port, f"{FILES}/file/read.bin", bench.ours.key)


def large_out_of_nginx(bench: Bench) -> Measure:
    return partial(_get, bench.nginx.port, bench.nginx.store(_large(), "read.bin"), "")


def _get(port: int, target: str, key: str) -> Measured:
    watch = Stopwatch()
    if get(port, target, key=key) != LARGE:
        raise RuntimeError(f"port {port} sent another size")
    return Measured(LARGE / 1e6 / watch.seconds)


def _large() -> bytes:
    return os.urandom(10_000_000) * (LARGE // 10_000_000)


def long_folder(bench: Bench) -> Measure:
    """Pages of a folder of 100,000 files."""
    folder = _many(bench.ours.volume)

    def page(size: int) -> Callable[[], Measured]:
        path = f"{FILES}/list/{folder.name}?limit={size}"
        return partial(_listings, bench.ours.port, path, bench.ours.key, size)

    def measure() -> Measured:
        first, peak = _watched(bench.ours, page(PAGE))
        longer, peak_of_longer = _watched(bench.ours, page(LONG_PAGE))
        times = f"a page of {PAGE} in {1000 / first.rate:.0f} ms, of {LONG_PAGE:,} in {1000 / longer.rate:.0f} ms"
        grown = max(peak, peak_of_longer) / 1e6
        print(f"  {times}; a process grew by {grown:.1f} MB at most", file=sys.stderr, flush=True)
        return Measured(first.rate, first.requests + longer.requests)

    return measure


def long_folder_on_nginx(bench: Bench) -> Measure:
    """nginx knows no pages: it lists the whole, as its clients must take it, in about 290 ms. So the mark is a page in
    50."""
    folder = _many(bench.folder)
    (bench.nginx.files / folder.name).symlink_to(folder)
    return partial(_listings, bench.nginx.port, f"/{folder.name}/", "", MANY)


def _many(parent: Path) -> Path:
    folder = parent / "many"
    folder.mkdir()
    for number in range(MANY):
        (folder / f"frame-{number:06}.png").touch()
    return folder


def _listings(port: int, target: str, key: str, entries: int) -> Measured:
    """Listings a second, one after the other on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    watch, times = Stopwatch(), PAGES if key else 3
    for _ in range(times):
        connection.request("GET", target, headers={"Authorization": f"Key {key}"} if key else {})
        listing = connection.getresponse().read()
    rate = times / watch.seconds
    connection.close()
    if len(json.loads(listing)) != entries:
        raise RuntimeError(f"port {port} listed something else: {listing[:200]!r}")
    return Measured(rate, times)


def _watched(ours: Ours, measure: Callable[[], Measured]) -> tuple[Measured, int]:
    """A rate, and by how many bytes the memory of any process of the server was larger at its peak than before."""
    before = {pid: _memory(pid, "VmRSS") for pid in ours.processes()}
    for pid in before:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
    measured = measure()
    return measured, max(_memory(pid, "VmHWM") - size for pid, size in before.items())


def _memory(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = [int(line.split()[1]) for line in lines if line.startswith(f"{field}:")]
    return kilobytes * 1024


CASES = [
    Case(
        "volume-put-500m", "one PUT of 500 MB into the volume on one connection, durable", "nginx dav + fsync", "MB/s",
        0.50, 1.00, large_in, large_in_nginx, peer_needs=("nginx dav",),
    ),
    Case(
        "volume-get-500m", "one GET of 500 MB of the volume on one connection, from page cache", "nginx", "MB/s",
        0.90, 1.00, large_out, large_out_of_nginx, peer_needs=("nginx",),
    ),
    Case(
        "volume-list-100k",
        f"first page, {PAGE} of a folder of {MANY:,} files, beside the whole as JSON: nginx knows no pages",
        "nginx autoindex, all", "lists/s", 5.80, 10.00, long_folder, long_folder_on_nginx, peer_needs=("nginx",),
    ),
]  # fmt: skip
