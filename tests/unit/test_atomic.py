"""The one door to the disk: what it promises, and that tests can watch it and make it fail."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot import atomic
from entrepot.atomic import FACTS_LIMIT, File, Folder, Kind, create_file, observe, read_facts, write_file
from support.disk import FailAt, Recorder, replay, short_writes


def read_fd(path: Path) -> int:
    return os.open(path, os.O_RDONLY)


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path))


def new_file(folder: Folder, name: str, *buffers: bytes | bytearray | memoryview) -> None:
    file = folder.create(name)
    file.write(buffers)
    file.sync()
    file.close()


def test_a_new_file_holds_all_buffers_in_order_and_is_private(tmp_path):
    with Folder.open(tmp_path) as folder:
        new_file(folder, "f", b"ab", b"", bytearray(b"cd"), memoryview(b"ef"))
    assert (tmp_path / "f").read_bytes() == b"abcdef"
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600


@pytest.mark.parametrize("kernel", ["copies", "copies some", "copies nothing", "is watched"])
def test_a_copy_is_appended_and_written_after_however_much_of_it_the_kernel_does(tmp_path, monkeypatch, kernel):
    calls, by_kernel = 0, os.copy_file_range

    def copies(source: int, target: int, size: int, start: int) -> int:
        nonlocal calls
        calls += 1
        if calls > (1 if kernel == "copies some" else 0):
            raise OSError(errno.EXDEV, "not here")
        return by_kernel(source, target, 3, start)

    if kernel.startswith("copies "):
        monkeypatch.setattr(os, "copy_file_range", copies)
    (tmp_path / "source").write_bytes(b"0123456789")
    with Folder.open(tmp_path) as folder, (tmp_path / "source").open("rb") as source:
        file = folder.create("f")
        with observe(Recorder()) if kernel == "is watched" else contextlib.nullcontext():
            file.write([b"ab"])
            file.copy(source.fileno(), 1, 8)
            file.write([b"yz"])
            assert file.size == 12
            with pytest.raises(OSError, match="shorter"):
                file.copy(source.fileno(), 5, 6)
        file.close()
    assert (tmp_path / "f").read_bytes() == b"ab12345678yz56789"


def test_more_buffers_than_one_call_takes_are_all_written(tmp_path):
    buffers = [b"%04d" % number for number in range(3000)]
    with Folder.open(tmp_path) as folder:
        new_file(folder, "f", *buffers)
    assert (tmp_path / "f").read_bytes() == b"".join(buffers)


@given(st.lists(st.binary(max_size=3000), max_size=8))
def test_short_writes_lose_and_repeat_nothing(tmp_path_factory, buffers):
    path = tmp_path_factory.mktemp("short")
    with observe(short_writes), Folder.open(path) as folder:
        new_file(folder, "f", *buffers)
    assert (path / "f").read_bytes() == b"".join(buffers)


def test_a_write_that_takes_nothing_is_an_error_and_not_a_loop(tmp_path):
    with Folder.open(tmp_path) as folder:
        file = folder.create("f")
        with observe(lambda op: 0), pytest.raises(OSError, match="no more bytes"):
            file.write([b"x"])
        file.close()


def test_a_failed_write_leaves_size_at_what_was_taken(tmp_path):
    with Folder.open(tmp_path) as folder:
        file = folder.create("f")
        file.write([b"abc"])
        with observe(FailAt(1, errno.ENOSPC, Kind.WRITE)), pytest.raises(OSError):
            file.write([b"def"])
        assert file.size == 3
        file.close()


def test_a_range_of_another_file_is_appended_whether_somebody_watches_or_not(tmp_path):
    (tmp_path / "source").write_bytes(bytes(range(256)) * 8192)
    source = read_fd(tmp_path / "source")
    for name, observer in (("in the kernel", None), ("watched", Recorder()), ("short", short_writes)):
        with Folder.open(tmp_path) as folder, observe(observer) if observer else nullcontext():
            file = folder.create(name)
            file.write([b"head"])
            file.copy(source, 3, 1_500_000)
            file.write([b"tail"])
            assert file.size == 1_500_008
            file.close()
        assert (tmp_path / name).read_bytes() == b"head" + (tmp_path / "source").read_bytes()[3:1_500_003] + b"tail"
    os.close(source)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.ENOSYS, errno.EINVAL])
def test_what_the_kernel_does_not_copy_is_copied_by_hand(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    (tmp_path / "source").write_bytes(b"0123456789")
    source = read_fd(tmp_path / "source")
    with Folder.open(tmp_path) as folder:
        file = folder.create("f")
        file.copy(source, 2, 5)
        with pytest.raises(OSError, match="shorter"):
            file.copy(source, 5, 50)
        file.close()
    os.close(source)
    assert (tmp_path / "f").read_bytes() == b"2345656789"


def test_a_file_is_cut_and_written_on(tmp_path):
    recorder = Recorder()
    with Folder.open(tmp_path) as folder, observe(recorder):
        new_file(folder, "f", b"0123456789")
        with pytest.raises(ValueError, match="not 11"):
            folder.resume("f", 11)
        file = folder.resume("f", 4)
        file.write([b"abc"])
        file.close()
        folder.resume("f", 7).close()
        folder.replace("g", b"new")
    assert (tmp_path / "f").read_bytes() == b"0123abc"
    assert recorder.kinds().count(Kind.TRUNCATE) == 1
    (tmp_path / "again").mkdir()
    replay(recorder.ops, tmp_path, tmp_path / "again")
    assert (tmp_path / "again" / "f").read_bytes() == b"0123abc"


@pytest.mark.parametrize("taken", ["file", "link", "dangling link", "folder"])
def test_creating_replaces_nothing_and_follows_no_link(tmp_path, taken):
    outside = tmp_path / "outside"
    outside.write_bytes(b"theirs")
    inside = tmp_path / "root"
    inside.mkdir()
    match taken:
        case "file":
            (inside / "f").write_bytes(b"first")
        case "link":
            (inside / "f").symlink_to(outside)
        case "dangling link":
            (inside / "f").symlink_to(tmp_path / "nowhere")
        case "folder":
            (inside / "f").mkdir()
    with Folder.open(inside) as folder, pytest.raises(FileExistsError):
        folder.create("f")
    assert outside.read_bytes() == b"theirs"
    assert not (tmp_path / "nowhere").exists()


def test_descending_through_a_link_is_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with Folder.open(tmp_path) as folder:
        folder.descend("real").close()
        with pytest.raises(OSError):
            folder.descend("link")


def moved(tmp_path: Path, name: str, new: str, *, replace: bool) -> dict[str, str]:
    """Move from one folder into another; returns what is in both."""
    with Folder.open(tmp_path / "a") as source, Folder.open(tmp_path / "b") as target:
        source.move(name, target, new, replace=replace)
    return {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.fixture(params=["in the system", "by hand"])
def two_folders(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in ("a/f", "a/d/in", "b/f", "b/d/other"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "b" / "empty").mkdir()
    (tmp_path / "b" / "link").symlink_to("nowhere")
    if request.param == "by hand":
        monkeypatch.setattr(atomic, "_libc", object())
    return tmp_path


def test_a_file_or_folder_goes_from_one_folder_to_another(two_folders):
    assert moved(two_folders, "f", "f", replace=True) == {"b/f": "a/f", "a/d/in": "a/d/in", "b/d/other": "b/d/other"}
    assert "b/new/in" in moved(two_folders, "d", "new", replace=False)
    assert names(two_folders / "a") == []


@pytest.mark.parametrize("name", ["f", "d"])
@pytest.mark.parametrize("taken", ["f", "d", "empty", "link"])
def test_a_name_that_is_taken_is_not_replaced(two_folders, name, taken):
    before = sorted(two_folders.rglob("*"))
    with pytest.raises(FileExistsError):
        moved(two_folders, name, taken, replace=False)
    assert sorted(two_folders.rglob("*")) == before


def test_modes_for_others_are_given_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        with Folder.open(tmp_path) as folder:
            folder.create("f", 0o644).close()
            folder.make_dir("d", 0o755)
            folder.make_dir("own")
    finally:
        os.umask(before)
    assert {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)} == {
        "f": 0o644, "d": 0o755, "own": 0o700,
    }  # fmt: skip


def test_facts_come_back(tmp_path):
    facts = {"name": 'a"b\\ü\n\ud800', "id": "1"}
    with Folder.open(tmp_path) as folder:
        file = folder.create("f")
        file.set_facts(facts)
        assert read_facts(file.fd) == facts
        file.close()


def test_facts_that_do_not_fit_are_left_out_from_the_end(tmp_path):
    with Folder.open(tmp_path) as folder:
        file = folder.create("f")
        file.set_facts({"id": "1", "name": "n" * FACTS_LIMIT, "type": "t"})
        assert read_facts(file.fd) == {"id": "1"}
        file.close()


@pytest.mark.parametrize("value", [b"", b"\xff", b"[1]", b"null", b"{", b"[" * 3000])
def test_an_attribute_that_we_did_not_write_gives_no_facts(tmp_path, value):
    path = tmp_path / "f"
    path.touch()
    os.setxattr(path, "user.entrepot", value)
    fd = read_fd(path)
    assert read_facts(fd) == {}
    os.close(fd)


def test_a_file_system_without_attributes_is_no_error_and_any_other_cause_is(tmp_path, monkeypatch):
    def refuse(number: int):
        def setxattr(*args: object) -> None:
            raise OSError(number, os.strerror(number))

        return setxattr

    with Folder.open(tmp_path) as folder:
        file = folder.create("f")
        monkeypatch.setattr(os, "setxattr", refuse(errno.ENOTSUP))
        file.set_facts({"id": "1"})
        monkeypatch.setattr(os, "setxattr", refuse(errno.EIO))
        with pytest.raises(OSError):
            file.set_facts({"id": "1"})
        file.close()


def test_closing_twice_closes_once(tmp_path):
    folder = Folder.open(tmp_path)
    file = folder.create("f")
    file.close()
    other = os.open(tmp_path, os.O_RDONLY)  # takes the number that was freed
    file.close()
    os.fstat(other)
    os.close(other)
    folder.close()
    folder.close()
    assert not folder.is_open


# Whole files


def test_write_file_replaces_what_is_there(tmp_path):
    path = tmp_path / "settings"
    write_file(path, b"one")
    write_file(path, b"two", 0o644)
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["settings"]


def test_write_file_replaces_a_link_and_leaves_what_it_leads_to(tmp_path):
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / "link").symlink_to("theirs")
    write_file(tmp_path / "link", b"ours")
    assert (tmp_path / "theirs").read_bytes() == b"theirs"
    assert not (tmp_path / "link").is_symlink()


def test_create_file_makes_a_whole_private_file(tmp_path):
    create_file(tmp_path / "secret", b"s")
    assert (tmp_path / "secret").read_bytes() == b"s"
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert names(tmp_path) == ["secret"]


def test_create_file_never_replaces(tmp_path):
    create_file(tmp_path / "secret", b"first")
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "secret", b"second")
    assert (tmp_path / "secret").read_bytes() == b"first"
    assert names(tmp_path) == ["secret"]


def test_the_bytes_are_synced_before_the_name_and_the_name_before_the_return(tmp_path):
    with observe(recorder := Recorder()):
        write_file(tmp_path / "f", b"x")
    assert recorder.kinds() == [Kind.CREATE, Kind.WRITE, Kind.SYNC, Kind.RENAME, Kind.SYNC_DIR]


@pytest.mark.parametrize("k", range(1, 6))
def test_write_file_failing_anywhere_leaves_the_old_or_the_new_and_no_litter(tmp_path, k):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with observe(FailAt(k, errno.EIO)), pytest.raises(OSError):
        write_file(path, b"new")
    assert path.read_bytes() == (b"old" if k < 5 else b"new")
    assert names(tmp_path) == ["f"]


@pytest.mark.parametrize("k", range(1, 7))
def test_create_file_failing_anywhere_leaves_nothing(tmp_path, k):
    with observe(FailAt(k, errno.EIO)), pytest.raises(OSError):
        create_file(tmp_path / "f", b"new")
    assert [name for name in names(tmp_path) if not name.startswith(".")] == []
    create_file(tmp_path / "f", b"new")


# Watching


def test_a_recorded_run_can_be_done_again_in_another_place(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with observe(recorder := Recorder()), Folder.open(first) as folder:
        folder.make_dir("d")
        with folder.descend("d") as inner:
            file: File = inner.create("f")
            file.write([b"ab", b"cd"])
            file.write([b"ef"])
            file.cut(5)
            file.set_facts({"id": "1"})
            file.set_time(1_700_000_000_123_456_789)
            file.sync()
            file.close()
            inner.link("f", "g")
            inner.rename("f", "h")
            inner.unlink("g")
            inner.sync()
        folder.make_dir("e")
        folder.rmdir("e")
        write_file(first / "w", b"w")
        create_file(first / "c", b"c")
    assert {Kind(kind) for kind in recorder.kinds()} == set(Kind)
    replay(recorder.ops, first, second)
    assert sorted(p.relative_to(second) for p in second.rglob("*")) == sorted(
        p.relative_to(first) for p in first.rglob("*")
    )
    assert (second / "d/h").read_bytes() == b"abcde"
    assert os.getxattr(second / "d/h", "user.entrepot") == b'{"id":"1"}'


def test_an_operation_that_the_observer_refuses_does_not_happen(tmp_path):
    with Folder.open(tmp_path) as folder:
        with observe(FailAt(1, errno.EIO)), pytest.raises(OSError):
            folder.make_dir("d")
        assert names(tmp_path) == []
        folder.make_dir("d")


def test_observers_nest_and_end(tmp_path):
    outer, inner = Recorder(), Recorder()
    with Folder.open(tmp_path) as folder:
        with observe(outer):
            with observe(inner):
                folder.make_dir("a")
            folder.make_dir("b")
        folder.make_dir("c")
    assert len(outer.ops) == len(inner.ops) == 1
