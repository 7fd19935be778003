"""Uploads of a large file by our client and by fal's, each in a process of its own, to the same server of ours."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.cases import Bench, Case, Pair
from benchmarks.load import Stopwatch, put
from benchmarks.servers import ROOT, own_environ

GIB = 1024**3
PART = 10 * 1024 * 1024
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


def wall(bench: Bench) -> Pair:
    """MB a second of the whole process, import and token included."""
    return _pair(bench, lambda seconds, _: GIB / 1e6 / seconds)


def memory(bench: Bench) -> Pair:
    """Files of this size that would fit into a GB of memory at the peak: higher is better."""
    return _pair(bench, lambda _, peak: 1e9 / peak)


def _pair(bench: Bench, figure: Callable[[float, int], float]) -> Pair:
    path = bench.folder / "large.bin"
    if not path.exists():
        write(path, GIB)
    ours = partial(_measured, bench, [sys.executable, "-c", OURS, str(path)])
    fals = partial(_measured, bench, [str(FAL_PYTHON), "-c", FALS, str(path)])
    return Pair(lambda: figure(*ours()), lambda: figure(*fals()))


def write(path: Path, size: int) -> None:
    block = os.urandom(PART)
    with path.open("wb") as file:
        for start in range(0, size, PART):
            file.write(block[: size - start])


def _measured(bench: Bench, command: list[str]) -> tuple[float, int]:
    """Seconds and the peak of resident bytes of one process that uploads."""
    own = {"ENTREPOT_URL": f"http://127.0.0.1:{bench.ours.port}", "FAL_KEY": bench.ours.key}
    environ = own_environ(bench.folder) | own
    os.sync()
    watch = Stopwatch()
    told = subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=True).stdout
    return watch.seconds, int(told) * 1024


def imports(bench: Bench) -> Pair:
    """Processes a second that import a client and are ready to upload."""
    ours = partial(_begun, [sys.executable, "-c", "import entrepot; entrepot.upload_file"])
    fals = partial(_begun, [str(FAL_PYTHON), "-c", "import fal_client; fal_client.upload_file"])
    return Pair(ours, fals)


def _begun(command: list[str]) -> float:
    watch = Stopwatch()
    for _ in range(IMPORTS):
        subprocess.run(command, check=True)
    return IMPORTS / watch.seconds


def in_parts(bench: Bench) -> Pair:
    """The same bytes in parts, 10 at a time, by plain sockets; against one signed PUT. MB a second."""
    fd = os.memfd_create("body")
    block = os.urandom(PART)
    for _ in range(GIB // PART):
        os.write(fd, block)
    size = GIB // PART * PART

    def ours() -> float:
        os.sync()
        watch = Stopwatch()
        begun = bench.ours.begin_parts("large.bin")
        etags = _send_parts(bench.ours.port, begun, fd, size // PART)
        bench.ours.finish_parts(begun, etags)
        return size / 1e6 / watch.seconds

    def peer() -> float:
        target = bench.ours.begin("large.bin")
        os.sync()
        watch = Stopwatch()
        put(bench.ours.port, target, fd, size)
        return size / 1e6 / watch.seconds

    return Pair(ours, peer)


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
        wall,
        ("fal_client",),
    ),
    Case(
        "sdk-memory",
        "the same, peak memory; mark 2.0 is half of the peer's, goal 4.0 a quarter",
        "fal_client",
        "per GB",
        2.00,
        4.00,
        memory,
        ("fal_client",),
    ),
    Case(
        "import",
        "a process that imports the client, all of it; mark and goal are 1.5 times what the peer takes",
        "fal_client",
        "per s",
        0.67,
        0.67,
        imports,
        ("fal_client",),
    ),
    Case(
        "multipart-1g",
        "1 GiB in parts of 10 MiB, 10 at a time, durable; complete and the wait for the digest included",
        "one signed PUT to us",
        "MB/s",
        0.80,
        1.20,
        in_parts,
        (),
    ),
]
