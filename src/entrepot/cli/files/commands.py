"""The command line of `entrepot files`: verbs and argument order are those of `fal files`, with more of both."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from entrepot.cli import formats, helptext

_EPILOG = """A path on the volume is like models/a.bin, or /data/models/a.bin as for programs on a runner. A folder
stands for all in it, a quoted pattern ('models/*.bin', '**/*.png') for what matches, - for the standard
input or output. A destination that is a folder, or ends with a slash, takes files under their own names.
What is deleted goes to the trash and can be put back. The server and the key come from ENTREPOT_URL and
ENTREPOT_KEY, then FAL_KEY, then the saved profile (entrepot login).

examples:
  entrepot files upload model.safetensors models/
  entrepot files ls -l models
  entrepot files download models/ ./models
  entrepot files cat logs/run.txt | grep error
  entrepot files rm -r old --dry-run
"""

Parser = argparse.ArgumentParser


def add_to(commands: Any) -> None:
    sub = commands.add_parser(
        "files",
        help="list, upload, download and tidy files of the /data volume",
        epilog=_EPILOG,
    )
    verbs = sub.add_subparsers(dest="verb", metavar="VERB")
    sub.set_defaults(run=lambda _: helptext.show_help(sub))
    for add in (_add_looking, _add_moving_bytes, _add_changing, _add_trash, _add_crossing):
        add(verbs)


def _add_looking(verbs: Any) -> None:
    ls = _verb(verbs, "ls", "listing", "list a folder", ["", "-l models", "-r --json models"], aliases=["list"])
    ls.add_argument("paths", nargs="*", metavar="REMOTE", help="a folder, a file or a quoted pattern; all without it")
    ls.add_argument("--long", "-l", action="store_true", help="with types, sizes and times")
    ls.add_argument("--recursive", "-r", action="store_true", help="all below, with their paths")
    ls.add_argument("--sort", choices=("name", "size", "time"), default="name", help="largest or newest first [name]")
    ls.add_argument("--limit", metavar="N", type=formats.parse_count, help="only the first ones")
    ls.add_argument("--checksum", action="store_true", help="compute digests of named files that are not known")
    tree = _verb(verbs, "tree", "listing", "draw a folder and all below it", ["", "models --depth 2"])
    tree.add_argument("paths", nargs="*", metavar="REMOTE", help="a folder; all without it")
    tree.add_argument("--depth", metavar="N", type=formats.parse_count, help="only so many levels")
    du = _verb(verbs, "du", "listing", "tell how much folders hold", ["", "models datasets"])
    du.add_argument("paths", nargs="*", metavar="REMOTE", help="a folder, a file or a quoted pattern; all without it")
    for each in (ls, du):
        each.add_argument("--bytes", action="store_true", help="sizes as exact numbers")
    for each in (ls, tree, du):
        _json(each, "print one JSON object an entry")
    cat = _verb(verbs, "cat", "fetching", "write files to the standard output", ["logs/run.txt", "'parts/*' > whole"])
    cat.add_argument("paths", nargs="+", metavar="REMOTE", help="a file or a quoted pattern")


def _add_moving_bytes(verbs: Any) -> None:
    upload = _verb(
        verbs,
        "upload",
        "sending",
        "upload files and folders",
        [
            "model.bin models/",
            "renders/ shots/today",
            "'*.png' images/",
            "- logs/run.txt < run.txt",
            "--unzip pictures.zip images/",
        ],
        usage="LOCAL [LOCAL ...] REMOTE",
    )
    help_ = "a file, a folder (dir/: what is in it), a quoted pattern, or - for the standard input"
    upload.add_argument("paths", nargs="+", metavar="LOCAL", help=f"{help_}; last where to, on the volume")
    upload.add_argument(
        "--if-match",
        metavar="ETAG",
        type=formats.parse_tag,
        help="only over the file with this tag (ls --json tells it)",
    )
    upload.add_argument("--no-skip-existing", action="store_true", help="send what is there with the same bytes, too")
    upload.add_argument("--part-size", metavar="SIZE", type=formats.parse_bytes, help="of parts of large files [10M]")
    upload.add_argument("--concurrency", metavar="N", type=formats.parse_count, help="parts of a file at a time [10]")
    upload.add_argument("--unzip", action="store_true", help="unpack a ZIP file into the folder")
    upload.add_argument("--encoding", metavar="NAME", help="of its names that are not UTF-8: gbk, shift_jis, ...")
    download = _verb(
        verbs,
        "download",
        "fetching",
        "download files and folders",
        ["models/a.bin .", "models ./models", "'logs/*.txt' logs/", "models/a.bin - | sha256sum"],
        usage="REMOTE [REMOTE ...] [LOCAL]",
    )
    help_ = "a file, a folder (dir/: what is in it) or a quoted pattern"
    download.add_argument("paths", nargs="+", metavar="REMOTE", help=f"{help_}; last where to (- to pipe it)")
    for each in (upload, download):
        each.add_argument("--include", metavar="PATTERN", action="append", default=[], help="only these, of folders")
        each.add_argument("--exclude", metavar="PATTERN", action="append", default=[], help="not these, of folders")
        each.add_argument("--recursive", "-r", action="store_true", help="folders are taken whole in any case")
        each.add_argument("--no-overwrite", action="store_true", help="fail where a file is there already")
        each.add_argument("--no-resume", action="store_true", help="begin anew, and remember nothing for the next time")
        _dry_run(each, "show what would be transferred")
        _json(each, "print one JSON object a file")
    url = _verb(
        verbs,
        "upload-url",
        "crossing",
        "have the server fetch a URL",
        ["https://example.com/a.bin models/"],
    )
    url.add_argument("url", metavar="URL", help="what to fetch")
    url.add_argument("remote", metavar="REMOTE", help="where to, on the volume")
    _json(url, "print a JSON object")


def _add_changing(verbs: Any) -> None:
    usage = "SOURCE [SOURCE ...] DESTINATION"
    mv = _verb(verbs, "mv", "changing", "move or rename", ["a.bin b.bin", "'*.png' images/"], usage=usage)
    cp = _verb(verbs, "cp", "changing", "copy on the server", ["a.bin b.bin", "-r models backup/"], usage=usage)
    cp.add_argument("--recursive", "-r", action="store_true", help="folders too, with all in them")
    for each in (mv, cp):
        each.add_argument("paths", nargs="+", metavar="REMOTE", help="files, folders or quoted patterns; last where to")
        each.add_argument("--overwrite", action="store_true", help="in place of a file that is there")
    rm = _verb(verbs, "rm", "changing", "delete: into the trash", ["old.bin", "-r tmp --yes", "'*.tmp' --dry-run"])
    rm.add_argument("paths", nargs="+", metavar="REMOTE", help="a file, a folder or a quoted pattern")
    rm.add_argument("--recursive", "-r", action="store_true", help="folders too, with all in them")
    rm.add_argument("--permanent", action="store_true", help="for good, past the trash")
    rm.add_argument("--if-match", metavar="ETAG", type=formats.parse_tag, help="only the file with this tag")
    _yes(rm)
    for each in (mv, cp, rm):
        _dry_run(each, "show what would be done")
        _json(each, "print one JSON object a file or folder")
    mkdir = _verb(verbs, "mkdir", "changing", "make folders, and those above them", ["datasets/2026"])
    mkdir.add_argument("paths", nargs="+", metavar="REMOTE", help="the folder")


def _add_trash(verbs: Any) -> None:
    undelete = _verb(verbs, "undelete", "trash", "put back what was deleted", ["old.bin", "4f1c... --to new.bin"])
    undelete.add_argument("paths", nargs="+", metavar="WHAT", help="its path, or its id (rm and trash tell it)")
    undelete.add_argument("--to", metavar="REMOTE", help="the path it gets, in place of the one it had")
    _json(undelete, "print one JSON object a file or folder")
    trash = _verb(verbs, "trash", "trash", "list what can be put back, or end it", ["", "--empty --yes"])
    trash.add_argument("paths", nargs="*", metavar="WHAT", help="a path or an id; all without it")
    trash.add_argument("--empty", action="store_true", help="end it for good")
    _yes(trash)
    _json(trash, "print one JSON object a file or folder")


def _add_crossing(verbs: Any) -> None:
    publish = _verb(verbs, "publish", "crossing", "give files a URL", ["renders/shot.png", "--expires 7d a.mp4"])
    publish.add_argument("paths", nargs="+", metavar="REMOTE", help="a file or a quoted pattern")
    publish.add_argument("--expires", metavar="WHEN", type=formats.parse_lifetime, help="never, immediate, 90m, 7d, 1y")
    publish.add_argument("--private", action="store_true", help="only your account can read it")
    publish.add_argument("--content-type", metavar="TYPE", help="such as image/png; else found by name and bytes")
    publish.add_argument("--name", help="the file's name at the end of its URL; for one file")
    keep = _verb(verbs, "keep", "crossing", "copy a file with a URL onto the volume", ["https://.../x_a.png images/"])
    keep.add_argument("url", metavar="URL", help="a URL of this server")
    keep.add_argument("remote", metavar="REMOTE", help="where to, on the volume")
    keep.add_argument("--overwrite", action="store_true", help="in place of a file that is there")
    for each in (publish, keep):
        _json(each, "print one JSON object a file")


def _verb(
    verbs: Any,
    name: str,
    module: str,
    help: str,
    examples: Sequence[str],
    *,
    usage: str = "",
    aliases: Sequence[str] = (),
) -> Parser:
    """`usage` in place of what argparse makes of one list of paths."""
    lines = "".join(f"  entrepot files {name} {example}".rstrip() + "\n" for example in examples)
    sub: Parser = verbs.add_parser(
        name,
        aliases=aliases,
        help=help,
        epilog=f"examples:\n{lines}",
        **({"usage": f"entrepot files {name} [options] {usage}"} if usage else {}),
    )
    sub.add_argument("--profile", metavar="NAME", help="the saved server and key to use")
    sub.add_argument("--timeout", metavar="SECONDS", type=formats.parse_seconds, help="how long no byte may move [120]")
    sub.add_argument("--quiet", "-q", action="store_true", help="errors only, no progress and notes")
    sub.set_defaults(run=_later(module, name.replace("-", "_")), json=False)
    return sub


def _later(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """A command whose code is loaded when it runs: `--help` needs none of it."""

    def run(args: argparse.Namespace) -> int:
        deed = getattr(import_module(f"entrepot.cli.files.{module}"), function)
        return int(deed(args))

    return run


def _json(sub: Parser, help: str) -> None:
    sub.add_argument("--json", action="store_true", help=help)


def _dry_run(sub: Parser, help: str) -> None:
    sub.add_argument("--dry-run", "-n", action="store_true", help=f"{help}, and do nothing")


def _yes(sub: Parser) -> None:
    sub.add_argument("--yes", "-y", action="store_true", help="do not ask")
