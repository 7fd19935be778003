"""Paths of this machine, as users write them."""

from __future__ import annotations

import os


def expanded(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    """The path with a `~` at its beginning as the home folder, which no shell did where it comes from a program or a
    variable. `./~` is a file of that name, and so is `~name` where there is one: it may come from a listing."""
    text = os.fsdecode(path)
    if text.startswith("~") and not text.startswith("~/") and text != "~" and os.path.lexists(text):
        return text
    return os.path.expanduser(text)
