"""Input types, fields and the words of the JSON schema, beside those of the stock package."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from entrepot import toolkit
from entrepot.fetch import urls
from entrepot.toolkit import (
    Audio,
    AudioField,
    CompressedFile,
    DataUri,
    File,
    FileField,
    FileInput,
    HttpsUrl,
    Image,
    ImageField,
    ImageInput,
    Video,
    VideoField,
)
from entrepot.toolkit.errors import DownloadError
from entrepot.toolkit.inputs import HTTPS_PATTERN, MAX_DATA_URI_LENGTH

ROOT = Path(__file__).parents[3]
STOCK = ROOT / ".venv-fal" / "bin" / "python"
PAGE = ROOT / "docs" / "toolkit.md"


class Wanted(BaseModel):
    file: FileInput | None = None
    image: ImageInput | None = None


def wanted(**texts: str) -> Wanted:
    return Wanted.model_validate(texts)


def file_input(text: str) -> Any:
    return wanted(file=text).file


class Shown(BaseModel):
    """What a playground is told; the same text is run by the stock package."""

    f: File = FileField(description="a")
    i: Image = ImageField()
    v: str = VideoField(ui={"important": True})
    a: str = AudioField(json_schema_extra={"x": 1})
    c: str = FileField(json_schema_extra=lambda schema: schema.update(y=2))
    url: FileInput
    picture: ImageInput


@pytest.mark.parametrize(
    "url",
    ["https://example.com", "https://cdn.local:8443/files/b/x?y=1", " https://a.b.example/x ", "https://x.museum/",
     "https://my_bucket.s3.amazonaws.com/a.png", "https://bücher.example/a", "https://a.xn--p1ai/x",
     "https://example.com?x=1", "https://example.com#x", "HTTPS://Example.com/A", "https://example.com./a",
     "https://例え.テスト/画像.png", "https://example.com:/x", "https://8.8.8.8/x", "https://[2606:4700::1111]:443/x"],
)  # fmt: skip
def test_d15_urls_that_can_be_fetched_are_taken(url):
    found = wanted(file=url).file
    assert isinstance(found, HttpsUrl)
    assert found == url.strip()
    assert urls.read(found)
    assert re.search(HTTPS_PATTERN, found), "the schema says so too"


@pytest.mark.parametrize(
    "url",
    ["http://example.com/x", "https://localhost/x", "https://127.0.0.1/x", "https://localhost./x",
     "https://[::1]/x", "https://[::ffff:10.0.0.1]/x", "https://0x7f.1/x", "https://169.254.169.254/x",
     "https://a..b/x", "https://-a.com/x", "https://a.b:99999/x", "https://user:pass@example.com/", "https:/a.b/x",
     "https://a.b/x y", "https://[fe80::1%25eth0]/x", "https://a.b\\@c.d/", "https://" + "a" * 64 + ".com/",
     "https://a.example/" + "x" * 2048, "file:///etc/passwd", "ftp://example.com/x",
     "https://user@example.com/", "https://exa mple.com/", "", "x.png",
     "https://example.com/a\nb", "javascript:alert(1)"],
    ids=lambda url: url[:30],
)  # fmt: skip
def test_other_urls_are_refused(url):
    with pytest.raises(ValidationError):
        wanted(file=url)


@pytest.mark.parametrize(
    "url", ["http://localhost:8000/x", "http://127.0.0.1/x", "https://[::1]:80/x", "http://a.example/"]
)
def test_plain_http_and_bare_hosts_are_taken_when_the_settings_allow_it(url, monkeypatch):
    with pytest.raises(ValidationError):
        wanted(file=url)
    monkeypatch.setenv("ENTREPOT_INPUT_HTTP", "1")
    assert wanted(file=url).file == url
    for never in ("ftp://localhost/x", "http:///x", "http://a b/"):
        with pytest.raises(ValidationError):
            wanted(file=never)


def test_a_data_uri_keeps_its_methods():
    found = wanted(file="data:text/plain,hello%20you").file
    assert isinstance(found, DataUri)
    with found.as_temp_file() as path:
        assert path.read_bytes() == b"hello you"
    assert not path.exists()


def test_a_data_uri_has_a_longest_length():
    assert wanted(file="data:," + "x" * (MAX_DATA_URI_LENGTH - 6)).file
    with pytest.raises(ValidationError):
        wanted(file="data:," + "x" * (MAX_DATA_URI_LENGTH - 5))


@pytest.mark.parametrize(
    ("uri", "data"),
    [("data:,plain", b"plain"), ("DATA:,plain", b"plain"), ("data:;base64,YQ", b"a"),
     ("data:text/plain;charset=utf-8,%C3%A9", "é".encode()),
     ("data:image/png;base64,bm8gcG5n", b"no png"), ("data:;base64,YWI%3D", b"ab")],
)  # fmt: skip
def test_e13_data_uris_of_every_form_are_decoded(uri, data):
    assert File.model_validate(uri).as_bytes() == data
    with file_input(uri).as_temp_file() as path:
        assert path.read_bytes() == data


@pytest.mark.parametrize("uri", ["data:text/plain", "data:;base64,!!!!", "data:;base64,A"])
def test_e13_data_uris_that_hold_nothing_are_an_error(uri):
    with pytest.raises(DownloadError):
        File.model_validate(uri).as_bytes()


def test_e13_a_data_uri_is_held_against_the_cap():
    with pytest.raises(DownloadError):
        File.model_validate("data:," + "x" * 1001).as_bytes(max_bytes=1000)
    assert len(File.model_validate("data:," + "x" * 1000).as_bytes(max_bytes=1000)) == 1000


def test_an_image_input_gives_a_pillow_image():
    pytest.importorskip("PIL", reason="Pillow is not installed")
    from PIL import Image as Pillow

    uri = Image.from_pil(Pillow.new("RGB", (3, 2), "red"), repository="in_memory").url
    found = Wanted.model_validate_json(json.dumps({"image": uri})).image
    assert found is not None
    assert found.to_pil().getpixel((0, 0)) == (255, 0, 0)
    assert not hasattr(wanted(file=uri).file, "to_pil")


def test_inputs_are_serialised_as_plain_text():
    found = wanted(file="https://example.com/x", image="data:,x")
    assert json.loads(found.model_dump_json()) == {"file": "https://example.com/x", "image": "data:,x"}
    assert found.model_copy(deep=True) == found


@pytest.mark.parametrize("value", ["https://example.com/x.png", "http://10.0.0.1/x", "data:image/png;base64,AA=="])
def test_a_file_is_made_of_a_url(value):
    assert Image.model_validate(value).url == value
    assert Image.model_validate({"url": value, "width": 3}).width == 3


@pytest.mark.parametrize("value", ["x.png", "", "file:///etc/passwd", "ftp://a.b/c", "https://", "http://[", "//a.b/c"])
def test_other_text_is_no_file(value):
    with pytest.raises(ValidationError, match="value must be a valid URL"):
        File.model_validate(value)


def test_the_data_of_a_file_is_never_serialised():
    file = File.from_bytes(b"secret", repository="in_memory")
    assert "file_data" not in file.model_dump()
    assert "file_data" not in file.model_dump_json() + repr(file) + str(file)


def test_the_schema_tells_a_playground_which_player_to_show():
    hints = {model.__name__: model.model_json_schema().get("ui") for model in (File, Image, Video, Audio)}
    assert hints == {
        "File": None,
        "Image": {"field": "image"},
        "Video": {"field": "video"},
        "Audio": {"field": "audio"},
    }
    shown = Shown.model_json_schema()["properties"]
    fields = {name: shown[name]["ui"]["field"] for name in ("f", "v", "a", "c")}
    assert fields == {"f": "file", "v": "video", "a": "audio", "c": "file"}
    assert shown["v"]["ui"]["important"] is True
    assert {"content_type", "file_name", "file_size", "url"} == File.model_json_schema()["properties"].keys() - {
        "file_data"
    }
    assert {"https-url", "data-uri"} == {each["format"] for each in shown["picture"]["anyOf"]}


STOCK_PROGRAM = """
import inspect, json
import fal.toolkit
from fal.toolkit import *
from fal.toolkit import CompressedFile, File, Image, Audio, Video
from fal.toolkit.types import FileInput, ImageInput
from pydantic import BaseModel
class Shown(BaseModel):
    f: File = FileField(description="a")
    i: Image = ImageField()
    v: str = VideoField(ui={"important": True})
    a: str = AudioField(json_schema_extra={"x": 1})
    c: str = FileField(json_schema_extra=lambda schema: schema.update(y=2))
    url: FileInput
    picture: ImageInput
models = [File, Image, Video, Audio, CompressedFile, Shown]
methods = {c.__name__: {n: [[p.name, p.kind.name, p.default is not p.empty] for p in
    inspect.signature(getattr(c, n)).parameters.values()] for n in dir(c)
    if n in ("from_bytes", "from_bytes_async", "from_path", "from_path_async", "from_pil", "reserve", "as_bytes",
             "save", "save_async", "to_pil", "glob")} for c in models[:-1]}
schemas = {c.__name__: c.model_json_schema() for c in models}
places = [str(FAL_PERSISTENT_DIR), str(FAL_MODEL_WEIGHTS_DIR), str(FAL_REPOSITORY_DIR)]
print(json.dumps({"schemas": schemas, "methods": methods, "names": fal.toolkit.__all__, "places": places}))
"""


@pytest.fixture(scope="module")
def stock():
    if not STOCK.exists():
        pytest.skip(f"the stock toolkit is not installed at {STOCK}: make setup")
    done = subprocess.run([STOCK, "-I", "-c", STOCK_PROGRAM], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


OURS: dict[str, type[BaseModel]] = {
    "File": File,
    "Image": Image,
    "Video": Video,
    "Audio": Audio,
    "CompressedFile": CompressedFile,
}


def missing(theirs: Any, ours: Any, at: str = "") -> list[str]:
    """What of their schema ours has not, or has otherwise."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return [line for key in theirs for line in missing(theirs[key], ours.get(key, "nothing"), f"{at}/{key}")]
    return [] if theirs == ours else [f"{at}: {theirs!r} is {ours!r}"]


def test_every_name_of_the_stock_package_is_here_or_said_to_be_missing(stock):
    missing_here = PAGE.read_text("utf-8").partition("\nNames that concern apps and not files are not provided: ")[2]
    assert missing_here
    for name in stock["names"]:
        assert hasattr(toolkit, name) != (f"`{name}`" in missing_here), name


def test_the_folders_of_the_volume_have_the_names_of_the_stock_package(stock):
    program = "from entrepot.toolkit import *; print(FAL_PERSISTENT_DIR, FAL_MODEL_WEIGHTS_DIR, FAL_REPOSITORY_DIR)"
    for volume in ("", "/mnt/volume"):
        environ = {**os.environ, "ENTREPOT_VOLUME": volume}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environ)
        assert done.stdout.replace(volume or "/data", "/data").split() == stock["places"], done.stderr


# A caller must not choose a folder that is removed later.
OURS_HAS_NOT = "/properties/extract_dir: "
# It knows fewer URLs than can be fetched.
THEIR_PATTERN = r"^https:\/\/(?:[a-zA-Z0-9-]+\.)+[a-zA-Z]{2,}(?::\d{1,5})?(?:\/[^\s]*)?$"


def test_the_schemas_have_all_that_those_of_the_stock_package_have(stock):
    models: dict[str, type[BaseModel]] = {**OURS, "Shown": Shown}
    for name, model in models.items():
        text = json.dumps(model.model_json_schema())
        ours = json.loads(text.replace(json.dumps(HTTPS_PATTERN), json.dumps(THEIR_PATTERN)))
        lacks = [line for line in missing(stock["schemas"][name], ours) if not line.startswith(OURS_HAS_NOT)]
        assert lacks == [], name


@pytest.mark.parametrize("name", OURS)
def test_the_methods_take_all_that_those_of_the_stock_package_take_at_the_same_place(stock, name):
    for method, theirs in stock["methods"][name].items():
        if (name, method) == ("Image", "from_bytes_async"):
            continue  # theirs is inherited from File, and calls Image.from_bytes with arguments that it has not
        ours = [[p.name, p.kind.name, p.default is not p.empty] for p in parameters(OURS[name], method)]
        for want, have in zip(theirs, ours, strict=False):
            assert have[:2] == want[:2] and (have[2] or not want[2]), f"{name}.{method}"
        assert len(ours) >= len(theirs), f"{name}.{method}"


def parameters(model: type, method: str) -> list[inspect.Parameter]:
    return list(inspect.signature(getattr(model, method)).parameters.values())


@pytest.mark.parametrize("name", OURS)
def test_every_constructor_has_an_asynchronous_twin_with_the_same_arguments(name):
    names = ["from_bytes", "from_path", "reserve", "save", "as_bytes"] + (
        ["from_pil", "to_pil"] if name == "Image" else []
    )
    for method in names:
        twin = f"{method}_async"
        assert [str(p) for p in parameters(OURS[name], method)] == [str(p) for p in parameters(OURS[name], twin)]
        assert inspect.iscoroutinefunction(inspect.unwrap(getattr(OURS[name], twin)))
