"""Two versions of ours side by side: rates, and the CPU time that a request costs the processes of the server."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.cases import Bench, Case
from benchmarks.cpu import Cpu, settled
from benchmarks.servers import ROOT, THIS_TREE, Tree
from benchmarks.table import columns

LOCK = "requirements/server.lock"
HEAD = ["case", "figure", "that revision", "this tree", "ratio of medians", "median of the pairs' ratios (min to max)"]

Start = Callable[[Path, Tree], contextlib.AbstractContextManager[Bench]]


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one version. CPU times are microseconds a request, of the processes that answer and of the
    background process; none where the system tells no CPU times."""

    rate: float
    cpu: float | None = None
    background_cpu: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The alternating pairs of a case, each (that revision, this tree)."""

    case: str
    unit: str
    pairs: Sequence[tuple[Sample, Sample]]

    def figures(self) -> dict[str, Figure]:
        """The figures by their names and units: rate, and CPU where it is known."""
        named = {self.unit: "rate", "CPU µs/request": "cpu", "background CPU µs/request": "background_cpu"}
        found = {name: [(getattr(a, field), getattr(b, field)) for a, b in self.pairs] for name, field in named.items()}
        return {name: Figure(pairs) for name, pairs in found.items() if None not in [x for pair in pairs for x in pair]}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a case in all pairs, each (that revision, this tree)."""

    pairs: Sequence[tuple[float, float]]

    @property
    def medians(self) -> tuple[float, float]:
        return median(a for a, _ in self.pairs), median(b for _, b in self.pairs)

    @property
    def ratio_of_medians(self) -> float | None:
        """This tree's median divided by the revision's; none when the revision's is 0."""
        return _divided(*self.medians)

    @property
    def ratios(self) -> list[float]:
        """The ratios of the pairs, without those that began with a 0."""
        return [ratio for pair in self.pairs if (ratio := _divided(*pair)) is not None]

    def as_json(self) -> dict[str, object]:
        ratios = self.ratios
        return {
            "pairs": [list(pair) for pair in self.pairs],
            "medians": list(self.medians),
            "ratio_of_medians": self.ratio_of_medians,
            "median_of_ratios": median(ratios) if ratios else None,
            "least_ratio": min(ratios, default=None),
            "largest_ratio": max(ratios, default=None),
        }


def _divided(before: float, after: float) -> float | None:
    return after / before if before else None


@contextlib.contextmanager
def exported(revision: str, folder: Path) -> Iterator[Tree]:
    """The tree of a revision in `folder`. It shares our environment when it names the same locked packages, and makes
    its own otherwise. Raises RuntimeError when it would not run its own code."""
    archive = subprocess.check_output(["git", "-C", str(ROOT), "archive", "--format=tar", revision])
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    python = THIS_TREE.python
    if (folder / LOCK).read_bytes() != (ROOT / LOCK).read_bytes():
        subprocess.run(["make", "-C", str(folder), f"PYTHON={sys.executable}", ".venv/.server"], check=True, stdout=2)
        python = folder / ".venv" / "bin" / "python"
    tree = Tree(folder, python)
    command = [str(python), "-c", "import entrepot; print(entrepot.__file__)"]
    path = subprocess.check_output(command, env=tree.environ(folder), cwd=folder, text=True)
    if not Path(path).is_relative_to(folder):
        raise RuntimeError(f"revision {revision} would run the code of {path}")
    yield tree


def resolved(revision: str) -> str | None:
    """The full name of a revision; none when there is no such commit."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None


def compare(revision: str, cases: Sequence[Case], pairs: int, folder: Path, start: Start) -> list[Comparison]:
    """Measure both versions in turn. A server of each runs all the while, on a home of its own."""
    with (
        exported(revision, folder / "tree") as tree,
        start(folder / "before", tree) as before,
        start(folder / "after", THIS_TREE) as after,
    ):
        return [_compared(case, before, after, pairs) for case in cases]


def _compared(case: Case, before: Bench, after: Bench, pairs: int) -> Comparison:
    benches = before, after
    servers = before.ours, after.ours
    measures = [case.measure_ours(bench) for bench in benches]
    for measure in measures:
        measure()  # warm

    def sample(side: int) -> Sample:
        begun = settled(servers)[side]
        measured = measures[side]()
        used = settled(servers)[side]
        return Sample(measured.rate, *per_request(begun, used, measured.requests))

    found = []
    for number in range(pairs):
        sides = {side: sample(side) for side in order(number)}
        found.append((sides[0], sides[1]))
        print(f"{case.name} {number + 1}/{pairs}: {_progress(*found[-1], case.unit)}", file=sys.stderr, flush=True)
    return Comparison(case.name, case.unit, found)


def order(number: int) -> tuple[int, int]:
    """Who begins changes from pair to pair: A B, B A, A B."""
    return (1, 0) if number % 2 else (0, 1)


def per_request(begun: Cpu | None, used: Cpu | None, requests: int) -> tuple[float | None, float | None]:
    """CPU microseconds a request between two readings: of the processes that answer, and in the background."""
    if begun is None or used is None:
        return None, None
    return 1e6 * (used.serving - begun.serving) / requests, 1e6 * (used.background - begun.background) / requests


def _progress(before: Sample, after: Sample, unit: str) -> str:
    text = f"{before.rate:,.0f} / {after.rate:,.0f} {unit}"
    if before.cpu is not None and after.cpu is not None:
        text += f", {before.cpu:,.0f} / {after.cpu:,.0f} CPU µs/request"
    return text


def render_comparisons(comparisons: Sequence[Comparison]) -> str:
    """The table as Markdown: a line for each figure of each case."""
    return columns(
        HEAD, [_row(each.case, name, figure) for each in comparisons for name, figure in each.figures().items()]
    )


def _row(case: str, name: str, figure: Figure) -> list[str]:
    ratios, whole = figure.ratios, figure.ratio_of_medians
    spread = f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})" if ratios else "-"
    return [case, name, *map(_number, figure.medians), "-" if whole is None else f"{whole:.3f}", spread]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def as_json(revision: str, comparisons: Sequence[Comparison]) -> str:
    cases = {each.case: {name: figure.as_json() for name, figure in each.figures().items()} for each in comparisons}
    return json.dumps({"revision": revision, "cases": cases}, ensure_ascii=False, indent=2)
