"""Uploads of a large file by our client and by fal's, each in a process of its own, to the same server of ours."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.cases import Bench, Case, Measure, Measured
from benchmarks.load import Stopwatch, body, put
from benchmarks.servers import ROOT

GIB = 1024**3
PART = 10 * 1024 * 1024
IN_PARTS = GIB // PART * PART
IMPORTS = 5
FAL_PYTHON = ROOT / ".venv-fal-client" / "bin" / "python"

# The peak of a process, in KiB, told by itself: what the kernel tells its parent begins with the peak of the parent.
PEAK = """
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""
OURS = f"""
import entrepot, sys
entrepot.upload_file(sys.argv[1])
{PEAK}
"""
# The stock client has no setting for the storage hosts.
FALS = f"""
import os, sys
import fal_client
from fal_client import client
client.REST_URL = client.CDN_URL = os.environ["ENTREPOT_URL"]
fal_client.upload_file(sys.argv[1])
{PEAK}
"""


# Seconds and bytes of memory into a rate.
Figure = Callable[[float, int], float]


def speed(seconds: float, _: int) -> float:
    """MB a second of the whole process, import and token included."""
    return GIB / 1e6 / seconds


def thrift(_: float, peak: int) -> float:
    """Processes of this size that would fit into a GB of memory at the peak: higher is better."""
    return 1e9 / peak


def uploads(figure: Figure) -> Callable[[Bench], Measure]:
    def prepare(bench: Bench) -> Measure:
        return partial(_measured, bench, [str(bench.ours.tree.python), "-c", OURS], figure)

    return prepare


def uploads_of_fals(figure: Figure) -> Callable[[Bench], Measure]:
    def prepare(bench: Bench) -> Measure:
        return partial(_measured, bench, [str(FAL_PYTHON), "-c", FALS], figure)

    return prepare


def large_file(bench: Bench) -> Path:
    """A file of 1 GiB on the disk, made once."""
    path = bench.folder / "large.bin"
    if not path.exists():
        block = os.urandom(PART)
        with path.open("wb") as file:
            for start in range(0, GIB, PART):
                file.write(block[: GIB - start])
    return path


def _measured(bench: Bench, command: list[str], figure: Figure) -> Measured:
    """One process that uploads."""
    environ = bench.ours.tree.environ(bench.folder)
    environ |= {"ENTREPOT_URL": f"http://127.0.0.1:{bench.ours.port}", "FAL_KEY": bench.ours.key}
    path = str(large_file(bench))
    os.sync()
    watch = Stopwatch()
    peak = subprocess.run([*command, path], env=environ, stdout=subprocess.PIPE, check=True).stdout
    return Measured(figure(watch.seconds, int(peak) * 1024))


def imports(bench: Bench) -> Measure:
    """Processes a second that import the client and are ready to upload."""
    return partial(_begun, bench, [str(bench.ours.tree.python), "-c", "import entrepot; entrepot.upload_file"])


def imports_of_fals(bench: Bench) -> Measure:
    return partial(_begun, bench, [str(FAL_PYTHON), "-c", "import fal_client; fal_client.upload_file"])


def _begun(bench: Bench, command: list[str]) -> Measured:
    environ = bench.ours.tree.environ(bench.folder)
    watch = Stopwatch()
    for _ in range(IMPORTS):
        subprocess.run(command, env=environ, check=True)
    return Measured(IMPORTS / watch.seconds, IMPORTS)


def in_parts(bench: Bench) -> Measure:
    """1 GiB in parts, 10 at a time, by plain sockets. MB a second."""

    def measure() -> Measured:
        os.sync()
        watch = Stopwatch()
        begun = bench.ours.begin_parts("large.bin")
        etags = _send_parts(bench.ours.port, begun, body(IN_PARTS), IN_PARTS // PART)
        bench.ours.finish_parts(begun, etags)
        return Measured(IN_PARTS / 1e6 / watch.seconds)

    return measure


def in_one(bench: Bench) -> Measure:
    """The same bytes by one signed PUT."""

    def measure() -> Measured:
        target = bench.ours.begin("large.bin")
        os.sync()
        watch = Stopwatch()
        put(bench.ours.port, target, body(IN_PARTS), IN_PARTS)
        return Measured(IN_PARTS / 1e6 / watch.seconds)

    return measure


def _send_parts(port: int, begun: str, fd: int, count: int) -> dict[int, str]:
    path, _, signature = begun.partition("?")
    left = list(range(count, 0, -1))
    etags: dict[int, str] = {}

    def work() -> None:
        while left:
            number = left.pop()
            etags[number] = put(port, f"{path}/{number}?{signature}", fd, PART, (number - 1) * PART)

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(etags) != count:
        raise RuntimeError(f"{count - len(etags)} parts were not stored")
    return etags


CASES = [
    Case(
        "sdk-upload",
        "upload_file of 1 GiB in a process of its own, wall; goal 1.43 is 0.7 of the peer's time",
        "fal_client",
        "MB/s",
        1.00,
        1.43,
        uploads(speed),
        uploads_of_fals(speed),
        peer_needs=("fal_client",),
    ),
    Case(
        "sdk-memory",
        "the same, peak memory; mark 2.0 is half of the peer's, goal 4.0 a quarter",
        "fal_client",
        "per GB",
        2.00,
        4.00,
        uploads(thrift),
        uploads_of_fals(thrift),
        peer_needs=("fal_client",),
    ),
    Case(
        "import",
        "a process that imports the client, all of it; mark and goal are 1.5 times what the peer takes",
        "fal_client",
        "per s",
        0.67,
        0.67,
        imports,
        imports_of_fals,
        peer_needs=("fal_client",),
    ),
    Case(
        "multipart-1g",
        "1 GiB in parts of 10 MiB, 10 at a time, durable; complete and the wait for the digest included",
        "one signed PUT to us",
        "MB/s",
        0.80,
        1.20,
        in_parts,
        in_one,
    ),
]
