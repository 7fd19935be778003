"""Several transfers side by side: what comes of them in the order given, their failures as they come."""

from __future__ import annotations

import json
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from entrepot.cli import exits, formats
from entrepot.cli.board import Board
from entrepot.cli.plan import Item
from entrepot.cli.screen import Screen
from entrepot.client.errors import EntrepotError
from entrepot.client.types import OnProgress, Phase, Progress

AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What comes of an item: a line for people, facts for programs, and its bytes."""

    line: str
    facts: dict[str, Any]
    size: int


# Transfers the item of this number, for two may look alike; raises EntrepotError.
Send = Callable[[int, OnProgress], Outcome]


@dataclass(frozen=True, slots=True)
class _Ended:
    number: int
    result: Outcome | exits.Failure


@dataclass(frozen=True, slots=True)
class _GoesOn:
    number: int
    progress: Progress


class Batch:
    """Transfers items in a few threads and tells about them in the one that calls `run`."""

    def __init__(
        self,
        items: Sequence[Item],
        send: Send,
        screen: Screen,
        *,
        as_json: bool,
        resumes: bool,
        done: str = "uploaded",
    ) -> None:
        """`done` is what they are in the end."""
        self._items = items
        self._send = send
        self._screen = screen
        self._as_json = as_json
        self._resumes = resumes
        self._done = done
        far = "the server" if done == "uploaded" else ""
        self._board = Board([item.size for item in items], time.monotonic, [item.path for item in items], far)
        self._events: queue.SimpleQueue[_Ended | _GoesOn] = queue.SimpleQueue()
        self._waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._results: dict[int, Outcome | None] = {}
        self._printed = 0

    def run(self) -> list[exits.Failure]:
        """The failures. On SIGINT or SIGTERM: raises KeyboardInterrupt, when it was said how much is safe."""
        for number in range(len(self._items)):
            self._waiting.put(number)
        failures: list[exits.Failure] = []
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            for _ in range(min(AT_ONCE, len(self._items))):
                threading.Thread(target=self._work, daemon=True).start()
            while len(self._results) < len(self._items):
                failures += self._listen()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self._say_what_is_kept()
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
            self._screen.clear()
        return failures

    def _listen(self) -> list[exits.Failure]:
        """Wait for one event, or for the next time to tell how far it is; the failure when it was one."""
        failed: list[exits.Failure] = []
        try:
            event = self._events.get(timeout=self._screen.pause)
        except queue.Empty:
            event = None
        match event:
            case _GoesOn(number, progress):
                self._screen.say(self._about(number, f"resuming at {_share(progress.resumed, progress.total)}"))
            case _Ended(number, Outcome() as outcome):
                self._board.over(number, outcome.size)
                self._results[number] = outcome
                self._print_in_order()
            case _Ended(number, exits.Failure() as failure):
                self._board.over(number, None)
                self._results[number] = None
                self._screen.complain(failure)
                self._print_in_order()
                failed.append(failure)
        self._screen.tick(self._board.line)
        return failed

    def _work(self) -> None:
        while True:
            try:
                number = self._waiting.get_nowait()
            except queue.Empty:
                return
            self._events.put(_Ended(number, self._transfer(number)))

    def _transfer(self, number: int) -> Outcome | exits.Failure:
        item = self._items[number]
        try:
            return self._send(number, self._listener(number))
        except EntrepotError as error:
            return exits.failure(error, item.path)
        except exits.Failure as failure:
            return failure
        except Exception as error:  # an error of ours must not end the others
            return exits.unexpected(error, item.path)

    def _listener(self, number: int) -> OnProgress:
        told = False

        def listen(progress: Progress) -> None:
            nonlocal told
            self._board.note(number, progress)
            # The parts that are there are counted first; it is known how many when another is sent.
            if not told and progress.resumed and (progress.done > progress.resumed or progress.phase in _LATE):
                told = True
                self._events.put(_GoesOn(number, progress))

        return listen

    def _print_in_order(self) -> None:
        """Print each as soon as all before it are printed or failed."""
        while self._printed in self._results:
            self._print(self._printed)
            self._printed += 1

    def _print(self, number: int) -> None:
        outcome = self._results[number]
        if outcome is not None:
            self._screen.answer(json.dumps(outcome.facts) if self._as_json else exits.one_line(outcome.line))

    def _say_what_is_kept(self) -> None:
        while not self._events.empty():
            match self._events.get():  # it ended while this was interrupted
                case _Ended(number, Outcome() as outcome):
                    self._board.over(number, outcome.size)
                    self._results[number] = outcome
        for number in sorted(self._results):
            if number >= self._printed:
                self._print(number)  # what is there is not to be lost because one before it is not
        kept = self._board.kept(lambda number: self._resumes and self._items[number].resumable)
        lines = ["interrupted"]
        if len(self._items) > 1:
            lines[0] += f"; {self._board.ended} of {len(self._items)} files {self._done}"
        until = f" until {formats.moment(kept.until, datetime.now(UTC))}" if kept.until else ""
        if kept.safe:
            said = f"{formats.share(kept.safe, kept.total)} kept{until}. Run the same command to continue."
        elif kept.begun:
            said = f"No part is known to have arrived; what did is kept{until}. Run the same command to continue."
        else:
            said = "Nothing is kept of what was under way. Run the same command to begin again."
        if kept.whole and not kept.safe:
            said += " What was sent to its last byte may be stored all the same."
        self._screen.complain(exits.Failure(exits.INTERRUPTED, lines[0], detail=(said,)))

    def _about(self, number: int, text: str) -> str:
        return f"{self._items[number].path}: {text}" if len(self._items) > 1 else text


_LATE = (Phase.VERIFYING, Phase.PUBLISHING)


def _share(done: int, total: int | None) -> str:
    return f"{formats.size(done)} of {formats.size(total)}" if total else formats.size(done)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
