"""What a bare install says of what it lacks, and how to get that from where this one came."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from entrepot.client import extras
from support.server import clean_environ

# What the extras bring cannot be imported.
BARE = """
import sys
for name in ("apsw", "fastapi", "granian", "uvloop", "xxhash", "pydantic", "pydantic_core", "pydantic_settings", "PIL"):
    sys.modules[name] = None
"""
CLONE = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("program", "extra"),
    [
        ("import entrepot.cli.main as m; sys.exit(m.main(sys.argv[1:]))", "server"),
        ("import entrepot.toolkit.files", "toolkit"),
        ("from entrepot.toolkit.pixels import _pillow; _pillow()", "images"),
    ],
    ids=["server", "toolkit", "images"],
)
def test_n3_a_bare_install_says_which_extra_and_how_to_get_it(tmp_path, program, extra):
    for words in (["keys", "list"], ["serve"]) if extra == "server" else ([],):
        start = [sys.executable, "-c", BARE + program, *words]
        ran = subprocess.run(start, env=clean_environ(tmp_path), capture_output=True, text=True, timeout=120)
        assert ran.returncode == 1 and f"pip install -e '{CLONE}[{extra}]'" in ran.stderr
        assert ("Traceback" in ran.stderr) == (extra != "server")
        assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "words", [["completion", "bash"], ["--help"], ["profiles", "--help"], ["upload", "--dry-run", "serve"]]
)
def test_a_bare_install_runs_the_commands_of_users(tmp_path, words):
    (tmp_path / "serve").write_bytes(b"x")
    start = [sys.executable, "-c", BARE + "import entrepot.cli.main as m; sys.exit(m.main(sys.argv[1:]))", *words]
    ran = subprocess.run(start, cwd=tmp_path, env=clean_environ(tmp_path), capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("told", "hint"),
    [
        ({"url": "file:///my%20clone", "dir_info": {}}, "pip install '/my clone[server]'"),
        ({"url": "file:///clone", "dir_info": {"editable": True}}, "pip install -e '/clone[server]'"),
        (
            {"url": "https://host/entrepot.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "pip install 'entrepot[server] @ git+https://host/entrepot.git@abc'",
        ),
        (
            {"url": "file:///entrepot-0.1.0-py3-none-any.whl", "archive_info": {}},
            "pip install 'entrepot[server] @ file:///entrepot-0.1.0-py3-none-any.whl'",
        ),
        ({}, f"pip install '{CLONE}[server]'"),
    ],
    ids=["folder", "editable", "repository", "wheel", "source"],
)
def test_n3_the_hint_names_where_this_install_came_from(tmp_path, monkeypatch, told, hint):
    info = tmp_path / "entrepot-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: entrepot\nVersion: 0.1.0\n")
    (info / "direct_url.json").write_text(json.dumps(told))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert extras.install_command("server") == hint
