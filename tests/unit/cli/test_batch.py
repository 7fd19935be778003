"""What a command says of uploads when it is interrupted, and files that are named like the standard input."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from entrepot.cli import exits, login, plan
from entrepot.cli.batch import Batch, Outcome
from entrepot.cli.plan import Item
from entrepot.cli.screen import Screen
from entrepot.client.types import OnProgress


def test_a_file_named_like_the_standard_input_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "-").write_bytes(b"file")
    monkeypatch.chdir(tmp_path)
    (item,) = plan.make(["?"], None, lambda _: None).items
    assert (item.path, item.name, item.size) == (os.path.join(".", "-"), "-", 4)


def test_an_upload_that_ends_while_the_command_is_interrupted_is_not_lost(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()

    def send(number: int, progress: OnProgress) -> Outcome:
        return Outcome("http://host/file", {}, 1)

    batch = Batch([Item("a", "a", 1)], send, Screen(quiet=True), as_json=False, resumes=True)
    put = batch._events.put

    class Events:
        """Interrupts who waits for the first event, when it is there."""

        def __getattr__(self, name: str) -> object:
            return getattr(batch_events, name)

        def put(self, event: object) -> None:
            put(event)  # type: ignore[arg-type]
            ended.set()

        def get(self, timeout: float | None = None) -> object:
            if timeout is not None:
                ended.wait(60)
                raise KeyboardInterrupt
            return batch_events.get()

    batch_events = batch._events
    monkeypatch.setattr(batch, "_events", Events())
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        batch.run()
    assert capsys.readouterr().out == "http://host/file\n"


def test_a_key_is_not_read_from_a_closed_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(exits.Failure):
        login._read_key("http://host")
