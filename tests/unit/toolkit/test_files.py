"""`File` without a server: names and types, repositories and fallback, lifetimes, saving (docs/threats.md E11)."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from entrepot import StorageSettings
from entrepot.client.errors import SourceChanged
from entrepot.toolkit import (
    CompressedFile,
    DownloadError,
    File,
    FileRepository,
    FileUploadException,
    FileUploadFallbackException,
    Image,
    Reservation,
    Video,
    register_repository,
    use_lifecycle,
)
from entrepot.toolkit import repositories as places
from entrepot.toolkit.repositories import get_builtin_repository

GLB = b"glTF\x02\0\0\0" + bytes(20)


class Shelf(FileRepository):
    """A repository that keeps what it is told; it fails with the errors it is given, one after another."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.told: list[Any] = []

    def save(self, data, *args, **options):
        self.told.append({"name": data.file_name, "type": data.content_type, "size": len(data.data), **options})
        if self.errors:
            raise self.errors.pop(0)
        return f"https://shelf.example/{data.file_name}"

    def reserve(self, file_name, content_type, object_lifecycle_preference=None, request=None, extra_headers=None):
        self.told.append({"name": file_name, "lifetime": object_lifecycle_preference, "headers": extra_headers})
        return Reservation(f"https://shelf.example/{file_name}", self.told.append, lambda: self.told.append({}))


def memory(data: bytes, *args, **kwargs) -> File:
    return File.from_bytes(data, *args, repository="in_memory", **kwargs)


@pytest.mark.parametrize(
    ("arguments", "name", "kind"),
    [
        (
            {"content_type": "application/octet-stream", "file_name": "model.glb"},
            "model.glb",
            "application/octet-stream",
        ),
        ({"content_type": "audio/wav", "file_name": "output.wav"}, "output.wav", "audio/wav"),
        ({"file_name": "model.glb"}, "model.glb", "model/gltf-binary"),
        ({"file_name": "a/b\\c é.json"}, "c é.json", "application/json"),
        ({}, None, "model/gltf-binary"),
        ({"content_type": "image/x-own"}, None, "image/x-own"),
    ],
)
def test_every_field_is_filled_by_what_is_given_the_name_then_the_bytes(arguments, name, kind):
    data = GLB if arguments.get("file_name", ".glb").endswith(".glb") else b"{}"
    file = memory(data, **arguments)
    assert file.content_type == kind
    assert file.file_size == len(data)
    assert file.file_data == file.as_bytes() == data
    assert file.file_name and (name is None or file.file_name == name)


def test_a_name_is_made_with_the_extension_of_the_type():
    assert str(memory(b"x", "audio/wav").file_name).endswith(".wav")
    assert str(memory(b"\0\1\2").file_name).endswith(".bin")
    assert memory(b"").file_name and memory(b"").file_size == 0


def test_a_second_positional_without_a_slash_is_the_name():
    file = memory(b"x", "output.png", content_type="image/png")
    assert (file.file_name, file.content_type) == ("output.png", "image/png")
    assert memory(b"\0\1", "output.wav").content_type == "audio/wav"
    assert File.from_bytes(b"x", "o.bin", "a/b", "in_memory").content_type == "a/b"
    assert File.from_bytes(b"x", "a/b", "o.bin", "in_memory").file_name == "o.bin"
    twin = asyncio.run(File.from_bytes_async(b"x", "o.png", content_type="a/b", repository="in_memory"))
    assert (twin.file_name, twin.content_type) == ("o.png", "a/b")


@pytest.mark.parametrize("made", [File, Image, Video, CompressedFile])
def test_bytes_may_be_given_by_their_keyword(made):
    assert made.from_bytes(data=b"x", repository="in_memory").as_bytes() == b"x"
    assert asyncio.run(made.from_bytes_async(data=b"x", repository="in_memory")).as_bytes() == b"x"


@pytest.mark.parametrize(
    ("positional", "named"),
    [(("o.png",), {"file_name": "b.png"}), (("o.png", "a/b"), {"content_type": "a/b"}), (("o.png", *[None] * 7), {})],
    ids=["two names", "two types", "too many"],
)
def test_an_argument_that_is_given_twice_or_unknown_is_an_error(positional, named):
    with pytest.raises(TypeError):
        File.from_bytes(b"x", *positional, **named)


def test_what_is_no_media_type_is_refused_before_any_upload():
    shelf = Shelf()
    with pytest.raises(ValueError, match="media type"):
        File.from_bytes(b"x", "a/b\r\nx: y", repository=shelf)
    assert shelf.told == []


@pytest.mark.parametrize("data", [bytearray(b"abc"), memoryview(b"abc")], ids=["bytearray", "memoryview"])
def test_other_kinds_of_bytes_are_taken_and_text_is_not(data):
    assert memory(data).as_bytes() == b"abc"
    with pytest.raises(TypeError, match="str"):
        memory("abc")  # type: ignore[arg-type]


def test_a_path_fills_every_field_too(tmp_path):
    (tmp_path / "clip é.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    file = File.from_path(tmp_path / "clip é.mp4", repository="in_memory")
    assert (file.file_name, file.content_type, file.file_size) == ("clip é.mp4", "video/mp4", 112)
    (tmp_path / "noname").write_bytes(GLB)
    assert File.from_path(str(tmp_path / "noname"), repository="in_memory").content_type == "model/gltf-binary"
    assert File.from_path(tmp_path / "noname", "a/b", "in_memory").content_type == "a/b"
    assert asyncio.run(File.from_path_async(tmp_path / "noname", repository="in_memory")).file_size == len(GLB)


def test_a_path_that_is_no_file_is_told_before_any_upload(tmp_path):
    shelf = Shelf()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        File.from_path(tmp_path / "none", repository=shelf)
    with pytest.raises(IsADirectoryError):
        File.from_path(tmp_path, repository=shelf)
    assert shelf.told == []


def test_any_failure_moves_on_to_the_next_repository(caplog):
    first, second = Shelf(RuntimeError("full")), Shelf()
    file = File.from_bytes(b"x", file_name="x", repository=first, fallback_repository=[second])
    assert file.url == "https://shelf.example/x"
    assert len(first.told) == len(second.told) == 1
    assert "Shelf failed (RuntimeError); trying Shelf" in caplog.text


def test_when_all_fail_the_error_lists_each():
    first, second = Shelf(RuntimeError("full")), Shelf(ValueError("odd"))
    with pytest.raises(FileUploadFallbackException) as caught:
        File.from_bytes(b"x", repository=first, fallback_repository=second)
    assert "Shelf: RuntimeError: full; Shelf: ValueError: odd" in str(caught.value)
    assert [type(error) for error in caught.value.errors] == [RuntimeError, ValueError]
    assert isinstance(caught.value, FileUploadException)


def test_a_single_attempt_raises_its_own_error():
    with pytest.raises(ZeroDivisionError):
        File.from_bytes(b"x", repository=Shelf(ZeroDivisionError()), fallback_repository=None)


def test_an_error_that_says_so_does_not_fall_back():
    error = FileUploadException("unsure")
    error.falls_back = False
    second = Shelf()
    with pytest.raises(FileUploadException, match="unsure"):
        File.from_bytes(b"x", repository=Shelf(error), fallback_repository=second)
    assert second.told == []


def test_a_file_that_changed_does_not_fall_back():
    def changed() -> None:
        raise SourceChanged("x was written to", "Wait.")

    with pytest.raises(FileUploadException) as caught:
        places._told(changed)
    assert caught.value.falls_back is False
    assert isinstance(caught.value.__cause__, SourceChanged)


def test_each_repository_gets_its_own_save_kwargs_and_the_caller_s_are_left_alone():
    first, second = Shelf(RuntimeError()), Shelf()
    given, other = {"multipart": True}, {"x": 1}
    File.from_bytes(b"x", repository=first, fallback_repository=second, save_kwargs=given, fallback_save_kwargs=other)
    assert first.told[0]["multipart"] is True and "x" not in first.told[0]
    assert second.told[0]["x"] == 1
    assert (given, other) == ({"multipart": True}, {"x": 1})


@pytest.mark.parametrize("name", ["cdn", "fal_v2"])
def test_old_names_are_the_default_repository(name):
    with pytest.warns(DeprecationWarning, match=name):
        assert get_builtin_repository(name) == get_builtin_repository("fal_v3")


@pytest.mark.parametrize("name", ["gcp_storage", "r2", "nowhere"])
def test_a_repository_that_is_not_there_is_named_before_any_upload(name):
    shelf = Shelf()
    for chain in ({"repository": name}, {"repository": shelf, "fallback_repository": name}):
        with pytest.raises(ValueError, match=f"{name}.*register_repository"):
            File.from_bytes(b"x", **chain)
    assert shelf.told == []


def test_a_repository_of_one_s_own_can_be_registered(monkeypatch, tmp_path):
    monkeypatch.setattr(places, "_FACTORIES", dict(places._FACTORIES))
    shelf = Shelf()
    register_repository("shelf", lambda: shelf)
    assert File.from_bytes(b"x", file_name="x", repository="shelf").url == "https://shelf.example/x"
    (tmp_path / "y").write_bytes(b"yy")
    assert File.from_path(tmp_path / "y", repository="shelf").file_data == b"yy"
    assert shelf.told[1]["size"] == 2


HOUR = {"expiration_duration_seconds": 3600}


def lifetime_told(**kwargs) -> object:
    shelf = Shelf()
    File.from_bytes(b"x", repository=shelf, **kwargs)
    return shelf.told[0]["object_lifecycle_preference"]


def request(value: str, name: str = "X-Fal-Object-Lifecycle-Preference") -> SimpleNamespace:
    return SimpleNamespace(headers={name: value})


def test_the_lifetime_is_that_of_the_request_in_flight():
    assert lifetime_told() is None
    with use_lifecycle(HOUR):
        assert lifetime_told() == HOUR
        with use_lifecycle(StorageSettings(expires_in="1d")):
            assert lifetime_told() == {"expiration_duration_seconds": 86_400}
        assert lifetime_told() == HOUR
    assert lifetime_told() is None


def test_a_request_that_is_passed_wins_over_that_in_flight_and_save_kwargs_over_both():
    with use_lifecycle({"expiration_duration_seconds": 1}):
        assert lifetime_told(request=request('{"expiration_duration_seconds": 3600}')) == HOUR
        assert lifetime_told(request=request("{}", "x-other")) is None
        given = {"object_lifecycle_preference": HOUR}
        assert lifetime_told(request=request("{}"), save_kwargs=given) == HOUR


@pytest.mark.parametrize("value", ["{", "[1]", "3", "", "[" * 100_000])
def test_a_preference_that_is_no_json_object_is_passed_over_with_a_warning(value, caplog, capsys):
    with caplog.at_level(logging.WARNING, "entrepot.toolkit"):
        assert lifetime_told(request=request(value, "x-fal-object-lifecycle-preference")) is None
    assert "no JSON object" in caplog.text
    assert capsys.readouterr() == ("", "")


def test_the_lifetime_goes_with_the_asynchronous_twins_and_stays_in_its_task():
    shelf = Shelf()

    async def one(seconds: int) -> None:
        with use_lifecycle({"expiration_duration_seconds": seconds}):
            await asyncio.sleep(0)
            await File.from_bytes_async(b"x", file_name=str(seconds), repository=shelf)

    async def all_of_them() -> None:
        await asyncio.gather(*(one(n) for n in range(5)))

    asyncio.run(all_of_them())
    told = {each["name"]: each["object_lifecycle_preference"]["expiration_duration_seconds"] for each in shelf.told}
    assert told == {str(n): n for n in range(5)}


def test_a_reservation_reads_the_lifetime_when_it_is_made():
    shelf = Shelf()
    with use_lifecycle(HOUR):
        pending = Image.reserve("image/png", "x.png", repository=shelf, extra_headers={"X-A": "b"})
    assert (pending.url, pending.content_type, pending.file_name) == (
        "https://shelf.example/x.png",
        "image/png",
        "x.png",
    )
    assert shelf.told == [{"name": "x.png", "lifetime": HOUR, "headers": {"X-A": "b"}}]
    image = pending.complete(b"GIF89a\x07\0\x09\0")
    assert isinstance(image, Image)
    assert (image.width, image.height, image.file_size, image.url) == (7, 9, 10, pending.url)
    pending.abort()
    assert shelf.told[1:] == [b"GIF89a\x07\0\x09\0", {}]


def test_in_memory_gives_out_no_url_before_the_bytes():
    with pytest.raises(FileUploadException, match="InMemoryRepository"):
        File.reserve(repository="in_memory")


@pytest.fixture
def local(tmp_path, monkeypatch):
    monkeypatch.setenv("ENTREPOT_LOCAL_FILES", str(tmp_path / "local files"))
    return tmp_path / "local files"


def test_local_files_are_written_and_read_without_a_server(local, tmp_path):
    file = File.from_bytes(b"hello", file_name="né.txt", repository="local")
    assert file.url.startswith("file:///")
    (path,) = local.iterdir()
    assert path.name.endswith("_né.txt") and path.read_bytes() == b"hello"
    again = File(url=file.url)
    assert again.as_bytes() == b"hello"
    assert File(url=file.url).save(tmp_path / "copy").read_bytes() == b"hello"
    (tmp_path / "large").write_bytes(bytes(3_000_000))
    assert len(File(url=File.from_path(tmp_path / "large", repository="local").url).as_bytes()) == 3_000_000


def test_a_local_url_can_be_reserved(local):
    pending = File.reserve("text/plain", "x.txt", repository="local")
    with pytest.raises(OSError):
        File(url=pending.url).as_bytes()
    assert File(url=pending.complete(b"late").url).as_bytes() == b"late"


def test_a_local_image_gives_a_pillow_image(local):
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    image = Image.from_pil(pillow.new("RGB", (3, 2)), repository="local")
    assert Image(url=image.url).to_pil().size == (3, 2)


def test_no_other_place_of_the_disk_is_read_by_a_url(local, tmp_path):
    local.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (local / "link").symlink_to(tmp_path / "secret")
    (local / "sub").mkdir()
    (local / "sub" / "x").write_bytes(b"x")
    base = local.as_uri()
    inside = ("../secret", "%2e%2e/secret", "..", "link", "sub/x", "sub", "", "a%00b")
    others = (f"{tmp_path.as_uri()}/secret", f"file://host{local}/link", "file:x", "/etc/passwd", "ftp://a.b/c")
    for url in (*(f"{base}/{name}" for name in inside), *others):
        with pytest.raises((DownloadError, OSError)):
            File(url=url).as_bytes()


@pytest.fixture(params=["in memory", "behind its URL"])
def file(request) -> File:
    made = memory(b"new bytes", file_name="stored.bin")
    return made if request.param == "in memory" else File(url=made.url)


def test_a_file_is_saved_whole_in_a_folder_that_is_made(file, tmp_path):
    path = file.save(tmp_path / "a" / "b" / "out.bin")
    assert path == tmp_path / "a" / "b" / "out.bin"
    assert path.read_bytes() == b"new bytes"
    assert os.listdir(path.parent) == ["out.bin"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    assert asyncio.run(file.save_async(tmp_path / "again")).read_bytes() == b"new bytes"


def test_e11_what_is_there_stays_without_overwrite(file, tmp_path):
    (tmp_path / "out").write_bytes(b"old")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("out", "dangling"):
        with pytest.raises(FileExistsError):
            file.save(tmp_path / name)
    assert (tmp_path / "out").read_bytes() == b"old"
    assert file.save(tmp_path / "out", overwrite=True).read_bytes() == b"new bytes"


def test_e11_a_neighbour_is_never_touched(file, tmp_path):
    """The stock package downloads to the folder under the URL's name, over what is there."""
    neighbours = ["stored.bin", "file", Path(file.url).name[:50] or "x"]
    for name in neighbours:
        (tmp_path / name).write_bytes(b"mine")
    before = set(os.listdir(tmp_path))
    file.save(tmp_path / "out")
    assert set(os.listdir(tmp_path)) == before | {"out"}
    assert all((tmp_path / name).read_bytes() == b"mine" for name in neighbours)


def test_e11_a_link_is_replaced_and_what_it_leads_to_is_not(file, tmp_path):
    (tmp_path / "target").write_bytes(b"mine")
    (tmp_path / "out").symlink_to(tmp_path / "target")
    file.save(tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"mine"


def test_e11_a_folder_is_no_target(file, tmp_path):
    (tmp_path / "out").mkdir()
    for overwrite in (False, True):
        with pytest.raises(IsADirectoryError):
            file.save(tmp_path / "out", overwrite=overwrite)
    assert os.listdir(tmp_path) == ["out"]


def test_e11_a_read_only_file_is_replaced_as_its_folder_allows(file, tmp_path):
    (tmp_path / "out").write_bytes(b"old")
    (tmp_path / "out").chmod(0o400)
    assert file.save(tmp_path / "out", overwrite=True).read_bytes() == b"new bytes"


def test_e11_where_there_are_no_hard_links_nothing_is_replaced_either(tmp_path, monkeypatch):
    def no_links(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    file = File(url="data:,new%20bytes")
    assert file.save(tmp_path / "out").read_bytes() == b"new bytes"
    with pytest.raises(FileExistsError):
        file.save(tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]


def test_e11_a_failed_download_leaves_what_was_there(tmp_path):
    (tmp_path / "out").write_bytes(b"old")
    with pytest.raises(DownloadError):
        File(url="data:;base64,!!!").save(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("url", ["http://user:secret@ex\u2100mple.com/", "https://[user:secret@h/", "file://[x/secret"])
def test_a_url_that_cannot_be_read_is_a_download_error_without_its_secrets(url):
    with pytest.raises(DownloadError) as caught:
        File(url=url).as_bytes()
    assert "secret" not in str(caught.value)


def test_c6_bytes_without_a_type_have_that_of_what_they_look_like():
    """fal's package says application/octet-stream for all of them: see the table of differences in docs/toolkit.md."""
    png = b"\x89PNG\r\n\x1a\n" + bytes(16)
    for data, kind in ((b"Hello World", "text/plain"), (png, "image/png"), (b"\0\1", "application/octet-stream")):
        assert File.from_bytes(data, repository="in_memory").content_type == kind
    assert File.from_bytes(b"Hello World", "application/octet-stream", repository="in_memory").content_type == (
        "application/octet-stream"
    )
