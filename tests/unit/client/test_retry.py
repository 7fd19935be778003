"""When to try again: pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.client.errors import (
    ConfigurationError,
    ConnectionFailed,
    EntrepotError,
    IntegrityError,
    ServerError,
    SourceChanged,
    Stalled,
    TlsFailed,
)
from entrepot.client.retry import LONGEST_WAIT, Policy, hasty, is_elsewhere, is_transient, passing

TRANSIENT = {408, 409, 425, 429, 500, 502, 503, 504}


def refused(status: int, code: str = "", retry_after: float | None = None) -> ServerError:
    return ServerError("no", "", status, code, "", retry_after)


@given(st.integers(1, 9), st.floats(0, 1))
def test_pauses_grow_with_jitter_up_to_a_ceiling(attempt: int, chance: float) -> None:
    pause = Policy().pause(attempt, ConnectionFailed("gone"), chance)
    middle = min(0.1 * 2 ** (attempt - 1), 30.0)
    assert pause is not None and middle * 0.5 <= pause <= middle * 1.5


@given(st.integers(10, 1000), st.floats(0, 1))
def test_the_tenth_attempt_is_the_last(attempt: int, chance: float) -> None:
    assert Policy().pause(attempt, ConnectionFailed("gone"), chance) is None


@given(st.integers(1, 9), st.floats(0, 1), st.floats(0, LONGEST_WAIT))
def test_what_the_server_asks_for_is_never_undercut(attempt: int, chance: float, asked: float) -> None:
    pause = Policy().pause(attempt, refused(429, retry_after=asked), chance)
    assert pause is not None and pause >= asked


@given(st.floats(LONGEST_WAIT, exclude_min=True), st.floats(0, 1))
def test_who_asks_for_very_long_is_not_waited_for(asked: float, chance: float) -> None:
    assert Policy().pause(1, refused(503, retry_after=asked), chance) is None


@given(st.integers(100, 599))
def test_only_what_may_pass_is_tried_again_and_a_refusal_never_elsewhere(status: int) -> None:
    assert is_transient(refused(status)) == (status in TRANSIENT)
    assert is_elsewhere(refused(status)) == (status >= 500 or status == 408)


def test_damage_on_the_servers_disk_is_not_asked_for_again_and_garbled_bytes_are_sent_again() -> None:
    assert not is_transient(refused(500, "integrity_failed"))
    for garbled in (refused(400, "digest_mismatch"), IntegrityError("other bytes")):
        assert is_transient(garbled) and not is_elsewhere(garbled)


@pytest.mark.parametrize("kind", [EntrepotError, ConfigurationError, SourceChanged, TlsFailed])
def test_what_is_wrong_here_is_neither_tried_again_nor_elsewhere(kind: type[EntrepotError]) -> None:
    assert not is_transient(kind("no")) and not is_elsewhere(kind("no"))


def test_a_stall_is_tried_again_and_elsewhere() -> None:
    assert is_transient(Stalled("slow")) and is_elsewhere(Stalled("slow"))


@given(st.integers(1, 20))
def test_nobody_tries_more_often_in_haste(attempts: int) -> None:
    assert hasty(Policy(attempts=attempts)).attempts == min(attempts, 3)


@given(st.integers(1, 9), st.floats(0, 1))
def test_who_may_go_elsewhere_does_so_soon_and_who_may_not_waits_as_long_as_ever(attempt: int, chance: float) -> None:
    policy = passing(Policy(), server=True)
    assert (policy.pause(attempt, ConnectionFailed("gone"), chance) is None) == (attempt >= 3)
    assert policy.pause(attempt, refused(503, retry_after=60.0), chance) is None
    assert policy.pause(attempt, refused(429, retry_after=60.0), chance) == 60.0
    assert passing(Policy(), server=False).pause(1, refused(503, retry_after=60.0), chance) == 60.0
