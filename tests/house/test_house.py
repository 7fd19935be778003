"""Rules for the whole code base: sizes, layers, locks, and no paths of anybody's machine."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "entrepot"
MODULES = sorted(PACKAGE.rglob("*.py"))
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))

PLACES = re.compile(r"(?<![\w.-])/(?:opt|work)/|(?:index|find-links)\S*[ =]+file:", re.IGNORECASE)


def functions(module: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text("utf-8")
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", text, re.MULTILINE))


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_module_is_longer_than_500_lines():
    sizes = {str(m.relative_to(ROOT)): len(m.read_text("utf-8").splitlines()) for m in MODULES}
    assert sizes
    assert {name: size for name, size in sizes.items() if size > 500} == {}


def test_no_function_is_longer_than_60_lines():
    sizes = {f"{m.relative_to(ROOT)}:{f.lineno} {f.name}": length(f) for m in MODULES for f in functions(m)}
    assert {name: size for name, size in sizes.items() if size > 60} == {}


def test_no_module_has_a_name_that_says_nothing():
    empty_names = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
    parts = {part for module in MODULES for part in module.relative_to(PACKAGE).with_suffix("").parts}
    assert parts & empty_names == set()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_names_exact_versions_with_hashes_and_no_address(lock):
    text = lock.read_text("utf-8")
    assert "://" not in text
    requirements = [line for line in text.replace("\\\n", "").splitlines() if not line.startswith("#")]
    assert requirements
    for requirement in requirements:
        assert re.match(r"[a-z0-9.-]+==[^ ]+ .*--hash=sha256:[0-9a-f]{64}", requirement), requirement


def test_all_locks_are_there():
    environments = {"compat-fal", "compat-fal-client", "peers", "seaweedfs"}
    assert {lock.stem for lock in LOCKS} == {"dev", "server", "test", *environments}


def test_what_runs_is_what_is_tested_and_checked():
    served, tested, checked = pins("server"), pins("test"), pins("dev")
    assert served.items() <= tested.items() <= checked.items()


def test_no_tracked_file_names_a_place_on_somebodys_machine():
    found = []
    for path in tracked_files():
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1):
            if PLACES.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert found == []
