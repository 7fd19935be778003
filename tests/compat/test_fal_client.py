"""The unmodified stock `fal-client` 1.0.3 against a real server, in an environment and in processes of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import trustme

from support.inside import rows
from support.sdk import rest_of
from support.server import Server, clean_environ
from support.talk import Talk

STOCK = Path(__file__).parents[2] / ".venv-fal-client" / "bin" / "python"
pytestmark = pytest.mark.skipif(not STOCK.exists(), reason=f"the stock client is not installed at {STOCK}: make setup")

# What every program starts with: the hosts, which the client has as constants (docs/protocol.md 1.2).
PRELUDE = """
import asyncio, io, json, pathlib, sys
import fal_client
import fal_client.client as stock
from fal_client import StorageSettings, StorageACL, StorageACLRule
stock.REST_URL, stock.CDN_URL = sys.argv[1:3]
assert stock.__version__ == "1.0.3", stock.__version__
def say(**facts):
    print(json.dumps(facts))
wait = asyncio.Runner().run  # one event loop: the module's own async client belongs to the first it meets
"""
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@dataclass(frozen=True)
class Stock:
    """Programs that use the stock client against one server."""

    server: Server
    folder: Path
    rest: str
    cdn: str

    def run(self, program: str, **environ: str) -> subprocess.CompletedProcess[str]:
        env = clean_environ(self.folder, **{"FAL_KEY": self.server.key, **environ})
        command = [str(STOCK), "-I", "-c", PRELUDE + program, self.rest, self.cdn]
        return subprocess.run(command, env=env, cwd=self.folder, capture_output=True, text=True, timeout=250)

    def says(self, program: str, **environ: str) -> Any:
        """The last line that the program prints, as JSON."""
        done = self.run(program, **environ)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def stock(server: Server, tmp_path: Path) -> Stock:
    return Stock(server, tmp_path, server.url, server.url)


def so_far(server: Server) -> int:
    """How many lines the log has, when the last ones of what was asked before have come."""
    return rest_of(lambda: len(server.log_lines()))


def requests(server: Server, since: int) -> list[tuple[str, str, int]]:
    """Method, route and status of the requests since this line of the log, objects as `/files/b/`."""
    so_far(server)
    found = []
    for entry in server.log_lines()[since:]:
        if entry["logger"] == "entrepot.access":
            path = str(entry["path"])
            found.append((entry["method"], "/files/b/" if path.startswith("/files/b/") else path, entry["status"]))
    return found


BOTH = pytest.mark.parametrize("wait", ["", "wait"], ids=["sync", "async"])


def call(wait: str, expression: str) -> str:
    """The expression with the sync or the async client."""
    if not wait:
        return expression
    name, _, rest = expression.partition("(")
    return f"{wait}({name}_async({rest})"


@BOTH
def test_upload_gives_urls_of_the_same_bytes(stock: Stock, wait: str) -> None:
    sizes = [0, 1, 100, 65536, 3_000_000]
    expression = call(wait, 'fal_client.upload(bytes(i % 251 for i in range(size)), "image/x-own")')
    urls = stock.says(f"say(urls=[{expression} for size in {sizes}])")["urls"]
    for size, url in zip(sizes, urls, strict=True):
        reply = Talk(stock.server).get(url)
        assert reply.body == bytes(i % 251 for i in range(size))
        assert reply.headers["content-type"] == "image/x-own"


@BOTH
def test_upload_file_keeps_bytes_and_name(stock: Stock, wait: str) -> None:
    names = ["cat.png", "model.safetensors", "with space & more.tar.gz", "noext", "empty.txt"]
    for name in names:
        (stock.folder / name).write_bytes(b"" if name == "empty.txt" else PNG + name.encode())
    since = so_far(stock.server)
    urls = stock.says(f"say(urls=[{call(wait, 'fal_client.upload_file(name)')} for name in {names}])")["urls"]
    for name, url in zip(names, urls, strict=True):
        assert url.endswith("_" + quote(name, safe=""))
        assert Talk(stock.server).get(url).body == (stock.folder / name).read_bytes()
    asked = [path for method, path, status in requests(stock.server, since) if (method, status) == ("POST", 200)]
    assert asked.count("/files/upload") == len(names)
    assert "/storage/upload/initiate" not in asked, "no fallback was needed"


@BOTH
def test_b08_names_that_are_not_ascii_fall_back_to_initiate_with_gcs_and_work(stock: Stock, wait: str) -> None:
    names = ["é.png", "日本語.png", "naïve 😀.webp"]
    for name in names:
        (stock.folder / name).write_bytes(PNG + name.encode())
    since = so_far(stock.server)
    urls = stock.says(f"say(urls=[{call(wait, 'fal_client.upload_file(name)')} for name in {names}])")["urls"]
    for name, url in zip(names, urls, strict=True):
        assert url.endswith("_" + quote(name, safe=""))
        assert Talk(stock.server).get(url).body == PNG + name.encode()
    asked = [(method, path) for method, path, status in requests(stock.server, since) if status == 200]
    assert asked.count(("POST", "/storage/upload/initiate")) == asked.count(("PUT", "/files/b/")) == len(names)
    assert ("POST", "/files/upload") not in asked


@BOTH
def test_upload_image_gives_the_image_that_was_encoded(stock: Stock, wait: str) -> None:
    kinds = ["jpeg", "png", "webp"]
    program = f"""
import urllib.request
from PIL import Image
image = Image.new("RGB", (8, 5), (200, 10, 10))
urls = [{call(wait, "fal_client.upload_image(image, kind)")} for kind in {kinds}]
back = [Image.open(io.BytesIO(urllib.request.urlopen(url).read())) for url in urls]
say(urls=urls, back=[[i.format, *i.size] for i in back])
"""
    told = stock.says(program)
    assert told["back"] == [[kind.upper(), 8, 5] for kind in kinds]
    for kind, url in zip(kinds, told["urls"], strict=True):
        headers = Talk(stock.server).head(url).headers
        assert headers["content-type"] == f"image/{kind}"
        assert "content-disposition" not in headers, "it is shown in place"


@BOTH
def test_a_lifecycle_is_obeyed_by_either_way_in(stock: Stock, wait: str) -> None:
    lifecycle = 'StorageSettings(expires_in="1h", initial_acl=StorageACL(default="forbid"))'
    for name in ("cat.png", "é.png"):
        (stock.folder / name).write_bytes(PNG)
    expression = call(wait, f"fal_client.upload_file(name, lifecycle={lifecycle})")
    talk = Talk(stock.server)
    for url in stock.says(f'say(urls=[{expression} for name in ("cat.png", "é.png")])')["urls"]:
        assert talk.get(url).status == 403
        reply = talk.get(url, **talk.key)
        assert reply.body == PNG
        (row,) = rows(stock.server, "SELECT published_at FROM objects WHERE path = ?", urlsplit(url).path)
        expires = datetime.fromisoformat(reply.headers["x-entrepot-expires-at"]).timestamp()
        assert round(expires - row[0]) == 3600


def test_a_lifecycle_with_rules_is_taken(stock: Stock) -> None:
    rules = 'StorageACL(default="hide", rules=[StorageACLRule(user="nobody", decision="allow")])'
    expression = f'fal_client.upload(b"x", "a/b", lifecycle=StorageSettings(initial_acl={rules}))'
    url = stock.says(f"say(url={expression})")["url"]
    assert Talk(stock.server).get(url).status == 404


def test_one_client_uploads_many_files_with_one_token(stock: Stock) -> None:
    since = so_far(stock.server)
    urls = stock.says('say(urls=[fal_client.upload(b"%d" % n, "a/b") for n in range(10)])')["urls"]
    assert [Talk(stock.server).get(url).body for url in urls] == [b"%d" % n for n in range(10)]
    tokens = [path for _, path, _ in requests(stock.server, since) if path == "/storage/auth/token"]
    assert len(tokens) == 1


def test_many_uploads_at_once_all_arrive(stock: Stock) -> None:
    program = """
async def main():
    client = fal_client.AsyncClient()
    return await asyncio.gather(*(client.upload(b"%d" % n * 1000, "a/b", f"{n}.bin") for n in range(40)))
say(urls=wait(main()))
"""
    urls = stock.says(program)["urls"]
    assert [Talk(stock.server).get(url).body for url in urls] == [b"%d" % n * 1000 for n in range(40)]


@BOTH
def test_a_wrong_key_is_a_clear_error_at_once(stock: Stock, wait: str) -> None:
    since = so_far(stock.server)
    program = f"""
try:
    {call(wait, 'fal_client.upload(b"x", "a/b")')}
except Exception as error:
    say(kind=type(error).__name__, text=str(error))
"""
    told = stock.says(program, FAL_KEY="wrong:key")
    assert "401" in told["text"] or "revoked" in told["text"]
    asked = requests(stock.server, since)
    assert {status for _, _, status in asked} == {401}
    assert len(asked) <= 3, "no retries"


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server whose files have an origin of their own: another name of this machine."""
    server = Server(tmp_path_factory.mktemp("split"))
    cdn = f"http://localhost:{server.port}"
    server.settings["cdn_url"] = cdn
    with server:
        yield server, cdn


@BOTH
def test_a_cdn_url_of_its_own_names_the_files(split: tuple[Server, str], tmp_path: Path, wait: str) -> None:
    server, cdn = split
    for name in ("cat.png", "é.png"):
        (tmp_path / name).write_bytes(PNG)
    upload = call(wait, "fal_client.upload_file(name)")
    program = f"""
import urllib.request
urls = [{upload} for name in ("cat.png", "é.png")]
say(urls=urls, back=[urllib.request.urlopen(url).read().hex() for url in urls])
"""
    told = Stock(server, tmp_path, server.url, cdn).says(program)
    assert all(url.startswith(f"{cdn}/files/b/") for url in told["urls"])
    assert told["back"] == [PNG.hex()] * 2


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("secure")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    both = str(folder / "both.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(both)
    with Server(folder, {"tls_cert": both, "tls_key": both}) as server:
        yield server


@BOTH
def test_over_tls_with_a_private_ca(secure: Server, tmp_path: Path, wait: str) -> None:
    stock = Stock(secure, tmp_path, secure.url, secure.url)
    (tmp_path / "é.png").write_bytes(PNG)
    upload = call(wait, "fal_client.upload_file('é.png')")
    program = f"import httpx\nurl = {upload}\nsay(url=url, back=httpx.get(url).content.hex())"
    told = stock.says(program, SSL_CERT_FILE=str(secure.folder / "ca.pem"))
    assert told["url"].startswith("https://")
    assert told["back"] == PNG.hex()
