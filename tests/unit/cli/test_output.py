"""Standard streams that take no more."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest

from entrepot.cli.main import main
from entrepot.cli.output import Output, leave
from entrepot.cli.serve import _say

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@contextmanager
def full(name: str = "stdout", buffering: int = -1) -> Iterator[None]:
    """A standard stream that gathers, and then finds the disk full."""
    kept = getattr(sys, name)
    with open("/dev/full", "w", buffering, "utf-8") as stream:
        setattr(sys, name, stream)
        try:
            yield
        finally:
            setattr(sys, name, kept)
            leave(stream)


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[profiles.default]\nurl = "http://127.0.0.1:1"\nkey = "id:secret"\n')
    path.chmod(0o600)
    monkeypatch.setenv("ENTREPOT_CONFIG", str(path))


@pytest.mark.usefixtures("profile")
@pytest.mark.parametrize(
    "command",
    ["--help", "--version", "completion bash", "profiles", "profiles --json", f"upload -n {__file__}", "keys --help"],
)
def test_a_full_standard_output_is_told_of_and_is_a_failure(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with full():
        assert main(command.split(" ")) == 1
    said = capsys.readouterr().err
    assert said.startswith("entrepot: The standard output cannot be written: No space left on device.\n")
    assert said.count("\n") == 2


def test_a_closed_one_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["--version"]) == 1
    assert "it is closed" in capsys.readouterr().err


def test_the_first_failure_is_not_hidden_by_it(capsys: pytest.CaptureFixture[str]) -> None:
    with full():
        assert main(["frobnicate"]) == 2
    assert "invalid choice" in capsys.readouterr().err


def test_a_key_that_cannot_be_shown_is_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(tmp_path / "home")]
    with full():
        assert main(["keys", "create", "--init", *home]) == 1
    assert "was revoked" in capsys.readouterr().err
    assert main(["keys", "list", *home]) == 0
    assert [line.split("\t")[3] for line in capsys.readouterr().out.splitlines()] == ["revoked"]


def test_a_full_standard_error_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with full("stderr", buffering=1):
        assert main(["frobnicate"]) == 2
        assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("entrepot ")


def test_what_a_server_says_at_its_start_is_said_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with full(), redirect_stdout(Output(sys.stdout)):
        _say("the key, shown this once")
    assert capsys.readouterr().err == "the key, shown this once\n"
