"""What becomes of a command when its standard streams, its locale or Ctrl-C get in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from entrepot.cli.main import main
from support.server import Server, clean_environ, command

NAMES = [f"f{number}" for number in range(5)]
# A plain ASCII locale, in which Python was told to keep to it.
POSIX = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.fixture
def env(server: Server, tmp_path: Path) -> dict[str, str]:
    """In a folder with five files in `d`."""
    (tmp_path / "d").mkdir()
    for name in NAMES:
        (tmp_path / "d" / name).write_text(name)
    return clean_environ(tmp_path, ENTREPOT_URL=server.url, ENTREPOT_KEY=server.key)


@pytest.fixture
def unheard(env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run `entrepot ...` with a standard output whose reader has left, or that is closed; its code and its errors."""
    monkeypatch.chdir(tmp_path)
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    def run(*words: str, closed: bool = False) -> tuple[int, str]:
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as stream, monkeypatch.context() as patch:
            patch.setattr("sys.stdout", None if closed else stream)
            return main(words), capsys.readouterr().err

    return run


@pytest.mark.parametrize("closed", [False, True], ids=["left", "closed"])
def test_s01_a_transfer_goes_on_to_its_end_unheard(unheard, tmp_path, closed):
    place = tmp_path.name
    here = [f"{place}/d/{name}" for name in NAMES]
    why = "it is closed" if closed else "its reader has left"
    for words, lines in (
        (["upload", "d"], NAMES),
        (["files", "upload", "d", f"{place}/"], here),
        (["files", "download", f"{place}/d/", "out"], [f"out/{name}" for name in NAMES]),
        (["files", "cp", "-r", "--json", f"{place}/d", f"{place}/e"], ["d"]),
        (["files", "publish", *here], NAMES),
        (["files", "mv", "--json", *here, f"{place}/"], NAMES),
        (["files", "rm", "--yes", "--json", *(f"{place}/{name}" for name in NAMES)], NAMES),
        (["files", "undelete", *(f"{place}/{name}" for name in NAMES)], NAMES),
    ):
        code, err = unheard(*words, closed=closed)
        assert (code, err.count("not written: "), err.count(why) > 0) == (1, len(lines), True), err
        assert all(line in err for line in lines)
    assert sorted(os.listdir(tmp_path / "out")) == NAMES


@pytest.mark.parametrize("words", ["--help", "files du -q", "whoami", "completion bash", "upload -n d"])
def test_s01_a_listing_ends_in_silence_when_its_reader_has_left(unheard, words):
    assert unheard(*words.split()) == (141, "")


def test_s01_no_file_gets_the_number_of_a_closed_stream(env, tmp_path):
    ran = subprocess.run(
        ["sh", "-c", f"exec {' '.join(command('files', 'upload', 'd', tmp_path.name + '/'))} <&- >&- 2>&-"],
        cwd=tmp_path,
        env=env,
        timeout=120,
    )
    assert ran.returncode == 1
    for name in NAMES:
        assert (tmp_path / "d" / name).read_text() == name


def test_c1_a_name_is_escaped_where_the_locale_has_no_letters_for_it(env, tmp_path):
    (tmp_path / "café").write_bytes(b"coffee")
    place = tmp_path.name

    def run(*words: str) -> str:
        ran = subprocess.run(
            command("files", *words), cwd=tmp_path, env={**env, **POSIX}, capture_output=True, timeout=120
        )
        assert (ran.returncode, ran.stderr) == (0, b"")
        return ran.stdout.decode("ascii")

    assert run("upload", "café", f"{place}/") == rf"/data/{place}/caf\xe9" + "\n"
    assert json.loads(run("download", "--json", f"{place}/café", "thé"))["file"] == "thé"
    assert (tmp_path / "thé").read_bytes() == b"coffee"


INTERRUPT = """
import builtins, os, signal, sys
real = builtins.__import__
moment = sys.argv.pop(1)
def load(name, *rest, **more):
    if name == moment:
        builtins.__import__ = real
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *rest, **more)
from entrepot.cli.main import main
builtins.__import__ = load
if moment == "the end":
    import atexit
    atexit.register(os.kill, os.getpid(), signal.SIGINT)
sys.exit(main())
"""


@pytest.mark.parametrize("moment", ["argparse", "entrepot.client.clients", "the end"])
def test_c1_an_interrupt_at_any_moment_is_130_without_a_traceback(tmp_path, moment):
    env = clean_environ(tmp_path, ENTREPOT_URL="http://127.0.0.1:1", ENTREPOT_KEY="id:secret")
    words = ["--version"] if moment == "the end" else ["files", "ls"]
    start = [sys.executable, "-c", INTERRUPT, moment, *words]
    ran = subprocess.run(start, env=env, capture_output=True, timeout=120)
    assert (ran.returncode, ran.stderr) == (130, b"entrepot: interrupted\n")


def test_c1_an_error_of_ours_is_one_sentence(tmp_path):
    env = clean_environ(tmp_path, ENTREPOT_URL="http://127.0.0.1:1", ENTREPOT_KEY="id:secret")
    program = "import sys, entrepot.cli.plan as p; p.make = lambda *_: 1 // 0; import entrepot.cli.main as m; m.main()"
    for debug in ("", "1"):
        start = [sys.executable, "-c", program, "upload", "x"]
        ran = subprocess.run(start, env={**env, "ENTREPOT_DEBUG": debug}, capture_output=True, timeout=120)
        assert ran.stderr.count(b"entrepot: ZeroDivisionError: ") == 1 and b"ENTREPOT_DEBUG=1" in ran.stderr
        assert (b"Traceback" in ran.stderr) == bool(debug)
