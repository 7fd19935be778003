"""Exit codes, and what a command says when it fails: what happened, and what to do."""

from __future__ import annotations

import sys

OK = 0
FAILURE = 1
USAGE = 2
NOT_FOUND = 3
AUTH = 4
CONFLICT = 5
INTEGRITY = 6
PARTIAL = 7
INTERRUPTED = 130

BY_STATUS = {401: AUTH, 403: AUTH, 404: NOT_FOUND, 409: CONFLICT, 410: NOT_FOUND, 412: CONFLICT}


class Failure(Exception):
    """Ends the command with a message and an exit code."""

    def __init__(self, code: int, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix


def complain(message: str, fix: str = "") -> None:
    """Say on standard error what went wrong. Control characters of file names and servers are made visible."""
    text = f"entrepot: {message}" + (f"\n  fix: {fix}" if fix else "")
    print(printable(text), file=sys.stderr)


def printable(text: str) -> str:
    """Text that cannot move the cursor or change colours: control characters are shown as escapes (hostile.md B06)."""
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
