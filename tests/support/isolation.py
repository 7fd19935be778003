"""Keeps the tests away from the folders of the person who runs them: no test reads or writes their profiles, their
server's home, the state of their uploads, or what fal's command stores.

The whole process, and with it every process that it starts, gets a home folder of its own, and none of the variables
that configure Entrepot or fal. The folders that are protected so are compared before and after all tests.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

_REAL_HOME = "ENTREPOT_TEST_REAL_HOME"  # of the process that started the others
_KNOBS = ("ENTREPOT_TEST_", "ENTREPOT_CRASH_ROUNDS", "ENTREPOT_STORM_EXAMPLES")  # of the tests themselves
_CONFIGURATION = ("ENTREPOT_", "FAL_", "XDG_")


def isolate() -> Path:
    """Give this process a new, empty home folder, which it returns. `leave` removes it."""
    real = os.environ.setdefault(_REAL_HOME, os.path.expanduser("~"))
    if "GIT_CONFIG_GLOBAL" not in os.environ and (Path(real) / ".gitconfig").exists():
        os.environ["GIT_CONFIG_GLOBAL"] = str(Path(real) / ".gitconfig")  # it says which checkouts git may read
    for name in list(os.environ):
        if name.startswith(_CONFIGURATION) and not name.startswith(_KNOBS):
            del os.environ[name]
    os.environ["HOME"] = tempfile.mkdtemp(prefix="entrepot-tests-")
    return Path(os.environ["HOME"])


def leave(home: Path) -> None:
    """Remove the home folder of `isolate`."""
    shutil.rmtree(home, ignore_errors=True)


def protected_folders() -> list[Path]:
    """The folders of the real user that clients and servers use when nothing else is configured."""
    home = Path(os.environ[_REAL_HOME])
    names = (
        ".config/entrepot",
        ".local/share/entrepot",
        ".local/share/entrepot-files",
        ".local/state/entrepot",
        ".fal",
    )
    return [home / name for name in names]


def fingerprint(folders: list[Path]) -> dict[str, tuple[int, int]]:
    """Time of change and size of each folder, and of the entries directly in it; empty for what does not exist. What
    is deeper changes while the user's own server runs."""
    found = {}
    for folder in folders:
        for path in (folder, *sorted(folder.glob("*"))):
            if path.is_file():
                facts = path.stat()
                found[str(path)] = (facts.st_mtime_ns, facts.st_size)
            elif path.is_dir():
                found[str(path)] = (0, 0)
    return found
