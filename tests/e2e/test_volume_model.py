"""The volume beside a dictionary (docs/threats.md I03, B05, B11): whatever is done at its two doors and by a program on
its disk, in whatever order, answers and disk are what the dictionary says.

A plain run takes the same examples each time. `make storm EXAMPLES=2000` takes new ones; what it finds is printed as
the lines of a program, which go to the end of this file as a test, so that no plain run forgets them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from support.server import Server, running
from support.volumemachine import VolumeMachine

EXAMPLES = int(os.environ.get("ENTREPOT_STORM_EXAMPLES", "0"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("volume"), workers="2", sweep_interval="0.5") as shared:
        yield shared


def machine(server: Server) -> type[VolumeMachine]:
    return type("TheVolume", (VolumeMachine,), {"server": server})


PLAIN = settings(
    derandomize=True,
    database=None,
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(PLAIN, derandomize=False, max_examples=max(EXAMPLES, 1), stateful_step_count=60, print_blob=True)


@pytest.mark.timeout(600 + 4 * EXAMPLES)
def test_i03_any_sequence_of_deeds_leaves_what_the_dictionary_says(server: Server) -> None:
    run_state_machine_as_test(machine(server), settings=LONG if EXAMPLES else PLAIN)


def test_a_finish_that_is_refused_and_then_given_up_leaves_nothing(server: Server) -> None:
    """What the dictionary was told of first; as Hypothesis prints it."""
    state = machine(server)()
    state.choose_names(names=["a", "A"])
    state.begin_parts(count=1, old=False, order=[1, 2, 3], place=(0, 1))
    state.program_removes(place=(0,))
    state.begin_parts(count=1, old=False, order=[1, 2, 3], place=(0, 1))
    state.send_part(same=False, size=0, which=0)
    state.make_folder(place=(0, 1))
    state.complete(which=0)
    state.cancel(which=0)
    state.nothing_is_staged_but_parts()
    state.the_disk_is_what_the_model_says()
    state.teardown()
