"""`entrepot login`, `logout` and `whoami`: which server and key the commands of this user go to."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from typing import Any

from entrepot.cli import exits
from entrepot.client import profile, saved
from entrepot.client.errors import ConfigurationError, EntrepotError, ServerError
from entrepot.client.profile import Profile
from entrepot.domain.keys import Secret, parse_key
from entrepot.domain.origins import parse_origin

_LOGIN = """The key is asked for, or read from the standard input; never from the command line, where others can
read it. It is tried at the server, then saved for your user alone, and the profile becomes the current one.

examples:
  entrepot login --url https://media.example.com
  pass show key | entrepot login --url https://media.example.com --profile work
"""


def add_to(commands: Any) -> None:
    login = commands.add_parser("login", help="save a server and its key", epilog=_LOGIN)
    # Whoever gives a key here is told not to, without its being repeated.
    login.add_argument("refused", nargs="*", help=argparse.SUPPRESS)
    login.add_argument("--url", metavar="URL", help="the server; else ENTREPOT_URL, else that of the profile")
    login.add_argument("--profile", metavar="NAME", help="save it under this name")
    login.add_argument("--no-verify", action="store_true", help="save it without asking the server")
    login.set_defaults(run=run_login)

    logout = commands.add_parser("logout", help="forget a saved key", epilog="example: entrepot logout --profile work")
    logout.add_argument("--profile", metavar="NAME", help="which one; else the current one")
    logout.set_defaults(run=run_logout)

    who = commands.add_parser(
        "whoami", help="show server, key and account, and whether they work", epilog="example: entrepot whoami --json"
    )
    who.add_argument("--profile", metavar="NAME", help="of this saved profile")
    how = who.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print a JSON object")
    how.add_argument("--key", action="store_true", help="print the key alone, for scripts; no server is asked")
    who.set_defaults(run=run_whoami)


def run_login(args: argparse.Namespace) -> int:
    if args.refused:
        fix = "Pipe it into the command, or wait to be asked. If it was typed, revoke it: entrepot keys revoke ID"
        raise exits.Failure(exits.USAGE, "A key is not taken from the command line: others can read it there.", fix)
    try:
        url = _url(args)
        target = Profile(url, _read_key(url))
        if not args.no_verify:
            from entrepot.cli import visit

            visit.check(target)
        before = next((entry.name for entry in saved.entries() if entry.current), "")
        path, name = saved.save(url, target.key, name=args.profile)
    except EntrepotError as error:
        failure = exits.failure(error)
        said = () if args.no_verify or failure.code == exits.USAGE else ("Nothing was saved.",)
        raise exits.Failure(failure.code, failure.message, failure.fix, (*said, *failure.detail)) from None
    except OSError as error:
        raise exits.Failure(
            exits.FAILURE, f"The profile cannot be saved: {error.strerror}.", "Check the path."
        ) from None
    print(exits.one_line(f"saved profile {name!r} for {url} in {path}"), file=sys.stderr)
    if before not in ("", name):
        line = f"it is the current one now; go back to {before!r} with: entrepot profiles use {shlex.quote(before)}"
        print(exits.one_line(line), file=sys.stderr)
    return exits.OK


def _url(args: argparse.Namespace) -> str:
    """Raises Failure when no server is named, ConfigurationError."""
    entries = {entry.name: entry for entry in saved.entries()}
    known = entries.get(args.profile) if args.profile else next((e for e in entries.values() if e.current), None)
    told = args.url or os.environ.get("ENTREPOT_URL") or (known.url if known else "")
    if not told:
        fix = "Name it: entrepot login --url https://media.example.com"
        raise exits.Failure(exits.USAGE, "Which server?", fix)
    if len(told.replace(",", " ").split()) > 1:
        fix = "Name the one that the key is of: entrepot login --url https://media.example.com"
        raise exits.Failure(exits.USAGE, "A login is for one server; here are several.", fix)
    try:
        return parse_origin(told)
    except ValueError as error:
        raise exits.Failure(exits.USAGE, f"The server's URL cannot be used: {error}.") from None


def _read_key(url: str) -> Secret:
    """Raises Failure, which never says what was read."""
    try:
        text = _read_line(url).strip()
    except (EOFError, UnicodeDecodeError):  # Ctrl-D, or bytes that are no text
        text = ""
    if parse_key(text) is None or not text.isascii() or len(text.split()) != 1:
        raise exits.Failure(
            exits.USAGE, "This is no key.", "A key is one line, id:secret, as entrepot keys create says."
        )
    return Secret(text)


def _read_line(url: str) -> str:
    if sys.stdin is None:
        return ""
    if sys.stdin.isatty():
        from getpass import getpass

        return getpass(f"Key for {url} (not shown): ")
    return sys.stdin.readline()


def run_logout(args: argparse.Namespace) -> int:
    try:
        name, url = saved.remove(args.profile)
        left = saved.entries()
    except ConfigurationError as error:
        raise _of_profile(error) from None
    except OSError as error:
        raise exits.Failure(exits.FAILURE, f"The profile cannot be removed: {error.strerror}.") from None
    lines = [f"removed profile {name!r} of {url}; its key is valid until it is revoked"]
    if current := next((entry for entry in left if entry.current), None):
        lines.append(f"commands go to {current.url} now (profile {current.name!r})")
    elif left:
        names = ", ".join(entry.name for entry in left)
        first = shlex.quote(left[0].name)
        lines.append(f"no profile is current now; saved are: {names}. Choose one: entrepot profiles use {first}")
    for line in lines:
        print(exits.one_line(line), file=sys.stderr)
    return exits.OK


def run_whoami(args: argparse.Namespace) -> int:
    try:
        found = profile.found(profile=args.profile)[0]
    except ConfigurationError as error:
        raise _of_profile(error) from None
    if args.key:
        print(found.target.key.reveal())
        return exits.OK
    from entrepot.cli import visit

    account: dict[str, object] | None = None
    failed: EntrepotError | None = None
    try:
        account = dict(visit.check(found.target) or {}) or None
    except EntrepotError as error:
        failed = error
    refused = isinstance(failed, ServerError) and failed.status_code in (401, 403)
    facts = {
        "url": found.target.url,
        "url_from": found.url_from,
        "key_id": found.target.key_id,
        "key_from": found.key_from,
        "reachable": failed is None or refused,
        "accepted": failed is None,
        "account": account and {name: account.get(name) for name in ("nickname", "full_name", "user_id")},
    }
    _show(facts, as_json=args.json)
    if failed is not None:
        raise exits.failure(failed)
    return exits.OK


def _show(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts))
        return
    account = facts["account"] or {}
    rows = [
        ("server", f"{facts['url']} (from {facts['url_from']})"),
        ("key", f"{facts['key_id'] or 'of no known form'} (from {facts['key_from']})"),
        ("account", f"{account['nickname']} ({account['user_id']})" if account else "not known"),
        ("state", "accepted" if facts["accepted"] else "refused" if facts["reachable"] else "server out of reach"),
    ]
    for label, text in rows:
        print(f"{label:<8} {exits.one_line(text)}" if sys.stdout.isatty() else f"{label}\t{exits.one_line(text)}")


def _of_profile(error: ConfigurationError) -> exits.Failure:
    failure = exits.failure(error)
    if isinstance(error, saved.NoProfile):
        return exits.Failure(exits.NOT_FOUND, failure.message, failure.fix, failure.detail)
    return failure
