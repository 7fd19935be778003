"""Documents that code and pages cite are in the repository, and have the section, case or test that is cited."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text("utf-8")
THREATS = (ROOT / "docs" / "threats.md").read_text("utf-8")
SECTIONS = {
    *re.findall(r"^#+ (\d+(?:\.\d+)?)\.? ", PROTOCOL, re.MULTILINE),
    *re.findall(r"^\| ([AC]\d+) \|", PROTOCOL, re.MULTILINE),
    *re.findall(r"^(B\d+)\. ", PROTOCOL, re.MULTILINE),
}
CASES = set(re.findall(r"^\| ([A-K]\d{1,2}) \|", THREATS, re.MULTILINE))
CODE = ["src", "tests", "scripts", "benchmarks"]

_SECTION = r"(?:\d+(?:\.\d+)?|[ABC]\d+)"
_CASE = r"[A-K]\d{1,2}"
# A list of ids may be broken by a line end, within a comment too.
_GAP = r"(?:\s|\n *# )+"
_AND = rf"(?:,{_GAP}(?:and{_GAP})?|{_GAP}and{_GAP}|{_GAP}to{_GAP}|-)"


def code() -> Iterator[tuple[str, str]]:
    """The name and text of every source file of ours."""
    for start in CODE:
        for path in sorted((ROOT / start).rglob("*")):
            if path.suffix in {".py", ".sql", ".mjs", ".sh"} and "node_modules" not in path.parts:
                yield str(path.relative_to(ROOT)), path.read_text("utf-8")


def cited(page: str, one: str) -> Iterator[tuple[str, str]]:
    """Each id that a source file cites of a page, with the file."""
    for name, text in code():
        for ids in re.findall(rf"docs/{page}\.md{_GAP}({one}\b(?:{_AND}{one}\b)*)", text):
            for each in re.findall(one, ids):
                yield name, each


def test_every_cited_section_of_the_protocol_is_there() -> None:
    found = list(cited("protocol", _SECTION))
    assert len(found) > 30
    assert [each for each in found if each[1] not in SECTIONS] == []


def test_every_cited_case_or_guarantee_is_there() -> None:
    found = list(cited("threats", _CASE))
    assert len(found) > 30
    assert [each for each in found if each[1] not in CASES] == []


def test_every_test_that_a_page_names_is_there() -> None:
    for page in sorted((ROOT / "docs").glob("*.md")):
        for path in re.findall(r"tests/[\w/]+\.py", page.read_text("utf-8")):
            assert (ROOT / path).is_file(), f"{page.name} names {path}"


def test_no_page_is_cited_that_is_not_in_the_repository() -> None:
    own = {path.name for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))}
    for name, text in code():
        if name == "tests/house/test_references.py":
            continue
        for page in re.findall(r"(?<![\w\"'*{])[\w/]+\.md\b", text):
            assert page.rpartition("/")[2] in own, f"{name} cites {page}"
        elsewhere = re.search(r"(?<!docs/)\bprotocol \d|\bhostile inputs? [A-K]\d|\bdesign, section|\(fault \w\d", text)
        assert elsewhere is None, f"{name} cites {elsewhere.group()!r}"
