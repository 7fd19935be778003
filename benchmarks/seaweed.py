"""SeaweedFS with its S3 door: master, volume server, filer and gateway in one process, as `weed server` starts them."""

from __future__ import annotations

import contextlib
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import ROOT, ended, free_port, wait_listening

WEED = ROOT / ".venv-seaweedfs" / "bin" / "weed"
BUCKET = "bench"
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Seaweed:
    """A running SeaweedFS; anybody may write into its bucket. It answers a PUT before anything is synced."""

    port: int


@contextlib.contextmanager
def seaweed(folder: Path) -> Iterator[Seaweed]:
    folder.mkdir()
    port = free_port()
    ports = {"master.port": free_port(), "volume.port": free_port(), "filer.port": free_port(), "s3.port": port}
    ports |= {f"{name}.grpc": free_port() for name in tuple(ports)}
    command = [str(WEED), f"-logdir={folder}", "server", f"-dir={folder}", "-ip=127.0.0.1", "-filer", "-s3"]
    command += [f"-{name}={number}" for name, number in ports.items()]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=50", "-master.telemetry=false"]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    with ended(process):
        wait_listening(process, port, folder / "weed.log")
        for path in (f"/{BUCKET}", f"/{BUCKET}/first"):
            _put(port, path, folder / "weed.log")
        yield Seaweed(port)


def _put(port: int, path: str, log: Path) -> None:
    """It listens before its parts know each other: ask until it does it."""
    deadline = time.monotonic() + START_SECONDS
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", b"first", method="PUT")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            opener.open(request, timeout=START_SECONDS).close()
            return
        except OSError as error:
            if (isinstance(error, urllib.error.HTTPError) and error.code < 500) or time.monotonic() > deadline:
                raise RuntimeError(f"SeaweedFS takes no PUT of {path}: {error}\n{log.read_text()}") from error
        time.sleep(0.2)
