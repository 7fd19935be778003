"""Downloads of a large file from our server, each in a process of its own and synced to the disk; and hits."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.cases import Bench, Case, Measure, Measured
from benchmarks.load import Stopwatch, body, put
from benchmarks.servers import ROOT

GIB = 1024**3
HIT_SIZE = 64 * 1024 * 1024
BLOCK = 16 * 1024 * 1024
HITS = 20
FAL_PYTHON = ROOT / ".venv-fal" / "bin" / "python"

OURS = """
import sys
from entrepot.toolkit import download_file
download_file(sys.argv[1], sys.argv[2])
"""
# The stock toolkit reads no private address, such as that of the server of this run.
FALS = """
import sys
from fal.toolkit.utils import ssrf
ssrf.is_globally_routable_ip = lambda *_: True
from fal.toolkit import download_file
download_file(sys.argv[1], sys.argv[2])
"""
AGAIN = """
import time
begun = time.perf_counter()
for _ in range(int(sys.argv[3])):
    download_file(sys.argv[1], sys.argv[2])
print("SECONDS", time.perf_counter() - begun)
"""


Command = Callable[[Bench, str, Path], list[str]]


def whole(command: Command) -> Callable[[Bench], Measure]:
    """MB a second of the whole process and the sync of its file, into an empty folder."""

    def prepare(bench: Bench) -> Measure:
        return partial(_measured, bench, _stored(bench, GIB), command)

    return prepare


def whole_over_tls(command: Command) -> Callable[[Bench], Measure]:
    """The same of half a GiB from the server that speaks TLS."""

    def prepare(bench: Bench) -> Measure:
        assert bench.secure
        data = os.urandom(BLOCK) * (GIB // 2 // BLOCK)
        url = bench.secure.origin + bench.secure.store(data, "file.bin")
        return partial(_measured, bench, url, command)

    return prepare


def hits(bench: Bench) -> Measure:
    """Hits a second, of a file of 64 MiB; the import is not counted."""
    return partial(_hits, bench, _stored(bench, HIT_SIZE), [str(bench.ours.tree.python), "-c", OURS + AGAIN])


def hits_of_fals(bench: Bench) -> Measure:
    return partial(_hits, bench, _stored(bench, HIT_SIZE), [str(FAL_PYTHON), "-c", FALS + AGAIN])


def _ours(bench: Bench, url: str, folder: Path) -> list[str]:
    return [str(bench.ours.tree.python), "-c", OURS, url, str(folder)]


def _curl(_: Bench, url: str, folder: Path) -> list[str]:
    return ["curl", "-sS", "--fail", "-o", str(folder / "file.bin"), url]


def _aria2(_: Bench, url: str, folder: Path) -> list[str]:
    return ["aria2c", "-q", "-x4", "-s4", "--file-allocation=none", "-d", str(folder), "-o", "file.bin", url]


def _fals(_: Bench, url: str, folder: Path) -> list[str]:
    return [str(FAL_PYTHON), "-c", FALS, url, str(folder)]


def _stored(bench: Bench, size: int) -> str:
    """A public file of our server; returns its URL."""
    target = bench.ours.begin("file.bin")
    put(bench.ours.port, target, body(size), size)
    return bench.ours.origin + target.partition("?")[0]


def _measured(bench: Bench, url: str, command: Command) -> Measured:
    folder = bench.folder / "downloads"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.sync()
    watch = Stopwatch()
    subprocess.run(command(bench, url, folder), env=_environ(bench), check=True, stdout=subprocess.DEVNULL)
    (path,) = folder.iterdir()
    _sync(path)
    _sync(folder)
    seconds = watch.seconds
    size = path.stat().st_size
    if size not in (GIB, GIB // 2):
        raise RuntimeError(f"{size} bytes were downloaded")
    return Measured(size / 1e6 / seconds)


def _hits(bench: Bench, url: str, command: list[str]) -> Measured:
    folder = bench.folder / "hits"
    done = subprocess.run(
        [*command, url, str(folder), str(HITS)], env=_environ(bench), check=True, capture_output=True, text=True
    )
    return Measured(HITS / float(done.stdout.rpartition("SECONDS ")[2]), HITS)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def _environ(bench: Bench) -> dict[str, str]:
    """With our servers as the configured ones: their files may be read though their addresses are private."""
    environ = bench.ours.tree.environ(bench.folder)
    servers = [bench.ours, bench.secure] if bench.secure else [bench.ours]
    for server in servers:
        if server.ca:
            environ |= {"SSL_CERT_FILE": str(server.ca), "CURL_CA_BUNDLE": str(server.ca)}
    return environ | {"ENTREPOT_URL": ",".join(server.origin for server in servers)}


def _case(name: str, what: str, peer: str, mark: float, command: Command, need: str) -> Case:
    return Case(name, what, peer, "MB/s", mark, 1.0, whole(_ours), whole(command), peer_needs=(need,))


_WHAT = "download_file of 1 GiB into an empty folder, import, SHA-256 and sync included, against"
CASES = [
    _case("download", f"{_WHAT} curl and a sync", "curl", 0.8, _curl, "curl"),
    _case("download-aria2", f"{_WHAT} aria2 with 4 connections and a sync", "aria2 -x4", 0.8, _aria2, "aria2c"),
    Case(
        "download-tls",
        "the same of half a GiB over TLS against curl and a sync",
        "curl",
        "MB/s",
        0.8,
        1.0,
        whole_over_tls(_ours),
        whole_over_tls(_curl),
        ("tls",),
        ("curl",),
    ),
    _case("download-fal", f"{_WHAT} the stock toolkit and a sync", "fal.toolkit", 1.0, _fals, "fal"),
    Case(
        "download-hit",
        "download_file of a file of 64 MiB that is there: one HEAD, no body byte; the peer downloads it again",
        "fal.toolkit",
        "per s",
        1.0,
        10.0,
        hits,
        hits_of_fals,
        peer_needs=("fal",),
    ),
]
