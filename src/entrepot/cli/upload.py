"""`entrepot upload`: files up, URLs out."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from entrepot.cli import exits, formats, plan
from entrepot.cli.plan import Item, Plan

if TYPE_CHECKING:
    from entrepot.cli.batch import Outcome
    from entrepot.client.types import FileUrl, StorageSettings

_EPILOG = """The URLs alone go to standard output, one a line, in the order of the files; all else to standard error.
A folder stands for all files in it, a quoted pattern ('*.png', 'shots/**/*.png') for the files that match, and - for
the standard input. What was cut short goes on when the same command is run again. The server and the key come from
ENTREPOT_URL and ENTREPOT_KEY, then FAL_KEY, then the saved profile (entrepot login).

examples:
  entrepot upload photo.png
  entrepot upload --expires 7d --private renders/ 'shots/*.exr'
  ffmpeg ... | entrepot upload - --name clip.mp4
  entrepot upload --dry-run .
"""


def add_to(commands: Any) -> None:
    sub = commands.add_parser(
        "upload",
        help="upload files and print their URLs",
        epilog=_EPILOG,
    )
    add = sub.add_argument
    add("paths", nargs="+", metavar="PATH", help="a file, a folder, a quoted pattern, or - for the standard input")
    add("--expires", metavar="WHEN", type=formats.parse_lifetime, help="never, immediate (a minute), 90m, 12h, 7d, 1y")
    add("--private", action="store_true", help="only your account can read it")
    add("--content-type", metavar="TYPE", help="such as image/png; else found by name, then by the bytes")
    add("--name", help="the file's name at the end of its URL; for one file")
    add("--json", action="store_true", help="print one JSON object a file: url, file, size, digest, ...")
    add("--quiet", "-q", action="store_true", help="errors only, no progress and notes")
    add("--dry-run", "-n", action="store_true", help="show what would be uploaded, and send nothing")
    add("--profile", metavar="NAME", help="the saved server and key to use")
    add("--no-skip-existing", action="store_true", help="send the bytes even when the account holds them already")
    add("--no-resume", action="store_true", help="begin anew, and remember nothing for the next time")
    add("--part-size", metavar="SIZE", type=formats.parse_bytes, help="of parts of large files [10M]")
    add("--concurrency", metavar="N", type=formats.parse_count, help="parts of a file at a time [10]")
    add("--timeout", metavar="SECONDS", type=formats.parse_seconds, help="how long no byte may move [120]")
    sub.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from entrepot.cli.screen import Screen

    screen = Screen(quiet=args.quiet)
    options = _options(args)
    found = plan.make(args.paths, args.name, screen.say)
    for failure in found.failures:
        screen.complain(failure)
    if args.dry_run:
        _show(args, found)
        return exits.code_of_all(len(found.items), found.failures)
    failures = found.failures + (_upload(args, options, found.items, screen) if found.items else [])
    total = len(found.items) + len(found.failures)
    if failures and total > 1:
        print(f"{total - len(failures)} of {total} uploaded, {len(failures)} failed", file=sys.stderr)
    return exits.code_of_all(total - len(failures), failures)


def _upload(args: argparse.Namespace, options: dict[str, Any], items: list[Item], screen: Any) -> list[exits.Failure]:
    from entrepot.cli.batch import Batch
    from entrepot.client import profile
    from entrepot.client.clients import STALL_SECONDS, SyncClient
    from entrepot.client.errors import ConfigurationError
    from entrepot.client.types import OnProgress

    try:
        profile.targets(profile=args.profile)
    except ConfigurationError as error:
        raise exits.failure(error) from None
    if plan.STDIN in args.paths and sys.stdin is not None and sys.stdin.isatty():
        screen.say("reading the standard input; Ctrl-D ends it")
    timeout = args.timeout or STALL_SECONDS
    with SyncClient(default_timeout=timeout, profile=args.profile, on_wait=screen.waits) as client:

        def send(number: int, progress: OnProgress) -> Outcome:
            item, kind = items[number], args.content_type
            url = client.upload_file(item.path, content_type=kind, file_name=item.name, progress=progress, **options)
            return _outcome(item.path, url)

        batch = Batch(items, send, screen, as_json=args.json, resumes=not args.no_resume)
        try:
            return batch.run()
        except KeyboardInterrupt:
            # At once: an orderly end would wait for threads that wait for the network.
            os._exit(exits.INTERRUPTED)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The flags as keyword arguments of the client. Raises Failure for values that make no sense."""
    options = {
        "lifecycle": lifecycle_of(args),
        "skip_existing": not args.no_skip_existing,
        "resume": not args.no_resume,
    }
    sizes = {"part_size": args.part_size, "concurrency": args.concurrency}
    return options | {name: value for name, value in sizes.items() if value is not None}


def lifecycle_of(args: argparse.Namespace) -> StorageSettings | None:
    """What --expires and --private say; --content-type is looked at, too. Raises Failure for what makes no sense."""
    from entrepot.client.types import StorageACL, StorageSettings
    from entrepot.domain.mediatypes import is_valid_type

    if args.content_type is not None and not is_valid_type(args.content_type):
        raise exits.Failure(exits.USAGE, f"{args.content_type!r} is no media type.", "It is like image/png.")
    try:
        lifecycle = StorageSettings(args.expires, StorageACL("forbid") if args.private else None)
    except ValueError as error:
        raise exits.Failure(exits.USAGE, f"--expires: {error}.") from None
    return lifecycle if args.expires is not None or args.private else None


def _show(args: argparse.Namespace, found: Plan) -> None:
    """What would be uploaded: a table, or one JSON object."""
    if args.json:
        files = [{"file": item.path, "name": item.name, "size": item.size} for item in found.items]
        print(json.dumps({"files": files, "count": len(files), "bytes": found.size}))
        return
    for item in found.items:
        known = "?" if item.size is None else formats.size(item.size)
        print(f"{known:>10}  {exits.one_line(item.path)}")
    count = len(found.items)
    known = "of unknown size" if found.size is None else formats.size(found.size)
    print(f"{count} file{'' if count == 1 else 's'}, {known}; nothing was uploaded")


def _outcome(path: str, url: FileUrl) -> Outcome:
    from entrepot.cli.batch import Outcome

    facts = {
        "url": str(url),
        "file": path,
        "size": url.size,
        "digest": url.digest,
        "content_type": url.content_type,
        "expires_at": url.expires_at.isoformat() if url.expires_at else None,
    }
    return Outcome(str(url), facts, url.size)
