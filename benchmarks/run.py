"""`make bench`: every case side by side with its peer in one run, and one table.

    make bench                                all cases
    make bench ARGS='get-8k put-500m'         some
    make bench ARGS='get-8k --pairs 9'        more alternating pairs, for a noisy machine
    make bench ARGS='--against main get-8k'   this tree beside another revision of it, with CPU time a request

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
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import against, downloads, reads, sdk, volume, volumecli, writes
from benchmarks.cases import Bench, Case, Measure
from benchmarks.cpu import has_cpu_times
from benchmarks.seaweed import WEED, seaweed
from benchmarks.servers import THIS_TREE, Nginx, Tree, nginx, nginx_has_dav, nginx_path, nginx_version, ours
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
    parser.add_argument("--against", metavar="REV", help="measure this tree beside that revision instead of peers")
    parser.add_argument("--json", action="store_true", help="print JSON (with --against)")
    args = parser.parse_args(argv)
    if unknown := set(args.cases) - set(names):
        parser.error(f"there is no case {', '.join(sorted(unknown))}; cases are {', '.join(names)}")
    chosen = [case for case in CASES if not args.cases or case.name in args.cases]
    if args.json and not args.against:
        parser.error("--json goes with --against")
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {nginx_version()}; {args.pairs} pairs"
    print(machine, file=sys.stderr, flush=True)
    # Bytecode may be kept: peers that were installed have theirs, and ours was compiled by nobody yet.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if args.against:
        revision = against.resolved(args.against)
        if revision is None:
            parser.error(f"there is no revision {args.against}")
        return _against(revision, chosen, args.pairs, args.seconds, args.json)
    results = measure(chosen, args.pairs, args.seconds)
    print(f"\n{render(results)}\n")
    for case in chosen:
        print(f"{case.name}: {case.what}")
    return 0


def measure(cases: Sequence[Case], pairs: int, seconds: float) -> list[Result]:
    """Run what can be run here; name what is missing for the rest."""
    results = {case.name: skipped(case, reason) for case in cases if (reason := missing(case.needs + case.peer_needs))}
    able = [case for case in cases if case.name not in results]
    needs = {need for case in able for need in case.needs + case.peer_needs}
    if able:
        with _scratch() as folder, _started(folder / "both", THIS_TREE, needs, seconds) as bench:
            results |= {case.name: run(case, bench, pairs) for case in able}
    return [results[case.name] for case in cases]


def _against(revision: str, cases: Sequence[Case], pairs: int, seconds: float, json: bool) -> int:
    """Measure this tree beside a revision of it and print the table."""
    for case in cases:
        if reason := missing(case.needs):
            print(f"{case.name}: skipped: {reason}", file=sys.stderr)
    able = [case for case in cases if not missing(case.needs)]
    needs = {need for case in able for need in case.needs}
    if not has_cpu_times():
        print("There is no /proc here: rates only, no CPU times", file=sys.stderr)

    def start(folder: Path, tree: Tree) -> contextlib.AbstractContextManager[Bench]:
        return _started(folder, tree, needs, seconds)

    with _scratch() as folder:
        comparisons = against.compare(revision, able, pairs, folder, start)
    print(against.as_json(revision, comparisons) if json else against.render_comparisons(comparisons))
    return 0


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for everything, also the home folder of what is started without an environment of its own."""
    place = os.environ.get("TMPDIR") or ("/var/tmp" if Path("/var/tmp").is_dir() else None)
    with tempfile.TemporaryDirectory(prefix="entrepot-bench-", dir=place) as name:
        for variable in [each for each in os.environ if each.startswith("XDG_")]:
            del os.environ[variable]
        os.environ["HOME"] = name
        yield Path(name)


@contextlib.contextmanager
def _started(folder: Path, tree: Tree, needs: set[str], seconds: float) -> Iterator[Bench]:
    """A server of a tree of ours and those of the peers that are needed; they end with the block."""
    folder.mkdir()
    beside = any("nginx" in need for need in needs)
    with contextlib.ExitStack() as stack:
        yield Bench(
            stack.enter_context(ours(folder / "ours", tree)),
            stack.enter_context(nginx(folder / "nginx")) if beside else Nginx(0, folder),
            folder,
            seconds,
            stack.enter_context(ours(folder / "secure", tree, tls=True)) if "tls" in needs else None,
            stack.enter_context(seaweed(folder / "seaweed")) if "weed" in needs else None,
        )


def run(case: Case, bench: Bench, pairs: int) -> Result:
    sides = case.measure_ours(bench), case.measure_peer(bench)
    for measure in sides:
        measure()  # warm
    found = []
    for number in range(pairs):
        found.append(alternate(sides, number))
        rates = f"{found[-1][0]:,.0f} / {found[-1][1]:,.0f} {case.unit}"
        print(f"{case.name} {number + 1}/{pairs}: {rates}", file=sys.stderr, flush=True)
    return Result(case.name, case.peer, case.unit, case.mark, case.goal, found)


def alternate(sides: tuple[Measure, Measure], number: int) -> tuple[float, float]:
    """Measure both; who begins changes, so that neither always runs in the other's wake."""
    rates = {side: sides[side]().rate for side in against.order(number)}
    return rates[0], rates[1]


def missing(needs: Sequence[str]) -> str:
    """The programs that are needed and this machine has not; '' when all are there."""
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
    lacking = [f"no {need} ({INSTALL[need]})" for need in needs if not there[need]]
    return ", ".join(lacking)


def skipped(case: Case, reason: str) -> Result:
    return Result(case.name, case.peer, case.unit, case.mark, case.goal, reason=reason)


if __name__ == "__main__":
    sys.exit(main())
