"""The tests touch nothing of the person who runs them: neither in this process nor in those that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.servers import THIS_TREE
from scripts import demo

from entrepot.client import resume, saved
from entrepot.settings import data_home
from entrepot.toolkit import localfiles
from support import isolation
from support.server import clean_environ

# Prints where a process keeps what it remembers: profiles, a server's data, uploads under way, local files, fal's own.
PLACES = """
import os
from entrepot.client import resume, saved
from entrepot.settings import data_home
from entrepot.toolkit import localfiles
print(saved.config_path(), data_home(), resume.folder(), localfiles.folder(), os.path.expanduser("~/.fal"), sep="\\n")
"""


def places(environ: dict[str, str] | None) -> list[Path]:
    done = subprocess.run([sys.executable, "-c", PLACES], env=environ, capture_output=True, text=True, check=True)
    return [Path(line) for line in done.stdout.splitlines()]


def test_this_process_has_a_home_of_its_own():
    home = Path(os.environ["HOME"])
    assert home.name.startswith("entrepot-tests-")
    assert not any(folder.is_relative_to(home) for folder in isolation.protected_folders())
    for place in (saved.config_path(), data_home(), resume.folder(), localfiles.folder(), Path.home()):
        assert place and place.is_relative_to(home)


def test_no_variable_of_the_user_configures_the_tests():
    left = [name for name in os.environ if name.startswith(("ENTREPOT_", "FAL_", "XDG_"))]
    assert [name for name in left if not name.startswith(isolation._KNOBS)] == []


@pytest.mark.parametrize("make", [None, clean_environ, THIS_TREE.environ, demo.environment])
def test_what_tests_benchmarks_and_demo_start_has_a_home_of_its_own(tmp_path, make):
    own = tmp_path if make else Path(os.environ["HOME"])
    found = places(make(tmp_path) if make else None)
    assert len(found) == 5
    assert all(place.is_relative_to(own) for place in found)


def test_a_change_of_a_protected_folder_is_noticed(tmp_path):
    folders = [tmp_path / "config", tmp_path / "state"]
    seen = [isolation.fingerprint(folders)]
    (tmp_path / "config").mkdir()
    seen.append(isolation.fingerprint(folders))
    (tmp_path / "config" / "config.toml").write_text("a")
    seen.append(isolation.fingerprint(folders))
    (tmp_path / "config" / "config.toml").write_text("ab")
    seen.append(isolation.fingerprint(folders))
    (tmp_path / "state" / "uploads").mkdir(parents=True)
    seen.append(isolation.fingerprint(folders))
    assert len({str(each) for each in seen}) == len(seen)
