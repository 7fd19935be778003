"""A real server in processes of its own, on a free port of the loopback, ended by its process ids."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from entrepot.home import Home
from entrepot.server.bootstrap import open_accounts

# A busy machine takes its time: only what never happens is a failure.
START_SECONDS = 90.0
STOP_SECONDS = 90.0


def free_port() -> int:
    """A port that nobody else is given as long as this process lives, also while its server is down: this socket has it
    and never listens. Who asks for the port by its number gets it all the same."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    port: int = holder.getsockname()[1]
    holder.detach()
    return port


def clean_environ(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a person whose machine knows nothing of Entrepot or fal, with folders of its own."""
    kept = {k: v for k, v in os.environ.items() if k != "CI" and not k.startswith(("ENTREPOT_", "FAL_", "XDG_"))}
    own = {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_DATA_HOME": str(folder / "data"), "HOME": str(folder)}
    return {**kept, **own, **more}


def command(*args: str) -> list[str]:
    """The `entrepot` command of this checkout."""
    return [sys.executable, "-m", "entrepot.cli.main", *args]


@dataclass
class Server:
    """`settings` are flags without dashes, as keyword names: `Server(folder, workers="2", max_upload_size="1M")`."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    key: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def log_path(self) -> Path:
        return self.folder / "server.log"

    @property
    def scheme(self) -> str:
        return "https" if "tls_cert" in self.settings else "http"

    @property
    def url(self) -> str:
        return self.settings.get("public_url") or f"{self.scheme}://127.0.0.1:{self.port}"

    def run(self, *args: str, check: bool = True, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run an `entrepot` command in this server's surroundings."""
        env = clean_environ(self.folder, **self.environ, **environ)
        return subprocess.run(
            command(*args), env=env, capture_output=True, text=True, check=check, timeout=START_SECONDS
        )

    def new_key(self) -> str:
        """A key of the default account; makes the home when there is none."""
        if not self.environ and not Home.exists(self.home):
            return self._first_key()
        reply = self.run("keys", "create", "--init", "--json", "--home", str(self.home))
        return str(json.loads(reply.stdout)["key"])

    def _first_key(self) -> str:
        """As the command makes it, but without a process of its own: nearly every test starts a server."""

        async def made() -> str:
            async with open_accounts(self.home, init=True) as accounts:
                return (await accounts.create_key("")).reveal()

        mask = os.umask(0o077)
        try:
            return asyncio.run(made())
        finally:
            os.umask(mask)

    def arguments(self) -> list[str]:
        flags = {"home": str(self.home), "port": str(self.port), "workers": "1", "orphan_grace": "0", **self.settings}
        return ["serve", *(x for k, v in flags.items() for x in ("--" + k.replace("_", "-"), v))]

    def start(self, wait: bool = True) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key = self.key or self.new_key()
        env = clean_environ(self.folder, **self.environ)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command(*self.arguments()), env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                # A process that was just killed may take connections until the last of its threads is gone.
                if self.workers():
                    return
            time.sleep(0.02)
        raise AssertionError(f"the server did not start:\n{self.log()}")

    def pids(self) -> list[int]:
        """The parent first, then workers and keeper."""
        assert self.process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
            return [self.process.pid, *(c.pid for c in children)]
        return [self.process.pid]

    def workers(self) -> list[int]:
        """The processes that listen on the port."""
        return [pid for pid in self.pids() if any(c.laddr.port == self.port for c in _listening(pid))]

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        pids = self.pids()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        finally:
            kill_all(pids)

    def kill(self) -> None:
        """SIGKILL to every process at once, as a crash of the machine would."""
        pids = self.halted()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)  # else those that are killed last sweep behind those that were first
        kill_all(pids)
        if self.process is not None:
            self.process.wait(STOP_SECONDS)

    def kill_parent(self) -> list[int]:
        """SIGKILL to the parent alone. The processes that it leaves behind."""
        assert self.process is not None
        _, *left = self.halted()
        self.process.kill()
        self.process.wait(STOP_SECONDS)
        return left

    def halted(self) -> list[int]:
        """Stop the parent, so that none is born any more that is not among these: the parent, workers and keeper."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)
        return self.pids()

    def log(self) -> str:
        """Its whole lines: one that is just being written is none yet."""
        said = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return said[: said.rfind("\n") + 1]

    def log_lines(self) -> list[dict[str, Any]]:
        """The structured lines of the log."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class FirstServer(Server):
    """A server whose home nobody has made: `start` of the ordinary one makes a key before."""

    def new_key(self) -> str:
        return ""

    @property
    def profile(self) -> Path:
        return self.folder / "config" / "entrepot" / "config.toml"

    def said(self, *, first: bool = True) -> list[str]:
        """What it printed for people, complete."""
        end = "Stop with Ctrl-C." if first else "Entrepot serves"
        deadline = time.monotonic() + START_SECONDS
        while end not in self.log() and time.monotonic() < deadline:
            time.sleep(0.02)
        return [line for line in self.log().splitlines() if not line.startswith("{")]


def _listening(pid: int) -> list[Any]:
    with contextlib.suppress(psutil.Error):
        return [c for c in psutil.Process(pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    return []


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline and any(_lives(pid) for pid in pids):
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def running(folder: Path, **settings: str) -> Iterator[Server]:
    """A server for one `with` block."""
    server = Server(folder, settings)
    try:
        yield server.start()
    finally:
        if server.process is not None:
            server.stop()
