"""The place that an import goes to, and its conditions, as the JSON of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entrepot.volume.entries import Conditions
from entrepot.volume.paths import Path


def write_target(path: Path, when: Conditions) -> dict[str, Any]:
    """The target as JSON values, for `read_target`."""
    matches = None if when.if_match is None else sorted(when.if_match)
    return {"path": list(path.parts), "if_match": matches, "if_none_match": when.if_none_match}


def read_target(fields: Mapping[str, Any]) -> tuple[Path, Conditions]:
    """The path and conditions that `write_target` wrote down."""
    matches = fields["if_match"]
    when = Conditions(None if matches is None else frozenset(matches), fields["if_none_match"])
    return Path(tuple(fields["path"])), when
