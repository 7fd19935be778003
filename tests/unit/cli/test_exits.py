"""What a command says when the client failed, and with which code it ends."""

from __future__ import annotations

import pytest

from entrepot.cli import exits
from entrepot.client.errors import (
    AllFailed,
    Attempt,
    ConfigurationError,
    ConnectionFailed,
    IntegrityError,
    ServerError,
    SourceError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ServerError("m", "f", 401), 4),
        (ServerError("m", "f", 403), 4),
        (ServerError("m", "f", 404), 3),
        (ServerError("m", "f", 410), 3),
        (ServerError("m", "f", 412), 5),
        (ServerError("m", "f", 500), 1),
        (IntegrityError("m"), 6),
        (ConfigurationError("m"), 2),
        (ConnectionFailed("m"), 1),
        (SourceError("m"), 1),
    ],
    ids=lambda value: str(getattr(value, "code", value)),
)
def test_each_kind_of_failure_has_its_code(error, code):
    assert exits.code_of(error) == code


def test_every_way_that_failed_has_a_line_of_its_own():
    ways = [
        Attempt("http://a", "fal_v3", ServerError("It is ill.", "", 500, "internal", "r1")),
        Attempt("http://b", "fal", ConnectionFailed("It is away.", "Look for it.")),
    ]
    failure = exits.failure(AllFailed(ways), "x.png")
    assert failure.message == "x.png: The upload failed everywhere."
    assert failure.fix == "Look for it."
    assert failure.detail == (
        "http://a: It is ill. (request r1)",
        "http://b: It is away.",
        "code: all_failed",
    )


def test_n4_what_is_wrong_by_every_route_is_said_once():
    away = ConnectionFailed("http://a cannot be reached: Connection refused.", "Look for it.")
    failure = exits.failure(AllFailed([Attempt("http://a", "fal_v3", away), Attempt("http://a", "fal", away)]), "x.png")
    assert failure.message == f"x.png: {away.message}"
    assert (failure.fix, failure.detail) == ("Look for it.", ("code: connection_failed",))


def test_names_of_files_cannot_act_on_a_terminal():
    said = exits.failure(SourceError("a\x1b[2J\n\u202eb: gone"), "a\x1b[2J\n\u202eb").message
    assert said.isprintable() and "\\x1b" in said and "\\n" in said and "\\u202e" in said


class Stream:
    def __init__(self, terminal: bool) -> None:
        self.isatty = lambda: terminal


@pytest.mark.parametrize(
    ("environ", "terminal", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"CLICOLOR": "0"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
    ],
    ids=str,
)
def test_colour_is_used_where_it_is_wanted(environ, terminal, wanted):
    assert exits.coloured(Stream(terminal), environ) is wanted  # type: ignore[arg-type]
