"""The benchmarks are never part of the tests; that their table tells the truth is."""

from __future__ import annotations

import json
import os
from itertools import chain

import pytest
from benchmarks.against import Comparison, Figure, Sample, as_json, order, per_request, render_comparisons, resolved
from benchmarks.cpu import Cpu, cpu_seconds, listening_inodes
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
        missing(case.needs + case.peer_needs)


def test_an_unknown_case_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["get-9k"])
    assert "there is no case get-9k" in capsys.readouterr().err


PAIRS = [
    (Sample(100.0, 40.0, 0.0), Sample(110.0, 42.0, 1.0)),
    (Sample(200.0, 80.0, 2.0), Sample(180.0, 80.0, 1.0)),
    (Sample(120.0, 50.0, 4.0), Sample(150.0, 50.0, 1.0)),
]


def test_versions_are_compared_by_medians_and_by_pairs():
    table = render_comparisons([Comparison("get-8k", "req/s", PAIRS)]).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert rows == [
        ["get-8k", "req/s", "120", "150", "1.250", "1.100 (0.900 to 1.250)"],
        ["get-8k", "CPU µs/request", "50.0", "50.0", "1.000", "1.000 (1.000 to 1.050)"],
        ["get-8k", "background CPU µs/request", "2.0", "1.0", "0.500", "0.375 (0.250 to 0.500)"],
    ]


def test_without_cpu_times_only_rates_are_compared():
    assert list(Comparison("x", "MB/s", [(Sample(1.0), Sample(2.0))]).figures()) == ["MB/s"]


def test_a_figure_that_was_zero_has_no_ratio():
    figure = Figure([(0.0, 0.0), (0.0, 3.0)])
    assert figure.ratio_of_medians is None
    assert figure.ratios == []
    assert figure.as_json()["median_of_ratios"] is None


def test_a_comparison_in_json():
    told = json.loads(as_json("abc", [Comparison("get-8k", "req/s", PAIRS)]))
    rate = told["cases"]["get-8k"]["req/s"]
    assert told["revision"] == "abc"
    assert rate["pairs"] == [[100.0, 110.0], [200.0, 180.0], [120.0, 150.0]]
    assert (rate["ratio_of_medians"], rate["median_of_ratios"]) == (1.25, 1.1)


def test_versions_alternate_as_a_b_b_a():
    assert list(chain.from_iterable(map(order, range(4)))) == [0, 1, 1, 0, 0, 1, 1, 0]


def test_cpu_times_are_told_for_each_request():
    assert per_request(Cpu(1.0, 0.5), Cpu(3.0, 0.75), 1000) == (2000.0, 250.0)
    assert per_request(None, None, 1000) == (None, None)


def test_cpu_times_count_children_that_ended():
    ticks = os.sysconf("SC_CLK_TCK")
    fields = ["S", *("7",) * 10, str(ticks), str(2 * ticks), str(4 * ticks), str(8 * ticks), "20", "0"]
    assert cpu_seconds(f"4711 (a name) of (two words) {' '.join(fields)}") == 15


def test_processes_that_answer_are_known_by_their_socket():
    table = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100 0 0 10 0
   2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1 0 100 0 0 10 0
"""
    assert listening_inodes(table, 8080) == {"111"}


def test_an_unknown_revision_is_refused(capsys):
    assert resolved("no-such-revision") is None
    with pytest.raises(SystemExit):
        main(["--against", "no-such-revision", "get-8k"])
    assert "there is no revision no-such-revision" in capsys.readouterr().err


def test_json_is_for_comparisons(capsys):
    with pytest.raises(SystemExit):
        main(["--json"])
    assert "--json goes with --against" in capsys.readouterr().err
