"""TOML for what `tomllib` reads: values in, text out. Comments and the order of tables before values are not kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any


def dumps(table: Mapping[str, Any]) -> str:
    """A whole file. Raises TypeError for a value that TOML does not know."""
    return "\n".join(_lines(table, ())).lstrip("\n") + "\n"


def _lines(table: Mapping[str, Any], at: tuple[str, ...]) -> list[str]:
    """The values of a table, then the tables in it, each under its own heading."""
    lines = [f"{_text(key)} = {_value(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    if at and (lines or not table):
        lines = ["", f"[{'.'.join(map(_text, at))}]", *lines]
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += _lines(value, (*at, key))
    return lines


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(key)} = {_value(each)}" for key, each in value.items()) + "}"
    raise TypeError(f"{type(value).__name__} is nothing that TOML knows")


def _text(key: str) -> str:
    plain = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if plain else _quoted(key)


def _quoted(text: str) -> str:
    """As in JSON, save for the two things in which TOML differs."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
