"""What goes between here and the volume: shown or carried, several at a time, and summed up."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from entrepot.cli import exits
from entrepot.cli.batch import Batch, Outcome
from entrepot.cli.files.showing import Planned, show_plan, tell_same
from entrepot.cli.plan import Item
from entrepot.cli.screen import Screen
from entrepot.client.types import OnProgress


class Way(Protocol):
    """One file: from where to where."""

    @property
    def item(self) -> Item: ...

    def planned(self) -> Planned: ...


W = TypeVar("W", bound=Way)


@dataclass(frozen=True, slots=True)
class Cargo(Generic[W]):
    """What is to be transferred where, the folders that are to be made, and what was asked for in vain."""

    ways: list[W] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    failures: list[exits.Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Carrier(Generic[W]):
    """How cargo is carried: `make` makes a folder there, `transfer` brings one file and says too whether bytes were
    moved for it; `done` is the word for what was."""

    make: Callable[[str], object]
    transfer: Callable[[W, OnProgress], tuple[Outcome, bool]]
    done: str

    def carry(self, cargo: Cargo[W], args: argparse.Namespace, screen: Screen) -> int:
        """Bring all, or with `--dry-run` show what would be brought; the exit code."""
        for failure in cargo.failures:
            screen.complain(failure)
        if args.dry_run:
            show_plan([way.planned() for way in cargo.ways], as_json=args.json, end=f"nothing was {self.done}")
            return exits.code_of_all(len(cargo.ways), cargo.failures)
        for folder in cargo.folders:
            self.make(folder)
        failures = cargo.failures + (self._bring(cargo.ways, args, screen) if cargo.ways else [])
        total = len(cargo.ways) + len(cargo.failures)
        if failures and total > 1:
            print(f"{total - len(failures)} of {total} {self.done}, {len(failures)} failed", file=sys.stderr)
        return exits.code_of_all(total - len(failures), failures)

    def _bring(self, ways: list[W], args: argparse.Namespace, screen: Screen) -> list[exits.Failure]:
        same: list[W] = []

        def bring(number: int, progress: OnProgress) -> Outcome:
            outcome, moved = self.transfer(ways[number], progress)
            if not moved:
                same.append(ways[number])
            return outcome

        batch = Batch(
            [way.item for way in ways], bring, screen, as_json=args.json, resumes=not args.no_resume, done=self.done
        )
        try:
            failures = batch.run()
        except KeyboardInterrupt:
            # At once: an orderly end would wait for threads that wait for the network.
            os._exit(exits.INTERRUPTED)
        tell_same(len(same), screen)
        return failures
