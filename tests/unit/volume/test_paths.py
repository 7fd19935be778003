"""Names of the volume, and the way from them to something open."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.atomic import Folder
from entrepot.domain.errors import Code
from entrepot.volume.paths import MAX_DEPTH, NotPlain, Root, parse
from entrepot.volume.paths import Path as VolumePath
from support.volumes import refused

NAMES = [
    "a", "..a", "a..", "...", "....", " ", " a ", "a.", ".a", "a\\b", "..\\..\\x", "C:x", "C:\\x", "~root", "~", "CON",
    "%2e%2e", "%252e%252e", "%2F", "#", "?", "%", "+", ";", "a;b=c", '"; rm -rf', "<img onerror>", "[bold]x", "=cmd()",
    "\x1b[31m", "\x7f", "a\nb", "\r", "é", "e\u0301", "日本", "\u202e", "x" * 255, "é" * 127, "a:b", ".entrepo",
    ".entrepoté", "entrep~x",
]  # fmt: skip
REFUSED = [
    ("..", "'..'"), ("a/..", "'..'"), ("../a", "'..'"), ("a/../b", "'..'"), ("./..", "'..'"),
    ("/data/..", "'..'"), ("..//..", "'..'"), ("/", "absolute"), ("//", "absolute"), ("/etc/passwd", "absolute"),
    ("/datax", "absolute"), ("//datax/y", "absolute"), ("/Data/x", "absolute"), ("//.entrepot", "absolute"),
    ("a\0b", "NUL"), ("\ud800", "UTF-8"), ("a/\udcff", "UTF-8"), ("x" * 256, "255"), ("é" * 128, "255"),
    ("/".join("a" * (MAX_DEPTH + 1)), "64"), ("/".join(["x" * 250] * 17), "4096"), (".entrepot", "server"),
    (".entrepot/lock", "server"), ("/data/.entrepot", "server"), (".ENTREPOT/x", "server"),
    (".entre\u00adpot/x", "server"), (".entrepot\u200c", "server"), (".\uff45ntrepot", "server"),
    ("ENTREP~1", "server"),
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("legacy", [False, True])
def test_every_name_but_the_dots_is_taken_as_it_is(name, legacy):
    assert parse(name, legacy=legacy).parts == (name,)
    assert parse(f"/data/x/{name}/y", legacy=legacy).parts == ("x", name, "y")


@pytest.mark.parametrize("text, cause", REFUSED, ids=lambda value: repr(value)[:40])
@pytest.mark.parametrize("legacy", [False, True])
def test_what_is_no_path_of_the_volume_is_refused_with_the_cause(text, cause, legacy):
    with refused(Code.VALIDATION_FAILED, cause):
        parse(text, legacy=legacy)


@pytest.mark.parametrize("text", [".", "a/./b", "./a", "a/.", "/data/./a"])
def test_w3_single_dots_are_dropped_on_legacy_paths_alone(text):
    assert parse(text, legacy=True).parts == tuple(part for part in "ab" if part in text.replace("data", ""))
    with refused(Code.VALIDATION_FAILED, "'.'"):
        parse(text, legacy=False)


@pytest.mark.parametrize(
    "text, parts, legacy_parts",
    [
        ("", (), ()),
        ("/data", (), ()),
        ("//data//", (), ()),
        ("data", ("data",), ()),
        ("data/x", ("data", "x"), ("x",)),
        ("/data/x/", ("x",), ("x",)),
        ("//data/x", ("x",), ("x",)),
        ("a//b///c/", ("a", "b", "c"), ("a", "b", "c")),
        ("/data/data/x", ("data", "x"), ("data", "x")),
        ("data/data/x", ("data", "data", "x"), ("data", "x")),
        ("x/data", ("x", "data"), ("x", "data")),
        ("x/.entrepot", ("x", ".entrepot"), ("x", ".entrepot")),
    ],
)
def test_where_the_volume_is_mounted_is_taken_off(text, parts, legacy_parts):
    assert parse(text, legacy=False).parts == parts
    assert parse(text, legacy=True).parts == legacy_parts


@given(st.text())
def test_whatever_is_taken_is_made_of_plain_names(text):
    try:
        path = parse(text, legacy=True)
    except Exception as error:
        assert type(error).__name__ == "Problem"
        return
    assert all(part not in ("", ".", "..") and "/" not in part and "\0" not in part for part in path.parts)
    assert parse(f"/data/{path}", legacy=False) == path


def test_the_way_up_and_down_a_path():
    path = VolumePath(("a", "b"))
    assert (str(path), path.name, str(path.parent), str(path.child("c"))) == ("a/b", "b", "a", "a/b/c")
    assert path.is_within(path.parent) and path.is_within(path) and path.is_within(VolumePath())
    assert not path.parent.is_within(path) and not VolumePath(("ab",)).is_within(VolumePath(("a",)))


# Resolving


@pytest.fixture(params=["openat2", "by hand"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Root]:
    """A root with files in it, and others beside it that nothing may lead to."""
    outside, inside = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (inside / "folder" / "deep").mkdir(parents=True)
    (inside / ".entrepot" / "staging").mkdir(parents=True)
    (inside / ".entrepot" / "lock").touch()
    (inside / "folder" / "file").write_text("inside")
    with Folder.open(inside) as folder:
        root = Root(folder, by_hand=request.param == "by hand")
        if request.param == "openat2" and not root.follows_links:
            pytest.skip("this system has no openat2")
        yield root


LEADING_OUT = {
    "absolute": "{outside}", "relative": "../outside", "through a folder": "folder/../../outside", "root": "/",
    "up": "..", "proc": "/proc/self/root", "fd": "/proc/self/fd/0", "private": ".entrepot", "dangling": "nowhere",
    "loop": "link", "nul device": "/dev/null",
}  # fmt: skip


@pytest.mark.parametrize("target", LEADING_OUT.values(), ids=list(LEADING_OUT))
def test_a_link_that_leads_out_or_into_the_private_folder_is_never_followed(root, tmp_path, target):
    (tmp_path / "root" / "link").symlink_to(target.format(outside=tmp_path / "outside"))
    (tmp_path / "root" / "chain").symlink_to("link")
    for way in (("link",), ("link", "secret"), ("link", "lock"), ("chain",), ("chain", "staging"), ("folder", "..")):
        path = VolumePath(way)
        for open_it in (root.open_folder, root.open_file, root.status):
            if way == ("folder", ".."):  # never comes out of `parse`, and leads nowhere all the same
                continue
            with pytest.raises(OSError) as caught:
                open_it(path)
            assert caught.value.errno in (errno.ELOOP, errno.EXDEV, errno.ENOENT, errno.ENOTDIR)


def test_a_link_that_stays_inside_is_followed_by_the_kernel_and_by_nobody_else(root, tmp_path):
    (tmp_path / "root" / "to-folder").symlink_to("folder/deep")
    (tmp_path / "root" / "folder" / "deep" / "to-file").symlink_to("../file")
    path = VolumePath(("to-folder", "to-file"))
    if not root.follows_links:
        with pytest.raises(OSError) as caught:
            root.open_file(path)
        assert caught.value.errno == errno.ELOOP
        return
    fd = root.open_file(path)
    assert os.read(fd, 100) == b"inside"
    os.close(fd)
    with root.open_folder(VolumePath(("to-folder",))) as folder:
        assert os.listdir(folder.fd) == ["to-file"]


def test_plain_ways_lead_where_they_say(root, tmp_path):
    fd = root.open_file(VolumePath(("folder", "file")))
    assert os.read(fd, 100) == b"inside"
    os.close(fd)
    with root.open_folder(VolumePath()) as folder:
        assert "folder" in os.listdir(folder.fd)
    assert os.path.samestat(root.status(VolumePath()), os.stat(tmp_path / "root"))
    for path, error in [
        (("folder",), IsADirectoryError),
        ((), IsADirectoryError),
        (("nothing",), FileNotFoundError),
        (("nothing", "x"), FileNotFoundError),
        (("folder", "file", "x"), NotADirectoryError),
    ]:
        with pytest.raises(error):
            root.open_file(VolumePath(path))
    with pytest.raises(NotADirectoryError):
        root.open_folder(VolumePath(("folder", "file")))


def test_pipes_devices_and_sockets_are_never_opened(root, tmp_path):
    os.mkfifo(tmp_path / "root" / "fifo")  # to open it for reading would wait for a writer
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "root" / "socket"))
        kinds = ["fifo", "socket"]
        if os.geteuid() == 0:
            try:
                os.mknod(tmp_path / "root" / "device", 0o600 | 0o020000, os.makedev(1, 3))
                kinds.append("device")
            except PermissionError:
                pass
        for name in kinds:
            with pytest.raises(NotPlain):
                root.open_file(VolumePath((name,)))
            root.status(VolumePath((name,)))


@pytest.mark.parametrize("swapped", ["folder", "file"])
def test_what_is_swapped_on_the_way_leads_nowhere_else(root, tmp_path, swapped):
    """A thread puts a link out and the real thing in turn at one name, while it is opened over and over."""
    base, stop = tmp_path / "root", threading.Event()
    os.rename(base / "folder", base / "real")
    (base / "folder").symlink_to("real")
    (base / "evil").symlink_to("../outside")
    (tmp_path / "outside" / "file").write_text("secret")
    (base / "flip").mkdir()
    (base / "flip" / "file").write_text("inside")
    (base / "flip" / "out").symlink_to("../../outside/file")
    (base / "flip" / "good").write_text("inside")

    def swap() -> None:
        while not stop.is_set():
            if swapped == "folder":
                os.rename(base / "real", base / "away")
                os.rename(base / "evil", base / "real")
                os.rename(base / "real", base / "evil")
                os.rename(base / "away", base / "real")
            else:
                os.link(base / "flip" / "out", base / "flip" / "t", follow_symlinks=False)
                os.rename(base / "flip" / "t", base / "flip" / "file")
                os.link(base / "flip" / "good", base / "flip" / "t")
                os.rename(base / "flip" / "t", base / "flip" / "file")

    path = VolumePath(("real", "file") if swapped == "folder" else ("flip", "file"))
    thread = threading.Thread(target=swap)
    thread.start()
    opened = refusals = 0
    try:
        while (opened < 200 or refusals < 50) and opened + refusals < 20_000:
            try:
                fd = root.open_file(path)
            except OSError as error:
                assert error.errno in (errno.ELOOP, errno.EXDEV, errno.ENOENT, errno.ENOTDIR)
                refusals += 1
                continue
            opened += 1
            assert os.read(fd, 100) == b"inside"
            os.close(fd)
    finally:
        stop.set()
        thread.join()
    assert opened and refusals
