"""`entrepot upload`: files up, URLs out."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from entrepot.cli import exits
from entrepot.client import profile
from entrepot.client.errors import ConfigurationError, EntrepotError, IntegrityError, ServerError

_EPILOG = """The URLs alone go to standard output, one a line; everything else to standard error.
The server and key come from ENTREPOT_URL and ENTREPOT_KEY, then FAL_KEY, then the saved profile.

examples:
  entrepot upload photo.png
  entrepot upload *.png --json
"""
_PROGRESS_SECONDS = 2.0


def add_to(commands: Any) -> None:
    sub = commands.add_parser(
        "upload",
        help="upload files and print their URLs",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.add_argument("files", nargs="+", metavar="FILE", type=Path)
    sub.add_argument("--json", action="store_true", help="print one JSON object a file: url, size, digest, ...")
    sub.add_argument("--quiet", "-q", action="store_true", help="no progress")
    sub.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        target = profile.load()
    except ConfigurationError as error:
        raise exits.Failure(exits.USAGE, error.message, error.fix) from None
    codes = [_upload_one(args, target, path) for path in args.files]
    failed = [code for code in codes if code != exits.OK]
    if not failed:
        return exits.OK
    return failed[0] if len(failed) == len(codes) else exits.PARTIAL


def _upload_one(args: argparse.Namespace, target: profile.Profile, path: Path) -> int:
    from entrepot.client.plain import send_file  # loads the HTTP library, which --help does not need

    try:
        reply = send_file(target, path, None if args.quiet else _Progress(path))
    except OSError as error:
        exits.complain(f"{path}: {error.strerror or error}")
        return exits.NOT_FOUND if isinstance(error, FileNotFoundError) else exits.FAILURE
    except EntrepotError as error:
        exits.complain(f"{path}: {error.message}", _with_request(error))
        return _code(error)
    url = reply.pop("access_url")
    reply.pop("uploaded", None)
    print(json.dumps({"url": url, "file": str(path), **reply}) if args.json else url, flush=True)
    return exits.OK


def _with_request(error: EntrepotError) -> str:
    request = getattr(error, "request_id", "")
    return f"{error.fix} (request {request})" if request else error.fix


def _code(error: EntrepotError) -> int:
    if isinstance(error, IntegrityError):
        return exits.INTEGRITY
    return exits.BY_STATUS.get(error.status, exits.FAILURE) if isinstance(error, ServerError) else exits.FAILURE


class _Progress:
    """A line every few seconds on long uploads; short ones are silent."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._last = time.monotonic()

    def __call__(self, sent: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last < _PROGRESS_SECONDS:
            return
        self._last = now
        share = f"{sent / 1e6:.0f} of {total / 1e6:.0f} MB, {100 * sent // max(total, 1)} %"
        print(exits.printable(f"{self._name}: {share}"), file=sys.stderr, flush=True)
