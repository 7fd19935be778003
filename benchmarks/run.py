"""`make bench`: every case side by side with its peer in one run, and one table.

    make bench                                all cases
    make bench ARGS='get-8k put-500m'         some
    make bench ARGS='get-8k --pairs 9'        more alternating pairs, for a noisy machine

Only ratios count: machines are shared and noisy, and load and servers share their cores. Files are made in /var/tmp
(or TMPDIR), which must be on a disk and not in memory for the uploads to mean anything.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import downloads, reads, sdk, volume, volumecli, writes
from benchmarks.cases import Bench, Case, Pair
from benchmarks.seaweed import WEED, seaweed
from benchmarks.servers import Nginx, nginx, nginx_has_dav, nginx_path, nginx_version, ours, own_environ
from benchmarks.table import Result, render

CASES = [*reads.CASES, *writes.CASES, *sdk.CASES, *downloads.CASES, *volume.CASES, *volumecli.CASES]
INSTALL = {
    "wrk": "apt install wrk",
    "nginx": "apt install nginx-light",
    "nginx dav": "apt install nginx-light",
    "fal_client": "make setup",
    "fal": "make setup",
    "curl": "apt install curl",
    "aria2c": "apt install aria2",
    "weed": "make .venv-seaweedfs/.ready",
}


def main(argv: Sequence[str] | None = None) -> int:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(
        description="Measure side by side with peers.", epilog="cases: " + ", ".join(names)
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="which ones (default: all)")
    parser.add_argument("--pairs", type=int, default=5, help="alternating pairs for each case")
    parser.add_argument("--seconds", type=float, default=3, help="length of one measurement under load")
    args = parser.parse_args(argv)
    if unknown := set(args.cases) - set(names):
        parser.error(f"there is no case {', '.join(sorted(unknown))}; cases are {', '.join(names)}")
    chosen = [case for case in CASES if not args.cases or case.name in args.cases]
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {nginx_version()}; {args.pairs} pairs", flush=True
    )
    results = measure(chosen, args.pairs, args.seconds)
    print(f"\n{render(results)}\n")
    for case in chosen:
        print(f"{case.name}: {case.what}")
    return 0


def measure(cases: Sequence[Case], pairs: int, seconds: float) -> list[Result]:
    """Run what can be run here; name what is missing for the rest."""
    # Bytecode may be kept: peers that were installed have theirs, and ours was compiled by nobody yet.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    results = {case.name: skipped(case, reason) for case in cases if (reason := missing(case))}
    able = [case for case in cases if case.name not in results]
    if able:
        place = os.environ.get("TMPDIR") or ("/var/tmp" if Path("/var/tmp").is_dir() else None)
        with tempfile.TemporaryDirectory(prefix="entrepot-bench-", dir=place) as name, contextlib.ExitStack() as stack:
            environ = own_environ(Path(name))  # also for what is started without an environment of its own
            os.environ.clear()
            os.environ.update(environ)
            bench = _started(Path(name), {need for case in able for need in case.needs}, seconds, stack)
            results |= {case.name: run(case, bench, pairs) for case in able}
    return [results[case.name] for case in cases]


def _started(folder: Path, needs: set[str], seconds: float, stack: contextlib.ExitStack) -> Bench:
    """Our server and those of the peers that are needed; they end with the stack."""
    beside = any("nginx" in need for need in needs)
    return Bench(
        stack.enter_context(ours(folder / "ours")),
        stack.enter_context(nginx(folder / "nginx")) if beside else Nginx(0, folder),
        folder,
        seconds,
        stack.enter_context(ours(folder / "secure", tls=True)) if "tls" in needs else None,
        stack.enter_context(seaweed(folder / "seaweed")) if "weed" in needs else None,
    )


def run(case: Case, bench: Bench, pairs: int) -> Result:
    pair = case.prepare(bench)
    pair.ours(), pair.peer()  # warm
    found = []
    for number in range(pairs):
        found.append(alternate(pair, number))
        print(f"{case.name} {number + 1}/{pairs}: {found[-1][0]:,.0f} / {found[-1][1]:,.0f} {case.unit}", flush=True)
    return Result(case.name, case.peer, case.unit, case.mark, case.goal, found)


def alternate(pair: Pair, number: int) -> tuple[float, float]:
    """Measure both; who begins changes, so that neither always runs in the other's wake."""
    if number % 2:
        peer = pair.peer()
        return pair.ours(), peer
    return pair.ours(), pair.peer()


def missing(case: Case) -> str:
    """The programs that the case needs and this machine has not; '' when all are there."""
    there = {
        "wrk": bool(shutil.which("wrk")),
        "nginx": bool(nginx_path()),
        "nginx dav": nginx_has_dav(),
        "fal_client": sdk.FAL_PYTHON.exists(),
        "fal": downloads.FAL_PYTHON.exists(),
        "curl": bool(shutil.which("curl")),
        "aria2c": bool(shutil.which("aria2c")),
        "tls": True,
        "weed": WEED.exists(),
    }
    lacking = [f"no {need} ({INSTALL[need]})" for need in case.needs if not there[need]]
    return ", ".join(lacking)


def skipped(case: Case, reason: str) -> Result:
    return Result(case.name, case.peer, case.unit, case.mark, case.goal, reason=reason)


if __name__ == "__main__":
    sys.exit(main())
