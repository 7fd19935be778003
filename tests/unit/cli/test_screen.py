"""How far it is, where there is no terminal."""

from __future__ import annotations

import pytest

from entrepot.cli.screen import Screen


def test_elsewhere_than_on_a_terminal_there_is_a_line_every_few_seconds_unless_it_is_unwanted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("entrepot.cli.screen.time.monotonic", lambda: now[0])
    shown, quiet, off = (
        Screen(quiet=False, environ={}),
        Screen(quiet=True),
        Screen(quiet=False, environ={"ENTREPOT_NO_PROGRESS": "1"}),
    )
    for _ in range(60):
        now[0] += 0.25
        for each in (shown, quiet, off):
            each.tick(lambda width: f"{now[0]:g} of {width}")
    assert capsys.readouterr().err == "105 of None\n110 of None\n115 of None\n"
