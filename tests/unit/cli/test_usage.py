"""What the command answers to how it is typed: help, flags before the verb, and what listings look like."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO

import pytest

from entrepot.cli import exits
from entrepot.cli.files import showing, trash
from entrepot.cli.main import main
from entrepot.cli.root import parse, parser
from entrepot.client.entries import Entry, Trashed

DAY = datetime(2026, 11, 30, 12, tzinfo=UTC)


def commands(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from commands(each)


@pytest.mark.parametrize("words", ["", "files", "keys"])
def test_n6_a_command_without_its_verb_shows_its_help(capsys, words):
    assert main(words.split()) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"usage: entrepot {words}".rstrip()) and said.err == ""


def test_n6_help_is_no_wider_than_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in commands(parser()):
        for line in command.format_help().splitlines():
            assert len(line) <= 80, f"{command.prog}: {line}"


@pytest.mark.parametrize(
    "words",
    [
        "--profile work --json files ls -l a",
        "files --profile work --json ls -l a",
        "--profile=work files --json ls -l a",
        "files ls -l a --json --profile work",
    ],
)
def test_n6_a_flag_may_stand_before_the_verb(words):
    args = parse(words.split())
    assert (args.verb, args.profile, args.json, args.long, args.paths) == ("ls", "work", True, True, ["a"])


def test_n6_a_flag_before_a_verb_that_does_not_know_it_is_refused(capsys):
    for words, said in (("--json login", "unrecognized arguments: --json"), ("--frob ls", "invalid choice")):
        assert main(words.split()) == 2
        assert said in capsys.readouterr().err
    assert parse(["upload", "--", "--json"]).paths == ["--json"]


def test_n6_a_long_listing_has_types_and_a_heading_for_people(monkeypatch):
    terminal = StringIO()
    monkeypatch.setattr("sys.stdout", terminal)
    assert showing.row(Entry("a", True, 5, updated_at=DAY), "a", exact=False).count("\t") == 2
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    lines = [showing.heading(exact=False)]
    lines += [showing.row(Entry(name, name == "a", 5, updated_at=DAY), name, exact=False) for name in ("a", "b")]
    assert [line.split()[0] for line in lines] == ["Type", "file", "folder"]
    assert [line.rindex("  ") for line in lines] == [32, 32, 32]


def test_n6_an_id_of_the_trash_is_shown_as_short_as_it_is_its_own():
    known = [Trashed(f"01a22e9fd206ad{end}", end, True, 1) for end in ("00aa11bb", "00aa22cc", "ff")]
    short = [trash.short_id(one.id, known) for one in known]
    assert short == ["01a22e9fd206ad00aa1", "01a22e9fd206ad00aa2", "01a22e9fd206adff"]
    for text, one in zip(short, known, strict=True):
        assert trash._meant(text, known) == [one]
    for text, code in (("01a22e9f", exits.USAGE), ("ffff", exits.NOT_FOUND), ("01", exits.NOT_FOUND)):
        with pytest.raises(exits.Failure) as refused:
            trash._meant(text, known)
        assert refused.value.code == code
