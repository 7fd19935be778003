"""The toolkit's file types against a real server: every call of the page "Working with files", and what an upload and
a download must be beyond it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import urllib.error
import urllib.request
import zipfile
from datetime import datetime
from types import SimpleNamespace

import pytest
from pydantic import BaseModel

import entrepot
from entrepot import EntrepotError
from entrepot.toolkit import (
    Audio,
    CompressedFile,
    DownloadError,
    File,
    FileInput,
    FileUploadException,
    FileUploadFallbackException,
    Image,
    ImageInput,
    Video,
    download_file,
    use_lifecycle,
)
from support.inside import rows
from support.server import Server, free_port

MIB = 1024 * 1024
WAV = b"RIFF\x24\0\0\0WAVEfmt " + bytes(28)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("toolkit")) as running:
        yield running


@pytest.fixture(autouse=True)
def surroundings(server, tmp_path, monkeypatch):
    """A machine that knows the server, and the page's files."""
    for name in [name for name in os.environ if name.startswith(("ENTREPOT_", "FAL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ENTREPOT_URL", server.url)
    monkeypatch.setenv("ENTREPOT_KEY", server.key)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pil_image():
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    return pillow.effect_noise((64, 48), 50).convert("RGB")


def read(url: str) -> tuple[bytes, str]:
    """What everybody reads there, and its type."""
    with urllib.request.urlopen(url) as reply:
        return reply.read(), reply.headers["content-type"]


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def lifetime(server: Server, url: str) -> float | None:
    """Seconds from publishing to the end, as the server has it; None for a file that stays."""
    with urllib.request.urlopen(url) as reply:
        ends = reply.headers["x-entrepot-expires-at"]
        made = reply.headers["last-modified"]
    if ends is None:
        return None
    from email.utils import parsedate_to_datetime

    return round((datetime.fromisoformat(ends) - parsedate_to_datetime(made)).total_seconds())


def kinds(server: Server) -> dict[str, int]:
    return dict(rows(server, "SELECT kind, count(*) FROM uploads GROUP BY kind"))


def test_the_page_s_images(pil_image, tmp_path):
    image = Image.from_pil(pil_image)
    data, kind = read(image.url)
    assert (kind, image.content_type, image.width, image.height) == ("image/png", "image/png", 64, 48)
    assert data == image.as_bytes() and image.file_size == len(data)
    webp = Image.from_pil(pil_image, format="webp")
    assert read(webp.url)[1] == "image/webp"
    raw_bytes = data
    png = Image.from_bytes(raw_bytes, format="png")
    assert (png.width, png.height) == (64, 48) and read(png.url) == (raw_bytes, "image/png")
    (tmp_path / "output.png").write_bytes(raw_bytes)
    path = Image.from_path(str(tmp_path / "output.png"))
    assert (path.width, path.height, path.content_type, path.file_name) == (64, 48, "image/png", "output.png")
    assert path.url.endswith("_output.png") and read(path.url)[1] == "image/png"
    assert Image(url=image.url).to_pil().tobytes() == pil_image.tobytes()


def test_the_page_s_videos_audios_and_files(tmp_path):
    (tmp_path / "output.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    (tmp_path / "output.wav").write_bytes(WAV)
    (tmp_path / "result.obj").write_bytes(b"v 0 0 0\n")
    made = [
        (Video.from_path(str(tmp_path / "output.mp4")), "video/mp4", "output.mp4"),
        (Audio.from_path(str(tmp_path / "output.wav")), "audio/wav", "output.wav"),
        (Audio.from_bytes(WAV, content_type="audio/wav", file_name="output.wav"), "audio/wav", "output.wav"),
        (File.from_path(str(tmp_path / "result.obj")), "model/obj", "result.obj"),
        (File.from_bytes(WAV, "output.png", content_type="image/png"), "image/png", "output.png"),
    ]
    for file, kind, name in made:
        assert (file.content_type, file.file_name) == (kind, name)
        assert read(file.url) == (file.as_bytes(), kind)
        assert file.file_size == len(file.as_bytes())
    data = b"glTF\x02\0\0\0" + bytes(40)
    generic = File.from_bytes(data, content_type="application/octet-stream", file_name="model.glb")
    assert read(generic.url)[0] == data and generic.url.endswith("_model.glb")
    assert json.loads(generic.model_dump_json()).keys() == {"url", "content_type", "file_name", "file_size"}


def test_the_page_s_archive(tmp_path):
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as packed:
            for name in ("a.png", "b.png", "c.txt", "sub/d.png"):
                packed.writestr(name, name)
        uploaded = CompressedFile.from_bytes(file.getvalue(), file_name="a.zip")
    archive = CompressedFile(url=uploaded.url)
    png_files = list(archive.glob("*.png"))
    assert sorted(path.name for path in png_files) == ["a.png", "b.png"]
    assert sorted(path.name for path in archive) == ["a.png", "b.png", "c.txt", "sub"]
    folder = archive.extract()
    del archive
    assert not folder.exists()


def test_as_bytes_and_save_download_when_they_must(tmp_path):
    data = os.urandom(3 * MIB)
    url = File.from_bytes(data, file_name="x.bin").url
    file = File.model_validate(url)
    assert file.file_data is None
    (tmp_path / url.rpartition("/")[2]).write_bytes(b"a neighbour")
    saved = file.save(tmp_path / "out.bin")
    assert saved.read_bytes() == data
    assert (tmp_path / url.rpartition("/")[2]).read_bytes() == b"a neighbour"
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
    with pytest.raises(FileExistsError):
        file.save(tmp_path / "out.bin")
    with pytest.raises(DownloadError):
        File(url=url).as_bytes(max_bytes=3 * MIB - 1)
    assert File(url=url).as_bytes(max_bytes=3 * MIB) == file.as_bytes() == data
    with pytest.raises(DownloadError):
        File(url=url + "x").as_bytes()


def test_the_asynchronous_twins_do_the_same(pil_image, tmp_path):
    (tmp_path / "x.wav").write_bytes(WAV)

    async def main() -> None:
        made = await asyncio.gather(
            File.from_bytes_async(WAV, "x.wav"),
            Audio.from_path_async(tmp_path / "x.wav"),
            Image.from_pil_async(pil_image, "jpg"),
            Image.from_bytes_async(b"GIF89a\x07\0\x09\0", "gif"),
            File.reserve_async("text/plain", "late.txt"),
        )
        assert [each.content_type for each in made[:4]] == ["audio/wav", "audio/wav", "image/jpeg", "image/gif"]
        assert await File(url=made[0].url).as_bytes_async() == WAV
        assert (await File(url=made[1].url).save_async(tmp_path / "y.wav")).read_bytes() == WAV
        assert (await Image(url=made[2].url).to_pil_async()).size == (64, 48)
        assert read((await made[4].complete_async(b"late")).url)[0] == b"late"

    asyncio.run(main())


@pytest.mark.parametrize("repository", ["fal_v3", "fal"])
@pytest.mark.parametrize("in_parts", [False, True])
def test_both_repositories_take_bytes_and_paths_in_one_request_or_in_parts(server, tmp_path, repository, in_parts):
    before = kinds(server)
    data = os.urandom(11 * MIB)
    (tmp_path / "large.bin").write_bytes(data)
    options = {"multipart": in_parts, "multipart_chunk_size": 5 * MIB}
    files = [
        File.from_bytes(data, file_name="large.bin", repository=repository, save_kwargs=options),
        File.from_path(tmp_path / "large.bin", repository=repository, multipart=in_parts),
    ]
    for file in files:
        assert file.file_size == len(data)
        assert hashlib.sha256(read(file.url)[0]).digest() == hashlib.sha256(data).digest()
    after = kinds(server)
    assert {k: n - before.get(k, 0) for k, n in after.items() if n > before.get(k, 0)} == {
        "multipart" if in_parts else "single": 2
    }
    assert files[1].file_data is None  # more than 10 MiB are not kept in memory
    assert len(files[1].as_bytes()) == len(data)


@pytest.mark.parametrize("repository", ["fal_v3", "fal"])
@pytest.mark.parametrize("size", [0, 1, 100, 11 * MIB])
def test_a_url_is_reserved_and_filled_later(tmp_path, repository, size):
    pending = File.reserve("application/x-own", "later.bin", repository=repository)
    assert status(pending.url) == 404
    data = os.urandom(size)
    (tmp_path / "made").write_bytes(data)
    file = pending.complete(data if size < 1000 else tmp_path / "made")
    assert read(file.url) == (data, "application/x-own")
    assert (file.url, file.file_name, file.file_size) == (pending.url, "later.bin", size)


def test_a_url_that_was_given_up_stays_dead():
    pending = Image.reserve("image/png", "x.png", extra_headers={"X-Fal-Request-ID": "r-1"})
    pending.abort()
    assert status(pending.url) == 404
    with pytest.raises(FileUploadException):
        pending.complete(b"too late")
    assert status(pending.url) == 404


def test_a_path_that_is_not_there_leaves_the_reservation_open(tmp_path):
    pending = File.reserve("text/plain")
    with pytest.raises(FileNotFoundError):
        pending.complete(tmp_path / "none")
    assert read(pending.complete(b"now").url)[0] == b"now"


HOUR = {"expiration_duration_seconds": 3600}
REQUEST = SimpleNamespace(headers={"X-Fal-Object-Lifecycle-Preference": json.dumps(HOUR)})


@pytest.mark.parametrize("repository", ["fal_v3", "fal"])
def test_the_lifetime_of_the_request_holds_for_every_kind_of_upload(server, tmp_path, repository):
    (tmp_path / "x").write_bytes(b"x")
    made = {
        "single": lambda **more: File.from_bytes(b"x", repository=repository, **more),
        "path": lambda **more: File.from_path(tmp_path / "x", repository=repository, **more),
        "parts": lambda **more: File.from_path(tmp_path / "x", repository=repository, multipart=True, **more),
        "reserved": lambda **more: File.reserve(repository=repository, **more).complete(b"x"),
    }
    for name, make in made.items():
        assert lifetime(server, make().url) is None, name
        with use_lifecycle(HOUR):
            assert lifetime(server, make().url) == pytest.approx(3600, abs=2), name
        assert lifetime(server, make(request=REQUEST).url) == pytest.approx(3600, abs=2), name


@pytest.mark.parametrize("default", ["forbid", "hide"])
def test_a_private_file_is_read_with_our_own_key_and_by_nobody_else(default, pil_image, tmp_path, monkeypatch):
    private = {"object_lifecycle_preference": {"initial_acl": {"default": default, "rules": []}}}
    (tmp_path / "large.bin").write_bytes(os.urandom(11 * MIB))  # too large to be kept in memory
    file = File.from_path(tmp_path / "large.bin", save_kwargs=private)
    image = Image.from_pil(pil_image, save_kwargs=private)
    data = (tmp_path / "large.bin").read_bytes()
    assert status(file.url) == status(image.url) == {"forbid": 403, "hide": 404}[default]
    assert file.as_bytes() == File(url=file.url).as_bytes() == data
    assert Image(url=image.url).to_pil().tobytes() == pil_image.tobytes()
    assert File(url=file.url).save(tmp_path / "saved").read_bytes() == data
    path = download_file(file.url, tmp_path / "in", verify="digest")
    assert download_file(file.url, tmp_path / "in") == path and path.read_bytes() == data
    for name, value in (("ENTREPOT_FETCH_PRIVATE", "0"), ("ENTREPOT_KEY", "wrong:key")):
        with monkeypatch.context() as other:
            other.setenv(name, value)
            with pytest.raises(DownloadError):
                File(url=file.url).as_bytes()


def test_an_input_whose_url_a_caller_chose_is_not_read_with_our_key(monkeypatch):
    class Inputs(BaseModel):
        file: FileInput

    monkeypatch.setenv("ENTREPOT_INPUT_HTTP", "1")
    private = {"object_lifecycle_preference": {"initial_acl": {"default": "forbid", "rules": []}}}
    inputs = Inputs.model_validate({"file": File.from_bytes(b"secret", save_kwargs=private).url})
    with pytest.raises(DownloadError, match="403"), inputs.file.as_temp_file():
        pass


def test_inputs_are_downloaded_to_a_temporary_file(monkeypatch, pil_image):
    class Inputs(BaseModel):
        file: FileInput
        image: ImageInput

    monkeypatch.setenv("ENTREPOT_INPUT_HTTP", "1")  # the server of the tests has neither TLS nor a name
    urls = {"file": File.from_bytes(WAV, "x.wav").url, "image": Image.from_pil(pil_image).url}
    inputs = Inputs.model_validate_json(json.dumps(urls))
    with inputs.file.as_temp_file() as path:
        assert path.read_bytes() == WAV
    assert not path.exists()
    assert inputs.image.to_pil().tobytes() == pil_image.tobytes()
    with pytest.raises(DownloadError), inputs.file.as_temp_file(max_bytes=10):
        pass


def test_a_server_that_is_away_is_replaced_by_the_next_repository(monkeypatch, caplog):
    monkeypatch.setenv("ENTREPOT_URL", f"http://127.0.0.1:{free_port()}")
    file = File.from_bytes(b"x", "text/plain", fallback_repository="in_memory")
    assert file.url == "data:text/plain;base64,eA=="
    assert "fal_v3 failed (FileUploadException); trying in_memory" in caplog.text


def test_the_first_server_that_answers_takes_uploads_and_reservations(monkeypatch, server):
    monkeypatch.setenv("ENTREPOT_URL", f"http://127.0.0.1:{free_port()},{server.url}")
    assert read(File.from_bytes(b"x", "text/plain").url)[0] == b"x"
    assert read(File.reserve("text/plain").complete(b"y").url)[0] == b"y"


def test_a_refusal_everywhere_lists_each(monkeypatch):
    monkeypatch.setenv("ENTREPOT_KEY", "wrong:key")
    with pytest.raises(FileUploadFallbackException) as caught:
        File.from_bytes(b"x")
    assert str(caught.value).count("FileUploadException") == 2
    assert "wrong:key" not in str(caught.value)
    with pytest.raises(FileUploadException) as alone:
        File.from_bytes(b"x", fallback_repository=None)
    assert isinstance(alone.value.__cause__, EntrepotError)
    with pytest.raises(FileUploadException):
        File.reserve()


def test_a_lifetime_that_the_server_does_not_know_is_an_error_and_no_file_for_ever():
    for preference, match in (
        ({"expiration_duration_seconds": "3"}, "expiration_duration_seconds"),
        ({"expriation_duration_seconds": 0}, "expiration_duration_seconds"),
        ({"inital_acl": {"default": "forbid"}}, "inital_acl"),
    ):
        with use_lifecycle(preference), pytest.raises(FileUploadException, match=match):
            File.from_bytes(b"x", fallback_repository=None)


def test_w1_a_field_that_is_not_known_does_not_lose_the_output():
    with use_lifecycle({"later": 3, "expiration_duration_seconds": 3600}):
        assert File.from_bytes(b"x", fallback_repository=None).url


def test_a_local_file_needs_no_server(monkeypatch, tmp_path):
    monkeypatch.delenv("ENTREPOT_URL")
    monkeypatch.delenv("ENTREPOT_KEY")
    file = File.from_bytes(b"x", file_name="x.txt", repository="local")
    assert File(url=file.url).as_bytes() == b"x"
    assert list((tmp_path / "xdg" / "entrepot-files").iterdir())


def test_i01_c4_images_are_uploaded_upright_or_as_they_write_themselves(server):
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    exif = pillow.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    pillow.new("RGB", (40, 20), "red").save(file, format="jpeg", exif=exif)
    photo = pillow.open(file)

    class Figure:
        def save(self, file, format):
            pillow.new("L", (3, 2)).save(file, format)

    urls = [
        entrepot.upload_image(photo),
        entrepot.upload_image(photo, "PNG"),
        asyncio.run(entrepot.upload_image_async(photo, None)),
        Image.from_pil(photo).url,
        asyncio.run(Image.from_pil_async(photo, "webp")).url,
        entrepot.upload_image(Figure(), "jpg"),
        asyncio.run(entrepot.upload_image_async(Figure(), "gif")),
    ]
    stored = []
    for url in urls:
        with urllib.request.urlopen(url) as reply:
            stored.append((reply.headers["content-type"], pillow.open(io.BytesIO(reply.read())).size))
    types = [f"image/{name}" for name in ("jpeg", "png", "jpeg", "jpeg", "webp", "jpeg", "gif")]
    assert stored == list(zip(types, [(20, 40)] * 5 + [(3, 2)] * 2, strict=True))
    assert {Image(url=url).to_pil().size for url in urls[:5]} == {(20, 40)}
