"""The servers that are compared: ours and nginx, each on a free port of the loopback, ended by its process id."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import trustme

ROOT = Path(__file__).parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 40.0
WORKERS = 2

NGINX_CONFIG = """
daemon off;
worker_processes {workers};
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log {folder}/access.log;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    default_type application/octet-stream;
    client_max_body_size 0;
    client_body_buffer_size 1m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/files;
        location /put/ {{ {dav} }}
        location /many/ {{ autoindex on; autoindex_format json; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Tree:
    """A source tree of ours and the interpreter that runs it."""

    root: Path
    python: Path

    def environ(self, home: Path) -> dict[str, str]:
        """The environment of its programs: its own sources, and nothing of the user's configuration."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("ENTREPOT_", "FAL_", "XDG_"))}
        return environ | {"HOME": str(home), "PYTHONPATH": str(self.root / "src")}

    def cli(self, *arguments: str) -> list[str]:
        return [str(self.python), "-m", "entrepot.cli.main", *arguments]


THIS_TREE = Tree(ROOT, Path(sys.executable))


@dataclass(frozen=True, slots=True)
class Ours:
    """A running server of ours, every feature on, its log in a file. `ca` is whom to believe, when it speaks TLS."""

    tree: Tree
    port: int
    key: str
    volume: Path
    pid: int
    ca: Path | None = None

    @property
    def origin(self) -> str:
        return f"{'https' if self.ca else 'http'}://127.0.0.1:{self.port}"

    def processes(self) -> list[int]:
        """The parent and the children of all its threads: workers, keeper, helpers of Python."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return [self.pid, *(int(pid) for task in tasks for pid in (task / "children").read_text().split())]

    def store(self, data: bytes, name: str) -> str:
        """Upload a public file; returns the path of its URL."""
        reply = self._post("/files/upload", data, {"X-Fal-File-Name": name, "Content-Type": "application/octet-stream"})
        return _path(reply["access_url"])

    def begin(self, name: str) -> str:
        """Begin an upload; returns path and query of the signed URL to PUT to."""
        body = json.dumps({"file_name": name, "content_type": "application/octet-stream"}).encode()
        return _path(self._post("/storage/upload/initiate", body, {"Content-Type": "application/json"})["upload_url"])

    def begin_parts(self, name: str) -> str:
        """Begin an upload in parts; returns path and query that a part's number goes between."""
        body = json.dumps({"file_name": name, "content_type": "application/octet-stream"}).encode()
        path = "/storage/upload/initiate-multipart"
        return _path(self._post(path, body, {"Content-Type": "application/json"})["upload_url"])

    def finish_parts(self, begun: str, etags: Mapping[int, str]) -> None:
        """Publish the parts of an upload."""
        path, _, signature = begun.partition("?")
        parts = [{"partNumber": number, "etag": etag} for number, etag in sorted(etags.items())]
        body = json.dumps({"parts": parts}).encode()
        self._post(f"{path}/complete?{signature}", body, {"Content-Type": "application/json"})

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> dict[str, str]:
        headers = {**headers, "Authorization": f"Key {self.key}"}
        request = urllib.request.Request(self.origin + path, body, headers, method="POST")
        trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self.ca))
        with urllib.request.build_opener(urllib.request.ProxyHandler({}), trust).open(request, timeout=120) as reply:
            value: dict[str, str] = json.load(reply)
            return value


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running nginx that serves `files`, and takes PUTs under `/put/` when it has the dav module."""

    port: int
    files: Path

    def store(self, data: bytes, name: str) -> str:
        """Put a file into the folder that it serves; returns its path."""
        (self.files / name).write_bytes(data)
        return f"/{name}"


@contextlib.contextmanager
def ours(folder: Path, tree: Tree = THIS_TREE, *, tls: bool = False) -> Iterator[Ours]:
    """A server of `tree` with a home of its own, by flags that all versions have."""
    folder.mkdir()
    port, home = free_port(), str(folder / "home")
    environ = tree.environ(folder)
    arguments = ["serve", "--home", home, "--port", str(port), "--workers", str(WORKERS)]
    if tls:
        arguments += _certified(folder)
    with (folder / "server.log").open("wb") as log:
        command = tree.cli(*arguments)
        process = subprocess.Popen(command, env=environ, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    with ended(process):
        wait_listening(process, port, folder / "server.log")
        key = subprocess.check_output(tree.cli("keys", "create", "--home", home), env=environ, cwd=folder, text=True)
        yield Ours(tree, port, key.strip(), folder / "home" / "data", process.pid, folder / "ca.pem" if tls else None)


def _certified(folder: Path) -> list[str]:
    """The flags of a certificate for the loopback, by an authority of its own."""
    authority, both = trustme.CA(), str(folder / "both.pem")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(both)
    return ["--tls-cert", both, "--tls-key", both]


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[Nginx]:
    files = folder / "files"
    (files / "put").mkdir(parents=True)
    port = free_port()
    config = NGINX_CONFIG.format(
        workers=WORKERS,
        user=f"user {getpass.getuser()};" if os.geteuid() == 0 else "",
        folder=folder,
        port=port,
        dav="dav_methods PUT;" if nginx_has_dav() else "",
    )
    (folder / "nginx.conf").write_text(config)
    log = folder / "error.log"
    process = subprocess.Popen([nginx_path() or "nginx", "-c", str(folder / "nginx.conf"), "-e", str(log)])
    with ended(process):
        wait_listening(process, port, log)
        yield Nginx(port, files)


def nginx_path() -> str | None:
    """Debian keeps it in a folder that users do not search."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def nginx_version() -> str:
    found = re.search(r"nginx/[\d.]+", _nginx_about())
    return found[0] if found else "no nginx"


def nginx_has_dav() -> bool:
    return "http_dav_module" in _nginx_about()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _nginx_about() -> str:
    path = nginx_path()
    return subprocess.run([path, "-V"], capture_output=True, text=True).stderr if path else ""


def _path(url: str) -> str:
    return "/" + url.split("/", 3)[3]


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ends the process with the block."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Returns when it listens. Raises RuntimeError with its log when it does not."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text(errors='replace')}")
