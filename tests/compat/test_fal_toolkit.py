"""The unmodified stock `fal` 1.83.0 toolkit against a real server, over TLS with a private authority (docs/protocol.md
1.3)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from support.inside import rows
from support.sdk import rest_of
from support.server import Server, clean_environ

STOCK = Path(__file__).parents[2] / ".venv-fal" / "bin" / "python"
pytestmark = pytest.mark.skipif(not STOCK.exists(), reason=f"the stock toolkit is not installed at {STOCK}: make setup")
MIB = 1024 * 1024
THRESHOLD = 100 * MIB  # more than this goes in parts of 10 MiB

PRELUDE = """
import hashlib, io, json, sys, urllib.request
from importlib.metadata import version
from pathlib import Path
from fal.toolkit import File, Image
assert version("fal") == "1.83.0"
def say(**facts):
    print(json.dumps(facts))
def data(size):
    block = b"".join(n.to_bytes(4, "big") for n in range(65536))
    return (block * (size // len(block) + 1))[:size]
def sha(url):
    with urllib.request.urlopen(url) as reply:
        hasher = hashlib.sha256()
        while piece := reply.read(1 << 20):
            hasher.update(piece)
    return hasher.hexdigest()
"""


@dataclass(frozen=True)
class Toolkit:
    """Programs that use the toolkit against one server."""

    server: Server
    folder: Path

    def run(self, program: str, **environ: str) -> subprocess.CompletedProcess[str]:
        own = {
            "FAL_KEY": self.server.key,
            "FAL_REST_HOST": f"127.0.0.1:{self.server.port}",
            "SSL_CERT_FILE": str(self.server.folder / "ca.pem"),
        }
        env = clean_environ(self.folder, **{**own, **environ})
        command = [str(STOCK), "-I", "-c", PRELUDE + program]
        return subprocess.run(command, env=env, cwd=self.folder, capture_output=True, text=True, timeout=250)

    def says(self, program: str) -> Any:
        """The last line that the program prints, as JSON. No fallback may have been needed."""
        done = self.run(program)
        assert done.returncode == 0, done.stderr
        assert "falling back" not in done.stdout
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("secure")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    both = str(folder / "both.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(both)
    with Server(folder, {"tls_cert": both, "tls_key": both, "sweep_interval": "0.2"}) as server:
        yield server


@pytest.fixture
def toolkit(secure: Server, tmp_path: Path) -> Toolkit:
    return Toolkit(secure, tmp_path)


def uploads(server: Server) -> dict[str, int]:
    """How many uploads of each kind there were."""
    return dict(rows(server, "SELECT kind, count(*) FROM uploads GROUP BY kind"))


def test_file_from_bytes_and_from_path_give_urls_of_the_same_bytes(toolkit: Toolkit) -> None:
    program = """
Path("clip é.mp4").write_bytes(data(70_000))
files = [
    File.from_bytes(data(5000), "image/x-own", "own é.bin"),
    File.from_bytes(b"", "text/plain", "empty.txt"),
    File.from_bytes(b"no name", "image/jpeg"),
    File.from_path("clip é.mp4", "video/mp4"),
]
say(files=[[f.url, f.content_type, f.file_size] for f in files], sha=[sha(f.url) for f in files],
    own=[hashlib.sha256(d).hexdigest() for d in (data(5000), b"", b"no name", data(70_000))])
"""
    told = toolkit.says(program)
    assert told["sha"] == told["own"]
    for url, kind, size in told["files"]:
        assert url.startswith(f"https://127.0.0.1:{toolkit.server.port}/files/b/")
        assert kind
        assert size >= 0
    assert told["files"][3][0].endswith("_clip%20%C3%A9.mp4")


def test_image_from_pil_gives_the_image_that_was_encoded(toolkit: Toolkit) -> None:
    program = """
from PIL import Image as Pillow
drawn = Pillow.new("RGB", (8, 5), (200, 10, 10))
images = [Image.from_pil(drawn, format=kind) for kind in ("png", "jpeg", "webp")]
back = [Pillow.open(io.BytesIO(urllib.request.urlopen(i.url).read())) for i in images]
say(back=[[i.format, *i.size] for i in back], types=[i.content_type for i in images],
    served=[urllib.request.urlopen(i.url).headers["content-type"] for i in images])
"""
    told = toolkit.says(program)
    assert told["back"] == [["PNG", 8, 5], ["JPEG", 8, 5], ["WEBP", 8, 5]]
    assert told["served"] == told["types"] == ["image/png", "image/jpeg", "image/webp"]


@pytest.mark.parametrize("over", [0, 1], ids=["at the threshold", "one byte over it"])
def test_a_large_file_goes_in_one_piece_up_to_the_threshold_and_in_parts_above(toolkit: Toolkit, over: int) -> None:
    before = uploads(toolkit.server)
    program = f"""
size = {THRESHOLD + over}
Path("big.bin").write_bytes(data(size))
file = File.from_path("big.bin", "a/b")
say(same=sha(file.url) == hashlib.sha256(data(size)).hexdigest(), size=file.file_size)
"""
    assert toolkit.says(program) == {"same": True, "size": THRESHOLD + over}
    kind = "multipart" if over else "single"
    after = uploads(toolkit.server)
    assert {k: n - before.get(k, 0) for k, n in after.items() if n > before.get(k, 0)} == {kind: 1}


def test_many_bytes_in_memory_go_in_parts(toolkit: Toolkit) -> None:
    program = f"""
size = {THRESHOLD + 7 * MIB}
file = File.from_bytes(data(size), "a/b", "big.bin")
say(same=sha(file.url) == hashlib.sha256(data(size)).hexdigest())
"""
    assert toolkit.says(program) == {"same": True}


def test_the_fallback_route_takes_large_files_in_the_gcs_style(toolkit: Toolkit) -> None:
    before = uploads(toolkit.server)
    program = """
small = File.from_bytes(b"small", "a/b", "é.bin", repository="fal")
multi = dict(repository="fal", save_kwargs={"multipart": True, "multipart_chunk_size": 100_000})
Path("big é.bin").write_bytes(data(1_050_000))
large = File.from_path("big é.bin", "a/b", **multi)
say(same=[sha(small.url) == hashlib.sha256(b"small").hexdigest(),
          sha(large.url) == hashlib.sha256(data(1_050_000)).hexdigest()], url=large.url)
"""
    told = toolkit.says(program)
    assert told["same"] == [True, True]
    assert uploads(toolkit.server)["multipart"] == before.get("multipart", 0) + 1
    assert told["url"].endswith("_big%20%C3%A9.bin")


def test_a_reserved_url_is_given_before_the_bytes_and_holds_them_after(toolkit: Toolkit) -> None:
    program = """
import urllib.error
def status(url):
    try:
        return urllib.request.urlopen(url).status
    except urllib.error.HTTPError as error:
        return error.code
pending = [File.reserve("video/mp4", f"clip é {n}.mp4") for n in range(3)]
early = [status(p.url) for p in pending]
Path("big").write_bytes(data(25_000_000))
done = [pending[0].complete(data(5000)), pending[1].complete(b""), pending[2].complete("big")]
say(early=early, urls=[p.url == f.url for p, f in zip(pending, done)], sha=[sha(f.url) for f in done],
    own=[hashlib.sha256(d).hexdigest() for d in (data(5000), b"", data(25_000_000))])
"""
    told = toolkit.says(program)
    assert told["early"] == [404, 404, 404]
    assert told["urls"] == [True, True, True]
    assert told["sha"] == told["own"]


def test_a_reserved_url_that_is_given_up_stays_404(toolkit: Toolkit) -> None:
    url = toolkit.says('pending = File.reserve("a/b", "x.bin"); pending.abort(); say(url=pending.url)')["url"]
    (row,) = rows(
        toolkit.server, "SELECT state FROM uploads WHERE path = ?", url.partition(str(toolkit.server.port))[2]
    )
    assert row == ("open",), "the client tells nobody: time ends it"


def test_a_lifetime_reaches_the_file_by_either_way(toolkit: Toolkit) -> None:
    program = """
wish = {"object_lifecycle_preference": {"expiration_duration_seconds": 3600}}
files = [File.from_bytes(b"x", "a/b", "x.bin", save_kwargs=dict(wish)),
         File.from_bytes(data(300_000), "a/b", "y.bin",
                         save_kwargs={**wish, "multipart": True, "multipart_chunk_size": 100_000})]
say(expires=["x-entrepot-expires-at" in urllib.request.urlopen(f.url).headers for f in files])
"""
    assert toolkit.says(program) == {"expires": [True, True]}


def test_a_wrong_key_is_an_error_that_shows_the_server_s_words(toolkit: Toolkit) -> None:
    done = toolkit.run('File.from_bytes(b"x", "a/b", fallback_repository=[])', FAL_KEY="wrong:key")
    assert done.returncode == 1
    assert "401" in done.stderr
    assert "fix" in done.stderr


def test_without_the_authority_nothing_is_sent(toolkit: Toolkit) -> None:
    since = rest_of(lambda: len(toolkit.server.log_lines()))
    done = toolkit.run('File.from_bytes(b"x", "a/b", fallback_repository=[])', SSL_CERT_FILE="")
    assert done.returncode == 1
    assert "certificate" in done.stderr.lower()
    assert not [e for e in toolkit.server.log_lines()[since:] if e["logger"] == "entrepot.access"]
