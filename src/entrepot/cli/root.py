"""The command line: parse, run one command, turn failures into exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout

from entrepot.cli import completion, exits, keys, login, profiles, serve, spelling, upload, uploads
from entrepot.cli.files import commands as files
from entrepot.cli.helptext import show_help
from entrepot.cli.output import Errors, Output, leave
from entrepot.cli.parsing import Parser
from entrepot.domain.version import __version__

_EXAMPLES = """examples:
  entrepot serve                          start a server on this machine
  entrepot login --url https://...        use a server that runs elsewhere
  entrepot upload photo.png               upload a file; its URL is printed
  URL=$(entrepot upload --quiet clip.mp4) use the URL in a script
  entrepot upload --dry-run renders/      see what a folder would send
  entrepot files upload model.bin models/ put a file onto the /data volume
  entrepot keys create --json             make one more API key

--profile, --timeout, --json and --quiet may stand before the command, too.

exit codes:
  0 ok, 1 failure, 2 usage, 3 not found, 4 not authorised, 5 conflict,
  6 integrity, 7 some files failed, 130 interrupted, 141 reader has left
"""

# Flags that may stand before the command, and whether each takes a value.
_EVERYWHERE = {"--profile": True, "--timeout": True, "--json": False, "--quiet": False, "-q": False}


def parser() -> Parser:
    """The whole command line; tests hold the documentation against it."""
    root = Parser(
        prog="entrepot",
        description="The self-hosted media store and CDN for AI applications, wire-compatible with fal's clients.",
        epilog=_EXAMPLES,
    )
    root.add_argument("--version", action="version", version=f"entrepot {__version__}")
    commands = root.add_subparsers(dest="command", metavar="COMMAND")
    root.set_defaults(run=lambda _: show_help(root))
    for family in (serve, upload, files, login, profiles, keys, uploads):
        family.add_to(commands)
    completion.add_to(commands, root)
    _describe(root)
    return root


def _describe(command: argparse.ArgumentParser) -> None:
    """Let the help of every command begin with what the list of commands says of it."""
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for listed in action._choices_actions:
                action.choices[listed.dest].description = listed.help
                _describe(action.choices[listed.dest])


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Ends the process on a wrong usage."""
    root = parser()
    args, unknown = root.parse_known_args(_hoisted(root, sys.argv[1:] if argv is None else argv))
    if hasattr(args, "paths"):  # argparse takes only the paths before the next flag
        unknown = _taken(args.paths, unknown)
    if unknown:
        command = spelling.chosen(root, args)
        assert isinstance(command, Parser)
        command.refuse(f"unrecognized arguments: {' '.join(unknown)}", spelling.meant_flag(unknown, command))
    return args


def _hoisted(root: argparse.ArgumentParser, argv: Sequence[str]) -> list[str]:
    """The words with the flags that all commands know behind the command and its verb: they may stand before them."""
    words, held, at, command = list(argv), list[str](), 0, root
    while at < len(words):
        name, value, _ = words[at].partition("=")
        choices = next((each.choices for each in command._actions if each.nargs == argparse.PARSER), None)
        if name in _EVERYWHERE:
            count = 2 if _EVERYWHERE[name] and not value else 1
            held += words[at : at + count]
            del words[at : at + count]
        elif isinstance(choices, dict) and words[at] in choices:
            command = choices[words[at]]
            at += 1
        else:
            break
    return words[:at] + held + words[at:]


def _taken(paths: list[str], words: list[str]) -> list[str]:
    """Move to `paths` what is one: all after `--`, before it what is no flag. The rest."""
    end = words.index("--") if "--" in words else len(words)
    paths += [word for word in words[:end] if word == "-" or not word.startswith("-")] + words[end + 1 :]
    return [word for word in words[:end] if word != "-" and word.startswith("-")]


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    streams = sys.stdout, sys.stderr
    out = Output(sys.stdout)
    with redirect_stdout(out), redirect_stderr(Errors(sys.stderr)):
        code = _code(lambda: _run(argv)) or _code(out.settle)
    for stream in streams:
        leave(stream)
    return code


def _run(argv: Sequence[str]) -> int:
    args = parse(argv)
    return int(args.run(args))


def _code(work: Callable[[], int]) -> int:
    """The exit code of `work`. What it fails with is said."""
    try:
        return work()
    except exits.Failure as failure:
        return _told(failure)
    except BrokenPipeError:
        return exits.READER_LEFT
    except KeyboardInterrupt:
        exits.complain("interrupted")
        return exits.INTERRUPTED
    except SystemExit as end:  # of argparse
        return end.code if isinstance(end.code, int) else exits.OK
    except Exception as error:
        return _told(exits.unexpected(error))


def _told(failure: exits.Failure) -> int:
    exits.complain(failure.message, failure.fix, failure.detail)
    return failure.code
