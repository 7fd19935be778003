"""Our `entrepot files` beside fal's own `fal files`, 1 GiB up and down on the same server of ours, each in a process of
its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from benchmarks.cases import Bench, Case, Measure, Measured
from benchmarks.downloads import FAL_PYTHON, GIB
from benchmarks.load import Stopwatch
from benchmarks.sdk import Figure, large_file, speed, thrift

Program = Callable[[Bench], list[str]]
Direction = Callable[[Program, Figure], Callable[[Bench], Measure]]

# The command, and then its peak in KiB, told by itself: what the kernel tells its parent begins with the parent's.
MEASURED = """
import sys
from {module} import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print("PEAK", next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
sys.exit(code)
"""


def ours(bench: Bench) -> list[str]:
    return [str(bench.ours.tree.python), "-c", MEASURED.format(module="entrepot.cli.main")]


def fals(_: Bench) -> list[str]:
    return [str(FAL_PYTHON), "-c", MEASURED.format(module="fal.cli")]


def uploads(program: Program, figure: Figure) -> Callable[[Bench], Measure]:
    def prepare(bench: Bench) -> Measure:
        target = f"{program.__name__}.bin"

        def measure() -> Measured:
            # What is there with the same bytes would not be sent again.
            _run(bench, [*ours(bench), "files", "rm", "--permanent", "--yes", target], check=False)
            os.sync()
            return Measured(figure(*_run(bench, [*program(bench), "files", "upload", str(large_file(bench)), target])))

        return measure

    return prepare


def downloads(program: Program, figure: Figure) -> Callable[[Bench], Measure]:
    def prepare(bench: Bench) -> Measure:
        _run(bench, [*ours(bench), "files", "upload", str(large_file(bench)), "bench/both.bin"])
        local = bench.folder / "came.bin"

        def measure() -> Measured:
            local.unlink(missing_ok=True)
            os.sync()
            watch = Stopwatch()
            _, peak = _run(bench, [*program(bench), "files", "download", "/data/bench/both.bin", str(local)])
            _sync(local)
            seconds = watch.seconds
            if local.stat().st_size != GIB:
                raise RuntimeError(f"{local.stat().st_size} bytes were downloaded")
            return Measured(figure(seconds, peak))

        return measure

    return prepare


def _run(bench: Bench, command: list[str], check: bool = True) -> tuple[float, int]:
    """Seconds and the peak of resident bytes of one process."""
    environ = bench.ours.tree.environ(bench.folder)
    environ |= {"ENTREPOT_URL": f"http://127.0.0.1:{bench.ours.port}", "FAL_KEY": bench.ours.key}
    environ |= {"ISOLATE_TEST_MODE": "1", "FAL_GRPC_HOST": f"127.0.0.1:{bench.ours.port}"}
    watch = Stopwatch()
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    seconds = watch.seconds
    if check and done.returncode:
        raise RuntimeError(f"{command[-3:]} failed:\n{done.stdout}{done.stderr}")
    return seconds, int(done.stdout.rpartition("PEAK ")[2]) * 1024


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def _case(name: str, what: str, unit: str, mark: float, direction: Direction, figure: Figure) -> Case:
    measured = direction(ours, figure), direction(fals, figure)
    return Case(name, what, "fal files", unit, mark, mark, *measured, peer_needs=("fal",))


_WALL = "1 GiB in a process of its own, wall, import included; 1.43 is 0.7 of the peer's time"
_MEMORY = "the same, peak memory; 4.0 is a quarter of the peer's"
CASES = [
    _case("volume-cli-upload", f"entrepot files upload of {_WALL}", "MB/s", 1.43, uploads, speed),
    _case("volume-cli-upload-memory", _MEMORY, "per GB", 4.0, uploads, thrift),
    _case("volume-cli-download", f"entrepot files download of {_WALL}, a sync of each", "MB/s", 1.43, downloads, speed),
    _case("volume-cli-download-memory", _MEMORY, "per GB", 4.0, downloads, thrift),
]
