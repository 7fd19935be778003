"""What was meant by a word that is no command or flag; and what of it may be repeated."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

# A key, whole or its secret: whoever typed one does not want it in a log.
_SECRET = re.compile(r"[\w.-]*:(?!//)[^\s'\"]{8,}|(?<![\w/])[0-9a-fA-F]{32,}")


def without_secrets(message: str) -> str:
    return _SECRET.sub("***", message)


def closest(word: str, known: Iterable[str]) -> str:
    """A line with the known word that is most like this one; empty when none is."""
    names = list(known)
    begun = [name for name in names if len(word.strip("-")) > 1 and name.startswith(word)]
    close = begun if len(begun) == 1 else difflib.get_close_matches(word, names, 1)
    return f"\nDid you mean: {close[0]}?" if close else ""


def meant(message: str) -> str:
    """For `invalid choice: 'uplaod' (choose from ...)`: the choice that was meant."""
    found = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
    return closest(found[1], re.findall(r"[\w-]+", found[2])) if found else ""


def meant_flag(words: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """Lines about words that a command does not know: the new names of flags that have one (`renamed` among the
    parser's defaults), else the flag that was meant by the first word that looks like one."""
    renamed: Mapping[str, str] = parser.get_default("renamed") or {}
    old = [flag for word in words if (flag := word.partition("=")[0]) in renamed]
    if old:
        return "".join(f"\n{flag} is now {renamed[flag]}." for flag in old)
    flag = next((word.partition("=")[0] for word in words if word.startswith("-")), "")
    return closest(flag, [name for action in parser._actions for name in action.option_strings])


def chosen(root: argparse.ArgumentParser, args: argparse.Namespace) -> argparse.ArgumentParser:
    """The parser of the command that was given."""
    for action in root._actions:
        name = getattr(args, action.dest, None)
        if isinstance(action, argparse._SubParsersAction) and name in action.choices:
            return chosen(action.choices[name], args)
    return root
