"""Names and arguments that are sound here and have to be encoded, or refused by name, before they go on the wire."""

from __future__ import annotations

import urllib.request

import pytest

from entrepot import SyncClient, wire
from entrepot.cli.main import main
from entrepot.client.commands import Request
from entrepot.client.errors import ConfigurationError, ServerError
from entrepot.client.http import _headers
from entrepot.client.reserve import OutputClient
from entrepot.client.types import StorageACL, StorageACLRule, StorageSettings
from entrepot.client.wish import Wish
from support.server import Server

# Sound on the volume and in a folder of this machine.
NAMES = [
    " lead.txt", "trail ", " ", "100%.txt", "%20%zz", "née.txt", "日本 語.txt", "a;b,c\"d'e", "UTF-8''x", "?q#f&g=+",
    "-", "\N{NO-BREAK SPACE}wide", "x" * 255,
]  # fmt: skip
UNSENDABLE = ["a\nb", "\rb", "\tb", "b\0", "\x7f", "b\x1b[2J", "\udcff.bin", "", "é" * 2000]


@pytest.fixture(scope="module")
def client(server: Server):
    with SyncClient(server.key, url=server.url) as one:
        yield one


@pytest.mark.parametrize("name", [*NAMES, *UNSENDABLE[:-2]], ids=ascii)
def test_s02_every_file_name_survives_its_header(name):
    value = wire.encode_file_name(name.replace("\udcff", "?"))
    assert wire.decode_file_name(value.strip().encode("ascii")) == name.replace("\udcff", "?")


def test_s02_a_file_of_any_name_is_uploaded(client):
    for name in [*NAMES, *UNSENDABLE]:
        url = client.upload(name.encode("utf-8", "replace"), "text/plain", name)
        with urllib.request.urlopen(url, timeout=60) as reply:
            assert reply.read() == name.encode("utf-8", "replace")


def test_s02_every_name_goes_to_the_volume_and_back(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, value in (("ENTREPOT_URL", server.url), ("ENTREPOT_KEY", server.key), ("HOME", str(tmp_path))):
        monkeypatch.setenv(name, value)
    (tmp_path / "in").mkdir()
    for name in NAMES:
        (tmp_path / "in" / name).write_text(name)
    for words in (["files", "upload", "in", "odd/"], ["files", "mv", "odd/in", "odd/out"], ["upload", "in"]):
        assert main(words) == 0, capsys.readouterr().err
    for name in NAMES:
        assert main(["files", "mv", "-q", f"odd/out/{name}", f"odd/{name}"]) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert main(["files", "ls", "odd"]) == 0
    assert set(capsys.readouterr().out.splitlines()) - {"out/"} == {name.replace("\xa0", r"\xa0") for name in NAMES}
    assert main(["files", "download", "odd/", "back"]) == 0
    for name in NAMES:
        assert (tmp_path / "back" / name).read_text() == name


def test_s02_arguments_are_encoded_or_refused_by_name(client, server, tmp_path):
    rules = [StorageACLRule(user, "hide") for user in (" né", "日", "a\nb")]
    url = client.upload(b"x", "text/plain; ", lifecycle=StorageSettings("1h", StorageACL("allow", rules)))
    assert url.content_type == "text/plain;"
    for tag in ("", " x", "a\nb", "é"):
        with pytest.raises(ValueError, match="if_match"):
            client.files.write("odd-tag", b"x", if_match=tag)
        with pytest.raises(ValueError, match="if_match"):
            client.files.delete("odd-tag", if_match=tag)
    for kind in ("text/plain\n", "täxt/plain", "text", "text/plain\r\nX: y"):
        with pytest.raises(ValueError, match="media type"):
            client.upload(b"x", kind)
    with OutputClient(server.key, url=server.url) as output:
        for name, value in (("x-note", "日本"), ("x-note", "a\r\nb: c"), ("x-note", " a"), ("x nöte", "a")):
            with pytest.raises(ConfigurationError, match="request header 'x"):
                output.reserve(Wish("a.txt", "text/plain"), extra={name: value})
    for trash_id in ("../..", "a/b", "\udcff", "é ?"):
        with pytest.raises(ServerError) as refused:
            client.files.drop(trash_id)
        assert refused.value.status_code in (404, 422)


def test_s02_no_secret_is_in_the_error_of_a_header():
    with pytest.raises(ConfigurationError) as refused:
        _headers(Request("GET", "http://host/", {"authorization": "Key a:secret\n"}))
    assert "secret" not in str(refused.value) and "authorization" in str(refused.value)
