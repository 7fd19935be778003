"""`entrepot files upload --unzip`: an archive becomes a folder of the volume."""

from __future__ import annotations

import argparse
import json
import os

from entrepot.cli import exits
from entrepot.cli.files.remote import opened, parsed
from entrepot.cli.plan import STDIN
from entrepot.cli.screen import Screen
from entrepot.client.entries import ROOT


def unzip(args: argparse.Namespace) -> int:
    if len(args.paths) != 2 or args.paths[0] == STDIN or not os.path.isfile(args.paths[0]):
        raise exits.Failure(exits.USAGE, "It needs one ZIP file here and a folder on the volume.", "--unzip ZIP REMOTE")
    if args.dry_run:
        raise exits.Failure(exits.USAGE, "--dry-run tells nothing of what is in an archive.")
    archive, folder = args.paths[0], parsed(args.paths[1])
    with opened(args) as remote:
        Screen(quiet=args.quiet).say("the server unpacks it")
        remote.files.unzip(archive, folder, encoding=args.encoding)
        told = {"file": archive, "path": folder}
        print(json.dumps(told) if args.json else exits.one_line(f"{ROOT}/{folder}"))
    return exits.OK
