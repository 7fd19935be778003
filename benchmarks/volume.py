"""The volume: one large file in and out, and the first page of a long folder."""

from __future__ import annotations

import http.client
import json
import os
from functools import partial
from pathlib import Path

from benchmarks.cases import Bench, Case, Pair
from benchmarks.load import Stopwatch, get, put
from benchmarks.servers import Ours

LARGE = 500_000_000
MANY = 100_000
PAGE, LONG_PAGE = 500, 1000  # what our client asks for first, and then
PAGES = 20
DOOR = "/v1/serverless/files"


def large_in(bench: Bench) -> Pair:
    """One body on one connection, from a file in memory. MB a second."""
    fd = os.memfd_create("body")
    block = os.urandom(10_000_000)
    for _ in range(LARGE // len(block)):
        os.write(fd, block)
    dav = bench.nginx.files / "put" / "large.bin"
    ours = partial(_put, bench.ours.port, f"{DOOR}/file/large.bin", fd, bench.ours.volume / "large.bin", bench.ours.key)
    return Pair(ours, partial(_put, bench.nginx.port, "/put/large.bin", fd, dav, ""))


def _put(port: int, target: str, fd: int, file: Path, key: str) -> float:
    """With a key the answer says that the file is durable; without one it is synced here."""
    os.sync()  # what others left unwritten is not counted
    watch = Stopwatch()
    try:
        put(port, target, fd, LARGE, key=key)
        if not key:
            with file.open("rb") as written:
                os.fsync(written.fileno())
        return LARGE / 1e6 / watch.seconds
    finally:
        file.unlink(missing_ok=True)


def large_out(bench: Bench) -> Pair:
    """The same bytes from both, in page cache; they are received and not looked at. MB a second."""
    data = os.urandom(10_000_000) * (LARGE // 10_000_000)
    (bench.ours.volume / "read.bin").write_bytes(data)
    theirs = bench.nginx.store(data, "read.bin")

    def measure(port: int, target: str, key: str) -> float:
        watch = Stopwatch()
        if get(port, target, key=key) != LARGE:
            raise RuntimeError(f"port {port} sent another size")
        return LARGE / 1e6 / watch.seconds

    return Pair(
        partial(measure, bench.ours.port, f"{DOOR}/file/read.bin", bench.ours.key),
        partial(measure, bench.nginx.port, theirs, ""),
    )


def long_folder(bench: Bench) -> Pair:
    """The same folder on both. nginx knows no pages: it lists the whole, as its clients must take it, in about 290 ms.
    So the mark is a page in 50."""
    folder = bench.ours.volume / "many"
    folder.mkdir()
    for number in range(MANY):
        (folder / f"frame-{number:06}.png").touch()
    (bench.nginx.files / "many").symlink_to(folder)

    def page(size: int) -> partial[float]:
        return partial(_listings, bench.ours.port, f"{DOOR}/list/many?limit={size}", bench.ours.key, size)

    def ours() -> float:
        rate, peak = _watched(bench.ours, page(PAGE))
        longer, peak_of_longer = _watched(bench.ours, page(LONG_PAGE))
        print(f"  a page of {PAGE} in {1000 / rate:.0f} ms, of {LONG_PAGE:,} in {1000 / longer:.0f} ms; ", end="")
        print(f"a process grew by {max(peak, peak_of_longer) / 1e6:.1f} MB at most", flush=True)
        return rate

    return Pair(ours, partial(_listings, bench.nginx.port, "/many/", "", MANY))


def _listings(port: int, target: str, key: str, entries: int) -> float:
    """Listings a second, one after the other on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    watch, times = Stopwatch(), PAGES if key else 3
    for _ in range(times):
        connection.request("GET", target, headers={"Authorization": f"Key {key}"} if key else {})
        body = connection.getresponse().read()
    rate = times / watch.seconds
    connection.close()
    if len(json.loads(body)) != entries:
        raise RuntimeError(f"port {port} listed something else: {body[:200]!r}")
    return rate


def _watched(ours: Ours, measure: partial[float]) -> tuple[float, int]:
    """A rate, and by how many bytes the memory of any process of the server was larger at its peak than before."""
    before = {pid: _memory(pid, "VmRSS") for pid in ours.processes()}
    for pid in before:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
    rate = measure()
    return rate, max(_memory(pid, "VmHWM") - size for pid, size in before.items())


def _memory(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = [int(line.split()[1]) for line in lines if line.startswith(f"{field}:")]
    return kilobytes * 1024


CASES = [
    Case(
        "volume-put-500m", "one PUT of 500 MB into the volume on one connection, durable", "nginx dav + fsync", "MB/s",
        0.50, 1.00, large_in, ("nginx dav",),
    ),
    Case(
        "volume-get-500m", "one GET of 500 MB of the volume on one connection, from page cache", "nginx", "MB/s",
        0.90, 1.00, large_out, ("nginx",),
    ),
    Case(
        "volume-list-100k",
        f"first page, {PAGE} of a folder of {MANY:,} files, beside the whole as JSON: nginx knows no pages",
        "nginx autoindex, all", "lists/s", 5.80, 10.00, long_folder, ("nginx",),
    ),
]  # fmt: skip
