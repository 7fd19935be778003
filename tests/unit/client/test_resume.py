"""The states of uploads that are under way: private, and never shared."""

from __future__ import annotations

import multiprocessing
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from entrepot.client import resume


def test_a_state_is_kept_for_the_next_one_and_removed_at_the_end(tmp_path: Path) -> None:
    first = resume.claim(tmp_path / "states", "a", "b")
    assert first is not None and first.load() is None
    first.save({"url": "x"})
    first.close()
    second = resume.claim(tmp_path / "states", "a", "b")
    assert second is not None
    state = second.load()
    assert state is not None and state["url"] == "x"
    second.drop()
    second.drop()
    second.close()
    second.close()
    assert list((tmp_path / "states").iterdir()) == []


def test_it_is_readable_for_its_owner_alone(tmp_path: Path) -> None:
    claim = resume.claim(tmp_path / "states", "a")
    assert claim is not None
    claim.save({})
    assert stat.S_IMODE((tmp_path / "states").stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "states").iterdir()} == {0o600}
    claim.close()


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_state_that_others_may_write_is_as_good_as_none(tmp_path: Path, mode: int) -> None:
    """It says where to send the bytes and the token."""
    claim = resume.claim(tmp_path / "states", "a")
    assert claim is not None
    claim.save({"base": "http://elsewhere"})
    assert claim.load() is not None
    next((tmp_path / "states").glob("*.json")).chmod(mode)
    assert claim.load() is None
    claim.close()


def _child(place: Path, pipe: Any) -> None:
    claim = resume.claim(place, "a")
    pipe.send(claim is not None)
    pipe.recv()
    os._exit(0)


def test_two_processes_never_have_the_same_and_a_dead_one_holds_none(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_child, args=(tmp_path, theirs))
    process.start()
    assert ours.recv() is True
    assert resume.claim(tmp_path, "a") is None
    other = resume.claim(tmp_path, "another")
    assert other is not None
    other.close()
    process.kill()
    process.join()
    again = resume.claim(tmp_path, "a")
    assert again is not None, "the lock file is there, its holder is not"
    again.close()


def test_two_threads_of_one_process_do_not_share_either(tmp_path: Path) -> None:
    first = resume.claim(tmp_path, "a")
    assert first is not None and resume.claim(tmp_path, "a") is None
    first.close()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", pytest.param(b"[" * 100_000, id="deep"), b'{"version": 0}', b"\xff"]
)
def test_garbage_is_no_state(tmp_path: Path, content: bytes) -> None:
    claim = resume.claim(tmp_path, "a")
    assert claim is not None
    claim.save({})
    (state,) = tmp_path.glob("*.json")
    state.write_bytes(content)
    assert claim.load() is None
    claim.close()


def test_a_place_that_is_none_gives_no_state(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert resume.claim(tmp_path / "file" / "states", "a") is None


def test_what_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    claim = resume.claim(tmp_path / "states", "a")
    assert claim is not None
    for each in (tmp_path / "states").iterdir():
        each.unlink()
    (tmp_path / "states").rmdir()
    claim.save({"url": "x"})
    claim.drop()
    claim.close()


def test_what_was_never_taken_up_again_is_removed(tmp_path: Path) -> None:
    for name in ("old.json", "old.lock", "new.json"):
        (tmp_path / name).write_bytes(b"{}")
        if name.startswith("old"):
            os.utime(tmp_path / name, (0, 0))
    claim = resume.claim(tmp_path, "a")
    assert claim is not None
    claim.close()
    assert [each.name for each in tmp_path.iterdir()] == ["new.json"]


def test_where_states_are_kept(tmp_path: Path) -> None:
    assert resume.folder({"ENTREPOT_STATE": "/x"}) == Path("/x")
    assert resume.folder({"XDG_STATE_HOME": "/s"}) == Path("/s/entrepot/uploads")
