"""What Entrepot does, shown on a throw-away server: `make demo`.

Everything lives in a temporary folder, the server's home and the user's configuration too. Ends with 0 when every
byte came back as it was sent, with 1 on any difference. The server is ended whatever happens.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

from entrepot.client import profile

ROOT = Path(__file__).resolve().parents[1]
FAL_PYTHON = ROOT / ".venv-fal-client" / "bin" / "python"
START_SECONDS = 60.0
STOP_SECONDS = 40.0
FIRST_BYTES = 64
MEGABYTE = 1_000_000
FILM_MEGABYTES = 120

# An unmodified program of a fal user; the two origins are the client's own constants, set before its first use.
FAL_PROGRAM = """
import sys
import fal_client
from fal_client import client

client.REST_URL = client.CDN_URL = sys.argv[1]
print(fal_client.upload_file(sys.argv[2]))
"""


class Wrong(Exception):
    """Something is not as promised."""


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends with us
    with tempfile.TemporaryDirectory(prefix="entrepot-demo-") as name:
        folder = Path(name)
        try:
            with server(folder) as (url, environ):
                show(folder, url, environ)
        except Wrong as error:
            print(f"✗ {error}", file=sys.stderr)
            return 1
    done("The server was ended and its folder removed.")
    return 0


def show(folder: Path, url: str, environ: dict[str, str]) -> None:
    done(f"A new server answers on {url}; its first start made a home and a key.")
    picture = folder / "sunrise.png"
    picture.write_bytes(png(320, 200))
    sent = picture.read_bytes()
    done(f"{picture.name} is a picture of 320 x 200 pixels, {len(sent)} bytes.")
    check_url("entrepot upload", output([*entrepot(), "upload", str(picture)], environ), sent)
    if not FAL_PYTHON.exists():
        raise Wrong("The stock fal client is not installed. Run: make setup")
    key = profile.load(environ).key.reveal()
    fal = [str(FAL_PYTHON), "-c", FAL_PROGRAM, url, str(picture)]
    check_url("the stock fal_client", output(fal, {**environ, "FAL_KEY": key}), sent)
    film = folder / "film.bin"
    write_film(film)
    check_film("entrepot upload, in one request,", output([*entrepot(), "upload", "-q", str(film)], environ), film)
    fal[-1] = str(film)
    check_film("the stock fal_client, in parts of 10 MiB,", output(fal, {**environ, "FAL_KEY": key}), film)


def write_film(path: Path) -> None:
    """120 MB of which no two megabytes are the same: more than the stock client sends in one request."""
    noise = os.urandom(MEGABYTE)
    with path.open("wb") as file:
        for number in range(FILM_MEGABYTES):
            file.write(number.to_bytes(8, "big") + noise[8:])


def check_film(who: str, url: str, path: Path) -> None:
    """Read a large file back: its last bytes by a range, then all of it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        wanted = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(-FIRST_BYTES, os.SEEK_END)
        last = file.read()
    status, _, part = get(url, {"Range": f"bytes=-{FIRST_BYTES}"})
    if (status, part) != (206, last):
        raise Wrong(f"The last bytes of {url} are wrong: {status}, {len(part)} bytes.")
    status, _, whole = get(url, {})
    if (status, len(whole), hashlib.sha256(whole).hexdigest()) != (200, size, wanted):
        raise Wrong(f"{url} is not the file: {status}, {len(whole)} bytes.")
    done(f"{size // MEGABYTE} MB by {who} came back the same, SHA-256 {wanted[:16]}...")


def check_url(who: str, url: str, sent: bytes) -> None:
    """Read back what `who` uploaded: a range, then all of it."""
    if not url.startswith("http://127.0.0.1:"):
        raise Wrong(f"{who} printed no URL of this server: {url!r}")
    done(f"{who} gave the URL {url}")
    status, headers, part = get(url, {"Range": f"bytes=0-{FIRST_BYTES - 1}"})
    wanted = f"bytes 0-{FIRST_BYTES - 1}/{len(sent)}"
    if (status, headers["Content-Range"], part) != (206, wanted, sent[:FIRST_BYTES]):
        raise Wrong(f"A range of {url} is wrong: {status}, {headers['Content-Range']}, {len(part)} bytes.")
    done(f"A range read gave 206, {wanted}, and the first {FIRST_BYTES} bytes of the picture.")
    status, headers, whole = get(url, {})
    if (status, headers["Content-Type"], whole) != (200, "image/png", sent):
        raise Wrong(f"{url} is not the picture: {status}, {headers['Content-Type']}, {len(whole)} bytes.")
    done(f"The whole file came back as image/png with the same {len(sent)} bytes, SHA-256 {digest(whole)}...")


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A server's URL, and the environment in which commands find it."""
    port = free_port()
    environ = environment(folder)
    arguments = ["serve", "--home", str(folder / "home"), "--port", str(port), "--workers", "1"]
    log_path = folder / "server.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*entrepot(), *arguments], env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_ready(process, url, log_path)
        yield url, environ
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()  # its workers see that and end
            process.wait()


def wait_ready(process: subprocess.Popen[bytes], url: str, log_path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if get(f"{url}/readyz", {})[0] == 200:
                return
        time.sleep(0.05)
    raise Wrong(f"The server did not start:\n{log_path.read_text(errors='replace')}")


def environment(folder: Path) -> dict[str, str]:
    """The user's environment without what points at his own servers, keys and folders."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ENTREPOT_", "FAL_", "XDG_"))}
    own = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config")}
    return {**kept, **own, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def entrepot() -> list[str]:
    return [sys.executable, "-m", "entrepot.cli.main"]


def output(arguments: list[str], environ: dict[str, str]) -> str:
    """What a command prints on standard output, without the last line end."""
    result = subprocess.run(arguments, env=environ, capture_output=True, text=True, timeout=120)
    if result.returncode:
        raise Wrong(f"{' '.join(arguments[:4])} ended with {result.returncode}:\n{result.stderr}")
    return result.stdout.removesuffix("\n")


def get(url: str, headers: dict[str, str]) -> tuple[int, Message, bytes]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=30) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def png(width: int, height: int) -> bytes:
    """A picture of 8-bit RGB: a sky that turns from blue to orange."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def row(y: int) -> bytes:
        high = 255 * y // (height - 1)
        return b"\0" + b"".join(bytes((high, 90 + x * 60 // width, 255 - high)) for x in range(width))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(row(y) for y in range(height)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def done(what: str) -> None:
    print(f"✓ {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
