"""The command line: parse, run one command, turn failures into exit codes."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence

from entrepot import __version__
from entrepot.cli import exits, keys, serve, upload

_EXAMPLES = """examples:
  entrepot serve                          start a server for yourself on this machine
  entrepot upload photo.png               upload a file; its URL is printed
  URL=$(entrepot upload --quiet clip.mp4) use the URL in a script
  entrepot keys create --json             make one more API key

exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 not authorised, 5 conflict, 6 integrity, 7 some files failed,
130 interrupted
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        hint = _suggestion(message)
        self.exit(exits.USAGE, f"entrepot: {message}{hint}\nTry: {self.prog} --help\n")


def _suggestion(message: str) -> str:
    """For `invalid choice: 'uplaod' (choose from ...)`: the command that was meant."""
    words = message.split("'")
    if "invalid choice" not in message or len(words) < 2:
        return ""
    close = difflib.get_close_matches(words[1], ["serve", "upload", "keys", "create", "list", "revoke"], 1)
    return f"\nDid you mean: {close[0]}?" if close else ""


def parser() -> argparse.ArgumentParser:
    """The whole command line; tests hold the documentation against it."""
    root = _Parser(
        prog="entrepot",
        description="The self-hosted media store and CDN for AI applications, wire-compatible with fal's clients.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"entrepot {__version__}")
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for family in (serve, upload, keys):
        family.add_to(commands)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = parser().parse_args(argv)
    try:
        return int(args.run(args))
    except exits.Failure as failure:
        exits.complain(failure.message, failure.fix)
        return failure.code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output has left
        return exits.FAILURE
    except KeyboardInterrupt:
        exits.complain("interrupted")
        return exits.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
