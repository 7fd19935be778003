"""Which file is taken for which URL, what it is called, and what is no file."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter

from entrepot.cli import plan
from entrepot.client import datauri, resume, saved
from entrepot.client.local import expanded
from entrepot.client.sources import open_path
from entrepot.fetch import Fetcher, Policy
from entrepot.settings import Settings, data_home
from entrepot.toolkit import File, FileInput, download_model_weights, localfiles, naming, volume
from entrepot.toolkit import download as module
from entrepot.toolkit.contents import temp_file
from entrepot.toolkit.download import Wish, download
from entrepot.toolkit.errors import DownloadError, RemoteRefused
from support.internet import Internet, Reply, Request, Site

HOST = "http://files.example.com"
ONE, TWO = f"{HOST}/one/adapter.safetensors", f"{HOST}/two/adapter.safetensors"


@pytest.fixture
def net():
    with Internet() as net:
        yield net


@pytest.fixture
def get(net, tmp_path, monkeypatch):
    """Download by the stub internet; the file of a URL has its path as its bytes."""
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    site = net.serve(lambda request: Reply(request.path.partition("?")[0].encode()))

    def get(url: str, **wish: object) -> Path:
        return download(Wish(url, tmp_path / "in", **wish), Fetcher(Policy(), net))  # type: ignore[arg-type]

    get.site, get.folder = site, tmp_path / "in"  # type: ignore[attr-defined]
    return get


@pytest.mark.parametrize("force", [False, True])
def test_d01_another_url_of_the_same_name_and_size_is_no_hit(get, force):
    for _ in range(3):
        one, two = get(ONE, force=force), get(TWO, force=force)
        assert (one.read_bytes(), two.read_bytes()) == (b"/one/adapter.safetensors", b"/two/adapter.safetensors")
        assert one.name == "adapter.safetensors"
        assert two.name == f"adapter-{naming.identity(TWO)[:8]}.safetensors"
    assert len(os.listdir(one.parent)) == 2
    assert get.site.count("GET") == (6 if force else 2)


def test_d01_a_url_keeps_its_name_when_the_other_goes(get):
    one, two = get(ONE), get(TWO)
    one.unlink()
    assert get(TWO) == two
    assert get.site.count("GET") == 2


def test_d01_urls_of_one_name_at_once_all_get_their_own_bytes(get):
    urls = [f"{HOST}/{number:02}/a.tar.gz" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(get, urls))
    assert [path.read_text() for path in paths] == [url.removeprefix(HOST) for url in urls]
    assert len(set(paths)) == 8 and all(path.name.endswith(".tar.gz") for path in paths)


def test_d01_a_query_is_a_part_of_the_url(get):
    assert get(f"{HOST}/a.bin?id=1") != get(f"{HOST}/a.bin?id=2")
    assert get(f"{HOST}/a.bin?id=1#part") == get(f"{HOST}/a.bin?id=1")


@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-Algorithm=A&X-Amz-Credential=c&X-Amz-Date={0}&X-Amz-SignedHeaders=host&X-Amz-Signature={0}",
        "X-Goog-Signature={0}&X-Goog-Date={0}",
        "AWSAccessKeyId=a&Signature={0}&Expires={0}",
        "Expires={0}&Signature={0}&Key-Pair-Id=k",
        "sv=2024&se={0}&sr=b&sp=r&sig={0}",
    ],
)
def test_d01_a_new_signature_is_the_same_file(get, query):
    first = get(f"{HOST}/a.bin?versionId=7&{query.format(1)}")
    assert get(f"{HOST}/a.bin?{query.format(2)}&versionId=7") == first
    assert get(f"{HOST}/a.bin?versionId=8&{query.format(2)}") != first
    assert get.site.count("GET") == 2


def test_d01_a_signature_is_gone_on_with_but_not_waited_for(tmp_path):
    one, two = (Wish(f"{HOST}/a.bin?X-Amz-Signature={number}", tmp_path) for number in (1, 2))
    assert one.key == two.key and one.turn != two.turn
    assert Wish(ONE, tmp_path).key == Wish(ONE, tmp_path).turn


@pytest.mark.parametrize("query", ["sig={0}", "Signature={0}", "token={0}", "Expires={0}", "sv={0}"])
def test_d01_what_only_looks_like_a_signature_counts(query):
    assert naming.identity(f"{HOST}/a?{query.format(1)}") != naming.identity(f"{HOST}/a?{query.format(2)}")


def test_d01_a_file_without_a_note_is_taken_by_its_size(get):
    get.folder.mkdir()
    mine = get.folder / "adapter.safetensors"
    mine.write_bytes(b"x" * len("/one/adapter.safetensors"))
    assert get(ONE) == mine and get.site.count("GET") == 0
    mine.write_bytes(b"another size")
    assert get(ONE).read_bytes() == b"/one/adapter.safetensors"


def test_d01_it_holds_where_a_file_system_keeps_no_notes(get, monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(os, "getxattr", refused)
    monkeypatch.setattr(os, "setxattr", refused)
    for _ in range(2):
        one, two = get(ONE), get(TWO)
        assert (one.read_bytes(), two.read_bytes()) == (b"/one/adapter.safetensors", b"/two/adapter.safetensors")
    assert get.site.count("GET") == 2


def test_d01_a_note_of_a_former_release_is_understood(get):
    url = f"{HOST}/a.bin?X-Goog-Signature=1"
    path = get(url)
    note = os.getxattr(path, "user.entrepot").replace(naming.identity(url).encode(), naming.url_digest(url).encode())
    os.setxattr(path, "user.entrepot", note)
    assert get(url) == path and get.site.count("GET") == 1


def test_d01_other_request_headers_need_proof_of_the_same_bytes(get):
    etags = {"Bearer 1": '"1"', "Bearer 2": '"2"', "Bearer 3": '"2"'}
    get.site.handler = lambda request: Reply(b"same size", headers={"ETag": etags[request.headers["authorization"]]})
    for token, gets in (("1", 1), ("1", 1), ("2", 2), ("3", 2)):
        get(f"{HOST}/me.bin", headers={"Authorization": f"Bearer {token}"})
        assert get.site.count("GET") == gets


def test_d01_a_link_to_the_file_of_another_url_is_no_hit(get):
    one = get(ONE)
    (get.folder / "b").symlink_to(one)
    path = "/" + "x" * (len("/one/adapter.safetensors") - 3) + "/b"
    assert get(HOST + path).read_text() == path
    assert one.read_text() == "/one/adapter.safetensors"


def test_d01_where_a_file_system_has_no_links_the_file_gets_its_name(get, monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr("entrepot.atomic._libc", SimpleNamespace())
    monkeypatch.setattr(os, "link", refused)
    assert get(ONE).read_bytes() == b"/one/adapter.safetensors"


class Busy:
    """Answers so many times with a status, then with the file."""

    def __init__(self, status: int, times: int, retry_after: str = "0") -> None:
        self.status, self.left = status, times
        self.headers = {"Retry-After": retry_after} if retry_after else {}

    def __call__(self, request: Request) -> Reply:
        if not self.left:
            return Reply(b"file")
        self.left -= 1
        return Reply(b"busy", self.status, self.headers)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_d07_a_server_that_asks_for_a_pause_is_asked_again(get, status):
    for retry_after in ("0", "", "Wed, 21 Oct 2015 07:28:00 GMT"):
        get.site.handler = Busy(status, 5, retry_after)
        assert get(ONE, force=True).read_bytes() == b"file"
    assert get.site.count("GET") == 18


def test_d07_a_busy_server_is_not_asked_for_the_whole_after_a_cut(get):
    body, etag = bytes(range(200)), {"ETag": '"1"'}
    rest = {**etag, "Content-Range": "bytes 50-199/200"}
    replies = [Reply(body, headers=etag, cut=50), Reply(b"", 429, {"Retry-After": "0"}), Reply(body[50:], 206, rest)]
    get.site.handler = lambda request: replies.pop(0)
    assert get(ONE).read_bytes() == body
    assert [request.headers.get("range") for request in get.site.requests] == [None, "bytes=50-", "bytes=50-"]


def test_d07_the_pause_is_the_one_that_was_asked_for(get, monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr(module, "_wait", lambda wish, lease, seconds: waited.append(seconds))
    get.site.handler = Busy(429, 2, "7")
    get(ONE)
    assert waited == [7.0, 7.0]


@pytest.mark.parametrize(("busy", "tries"), [((503, 99), 10), ((429, 1, "9999"), 1), ((404, 1), 1)])
def test_d07_it_ends_and_says_how_often_it_was_tried(get, busy, tries):
    get.site.handler = Busy(*busy)
    with pytest.raises(RemoteRefused) as caught:
        get(ONE)
    assert (caught.value.status, get.site.count("GET")) == (busy[0], tries)
    assert ("10 times" in str(caught.value)) == (tries == 10)
    assert os.listdir(get.folder) == []


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("prompt-" * 40 + ".png", ".png"),
        ("x" * 300 + ".tar.gz", ".tar.gz"),
        ("é" * 200 + ".safetensors", ".safetensors"),
        ("%E4%BD%A0" * 90 + ".jpg", ".jpg"),
        ("a" + "e\u0301" * 200 + ".png", ".png"),
        ("\U0001f600" * 99 + ".webp", ".webp"),
    ],
    ids=lambda text: text[-10:],
)
def test_d08_a_long_name_keeps_its_beginning_and_its_ending(name, end):
    value = f'attachment; filename="{name}"'.encode().decode("latin-1")
    for found in (
        naming.choose_name(f"{HOST}/{name}", {}),
        naming.choose_name(HOST, {"content-disposition": value}),
        naming.own_name(name, HOST),
    ):
        assert 240 < len(found.encode()) <= 255 and found.endswith(end) and found.startswith(name[:50])
        stem = found.removesuffix(end).removesuffix(f"-{naming.identity(HOST)[:8]}")
        assert not stem.endswith(("%", "%E", "%E4", "%E4%BD", "e"))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html; charset=utf-8", b"<!doctype html><title>Log in</title>"),
        ("application/xhtml+xml", b"<?xml version='1.0'?><html/>"),
        ("text/html", b"\x08\0\0\0\0\0\0\0{}"),
        ("application/octet-stream", b"\n<!-- gate --><html><body>Log in"),
        ("", b"<!DOCTYPE HTML PUBLIC>"),
        ("application/octet-stream", b""),
    ],
)
def test_d12_a_page_is_never_taken_for_weights(tmp_path, monkeypatch, kind, body):
    monkeypatch.setenv("ENTREPOT_VOLUME", str(tmp_path))
    monkeypatch.setenv("ENTREPOT_FETCH_ALLOW", "127.0.0.1")
    replies = [Reply(body, headers={"Content-Type": kind}), Reply(b"weights")]
    with Site(lambda request: replies[0]) as site:
        with pytest.raises(DownloadError, match="no weights") as caught:
            download_model_weights(f"{site.url}/w.bin")
        assert (caught.value.code, "request_headers" in caught.value.fix) == ("wrong_type", True)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
        replies.pop(0)
        assert download_model_weights(f"{site.url}/w.bin").read_bytes() == b"weights"


def test_d12_a_page_that_a_former_release_kept_is_not_reused(tmp_path, monkeypatch):
    monkeypatch.setenv("ENTREPOT_VOLUME", str(tmp_path))
    monkeypatch.setenv("ENTREPOT_FETCH_ALLOW", "127.0.0.1")
    with Site(lambda request: Reply(b"weights")) as site:
        path = download_model_weights(f"{site.url}/w.bin")
        path.write_bytes(b"<html>.")
        assert download_model_weights(f"{site.url}/w.bin").read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("kind", "body", "name", "suffix"),
    [
        ("audio/wav", b"x", "speech", ".wav"),
        ("image/jpeg", b"x", "a%20b", ".jpg"),
        ("IMAGE/PNG; x=y", b"x", "v1.5", ".png"),
        ("application/octet-stream", b"\x89PNG\r\n\x1a\n", "x", ".png"),
        ("", b"OggS\0\2", "", ".ogg"),
        ("image/png", b"x", "photo.jpeg", ".jpeg"),
        ("application/octet-stream", b"\1\2", "x", ""),
    ],
)
def test_d14_a_temporary_file_has_the_extension_of_its_type(monkeypatch, kind, body, name, suffix):
    monkeypatch.setenv("ENTREPOT_FETCH_ALLOW", "127.0.0.1")
    reply = Reply(body, headers={"Content-Type": kind})
    with Site(lambda request: reply) as site, temp_file(f"{site.url}/{name}") as path:
        assert (path.suffix, path.read_bytes()) == (suffix, body)


@pytest.mark.parametrize(
    ("uri", "suffix"),
    [
        ("data:audio/wav;base64,AA==", ".wav"),
        ("data:image/svg+xml;utf8,<svg/>", ".svg"),
        ("data:,x", ".txt"),
        ("data:application/octet-stream;base64,iVBORw0KGgo=", ".png"),
        ("data:text/plain;charset=utf-8,x", ".txt"),
    ],
)
def test_d14_a_temporary_file_of_a_data_uri_has_an_extension(uri, suffix):
    with TypeAdapter(FileInput).validate_python(uri).as_temp_file() as path:
        assert path.suffix == suffix


def test_d13_a_tilde_is_the_home_folder_everywhere(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    (home / "a.txt").write_bytes(b"mine")
    assert volume.below_volume("~/models") == home / "models"
    assert volume.volume({"ENTREPOT_VOLUME": "~/v"}) == home / "v"
    assert localfiles.folder({"ENTREPOT_LOCAL_FILES": "~/l"}) == home / "l"
    assert saved.config_path({"ENTREPOT_CONFIG": "~/c.toml"}) == home / "c.toml"
    assert resume.folder({"ENTREPOT_STATE": "~/s"}) == home / "s"
    assert datauri.encode_file("~/a.txt") == "data:text/plain;base64,bWluZQ=="
    open_path(Path("~/a.txt")).close()
    file = File.from_path("~/a.txt", repository="in_memory")
    assert file.save("~/b/c.txt") == home / "b" / "c.txt"
    assert Settings.load({"home": "~/h"}).home == home / "h"
    assert data_home().is_absolute()
    assert plan.make(["~/a.txt"], None, print).items[0].path == str(home / "a.txt")
    assert not (tmp_path / "~").exists()


def test_d13_a_file_that_begins_with_a_tilde_can_be_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("~", "~root"):
        (tmp_path / name).touch()
    for same in ("./~", "~root", "~nobody-of-that-name/x", "a~", "-"):
        assert expanded(same) == same
    assert expanded("~root/x") == os.path.expanduser("~root/x") != "~root/x"
