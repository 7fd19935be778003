"""docs/architecture.md names what exists: packages, modules, functions, and answers to where things are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "entrepot"
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`((?:[\w-]+/)*\w+\.py)(?: ([\w.]+))?`", PAGE)))


def section(title: str) -> str:
    """The text below a heading of the page, up to the next one of its level."""
    return re.split(r"^## ", PAGE.partition(f"\n## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(title: str) -> list[list[str]]:
    """The cells of the first table of a section, its head excepted."""
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def defined(tree: ast.Module | ast.ClassDef) -> dict[str, ast.stmt]:
    """What a module or class defines: functions, classes and assigned names."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
        elif isinstance(node, ast.Assign):
            found |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}
    return found


def place_of(path: str) -> Path | None:
    """Where a path of the page leads: below the package, else below the repository."""
    return next((base / path for base in (PACKAGE, ROOT) if (base / path).exists()), None)


@pytest.mark.parametrize(("path", "name"), NAMED, ids=lambda value: value)
def test_every_named_module_and_function_exists(path: str, name: str) -> None:
    file = place_of(path)
    assert file is not None, f"there is no {path}"
    scope: ast.stmt | ast.Module = ast.parse(file.read_text("utf-8"))
    for part in filter(None, name.split(".")):
        assert isinstance(scope, ast.Module | ast.ClassDef)
        members = defined(scope)
        assert part in members, f"{path} has no {name}"
        scope = members[part]


def test_every_named_folder_exists() -> None:
    for path in re.findall(r"`((?:\w+/)+\w+)`", PAGE):
        assert place_of(path) is not None, path


def test_every_package_of_the_table_exists_or_is_planned() -> None:
    for cells in rows("Packages"):
        for name in cells[1].replace("`", "").split(", "):
            there = (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()
            assert there != name.startswith("("), name


def test_every_package_is_in_the_table() -> None:
    named = {name for cells in rows("Packages") for name in cells[1].replace("`", "").split(", ")}
    there = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert there - {"__init__", "__main__"} <= named


def test_every_question_is_answered_by_something_that_is_checked() -> None:
    questions = rows("Where do I ...?")
    assert len(questions) >= 12
    for question, answer in questions:
        assert re.search(r"`[\w/]+\.py( [\w.]+)?`", answer), question


def test_the_glossary_has_no_term_twice_and_fewer_than_60() -> None:
    terms = [cells[0] for cells in rows("Glossary")]
    assert 20 <= len(terms) < 60
    assert len(terms) == len(set(terms))
