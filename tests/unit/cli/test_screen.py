"""How far it is, where there is no terminal."""

from __future__ import annotations

import json

import pytest

from entrepot.cli.screen import Screen
from entrepot.client.asking import Context, ask
from entrepot.client.commands import Reply, Request
from support.scripted import run


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


@pytest.mark.parametrize("quiet", [False, True])
def test_s2_what_a_server_asks_to_wait_for_is_said_once(capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    screen = Screen(quiet=quiet, environ={})
    context = Context(lambda: 0.0, lambda: 0.5, lambda: "unique", on_wait=screen.waits)
    body = json.dumps(
        {"message": "Too many unfinished uploads.", "fix": "Abort some.", "code": "rate_limited"}
    ).encode()
    busy = [Reply(429, {"retry-after": "60"}, body)] * 3
    passing = [Reply(503, {}, b"")]
    request = Request("POST", "http://a/files/upload", {}, b"x")
    for _ in range(2):  # two transfers
        run(ask(context, lambda: request), iter([*busy, *passing, Reply(200, {}, b"{}")]), [])
    screen.tick(lambda width: "")
    told = "The server asks to wait 60 s: Too many unfinished uploads. Abort some.\n"
    assert capsys.readouterr().err == ("" if quiet else told)
