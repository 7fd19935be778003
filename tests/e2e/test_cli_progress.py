"""What `entrepot upload` shows while it works, and what is left of it when it is interrupted."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.faultproxy import UP, FaultProxy, Stall
from support.server import Server, clean_environ, command

MIB = 1024 * 1024
LARGE = 108 * MIB
PART = 12 * MIB


def environ(folder: Path, server: Server) -> dict[str, str]:
    return clean_environ(folder, ENTREPOT_URL=server.url, ENTREPOT_KEY=server.key)


def on_terminal(folder: Path, env: dict[str, str], *args: str, columns: int = 60) -> tuple[str, str]:
    """Run `entrepot upload` with a terminal as its standard error; what it wrote there, and its standard output."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {"TERM": "xterm", **env}
    ran = subprocess.Popen(
        command("upload", *args), cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError as error:
            assert error.errno == errno.EIO  # the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    out, _ = ran.communicate(timeout=90)
    assert ran.returncode == 0, shown
    return shown.decode(), out.decode()


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server behind a proxy on which each connection stands still for a moment, so that there is time to draw."""
    server = Server(tmp_path_factory.mktemp("slow"))
    with FaultProxy(server.port, lambda _: Stall(UP, MIB, 0.7)) as proxy:
        server.settings |= {"public_url": f"http://127.0.0.1:{proxy.port}", "drain_timeout": "1"}
        with server:
            yield server


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "file").write_bytes(os.urandom(2 * MIB))
    return "file"


def test_a_terminal_shows_one_line_that_is_cleared_in_the_end(slow, file, tmp_path):
    shown, out = on_terminal(tmp_path, environ(tmp_path, slow), "--no-skip-existing", "file", columns=80)
    drawn = [part for part in shown.split("\r") if part.strip()]
    assert any(re.match(r"(sending|hashing|verifying)  [\d.]+ of 2\.1 MB", part) for part in drawn), shown
    words = [re.split(r"  ", part)[0] for part in drawn]
    order = ["hashing", "waiting for the server", "sending", "verifying"]
    assert words == sorted(words, key=order.index), words
    assert any(part.rstrip().endswith("  file") for part in drawn)
    assert "\n" not in shown and "\x1b" not in shown
    assert shown.endswith(" \r")
    assert out.count("\n") == 1 and out.startswith("http")


def test_the_line_is_no_wider_than_the_terminal(slow, file, tmp_path):
    env = environ(tmp_path, slow)
    shown, _ = on_terminal(tmp_path, env, "--no-skip-existing", "file", "file", columns=30)
    drawn = [part for part in shown.split("\r") if part.strip()]
    assert drawn and all(len(part) < 30 for part in drawn)


@pytest.mark.parametrize("off", [{"ENTREPOT_NO_PROGRESS": "1"}, {"TERM": "dumb"}, {"CI": "1"}], ids=str)
def test_no_line_is_drawn_where_it_is_not_wanted(slow, file, tmp_path, off):
    env = {**environ(tmp_path, slow), **off}
    assert on_terminal(tmp_path, env, "file")[0] == ""


def test_quiet_draws_nothing(slow, file, tmp_path):
    assert on_terminal(tmp_path, environ(tmp_path, slow), "--quiet", "file")[0] == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_upload_says_what_is_kept_and_goes_on(tmp_path, number):
    (tmp_path / "large").write_bytes(os.urandom(LARGE))
    args = command("upload", "--json", "--part-size", "12M", "--concurrency", "1", "large")
    server = Server(tmp_path / "server")
    stalls = True
    with FaultProxy(server.port, lambda _: Stall(UP, 2 * PART + MIB, 60.0) if stalls else None) as proxy:
        server.settings |= {"public_url": f"http://127.0.0.1:{proxy.port}", "drain_timeout": "1"}
        with server:
            env = environ(tmp_path, server)
            first = start(args, tmp_path, env)
            until(lambda: any(passage.met for passage in proxy.passages))  # two parts are there, the third is not
            first.send_signal(number)
            out, err = first.communicate(timeout=90)
            assert (first.returncode, out) == (130, "")
            said = r"25\.2 of 113\.2 MB kept until \d+ \w+( \d+)? \d\d:\d\d\. Run the same command to continue\."
            assert re.search(said, err), err

            stalls, before = False, len(proxy.passages)
            second = start(args, tmp_path, env)
            out, err = second.communicate(timeout=90)
            assert second.returncode == 0, err
            assert "resuming at 25.2 MB of 113.2 MB" in err
            assert json.loads(out)["size"] == LARGE
            missing = LARGE - 2 * PART
            sent = sum(passage.passed[UP] for passage in proxy.passages[before:])
            assert missing <= sent < missing + MIB


def test_n5_parts_that_may_have_arrived_are_not_said_to_be_lost(slow, tmp_path):
    """As behind a proxy that buffers: what was sent is on its way when the command ends."""
    (tmp_path / "large").write_bytes(bytes(17 * MIB))
    with FaultProxy(slow.port, lambda _: Stall(UP, 2 * MIB, 60.0)) as proxy:
        env = environ(tmp_path, slow) | {"ENTREPOT_URL": f"http://127.0.0.1:{proxy.port}"}
        ran = start(command("files", "upload", "--concurrency", "1", "large", "large"), tmp_path, env)
        until(lambda: any(passage.met for passage in proxy.passages))
        ran.send_signal(signal.SIGINT)
        out, err = ran.communicate(timeout=90)
    assert (ran.returncode, out) == (130, "")
    assert "No part is known to have arrived; what did is kept until " in err and "to continue." in err


def start(args: list[str], folder: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(args, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_interrupted_stream_keeps_nothing(server, tmp_path):
    env = environ(tmp_path, server)
    ran = subprocess.Popen(
        command("upload", "-"), cwd=tmp_path, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert ran.stdin is not None
    ran.stdin.write(bytes(11 * MIB))  # more than a pipe holds: it is being read
    ran.send_signal(signal.SIGINT)
    out, err = ran.communicate(timeout=90)
    assert (ran.returncode, out) == (130, b"")
    assert b"Nothing is kept" in err and b"Traceback" not in err
