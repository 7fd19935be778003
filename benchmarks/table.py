"""From alternating pairs of figures to the one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Result:
    """What one case gave. `pairs` are (ours, peer), higher is better; none when the case was skipped for `reason`."""

    case: str
    peer: str
    unit: str
    mark: float
    goal: float
    pairs: Sequence[tuple[float, float]] = ()
    reason: str = ""

    @property
    def ratios(self) -> list[float]:
        return [ours / peer for ours, peer in self.pairs]

    def row(self) -> list[str]:
        if not self.pairs:
            return [
                self.case,
                "-",
                f"{self.peer}: -",
                f"skipped: {self.reason}",
                _share(self.mark),
                _share(self.goal),
                "-",
            ]
        ratio = median(self.ratios)
        spread = f"{_share(ratio)} ({_share(min(self.ratios))} to {_share(max(self.ratios))})"
        ours, peer = (median(side) for side in zip(*self.pairs, strict=True))
        return [
            self.case,
            _figure(ours, self.unit),
            f"{self.peer}: {_figure(peer, self.unit)}",
            spread,
            _share(self.mark),
            _share(self.goal),
            self._verdict(ratio),
        ]

    def _verdict(self, ratio: float) -> str:
        if ratio >= self.goal:
            return "goal met"
        return "mark met" if ratio >= self.mark else "BELOW MARK"


HEAD = ["case", "ours", "peer", "ratio (min to max)", "mark", "goal", ""]


def render(results: Sequence[Result]) -> str:
    """The table as Markdown, its columns aligned so that it can be read as it is."""
    return columns(HEAD, [result.row() for result in results])


def columns(head: list[str], body: Sequence[list[str]]) -> str:
    rows = [head, *body]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def _share(value: float) -> str:
    return f"{value:.2f}"


def _figure(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:,.1f} {unit}"
