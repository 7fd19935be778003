"""The imports between packages and modules. `make check` runs these: `make test` does not install what they need."""

import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

grimp = pytest.importorskip("grimp", reason="import-linter is not installed: make check installs it and runs these")

ROOT = Path(__file__).parents[2]


def test_every_package_imports_downwards_only():
    lint = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_module_imports_itself_through_others():
    graph = grimp.build_graph("entrepot", cache_dir=None)
    TopologicalSorter({m: graph.find_modules_directly_imported_by(m) for m in graph.modules}).prepare()
