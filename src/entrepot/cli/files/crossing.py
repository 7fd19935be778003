"""`entrepot files publish`, `keep` and `upload-url`: between the volume and files with a URL."""

from __future__ import annotations

import argparse
import json
from typing import Any
from urllib.parse import unquote, urlsplit

from entrepot.cli import exits
from entrepot.cli.files.remote import Remote, opened, parsed, place_for
from entrepot.cli.files.showing import facts, for_each
from entrepot.cli.screen import Screen
from entrepot.cli.upload import lifecycle_of
from entrepot.client.entries import ROOT, Entry
from entrepot.domain.names import FILE_NAME_BYTES, shorten


def publish(args: argparse.Namespace) -> int:
    lifecycle, screen = lifecycle_of(args), Screen(quiet=args.quiet)
    with opened(args) as remote:
        entries = [entry for text in args.paths for entry in remote.resolve(text)]
        if args.name is not None and len(entries) != 1:
            raise exits.Failure(exits.USAGE, f"--name is for one file; here are {len(entries)}.")

        def give(entry: Entry) -> None:
            url = remote.files.publish(
                entry.path, file_name=args.name, content_type=args.content_type, lifecycle=lifecycle
            )
            told = {
                "url": str(url),
                "path": entry.path,
                "size": url.size,
                "digest": url.digest,
                "content_type": url.content_type,
                "expires_at": url.expires_at.isoformat() if url.expires_at else None,
            }
            screen.answer(json.dumps(told) if args.json else exits.one_line(url))

        return for_each(entries, lambda entry: entry.absolute, give, screen)


def keep(args: argparse.Namespace) -> int:
    with opened(args) as remote:
        name = _name_of(args.url)
        # The id that the server puts before the name is no part of it.
        own = name.partition("_")[2] or name
        path = _place(args, remote, own)
        with remote.taking(path, f"{ROOT}/{path}", is_file=True, overwrite=args.overwrite):
            entry = remote.files.keep(args.url, path, overwrite=args.overwrite)
        Screen(quiet=args.quiet).answer(json.dumps(facts(entry)) if args.json else exits.one_line(entry.absolute))
    return exits.OK


def upload_url(args: argparse.Namespace) -> int:
    with opened(args) as remote:
        path = _place(args, remote, _name_of(args.url))
        screen = Screen(quiet=args.quiet)
        screen.say("the server fetches it")
        remote.files.upload_url(args.url, path)
        told: dict[str, Any] = {"url": args.url, "path": path}
        screen.answer(json.dumps(told) if args.json else exits.one_line(f"{ROOT}/{path}"))
    return exits.OK


def _place(args: argparse.Namespace, remote: Remote, name: str) -> str:
    return place_for(args.remote, remote.find(parsed(args.remote)), name)


def _name_of(url: str) -> str:
    """The name at the end of a URL; empty when there is none that a file may have."""
    try:
        name = unquote(urlsplit(url).path.rpartition("/")[2], errors="strict")
    except ValueError:
        return ""
    return "" if name in (".", "..") or "/" in name or "\0" in name else shorten(name, FILE_NAME_BYTES)
