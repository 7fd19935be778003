"""Exit codes, and what a command says when it fails: what happened, and what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

from entrepot.client.errors import (
    AllFailed,
    ConfigurationError,
    EntrepotError,
    IntegrityError,
    ServerError,
    SourceError,
    TargetExists,
)

OK = 0
FAILURE = 1
USAGE = 2
NOT_FOUND = 3
AUTH = 4
CONFLICT = 5
INTEGRITY = 6
PARTIAL = 7
INTERRUPTED = 130
READER_LEFT = 141  # as a shell says of a program that SIGPIPE ended

BY_STATUS = {401: AUTH, 403: AUTH, 404: NOT_FOUND, 409: CONFLICT, 410: NOT_FOUND, 412: CONFLICT}


class Failure(Exception):
    """Ends the command with a message and an exit code. `detail` are further lines."""

    def __init__(self, code: int, message: str, fix: str = "", detail: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix
        self.detail = detail


def failure(error: EntrepotError, about: str = "") -> Failure:
    """An error of the client as the end of a command: what, fix, code and request. `about` names what it concerns."""
    message, lines = error.message, []
    if isinstance(error, AllFailed):
        message = "The upload failed everywhere."
        tried = [(f"{each.url} ({each.repository})", each.error) for each in error.attempts]
        lines = [f"{way}: {each.message}{_traced(each)}" for way, each in tried]
    lines.append(f"code: {error.code}{_traced(error)}")
    said = one_line(f"{about}: {message}" if about else message)
    return Failure(code_of(error), said, one_line(error.fix), tuple(map(one_line, lines)))


@contextmanager
def needing_server() -> Iterator[None]:
    """For what imports the server. Raises Failure where its packages are not installed."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "entrepot":
            raise
        from entrepot.client.extras import install_command

        said = f"This needs the server's packages, which are not installed here ({error.name} is missing)."
        raise Failure(FAILURE, said, install_command("server")) from None


def unexpected(error: Exception, about: str = "") -> Failure:
    """What no command foresees: one of this machine's refusals, or a fault of ours, whose traceback is for those who
    want to see it."""
    if os.environ.get("ENTREPOT_DEBUG"):
        import traceback

        print(printable("".join(traceback.format_exception(error))), file=sys.stderr, end="")
    if isinstance(error, OSError) and error.strerror:
        said, fix = f"{error.strerror}: {error.filename}" if error.filename else error.strerror, ""
    else:
        said, fix = f"{type(error).__name__}: {error}", "Report this, with what ENTREPOT_DEBUG=1 shows."
    return Failure(FAILURE, one_line(f"{about}: {said}" if about else said), fix)


def code_of(error: EntrepotError) -> int:
    if isinstance(error, IntegrityError):
        return INTEGRITY
    if isinstance(error, ConfigurationError):
        return USAGE
    if isinstance(error, TargetExists):
        return CONFLICT
    if isinstance(error, SourceError) and isinstance(error.__cause__, FileNotFoundError):
        return NOT_FOUND
    return BY_STATUS.get(error.status_code, FAILURE) if isinstance(error, ServerError) else FAILURE


def code_of_all(successes: int, failures: Sequence[Failure]) -> int:
    """The one code of all failures; 7 when something succeeded beside them."""
    codes = {failure.code for failure in failures}
    if not codes:
        return OK
    if successes:
        return PARTIAL
    return codes.pop() if len(codes) == 1 else FAILURE


def _traced(error: EntrepotError) -> str:
    request = getattr(error, "request_id", "")
    return f" (request {request})" if request else ""


def complain(message: str, fix: str = "", detail: tuple[str, ...] = ()) -> None:
    """Say on standard error what went wrong. Control characters of file names and servers are made visible."""
    lines = [message, *(f"  {line}" for line in (f"fix: {fix}" if fix else "", *detail) if line)]
    name = "\x1b[1;31mentrepot:\x1b[0m" if coloured(sys.stderr, os.environ) else "entrepot:"
    print(f"{name} {printable(chr(10).join(lines))}", file=sys.stderr)


def coloured(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether to use colour: NO_COLOR, FORCE_COLOR, CLICOLOR and TERM first, then whether it is a terminal."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return environ.get("CLICOLOR") != "0" and environ.get("TERM") != "dumb" and stream.isatty()


def printable(text: str) -> str:
    """Text that cannot move the cursor or change colours: control characters are shown as escapes (hostile.md B06)."""
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def one_line(text: str) -> str:
    """As `printable`, for a name: a line break is shown as an escape too."""
    return printable(text).replace("\n", "\\n")
