"""Names and sizes of the packages. What is listed here was there when the rule came: lists and bounds only shrink."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest

from support.code_size import ModuleSize, measure

PACKAGE = Path(__file__).parents[2] / "src" / "entrepot"
MODULES = {module.relative_to(PACKAGE): module.read_text("utf-8") for module in sorted(PACKAGE.rglob("*.py"))}

# Modules, and lines of code without comments, docstrings, blanks and imports. A package that has to grow gets a new
# bound in the commit that makes it grow, and docs/architecture.md says why.
BOUNDS = {
    "": (10, 1380),  # modules that are in no package
    "api": (40, 3100),
    "archive": (6, 600),
    "cli": (35, 2500),
    "client": (44, 4000),
    "domain": (23, 1150),
    "fetch": (14, 950),
    "metadata": (20, 950),
    "server": (9, 510),
    "service": (24, 2000),
    "storage": (7, 450),
    "toolkit": (30, 2230),
    "volume": (28, 3080),
}

# Public class names that are used more than once.
SHARED = {
    "ArchiveEncrypted", "ArchiveError", "ArchiveRefused", "ArchiveTooLarge", "Attempt", "Body", "Call", "Conditions",
    "ConnectionFailed", "Entry", "File", "Files", "Limits", "Page", "Part", "Piece",
    "Policy", "Remote", "Reservation", "Source", "Stalled", "Target", "TlsFailed", "Token", "TrashPage", "Trashed",
    "Tree", "Usage", "Volume", "Way", "Wish",
}  # fmt: skip

# Words of a private language: a reader who knows HTTP and object stores cannot tell what they name.
PRIVATE_WORDS = {
    "asking", "board", "cargo", "crew", "crossing", "deed", "deeds", "door", "doors", "dripping", "filling", "founding",
    "ground", "kept", "keyed", "lane", "lanes", "looked", "material", "patience", "reach", "reaching", "room",
    "rooms", "settling", "showing", "slots", "stowing", "swept", "told", "visit", "way", "ways", "wish",
}  # fmt: skip

# Modules and classes that are named by one.
PRIVATELY_NAMED = {
    "cli": {"Board", "Cargo", "Kept", "Way", "board", "cargo", "crossing", "showing", "visit"},
    "client": {"CdnDoor", "Crew", "Door", "FileMaterial", "Filling", "Lanes", "RestDoor", "StreamMaterial", "Way",
               "Wish", "_Crew", "_Door", "_UrlDoor", "asking", "crew", "doors", "filling", "material", "stowing",
               "wish"},
    "fetch": {"Dripping", "Reach", "reach"},
    "toolkit": {"Keyed", "Wish", "reaching"},
    "volume": {"Way", "Wish"},
}  # fmt: skip


def package_of(module: Path) -> str:
    return module.parts[0] if len(module.parts) > 1 else ""


@cache
def sizes() -> list[tuple[str, ModuleSize]]:
    """Each module's package and size."""
    return [(package_of(module), measure(source)) for module, source in MODULES.items()]


def users() -> dict[str, list[str]]:
    """The packages that each public class name is used in, once for each use."""
    found = defaultdict(list)
    for package, size in sizes():
        for name in size.classes:
            found[name].append(package)
    return found


def privately_named() -> dict[str, set[str]]:
    found = defaultdict(set)
    for module, source in MODULES.items():
        classes = [node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
        for name in (*module.with_suffix("").parts, *classes):
            if words(name) & PRIVATE_WORDS:
                found[package_of(module)].add(name)
    return dict(found)


def words(name: str) -> set[str]:
    """Those of a `snake_case` or `CamelCase` name, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)}


@pytest.mark.parametrize("package", sorted({package_of(module) for module in MODULES} | BOUNDS.keys()))
def test_a_package_stays_within_its_bounds(package: str) -> None:
    found = [size for name, size in sizes() if name == package]
    modules, lines = BOUNDS[package]
    assert len(found) <= modules
    assert sum(size.lines for size in found) <= lines


def test_a_public_class_name_is_used_once() -> None:
    shared = {name: packages for name, packages in users().items() if len(packages) > 1}
    assert {name: packages for name, packages in shared.items() if name not in SHARED} == {}


def test_a_shared_class_name_that_is_gone_is_listed_no_more() -> None:
    counts = Counter({name: len(packages) for name, packages in users().items()})
    assert {name for name in SHARED if counts[name] < 2} == set()


def test_modules_and_classes_have_names_of_the_field() -> None:
    found = privately_named()
    unlisted = {package: names - PRIVATELY_NAMED.get(package, set()) for package, names in found.items()}
    assert {package: names for package, names in unlisted.items() if names} == {}


def test_a_private_name_that_is_gone_is_listed_no_more() -> None:
    found = privately_named()
    stale = {package: names - found.get(package, set()) for package, names in PRIVATELY_NAMED.items()}
    assert {package: names for package, names in stale.items() if names} == {}
