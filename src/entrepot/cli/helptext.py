"""Help, in a form that fits the terminal: prose is wrapped, lists and examples stay as they are written."""

from __future__ import annotations

import argparse
import textwrap


def show_help(command: argparse.ArgumentParser) -> int:
    """For a command that lacks its verb; the exit code."""
    command.print_help()
    return 0


class HelpText(argparse.HelpFormatter):
    """Paragraphs are told apart by empty lines; one with an indented line is a list."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = []
        for each in text.strip("\n").split("\n\n"):
            lines = each.splitlines()
            if not any(line.startswith(" ") for line in lines):
                lines = textwrap.wrap(" ".join(lines), width, break_long_words=False, break_on_hyphens=False)
            paragraphs.append("\n".join(indent + line for line in lines))
        return "\n\n".join(paragraphs) + "\n"
