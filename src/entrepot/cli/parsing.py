"""The argument parser of the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from entrepot.cli import exits, spelling
from entrepot.cli.helptext import HelpText


class Parser(argparse.ArgumentParser):
    """The parser of the command line, or of one command.

    Flags are never abbreviated: a script with one would break when another with that beginning comes. `add_late` adds
    flags whose modules only this command needs: when it is the command that was given, or when `complete` is called.
    """

    def __init__(self, add_late: Callable[[argparse.ArgumentParser], None] | None = None, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "allow_abbrev": False, "formatter_class": HelpText})
        self._add_late = add_late

    def complete(self) -> None:
        """Add the late flags, unless it was done. Raises Failure where their packages are not installed."""
        add, self._add_late = self._add_late, None
        if add:
            add(self)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        self.complete()
        return super().parse_known_args(args, namespace)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print, and let errors of the stream out: argparse ignores them."""
        print(message, end="", file=file or sys.stderr)

    def error(self, message: str) -> None:  # type: ignore[override]
        self.refuse(message, spelling.meant(message))

    def refuse(self, message: str, hint: str) -> None:
        """End the process with what is wrong, and what may have been meant."""
        text = exits.printable(spelling.without_secrets(message) + hint)
        self.exit(exits.USAGE, f"entrepot: {text}\nTry: {self.prog} --help\n")
