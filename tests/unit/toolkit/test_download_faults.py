"""Downloads where disks fail, locks do not hold, holders hang, and memory is short."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time

import pytest

from entrepot import atomic
from entrepot.client import partial
from entrepot.fetch import Call, Fetcher, Policy
from entrepot.toolkit import lease as lease_module
from entrepot.toolkit.download import Wish, download
from entrepot.toolkit.errors import DownloadCancelled, DownloadError, TargetUnusable
from entrepot.toolkit.lease import Lease
from support.internet import Internet, Reply, Site
from support.server import clean_environ

URL = "http://files.example.com/file.bin"
BODY = bytes(range(256)) * 40


@pytest.fixture
def get(tmp_path):
    with Internet() as net:
        site = net.serve(lambda request: Reply(BODY, headers={"ETag": '"1"'}))

        def get(**wish: object):
            return download(Wish(URL, tmp_path / "target", **wish), Fetcher(Policy(), net))  # type: ignore[arg-type]

        get.site = site  # type: ignore[attr-defined]
        yield get


def operations(get, tmp_path) -> int:
    seen: list[atomic.Op] = []
    with atomic.observe(lambda op: seen.append(op)):
        get(force=True)
    return len(seen)


class Fails:
    """Makes the k-th operation on the disk fail, counted from 0."""

    def __init__(self, k: int, code: int) -> None:
        self.k, self.code, self.count = k, code, 0

    def __call__(self, op: atomic.Op) -> None:
        self.count += 1
        if self.count == self.k + 1:
            raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_e05_a_disk_that_fails_at_any_step_leaves_the_old_file_or_the_new(get, tmp_path, code, force):
    target = get()
    for k in range(operations(get, tmp_path)):
        target.write_bytes(b"old")
        with atomic.observe(Fails(k, code)):
            try:
                get(force=force)
            except TargetUnusable as error:
                assert os.strerror(code) in str(error)
                assert target.read_bytes() in (b"old", BODY)
            else:
                assert target.read_bytes() == BODY, "only a note beside the file may be lost without an error"
        assert os.listdir(target.parent) == ["file.bin"]
        assert get().read_bytes() == BODY


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks."""
    monkeypatch.setattr(lease_module, "try_lock", lambda fd: None)
    monkeypatch.setattr(partial, "try_lock", lambda fd: None)


def test_e09_where_there_are_no_locks_everybody_downloads(get, tmp_path, no_locks):
    assert get().read_bytes() == BODY
    assert get().read_bytes() == BODY
    assert get.site.count("GET") == 1


def test_e09_two_downloads_into_one_folder_without_locks_both_succeed(get, tmp_path, no_locks):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: get(), range(8)))
    assert {path.read_bytes() for path in paths} == {BODY}
    assert "file.bin" in os.listdir(tmp_path / "target")


def test_e09_a_holder_that_hangs_is_not_waited_for(get, tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "HANGS_SECONDS", 0.05)
    folder = tmp_path / "target"
    folder.mkdir()
    with Lease(folder, Wish(URL, folder).key, Call(), "x"):
        assert get().read_bytes() == BODY


def test_who_waits_can_be_cancelled(get, tmp_path):
    folder, call = tmp_path / "target", Call()
    folder.mkdir()
    call.cancel()
    with Lease(folder, Wish(URL, folder).key, Call(), "x"), pytest.raises(DownloadCancelled):
        get(call=call)


def test_a_lock_that_a_killed_one_left_with_a_message_is_not_believed(get, tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    (folder / "file.bin").write_bytes(b"old")
    (folder / f".fal_entrepot.{Wish(URL, folder).key}.lock").write_text('{"name": "file.bin", "size": 3}')
    assert get().read_bytes() == BODY
    assert os.listdir(folder) == ["file.bin"]


def test_without_extended_attributes_downloads_work_and_begin_anew(get, tmp_path, monkeypatch):
    def refused(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(os, "setxattr", refused)
    get()
    get(verify="etag")
    assert get.site.count("GET") == 2
    get(verify="size")
    assert get.site.count("GET") == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_e11_a_folder_that_is_read_only_is_told(get, tmp_path):
    folder = tmp_path / "target"
    folder.mkdir(0o555)
    with pytest.raises(DownloadError, match="Permission denied"):
        get()


MEMORY = """
import resource, sys
from entrepot.toolkit import download_file
download_file(sys.argv[1] + "/small", sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
download_file(sys.argv[1] + "/large", sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_stays_flat_whatever_the_size_of_the_file(tmp_path):
    bodies = {"/small": bytes(1000), "/large": bytes(300_000_000)}
    with Site(lambda request: Reply(bodies[request.path])) as site:
        environ = clean_environ(tmp_path, ENTREPOT_FETCH_ALLOW="127.0.0.1")
        command = [sys.executable, "-c", MEMORY, site.url, str(tmp_path / "target")]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=100)
    assert int(done.stdout) < 20_000, "KiB"


def test_a_holder_shows_that_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "_BEAT_SECONDS", 0.0)
    with Lease(tmp_path, "k", Call(), "x") as lease:
        (path,) = tmp_path.glob("*.lock")
        os.utime(path, (1, 1))
        lease.beat()
        assert path.stat().st_mtime > time.time() - 100
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["/etc/hostname", "../other", "a/b", "", "..", ".fal_entrepot.x.part"])
def test_a_message_of_a_lock_names_a_file_of_the_folder_or_nothing(tmp_path, name):
    left = tmp_path / "message"
    left.write_text(json.dumps({"name": name, "size": 5}))
    with left.open("rb") as file:
        assert lease_module._left_by(file.fileno()) is None
