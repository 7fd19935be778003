"""The SDK in both worlds, in a hurry: the same retries, but the pauses between them are short."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from entrepot.client.clients import AsyncClient, SyncClient
from entrepot.client.retry import Policy
from entrepot.client.types import FileUrl
from support.faultproxy import FaultProxy, Faults
from support.inside import rows
from support.server import Server
from support.talk import Talk, eventually

WORLDS = ("sync", "async")
REPOSITORIES = ("fal_v3", "fal")
PART = 64 * 1024
HURRY = Policy(base=0.001, ceiling=0.02)
# A server that was killed is away for a second or two, on a busy machine for many: that is to be outlasted, too.
STUBBORN = Policy(attempts=90, base=0.02, ceiling=1.0)


def in_a_hurry(client: Any, policy: Policy = HURRY) -> Any:
    """The same client; its retries do not wait long."""
    client._context.policy = policy
    return client


class Sdk:
    """One client of a world, with the methods of the synchronous one."""

    def __init__(self, world: str, url: str | list[str], key: str, stall: float = 20.0, policy: Policy = HURRY) -> None:
        self.world = world
        self.client = in_a_hurry((SyncClient if world == "sync" else AsyncClient)(key, stall, url=url), policy)

    def upload(self, data: Any, content_type: str = "application/octet-stream", **options: Any) -> FileUrl:
        return self._result(lambda: self.client.upload(data, content_type, **options))

    def upload_file(self, path: str | os.PathLike[str], **options: Any) -> FileUrl:
        return self._result(lambda: self.client.upload_file(path, **options))

    def in_parts(self, path: Path, **options: Any) -> FileUrl:
        """Upload a file in parts of 64 KiB, one way only unless the options say more."""
        small: dict[str, Any] = {"multipart_threshold": 0, "part_size": PART, "concurrency": 3}
        return self.upload_file(path, **{**small, "fallback_repository": [], **options})

    def close(self) -> None:
        self._result(self.client.close)

    def _result(self, begin: Callable[[], Any]) -> Any:
        if self.world == "sync":
            return begin()

        async def whole() -> Any:
            coroutine: Coroutine[Any, Any, Any] = begin()
            return await coroutine

        return asyncio.run(whole())


class Line:
    """A server behind a proxy that knows no other way: its links name the proxy. `plan` begins anew when it is set."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.server = Server(folder, settings)
        self._plan: list[Faults] = []
        self._first = 0
        self.proxy = FaultProxy(self.server.port, self._faults)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}"

    def plan(self, *faults: Faults) -> None:
        """The faults of the next connections, in order; those after them are left alone."""
        self._plan, self._first = list(faults), len(self.proxy.passages)

    def _faults(self, number: int) -> Faults:
        place = number - self._first
        return self._plan[place] if 0 <= place < len(self._plan) else None


@contextmanager
def lined(folder: Path, **settings: str) -> Iterator[Line]:
    """A line for one `with` block."""
    with ExitStack() as stack:
        line = Line(folder, **settings)
        stack.enter_context(line.proxy)
        line.server.settings["public_url"] = line.url
        stack.callback(lambda: line.server.process and line.server.stop())
        line.server.start()
        yield line


def a_file(path: Path, size: int, seed: int = 1) -> bytes:
    """Write a file of random bytes, and give them."""
    data = random.Random(seed).randbytes(size)
    path.write_bytes(data)
    return data


def fetched(server: Server, url: str) -> bytes:
    """The bytes behind a URL, asked of the server itself."""
    reply = Talk(server).get(urlsplit(url).path)
    assert reply.status == 200, (reply.status, reply.body)
    return reply.body


def objects_named(server: Server, name: str) -> int:
    """How many files of this name the server has published."""
    return int(rows(server, "SELECT count(*) FROM objects WHERE name = ? AND state = 'live'", name)[0][0])


def uploads_named(server: Server, name: str) -> list[str]:
    """The states of the uploads in parts of this name, in order of their beginning."""
    found = rows(server, "SELECT state FROM uploads WHERE name = ? AND kind = 'multipart' ORDER BY created_at", name)
    return [state for (state,) in found]


def requests(server: Server, method: str, start: str = "/", skip: int = 0) -> list[dict[str, Any]]:
    """The lines of the access log of requests that were answered with success, after the first `skip` lines."""
    lines = [line for line in server.log_lines()[skip:] if line["logger"] == "entrepot.access"]
    return [
        each
        for each in lines
        if each["method"] == method and each["path"].startswith(start) and each["status"] in (200, 204)
    ]


def part_numbers(server: Server, name: str) -> list[int]:
    """The numbers of the parts of a file of this name that the server acknowledged, in order of the log."""
    paths = [each["path"] for each in requests(server, "PUT", "/files/b/") if f"_{name}/multipart/" in each["path"]]
    return [int(path.rpartition("/")[2]) for path in paths]


# So often, every 20 ms: a busy machine takes its time over what was on the way when a client died.
LOOKS = 20


def rest_of(count: Callable[[], int], busy: Callable[[], object] = lambda: False) -> int:
    """A number once it no longer changes between looks at which nobody is busy: for what a server writes down after
    its reply."""
    seen: list[int] = []

    def quiet() -> bool:
        if busy():
            seen.clear()
        seen.append(count())
        return len(seen) >= LOOKS and len(set(seen[-LOOKS:])) == 1

    eventually(quiet)
    return seen[-1]


def open_handles() -> dict[str, str]:
    """What this process holds open: regular files and sockets."""
    found = {}
    for each in Path(f"/proc/{os.getpid()}/fd").iterdir():
        try:
            found[each.name] = os.readlink(each)
        except OSError:
            continue
    return found


def threads_of_uploads() -> list[threading.Thread]:
    """The threads that the SDK has left running."""
    made_by = [(each, getattr(getattr(each, "_target", None), "__module__", "")) for each in threading.enumerate()]
    return [each for each, module in made_by if str(module).startswith("entrepot.client")]
