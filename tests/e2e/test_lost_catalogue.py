"""A catalogue that is lost, of another home, or older than the files: no stored byte is lost with it (H10, H14)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from entrepot.home import living_pids
from support.crashing import Ledger, wait_for
from support.inside import segment_files
from support.server import Server, clean_environ, kill_all

Make = Callable[..., Server]
DAY = "86400"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Server] = []

    def server(folder: str = "server", **settings: str) -> Server:
        made.append(Server(tmp_path / folder, {"sweep_interval": "0.2", "drain_timeout": "3", **settings}))
        return made[-1]

    yield server
    for each in made:
        if each.process is not None:
            each.kill()
            kill_all(living_pids(each.home))


def filled(server: Server, count: int = 3) -> Ledger:
    """A server that served some uploads and ended in order."""
    ledger = Ledger()
    server.start()
    assert all(ledger.upload(server, 1000) for _ in range(count))
    assert server.stop() == 0
    return ledger


def catalogue(server: Server) -> list[Path]:
    return sorted(path for path in server.home.glob("catalogue.db*"))


def keep(server: Server, folder: Path) -> Path:
    """Take a backup."""
    folder.mkdir()
    for path in catalogue(server):
        shutil.copy2(path, folder)
    return folder


def restore(server: Server, backup: Path | None) -> None:
    for path in catalogue(server):
        path.unlink()
    for path in backup.iterdir() if backup else ():
        shutil.copy2(path, server.home)


def refused(server: Server, *arguments: str) -> str:
    ended = server.run(*arguments, check=False)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    return ended.stderr


def every_start(server: Server) -> list[list[str]]:
    home = ["--home", str(server.home)]
    return [
        server.arguments(), ["keys", "list", *home], ["keys", "create", *home], ["keys", "create", "--init", *home],
    ]  # fmt: skip


def looks(server: Server) -> int:
    return server.log().count("looked for orphans")


@pytest.mark.parametrize("lost", ["missing", "empty"])
def test_h10_a_home_without_its_catalogue_is_not_opened_and_loses_no_byte(
    make: Make, tmp_path: Path, lost: str
) -> None:
    server = make()
    ledger = filled(server)
    backup, files = keep(server, tmp_path / "backup"), segment_files(server)
    restore(server, None)
    if lost == "empty":
        (server.home / "catalogue.db").touch()
    for arguments in every_start(server):
        said = refused(server, *arguments)
        assert lost in said and "catalogue.db" in said and f"{server.home / 'blobs'} are still there" in said
    worker = "from entrepot.server.worker import app; app(Settings.load({}))"
    keeper = "from entrepot.server.keeper_process import keep; keep(Settings.load({}), os.getppid())"
    for process in (worker, keeper):
        code = f"import os; from entrepot.settings import Settings; {process}"
        env = clean_environ(server.folder, ENTREPOT_HOME=str(server.home))
        ended = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 1
        assert lost in ended.stderr
    assert segment_files(server) == files
    restore(server, backup)
    server.start()
    ledger.check(server)


def test_h10_a_home_that_lost_its_mark_and_its_catalogue_is_not_made_anew(make: Make) -> None:
    server = make()
    filled(server)
    files = segment_files(server)
    restore(server, None)
    (server.home / "home.json").unlink()
    for arguments in (server.arguments(), ["keys", "create", "--init", "--home", str(server.home)]):
        assert "catalogue.db" in refused(server, *arguments)
    assert segment_files(server) == files
    assert catalogue(server) == [server.home / "catalogue.lock"] or catalogue(server) == []


def test_a_home_that_lost_only_its_mark_keeps_its_id_and_its_files(make: Make) -> None:
    server = make()
    ledger = filled(server)
    (server.home / "home.json").unlink()
    server.start()
    ledger.check(server)
    assert len(list((server.home / "blobs").glob(".store-*"))) == 1


def test_h10_the_catalogue_of_another_home_is_refused(make: Make, tmp_path: Path) -> None:
    server, other = make("one"), make("other")
    ledger = filled(server)
    filled(other)
    own, files = keep(server, tmp_path / "own"), segment_files(server)
    restore(server, keep(other, tmp_path / "wrong"))
    for arguments in every_start(server):
        assert "is the catalogue of the home" in refused(server, *arguments)
    assert segment_files(server) == files
    restore(server, own)
    server.start()
    ledger.check(server)


def test_h10_a_catalogue_that_is_lost_under_a_running_server_is_not_made_anew(make: Make) -> None:
    server = make()
    ledger = Ledger()
    server.start()
    assert ledger.upload(server, 1000)
    files = segment_files(server)
    restore(server, None)
    wait_for(lambda: set(living_pids(server.home)) - set(server.workers()), "the keeper is up")
    for pid in set(living_pids(server.home)) - set(server.workers()):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: "is missing: restore it from a backup" in server.log(), "the new keeper refuses")
    assert segment_files(server) == files
    assert not (server.home / "catalogue.db").exists()


def test_h14_files_that_are_newer_than_a_restored_catalogue_are_kept_for_the_grace(make: Make, tmp_path: Path) -> None:
    server = make(orphan_grace=DAY)
    ledger = filled(server)
    old = keep(server, tmp_path / "old")
    server.start()
    assert all(ledger.upload(server, 1000) for _ in range(3))
    assert server.stop() == 0
    new, files = keep(server, tmp_path / "new"), segment_files(server)
    restore(server, old)
    server.log_path.unlink()
    server.start()
    wait_for(lambda: looks(server), "the keeper looks for orphans")
    assert "3 that no row names, 0 removed" in server.log()
    assert segment_files(server) == files
    assert server.stop() == 0
    # The operator notices in time.
    restore(server, new)
    server.start()
    ledger.check(server)
    assert len(ledger.acknowledged) == 6
