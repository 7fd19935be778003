"""Downloads from a volume whose server cuts, changes and garbles: whole and right, or nothing."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.client import downloads
from entrepot.client.clients import AsyncClient
from entrepot.client.entries import Entry
from entrepot.client.errors import IntegrityError, ServerError, SourceChanged, TargetError, TargetExists
from entrepot.client.filling import Downloaded, Lanes, Target
from entrepot.client.partial import HIDDEN, sweep
from entrepot.client.types import MIB, Phase, Progress
from support.shelf import KEY, Shelf

DATA = random.Random(6).randbytes(3 * MIB + 17)
OTHER = random.Random(7).randbytes(2 * MIB + 5)
# Several connections from the first byte on.
AT_ONCE = Lanes(connections=3, piece=256 * 1024, smallest=0, fast=float("inf"), probe_seconds=0.0)


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with Shelf(DATA) as one:
        yield one


def ranges(shelf: Shelf) -> list[str | None]:
    return [each.headers.get("range") for each in shelf.asked]


def by_lanes(shelf: Shelf, path: Path, lanes: Lanes = AT_ONCE) -> Downloaded:
    with shelf.client() as client:
        target = Target(path, lanes=lanes)
        return client._driver.run(downloads.download(client._volume(), "a.bin", target))


def test_a_file_is_whole_verified_and_alone(shelf, tmp_path):
    with shelf.client() as client:
        found = client.files.download("/data/a.bin", tmp_path / "new" / "a.bin")
    assert (found.path, found.size, found.verified, found.fetched) == (
        tmp_path / "new" / "a.bin",
        len(DATA),
        True,
        True,
    )
    assert found.path.read_bytes() == DATA
    assert os.listdir(tmp_path / "new") == ["a.bin"]
    assert found.path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_asynchronous_twin_does_the_same(shelf, tmp_path):
    async def whole() -> Downloaded:
        async with AsyncClient(KEY, url=shelf.stub.url) as client:
            assert await client.files.read("a.bin") == DATA
            return await client.files.download("a.bin", tmp_path / "a.bin")

    assert asyncio.run(whole()).verified and (tmp_path / "a.bin").read_bytes() == DATA


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1])
def test_a_file_of_any_size_is_brought(shelf, tmp_path, size):
    shelf.change(DATA[:size])
    with shelf.client() as client:
        assert client.files.download("a.bin", tmp_path / "a.bin").verified
    assert (tmp_path / "a.bin").read_bytes() == DATA[:size]


def test_a_line_that_breaks_costs_only_the_rest(shelf, tmp_path):
    shelf.cuts = [2 * MIB, 0, 100_000]
    told: list[Progress] = []
    with shelf.client() as client:
        client.files.download("a.bin", tmp_path / "a.bin", progress=told.append)
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert ranges(shelf) == [None, f"bytes={2 * MIB}-", f"bytes={2 * MIB}-", f"bytes={2 * MIB + 100_000}-"]
    assert {each.headers.get("if-range") for each in shelf.asked[1:]} == {'"v1"'}
    assert [each.done for each in told] == sorted(each.done for each in told)
    assert told[0].phase is Phase.RECEIVING and told[-1].phase is Phase.PUBLISHING


def test_a_line_that_always_brings_something_is_never_given_up(shelf, tmp_path):
    shelf.cuts = [100_000] * 25
    with shelf.client() as client:
        client.files.download("a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_file_that_changes_meanwhile_is_brought_anew(shelf, tmp_path):
    shelf.cuts = [MIB]
    shelf.before = lambda asked: shelf.change(OTHER) if "range" in asked.headers and shelf.version == 1 else None
    with shelf.client() as client:
        assert client.files.download("a.bin", tmp_path / "a.bin").size == len(OTHER)
    assert (tmp_path / "a.bin").read_bytes() == OTHER


def test_bytes_that_are_not_those_announced_never_become_the_file(shelf, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"before")
    shelf.digest = bytes(32)
    with shelf.client() as client, pytest.raises(IntegrityError):
        client.files.download("a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == b"before"
    assert len(shelf.asked) == 2  # once more from the first byte on
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_slow_line_is_helped_by_others(shelf, tmp_path):
    found = by_lanes(shelf, tmp_path / "a.bin")
    assert found.verified and found.path.read_bytes() == DATA
    assert len(shelf.asked) > 8 and {each.headers.get("if-match") for each in shelf.asked[1:]} == {'"v1"'}
    assert os.listdir(tmp_path) == ["a.bin"]


def test_pieces_that_break_are_gone_on_with(shelf, tmp_path):
    shelf.cuts = [None, 1000, 70_000, 0, 200_000]
    assert by_lanes(shelf, tmp_path / "a.bin").verified
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_file_that_changes_between_its_pieces_is_brought_anew(shelf, tmp_path):
    guard = threading.Lock()

    def change(asked: object) -> None:
        with guard:
            if len(shelf.asked) == 6:
                shelf.change(OTHER)

    shelf.before = change
    assert by_lanes(shelf, tmp_path / "a.bin").size == len(OTHER)
    assert (tmp_path / "a.bin").read_bytes() == OTHER
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_file_that_never_rests_is_an_error(shelf, tmp_path):
    shelf.before = lambda asked: shelf.change(DATA[:-1] + bytes([shelf.version % 256]))
    with pytest.raises(SourceChanged):
        by_lanes(shelf, tmp_path / "a.bin")
    assert os.listdir(tmp_path) == []


def test_what_would_be_the_same_is_not_brought_again(shelf, tmp_path):
    with shelf.client() as client:
        client.files.download("a.bin", tmp_path / "a.bin")
        again = client.files.download("a.bin", tmp_path / "a.bin")
        assert (again.fetched, again.size, len(shelf.asked)) == (False, len(DATA), 2)
        listed = Entry("a.bin", True, len(DATA), etag='"v1"')
        assert not client.files.download(listed, tmp_path / "a.bin").fetched
        assert len(shelf.asked) == 2  # the listing said enough
        os.truncate(tmp_path / "a.bin", 5)
        assert client.files.download(listed, tmp_path / "a.bin").fetched
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_what_an_ended_process_left_is_gone_on_with(shelf, tmp_path):
    class Ended(Exception):
        pass

    def end(progress: Progress) -> None:
        if progress.done > 2 * MIB:
            raise Ended

    shelf.change(DATA * 2)
    with shelf.client() as client:
        with pytest.raises(Ended):
            client.files.download("a.bin", tmp_path / "a.bin", progress=end)
        (left,) = os.listdir(tmp_path)
        assert left.startswith(HIDDEN)
        resumed: list[Progress] = []
        assert client.files.download("a.bin", tmp_path / "a.bin", progress=resumed.append).verified
    assert resumed[-1].resumed > MIB and ranges(shelf)[1] == f"bytes={resumed[-1].resumed}-"
    assert (tmp_path / "a.bin").read_bytes() == DATA * 2 and os.listdir(tmp_path) == ["a.bin"]


def test_what_nobody_came_back_for_is_swept_after_a_day(tmp_path):
    old, new = tmp_path / f"{HIDDEN}k.1.part", tmp_path / f"{HIDDEN}k.2.part"
    for path in (old, new):
        path.write_bytes(b"left")
    os.utime(old, (1, 1))
    sweep(tmp_path)
    sweep(tmp_path / "missing")
    assert os.listdir(tmp_path) == [new.name]


def test_nothing_is_left_where_nothing_is_to_be_remembered(shelf, tmp_path):
    shelf.cuts = [MIB] + [0] * 20
    with shelf.client() as client, pytest.raises(Exception, match="broke"):
        client.files.download("a.bin", tmp_path / "a.bin", resume=False)
    assert os.listdir(tmp_path) == []


def test_a_target_that_is_no_file_is_left_alone(shelf, tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "link").symlink_to("file")
    with shelf.client() as client:
        for name in ("folder", "pipe", f"{HIDDEN}x.part", "file/below"):
            with pytest.raises(TargetError):
                client.files.download("a.bin", tmp_path / name)
        with pytest.raises(TargetExists):
            client.files.download("a.bin", tmp_path / "file", overwrite=False)
        assert shelf.asked == []
        client.files.download("a.bin", tmp_path / "link")  # the link goes, not what it leads to
    assert (tmp_path / "file").read_bytes() == b"mine" and (tmp_path / "link").read_bytes() == DATA


def test_a_file_that_appears_meanwhile_is_not_replaced_when_it_must_not_be(shelf, tmp_path):
    shelf.before = lambda asked: (tmp_path / "a.bin").write_bytes(b"mine") and None
    with shelf.client() as client, pytest.raises(TargetExists):
        client.files.download("a.bin", tmp_path / "a.bin", overwrite=False)
    assert (tmp_path / "a.bin").read_bytes() == b"mine" and os.listdir(tmp_path) == ["a.bin"]


def test_bytes_that_are_read_go_on_where_the_line_broke(shelf):
    shelf.cuts = [MIB, 5, None]
    with shelf.client() as client:
        assert client.files.read("a.bin") == DATA
        assert client.files.read("a.bin", 10, 20) == DATA[10:20]
        assert client.files.read("a.bin", len(DATA) - 3) == DATA[-3:]
    assert ranges(shelf) == [None, f"bytes={MIB}-", f"bytes={MIB + 5}-", "bytes=10-19", f"bytes={len(DATA) - 3}-"]


@pytest.mark.parametrize("error", [SourceChanged, IntegrityError])
def test_bytes_of_two_versions_are_never_read_as_one(shelf, error):
    if error is SourceChanged:
        shelf.cuts = [MIB]
        shelf.before = lambda asked: shelf.change(OTHER) if "range" in asked.headers else None
    else:
        shelf.digest = bytes(32)
    with shelf.client() as client, pytest.raises(error):
        client.files.read("a.bin")


def test_a_server_without_a_volume_says_so(tmp_path):
    from support.stubs import Stub, said

    older = {"detail": "Not Found", "message": "There is no such route.", "code": "not_found"}
    with Stub(lambda asked: said(404, older)) as stub, Shelf(b"") as shelf:
        client = shelf.client()
        client._url = stub.url
        with pytest.raises(ServerError, match="has no volume") as caught:
            client.files.download("a.bin", tmp_path / "a.bin")
        assert caught.value.code == "no_volume"
