"""`entrepot completion`: scripts for shells, made from the commands as they are."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from entrepot.cli import exits
from entrepot.cli.parsing import Parser

_EPILOG = """examples:
  entrepot completion bash > ~/.local/share/bash-completion/completions/entrepot
  entrepot completion zsh > ~/.zfunc/_entrepot
  entrepot completion fish > ~/.config/fish/completions/entrepot.fish
"""
_LIFETIMES = ("never", "immediate", "1h", "1d", "7d", "30d", "1y")
_PATHS = ("home", "tls_cert", "tls_key")
# What stands for files of this machine.
_HERE = ("PATH", "LOCAL")
_TO_HERE = ("entrepot files download",)


def add_to(commands: Any, root: argparse.ArgumentParser) -> None:
    sub = commands.add_parser(
        "completion",
        help="print a script that completes commands in a shell",
        epilog=_EPILOG,
    )
    sub.add_argument("shell", choices=sorted(_SCRIPTS))
    sub.set_defaults(run=run, root=root)


def run(args: argparse.Namespace) -> int:
    sys.stdout.write(_SCRIPTS[args.shell](list(_nodes(args.root, "entrepot"))))
    return exits.OK


@dataclass(frozen=True, slots=True)
class _Option:
    """A flag. `takes` a value; `values` are those that are known; `path`: the value is one."""

    names: list[str]
    help: str
    takes: bool
    values: list[str]
    path: bool


@dataclass(frozen=True, slots=True)
class _Node:
    """A command. `words` are its verbs or the values of its argument, with their help."""

    path: str
    words: dict[str, str]
    options: list[_Option]
    files: bool


def _nodes(one: argparse.ArgumentParser, path: str) -> Iterator[_Node]:
    if isinstance(one, Parser):
        with contextlib.suppress(exits.Failure):  # without the server's packages `serve` has no flags
            one.complete()
    words: dict[str, str] = {}
    options, below, files = [], [], False
    for action in one._actions:
        if isinstance(action, argparse._SubParsersAction):
            words |= {choice.dest: choice.help or "" for choice in action._choices_actions}
            below = list(action.choices.items())
        elif action.option_strings:
            options.append(_option(action))
        elif action.choices:
            words |= {str(choice): "" for choice in action.choices}
        else:
            files = files or (action.dest == "paths" and (action.metavar in _HERE or path in _TO_HERE))
    yield _Node(path, words, options, files)
    for name, inner in below:
        yield from _nodes(inner, f"{path} {name}")


def _option(action: argparse.Action) -> _Option:
    values = _LIFETIMES if action.dest == "expires" else action.choices or ()
    text = (action.help or "").replace("%%", "%")
    takes = action.nargs != 0
    return _Option(list(action.option_strings), text, takes, [str(v) for v in values], action.dest in _PATHS)


def _bash(nodes: list[_Node]) -> str:
    """Names of files are taken line by line, so that blanks in them do no harm."""
    return f"""# bash completion for entrepot
_entrepot() {{
    local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}"
    local at=entrepot words='' files='' i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$at ${{COMP_WORDS[i]}}" in
            {_commands(nodes)}) at="$at ${{COMP_WORDS[i]}}" ;;
        esac
    done
    case "$at $prev" in
{_cases(nodes)}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
    if [[ $files && $cur != -* ]]; then
        while IFS= read -r i; do COMPREPLY+=("$i"); done < <(compgen -f -- "$cur")
    fi
}}
complete -o filenames -F _entrepot entrepot
"""


def _zsh(nodes: list[_Node]) -> str:
    return f"""#compdef entrepot
_entrepot() {{
    local cur="${{words[CURRENT]}}" prev="${{words[CURRENT-1]}}" at=entrepot known='' files='' i
    for ((i = 2; i < CURRENT; i++)); do
        case "$at ${{words[i]}}" in
            {_commands(nodes)}) at="$at ${{words[i]}}" ;;
        esac
    done
    case "$at $prev" in
{_cases(nodes).replace("words=", "known=")}
    esac
    [[ -n $known ]] && compadd -- ${{=known}}
    if [[ -n $files && $cur != -* ]]; then _files; fi
}}
compdef _entrepot entrepot
"""


def _commands(nodes: list[_Node]) -> str:
    return "|".join(f'"{node.path}"' for node in nodes[1:])


def _cases(nodes: list[_Node]) -> str:
    """What follows a flag that takes a value, and then what follows a command; longer commands before shorter."""
    lines = []
    for node in nodes:
        for option in node.options:
            if option.takes:
                places = "|".join(f'"{node.path} {name}"' for name in option.names)
                lines.append(
                    f"        {places}) words='{' '.join(option.values)}'; files={'1' if option.path else ''} ;;"
                )
    for node in sorted(nodes, key=lambda each: -len(each.path)):
        words = [*node.words, *(name for option in node.options for name in option.names)]
        lines.append(f"        \"{node.path} \"*) words='{' '.join(words)}'; files={'1' if node.files else ''} ;;")
    return "\n".join(lines)


def _fish(nodes: list[_Node]) -> str:
    lines = ["# fish completion for entrepot", "complete -c entrepot -f"]
    for node in nodes:
        names = node.path.split(" ")[1:]
        seen = [f"__fish_seen_subcommand_from {name}" for name in names] or ["__fish_use_subcommand"]
        unseen = [f"not __fish_seen_subcommand_from {' '.join(node.words)}"] if names and node.words else []
        place = f"complete -c entrepot -n '{'; and '.join(seen)}'"
        before = f"complete -c entrepot -n '{'; and '.join(seen + unseen)}'"
        lines += [f"{before} -a {word} -d {_quoted(help)}" for word, help in node.words.items()]
        lines += [f"{place} {_fish_option(option)}" for option in node.options]
        lines += [f"{place} -F"] if node.files else []
    return "\n".join(lines) + "\n"


def _fish_option(option: _Option) -> str:
    names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
    value = ["-r -F" if option.path else "-x"] if option.takes else []
    known = [f"-a {_quoted(' '.join(option.values))}"] if option.values else []
    return " ".join([*names, *value, *known, f"-d {_quoted(option.help)}"])


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SCRIPTS: dict[str, Callable[[list[_Node]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
