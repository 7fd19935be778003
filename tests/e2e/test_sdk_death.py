"""Uploads whose process dies: the next one goes on where it stopped, and never mixes two files."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.client.types import Progress
from support.faultproxy import UP, Reset
from support.inside import unnamed_files
from support.sdk import (
    HURRY,
    PART,
    REPOSITORIES,
    WORLDS,
    Sdk,
    a_file,
    fetched,
    lined,
    objects_named,
    part_numbers,
    rest_of,
    uploads_named,
)
from support.server import Server, clean_environ, running
from support.talk import Talk

TESTS = Path(__file__).parents[1]
PARTS = 6
SIZE = PARTS * PART - 99


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server")) as shared:
        yield shared


@pytest.fixture(autouse=True)
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENTREPOT_STATE", str(tmp_path / "states"))
    return tmp_path / "states"


def child(server: Server, path: Path, moment: str, repository: str = "fal_v3") -> subprocess.Popen[str]:
    """Begin an upload in a process of its own."""
    environ = clean_environ(path.parent, PYTHONPATH=str(TESTS), ENTREPOT_STATE=str(path.parent / "states"))
    return subprocess.Popen(
        [sys.executable, "-m", "support.uploading", server.url, server.key, str(path), repository, moment],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def dies(server: Server, path: Path, moment: str, repository: str = "fal_v3") -> None:
    """Begin an upload, and see it killed."""
    process = child(server, path, moment, repository)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (-9, ""), err


def the_state(folder: Path) -> Path:
    """What the one upload that died left for those who go on."""
    (state,) = (folder / "states").glob("*.json")
    return state


def acknowledged(server: Server, name: str) -> list[int]:
    """The parts that the server took, when it has ended with those that were on the way."""
    rest_of(lambda: len(part_numbers(server, name)), busy=lambda: unnamed_files(server))
    return part_numbers(server, name)


@pytest.mark.parametrize(
    ("world", "repository"), [("sync", "fal_v3"), ("sync", "fal"), ("async", "fal_v3"), ("async", "fal")]
)
@pytest.mark.parametrize("count", [1, 3, 5])
def test_only_the_missing_parts_are_sent_after_a_kill(server, world, repository, count, tmp_path):
    path = tmp_path / f"killed-{world}-{repository}-{count}.bin"
    data = a_file(path, SIZE)
    dies(server, path, f"part:{count}", repository)
    before = acknowledged(server, path.name)
    assert len(before) >= count
    seen: list[Progress] = []
    sdk = Sdk(world, server.url, server.key)
    url = sdk.in_parts(path, repository=repository, progress=seen.append)
    sdk.close()
    assert fetched(server, url) == data
    assert sorted(acknowledged(server, path.name)) == list(range(1, PARTS + 1)), "a part was sent twice"
    assert objects_named(server, path.name) == 1
    assert seen[-1].resumed >= (len(before) - 1) * PART
    assert seen[-1].safe == seen[-1].done == SIZE
    assert list((tmp_path / "states").iterdir()) == [], "the state is removed at the end"


@pytest.mark.parametrize("repository", REPOSITORIES)
@pytest.mark.parametrize("moment", ["publishing", "published"])
def test_a_kill_around_the_publishing_makes_no_second_file(server, moment, repository, tmp_path):
    path = tmp_path / f"{moment}-{repository}.bin"
    data = a_file(path, SIZE)
    dies(server, path, moment, repository)
    assert objects_named(server, path.name) == (moment == "published")
    sdk = Sdk("sync", server.url, server.key)
    assert fetched(server, sdk.in_parts(path, repository=repository)) == data
    sdk.close()
    assert sorted(acknowledged(server, path.name)) == list(range(1, PARTS + 1))
    assert objects_named(server, path.name) == 1
    assert uploads_named(server, path.name) == ["published"]


def test_an_upload_goes_on_after_both_died_several_times(tmp_path):
    with running(tmp_path / "server") as server:
        path = tmp_path / "both.bin"
        data = a_file(path, SIZE)
        for moment in ("part:1", "part:1"):
            dies(server, path, moment)
            server.kill()
            server.start()
        sdk = Sdk("sync", server.url, server.key)
        assert fetched(server, sdk.in_parts(path)) == data
        sdk.close()
        # The log may miss lines of the killed server, so parts are counted as at most once each.
        numbers = acknowledged(server, path.name)
        assert len(set(numbers)) == len(numbers) and objects_named(server, path.name) == 1
        assert uploads_named(server, path.name) == ["published"]


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_a_file_that_changed_between_two_runs_is_uploaded_anew_and_the_old_one_given_up(server, repository, tmp_path):
    path = tmp_path / f"changed-{repository}.bin"
    a_file(path, SIZE, 1)
    dies(server, path, "part:3", repository)
    data = a_file(path, SIZE, 2)
    sdk = Sdk("sync", server.url, server.key)
    url = sdk.in_parts(path, repository=repository)
    sdk.close()
    assert fetched(server, url) == data
    assert uploads_named(server, path.name) == ["aborted", "published"]
    assert objects_named(server, path.name) == 1


@pytest.mark.parametrize("moment", ["part:3", "published"])
def test_other_bytes_with_the_same_size_and_time_are_told_apart_by_their_digests(server, moment, tmp_path):
    """The state says that nothing changed; what counts are the bytes."""
    path = tmp_path / f"same-time-{moment}.bin"
    old = a_file(path, SIZE, 1)
    facts = path.stat()
    dies(server, path, moment)
    data = old[:PART] + os.urandom(SIZE - PART)
    path.write_bytes(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    sdk = Sdk("sync", server.url, server.key)
    assert fetched(server, sdk.in_parts(path)) == data
    sdk.close()


def test_another_process_with_the_same_file_does_not_share_the_upload(server, tmp_path):
    path = tmp_path / "shared.bin"
    data = a_file(path, SIZE)
    first = child(server, path, "wait:2")
    try:
        assert first.stdout is not None and first.stdout.readline() == "waiting\n"
        sdk = Sdk("sync", server.url, server.key)
        assert fetched(server, sdk.in_parts(path)) == data
        assert uploads_named(server, path.name) == ["open", "published"]
    finally:
        first.kill()
        first.communicate(timeout=90)
    sent = len(acknowledged(server, path.name))
    assert fetched(server, sdk.in_parts(path)) == data, "the first one's upload is taken up when it is dead"
    sdk.close()
    assert uploads_named(server, path.name) == ["published", "published"]
    assert len(acknowledged(server, path.name)) - sent <= PARTS - 2


def test_the_state_is_private_and_small_and_holds_no_key(server, tmp_path):
    path = tmp_path / "private.bin"
    a_file(path, SIZE)
    dies(server, path, "part:2")
    states = tmp_path / "states"
    assert stat.S_IMODE(states.stat().st_mode) == 0o700
    for each in states.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
        assert each.stat().st_size < 2048
        content = each.read_text()
        assert server.key not in content and server.key.partition(":")[2] not in content
    assert path.name not in " ".join(each.name for each in states.iterdir())


@pytest.mark.parametrize(
    "garbage",
    [b"", b"{", b"[]", b"null", b"[" * 100_000, b'{"version": 1}', b'{"version": 99, "url": "x"}', b"\xff\xfe"],
    ids=["empty", "cut", "list", "null", "deep", "bare", "newer", "binary"],
)
def test_a_state_that_makes_no_sense_costs_time_and_nothing_else(server, garbage, tmp_path):
    path = tmp_path / "garbage.bin"
    data = a_file(path, SIZE)
    dies(server, path, "part:2")
    the_state(tmp_path).write_bytes(garbage)
    sdk = Sdk("sync", server.url, server.key)
    assert fetched(server, sdk.in_parts(path)) == data
    sdk.close()


@pytest.mark.parametrize("change", [{"url": 5}, {"base": "file:///etc/passwd"}, {"base": "nonsense"}, {"of": None}])
def test_a_state_with_one_wrong_field_is_as_good_as_none(server, change, tmp_path):
    path = tmp_path / "wrong.bin"
    data = a_file(path, SIZE)
    dies(server, path, "part:2")
    state = the_state(tmp_path)
    state.write_text(json.dumps({**json.loads(state.read_text()), **change}))
    sdk = Sdk("sync", server.url, server.key)
    assert fetched(server, sdk.in_parts(path)) == data
    sdk.close()


def test_a_state_of_an_upload_that_was_given_up_meanwhile_begins_a_new_one(server, tmp_path):
    path = tmp_path / "gone.bin"
    data = a_file(path, SIZE)
    dies(server, path, "part:2")
    saved = json.loads(the_state(tmp_path).read_text())
    talk = Talk(server)
    assert talk.ask("DELETE", saved["base"], talk.key).status == 204
    sdk = Sdk("sync", server.url, server.key)
    assert fetched(server, sdk.in_parts(path)) == data
    sdk.close()
    assert uploads_named(server, path.name) == ["aborted", "published"]


def test_an_upload_whose_address_is_gone_begins_anew(server, tmp_path):
    """The server's --cdn-url is another one since."""
    path = tmp_path / "moved.bin"
    data = a_file(path, SIZE)
    dies(server, path, "part:2")
    state = the_state(tmp_path)
    saved = json.loads(state.read_text())
    state.write_text(json.dumps({**saved, "base": saved["base"].replace(server.url, "http://127.0.0.1:1")}))
    sdk = Sdk("sync", server.url, server.key)
    assert fetched(server, sdk.in_parts(path)) == data
    sdk.close()
    assert list((tmp_path / "states").iterdir()) == []


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_a_server_that_is_back_just_when_an_upload_would_begin_anew_goes_on_with_the_old_one(repository, tmp_path):
    path = tmp_path / f"back-{repository}.bin"
    data = a_file(path, SIZE)
    with lined(tmp_path / "line") as line:
        dies(line.server, path, "part:3", repository)
        line.plan(*[Reset(UP, 0)] * HURRY.attempts)
        sdk = Sdk("sync", line.server.url, line.server.key)
        assert fetched(line.server, sdk.in_parts(path, repository=repository)) == data
        sdk.close()
        assert sorted(acknowledged(line.server, path.name)) == list(range(1, PARTS + 1)), "a part was sent twice"
        assert uploads_named(line.server, path.name) == ["published", "aborted"]


@pytest.mark.parametrize("world", WORLDS)
def test_a_folder_for_states_that_cannot_be_written_stops_no_upload(server, world, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ENTREPOT_STATE", str(tmp_path / "file" / "states"))
    path = tmp_path / f"stateless-{world}.bin"
    data = a_file(path, SIZE)
    sdk = Sdk(world, server.url, server.key)
    assert fetched(server, sdk.in_parts(path)) == data
    sdk.close()


def test_without_resume_nothing_is_kept(server, tmp_path):
    path = tmp_path / "none.bin"
    a_file(path, SIZE)
    sdk = Sdk("sync", server.url, server.key)
    sdk.in_parts(path, resume=False)
    sdk.close()
    assert not (tmp_path / "states").exists()


def test_an_upload_that_fails_keeps_its_state_and_goes_on_in_the_same_process(server, tmp_path):
    path = tmp_path / "again.bin"
    data = a_file(path, SIZE)
    failing = iter([None] * 10)

    def fail(progress):
        if progress.safe >= 3 * PART and next(failing, "over") is None:
            raise ZeroDivisionError

    sdk = Sdk("sync", server.url, server.key)
    with pytest.raises(ZeroDivisionError):
        sdk.in_parts(path, progress=fail)
    acknowledged(server, path.name)  # those that were on the way have arrived
    assert fetched(server, sdk.in_parts(path)) == data
    sdk.close()
    assert uploads_named(server, path.name) == ["published"]
    assert sorted(acknowledged(server, path.name)) == list(range(1, PARTS + 1))
