"""How to get a part of Entrepot that was not installed, from where this one came."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

_CLONE = Path(__file__).parents[3]  # when the package is run from where its source is


def install_command(extra: str) -> str:
    """`pip install '...[server]'`, for the extra `server`."""
    told = _direct_url()
    url = str(told.get("url") or "")
    editable = isinstance(folder := told.get("dir_info"), dict) and folder.get("editable")
    if url.startswith("file:") and isinstance(folder, dict):
        return f"pip install {'-e ' if editable else ''}'{unquote(urlsplit(url).path)}[{extra}]'"
    if isinstance(source := told.get("vcs_info"), dict):
        return f"pip install 'entrepot[{extra}] @ {source.get('vcs')}+{url}@{source.get('commit_id')}'"
    if url:
        return f"pip install 'entrepot[{extra}] @ {url}'"
    if (_CLONE / "pyproject.toml").is_file():
        return f"pip install '{_CLONE}[{extra}]'"
    return f"pip install '.[{extra}]' in a clone of the repository"


def _direct_url() -> dict[str, object]:
    """Where the distribution was installed from (PEP 610); empty when that is not known."""
    from importlib.metadata import PackageNotFoundError, distribution  # takes long, and is seldom needed

    try:
        told = json.loads(distribution("entrepot").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
