"""The benchmarks are never part of the tests; that their table tells the truth is."""

from __future__ import annotations

import pytest
from benchmarks.run import CASES, main, missing, skipped
from benchmarks.table import Result, render


def test_the_table_shows_medians_and_the_spread_of_the_ratios():
    pairs = [(50.0, 100.0), (90.0, 100.0), (60.0, 100.0)]
    line = render([Result("get-8k", "nginx", "req/s", 0.25, 0.65, pairs)]).splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["get-8k", "60.0 req/s", "nginx: 100 req/s", "0.60 (0.50 to 0.90)", "0.25", "0.65", "mark met"]


@pytest.mark.parametrize(("ours", "verdict"), [(0.2, "BELOW MARK"), (0.3, "mark met"), (0.4, "goal met")])
def test_a_result_is_held_against_its_mark_and_goal(ours, verdict):
    assert verdict in render([Result("x", "nginx", "req/s", 0.25, 0.35, [(ours, 1.0)])])


def test_a_missing_peer_is_named():
    case = CASES[0]
    assert "skipped: no wrk" in render([skipped(case, "no wrk (apt install wrk)")])


def test_the_columns_line_up():
    lines = render([skipped(case, "no peer") for case in CASES]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == len(CASES) + 2


def test_every_need_of_a_case_is_known():
    for case in CASES:
        missing(case)


def test_an_unknown_case_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["get-9k"])
    assert "there is no case get-9k" in capsys.readouterr().err
