"""Exit codes, and what a command says when it fails: what happened, and what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

from entrepot.client.errors import (
    AllFailed,
    Attempt,
    ConfigurationError,
    EntrepotError,
    IntegrityError,
    ServerError,
    SourceError,
    TargetExists,
)
from entrepot.client.profile import key_variable

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


# What to do, in the words of this command, where the error has those of a program that speaks HTTP or Python.
_MISFIT = "Update this command or the server: they do not fit, or something else answers between them."
_FIXES = {
    "already_published": "Run the same command again.",
    "digest_mismatch": "Run the same command again: the bytes were changed on the way.",
    "empty_part": "Run the same command again.",
    "invalid_parts": "Run the same command again, with --no-resume.",
    "method_not_allowed": _MISFIT,
    "range_not_satisfiable": "Run the same command again, with --no-resume.",
    "timed_out": "Run the same command again; on a slow line with fewer parts at a time.",
    "unsupported_digest": _MISFIT,
    "forbidden": "Use a key that may do this: entrepot whoami shows which one is used.",
    "invalid_request": "Correct what is named, and run the command again.",
    "precondition_failed": "See what is there now, and decide again: entrepot files ls --json",
    "rate_limited": "Wait a moment, and run the same command again.",
    "stalled": "Run the same command again; on a slow line with a larger --timeout.",
    "too_large": "Choose a smaller file, or raise the limit in the server's settings.",
    "validation_failed": "Correct what is named, and run the command again.",
}


def failure(error: EntrepotError, about: str = "", fix: str = "") -> Failure:
    """An error of the client as the end of a command: what, fix, code and request. `about` names what it concerns;
    `fix` is what to do when the command knows better than the error."""
    message, lines = error.message, []
    if isinstance(error, AllFailed):
        ways = dict.fromkeys(_way(each) for each in error.attempts)
        if len(ways) == 1:  # there is one thing wrong, by every route
            return failure(error.attempts[-1].error, about, fix)
        message, lines = "The upload failed everywhere.", list(ways)
    lines.append(f"code: {error.code}{_traced(error)}")
    said = one_line(f"{about}: {message}" if about else message)
    return Failure(code_of(error), said, one_line(fix or _fix(error)), tuple(map(one_line, lines)))


def _way(attempt: Attempt) -> str:
    """What went wrong at a server; by which of its routes says nothing to people."""
    message = attempt.error.message
    return f"{message if attempt.url in message else f'{attempt.url}: {message}'}{_traced(attempt.error)}"


def _fix(error: EntrepotError) -> str:
    last = error.attempts[-1].error if isinstance(error, AllFailed) else error
    if last.code in ("unauthorized", "http_401"):
        name = key_variable(os.environ)
        how = (
            f"Correct {name}, or unset it and run entrepot login"
            if name
            else "Save a key that it takes: entrepot login"
        )
        return f"{how}. entrepot whoami shows which key is used."
    return _FIXES.get(last.code, last.fix).replace("part_size", "--part-size")


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
    """Text that cannot move the cursor or change colours: control characters are shown as escapes (docs/threats.md
    B06)."""
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def one_line(text: str) -> str:
    """As `printable`, for a name: a line break is shown as an escape too."""
    return printable(text).replace("\n", "\\n")
