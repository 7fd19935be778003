"""What programs that were written for fal's client find: its names, its arguments, its headers, its examples."""

from __future__ import annotations

import inspect
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import entrepot
import entrepot as fal_client
from support.server import Server
from support.talk import Talk

STOCK = Path(__file__).parents[2] / ".venv-fal-client" / "bin" / "python"
PRESETS = ("immediate", "1h", "1d", "7d", "30d", "1y", 5)
ASKED = """
import inspect, json, fal_client
from fal_client import client
names = ["upload", "upload_file", "upload_image", "upload_async", "upload_file_async", "upload_image_async",
         "encode", "encode_file", "encode_image", "SyncClient.upload", "SyncClient.upload_file",
         "SyncClient.upload_image", "AsyncClient.upload", "AsyncClient.upload_file", "AsyncClient.upload_image",
         "SyncClient", "AsyncClient", "StorageSettings", "StorageACL", "StorageACLRule"]
found = {}
for name in names:
    item = fal_client
    for part in name.split("."):
        item = getattr(item, part, None) or getattr(client, part, None)
    if item is not None:
        found[name] = [each for each in inspect.signature(item).parameters if each != "self"]
print(json.dumps(found))
"""


def stock(code: str) -> Any:
    if not STOCK.exists():
        pytest.skip("the stock client is not installed: make setup")
    return json.loads(subprocess.run([STOCK, "-c", code], capture_output=True, text=True, check=True).stdout)


def own_arguments(name: str) -> set[str]:
    item: Any = entrepot
    for part in name.split("."):
        item = getattr(item, part)
    names = set(inspect.signature(item).parameters)
    return names | set(entrepot.client.types.Options.__annotations__) if "options" in names else names


def test_every_argument_of_the_stock_client_is_there() -> None:
    found = stock(ASKED)
    assert len(found) >= 12
    assert {
        name: set(given) - own_arguments(name) for name, given in found.items() if set(given) - own_arguments(name)
    } == {}


def test_every_name_of_the_stock_client_that_is_about_uploads_can_be_imported() -> None:
    names = stock(
        "import json, fal_client as c\n"
        "kinds = ('upload', 'encode', 'Storage', 'Object', 'FalClient', 'SyncClient', 'AsyncClient')\n"
        "print(json.dumps([each for each in dir(c) if each.startswith(kinds)]))\n"
    )
    assert len(names) >= 18
    assert set(names) - set(entrepot.__all__) == set()
    assert [each for each in names if not hasattr(entrepot, each)] == []


def test_lifetimes_and_rights_are_said_as_the_stock_client_says_them() -> None:
    code = (
        "import json; from fal_client import client as c\n"
        "acl = c.StorageACL(default='forbid', rules=[c.StorageACLRule(user='b', decision='allow')])\n"
        "def said(e):\n"
        "    told = {}\n"
        "    c._object_lifecycle_headers(told, c._normalize_upload_lifecycle(c.StorageSettings(e, acl)))\n"
        "    return told\n"
        f"print(json.dumps([said(e) for e in {PRESETS!r}]))\n"
    )
    acl = entrepot.StorageACL("forbid", [entrepot.StorageACLRule("b", "allow")])
    for preset, headers in zip(PRESETS, stock(code), strict=True):
        ours = entrepot.StorageSettings(preset, initial_acl=acl).header()  # type: ignore[arg-type]
        assert headers and {json.dumps(json.loads(each)) for each in headers.values()} == {ours}


def test_data_uris_are_those_of_the_stock_client(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(bytes(range(256)))
    calls = "[c.encode('t\u00e9xt', 'text/plain'), c.encode(bytes(range(256)), 'a/b'), c.encode_file({path!r})]"
    code = f"import json, fal_client as c; print(json.dumps({calls.format(path=str(path))}))"
    ours = [
        entrepot.encode("t\u00e9xt", "text/plain"),
        entrepot.encode(bytes(range(256)), "a/b"),
        entrepot.encode_file(path),
    ]
    assert ours == stock(code)


def test_the_examples_of_the_fal_cdn_page_run(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTREPOT_URL", server.url)
    monkeypatch.setenv("FAL_KEY", server.key)
    path = tmp_path / "image.png"
    path.write_bytes(b"image")
    url = fal_client.upload_file(str(path))
    again = fal_client.upload(b"image", "image/png")
    client = fal_client.SyncClient(key=server.key)
    third = client.upload_file(path, lifecycle=fal_client.StorageSettings(expires_in="1h"))
    for each in (url, again, third):
        assert isinstance(each, str) and Talk(server).get(each).body == b"image"
