"""The documentation is held against the code: what it does not mention does not pass."""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot import wire
from entrepot.api import app as api
from entrepot.api.responses import STATUS
from entrepot.cli import exits
from entrepot.cli.parsing import Parser
from entrepot.cli.root import parser
from entrepot.domain.errors import Code
from entrepot.home import SECRET_VARIABLE
from entrepot.settings import FILE_VARIABLE, Settings, default_text, flag_name, variable_name

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
SETTINGS_PAGE = (ROOT / "docs" / "settings.md").read_text("utf-8")
PROSE_DEFAULTS = {
    "home": "`$XDG_DATA_HOME/entrepot`, else `~/.local/share/entrepot`",
    "workers": "one per core, at most 4",
}
CLIENT_VARIABLES = [
    "ENTREPOT_URL", "ENTREPOT_KEY", "FAL_KEY", "ENTREPOT_CONFIG", FILE_VARIABLE, "ENTREPOT_VOLUME",
    "ENTREPOT_FETCH_ALLOW", "ENTREPOT_FETCH_PROXY", "ENTREPOT_FETCH_PRIVATE", "ENTREPOT_INPUT_HTTP",
    "ENTREPOT_LOCAL_FILES",
]  # fmt: skip
HEADERS = [
    wire.FILE_NAME, wire.LIFECYCLE, wire.LIFECYCLE_PREFERENCE, wire.SOURCE_REQUEST, wire.REQUEST_ID, wire.EXPIRES_AT,
    wire.IDEMPOTENCY_KEY, wire.NEXT_CURSOR, wire.WARNING,
]  # fmt: skip


def cells(first: str) -> list[str]:
    """The cells of the table row of the settings page that begins with this code."""
    rows = [line for line in SETTINGS_PAGE.splitlines() if line.startswith(f"| `{first}` |")]
    assert rows, f"docs/settings.md has no row for {first}"
    return [cell.strip() for cell in rows[0].strip("|").split(" | ")]


def parsers(one: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of all commands and verbs, the root excepted."""
    for action in one._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                assert isinstance(inner, Parser)
                inner.complete()
                yield inner
                yield from parsers(inner)


COMMANDS = list(dict.fromkeys(parsers(parser())))  # one that has two names is one


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_table_with_its_variable_and_default(name):
    _, variable, default, meaning = cells(flag_name(name))
    assert variable == f"`{variable_name(name)}`"
    assert meaning
    if name in PROSE_DEFAULTS:
        assert default == PROSE_DEFAULTS[name]
    else:
        assert default.strip("`") == default_text(name) or (default == "none" and not default_text(name))


def test_the_table_has_no_setting_that_the_code_has_not():
    flags = re.findall(r"^\| `(--[a-z-]+)` \| `ENTREPOT_", SETTINGS_PAGE, re.MULTILINE)
    assert flags == [flag_name(name) for name in Settings.model_fields]


@pytest.mark.parametrize("variable", [*CLIENT_VARIABLES, SECRET_VARIABLE])
def test_every_other_variable_is_described(variable):
    assert f"`{variable}`" in SETTINGS_PAGE


def test_no_variable_is_read_that_is_not_described():
    code = "".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    for variable in set(re.findall(r"\b(?:ENTREPOT|FAL)_[A-Z]+(?:_[A-Z]+)*\b", code)):
        assert f"`{variable}`" in SETTINGS_PAGE, variable


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.prog)
def test_every_command_and_verb_is_described(command):
    wanted = command.prog
    assert re.search(rf"`{wanted}\b", SETTINGS_PAGE), f"docs/settings.md does not mention {wanted}"


@pytest.mark.parametrize("command", [parser(), *COMMANDS], ids=lambda command: command.prog)
def test_the_help_of_every_command_shows_an_example(command):
    assert re.search(rf"examples?:\s+{command.prog}", command.format_help())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.prog)
def test_the_help_of_every_command_says_what_it_does(command):
    assert command.description and command.description in " ".join(command.format_help().split())


def test_the_help_of_serve_tells_the_same_defaults_as_the_table():
    told = " ".join(next(each for each in COMMANDS if each.prog == "entrepot serve").format_help().split())
    for name in Settings.model_fields:
        default = cells(flag_name(name))[2]
        if name not in PROSE_DEFAULTS and default != "none":
            assert f"(default: {default.strip('`')}) [{variable_name(name)}]" in told


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.prog)
def test_every_option_of_the_user_s_commands_is_described(command):
    for action in command._actions:
        for option in action.option_strings:
            if option.startswith("--") and option != "--help":
                assert f"`{option}`" in SETTINGS_PAGE, f"{command.prog} {option}"


def test_every_exit_code_is_described():
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    for code in codes:
        assert re.search(rf"^\| {code} \| \w", SETTINGS_PAGE, re.MULTILINE), code


@pytest.mark.parametrize("code", Code, ids=lambda code: code.code)
def test_every_error_code_is_in_the_table_with_its_status(code):
    assert cells(code.code)[1].partition(" ")[0] == str(STATUS[code])


def test_every_route_and_method_of_the_openapi_document_is_described():
    for path, item in api.published("http://x")["paths"].items():
        rows = [line for line in SETTINGS_PAGE.splitlines() if line.startswith(f"| `{path}` |")]
        methods = " ".join(row.split("|")[2] for row in rows)
        for method in item.keys() - {"parameters"}:
            assert method.upper() in methods, f"{method} {path}"


@pytest.mark.parametrize("header", HEADERS)
def test_every_header_of_the_wire_is_described(header):
    assert f"`{header}`" in SETTINGS_PAGE.lower()


def test_the_lists_of_headers_here_is_complete():
    names = {value for name, value in vars(wire).items() if name.isupper() and isinstance(value, str)}
    assert {name for name in names if name.startswith("x-") or name.endswith("-key")} == set(HEADERS)


def test_every_layer_is_in_the_table_of_packages():
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    for number, row in enumerate(contracts[0]["layers"], 1):
        (line,) = re.findall(rf"^\| {number} \| ([^|]*) \|", page, re.MULTILINE)
        assert line.replace("`", "").split(", ") == row.split(" | ")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_something(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings], target


@pytest.mark.parametrize("page", ["README.md", "docs/threats.md"])
def test_every_guarantee_is_listed(page):
    text = (ROOT / page).read_text("utf-8")
    assert re.findall(r"^\| (I[1-9]\d?) \|", text, re.MULTILINE) == [f"I{n}" for n in range(1, 15)]


def test_every_page_is_linked_from_the_readme():
    text = (ROOT / "README.md").read_text("utf-8")
    for page in PAGES[1:]:
        assert f"({page.relative_to(ROOT)})" in text
