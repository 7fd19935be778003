"""The whole app in this process, on a home of its own: for what a server in other processes cannot be given, such as a
network of the test's.

    with InProcess(tmp_path, net, stall_timeout=5.0) as app:
        assert app.post("/files/file/url/a", {"url": "http://files.example.com/"}).status == 200
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from entrepot.api import app as api
from entrepot.fetch.network import Network
from entrepot.home import Home
from entrepot.server.bootstrap import prepare
from entrepot.server.context import ServerContext
from entrepot.server.jobs import open_job_pool
from entrepot.server.worker import services_of
from entrepot.settings import Settings
from support.talk import Reply


class InProcess:
    """`settings` are those of the server, as values."""

    def __init__(self, folder: Path, net: Network | None = None, **settings: Any) -> None:
        self._settings = Settings(**{"home": folder / "home", "public_url": "http://media.example.com", **settings})
        self._net = net
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        settings = self._settings
        Home.prepare(settings.home)
        key = prepare(settings).first_key
        assert key
        self.key = key.reveal()
        self._runner.run(self._open())
        return self

    async def _open(self) -> None:
        self._node = ServerContext.open(self._settings)
        self._services = services_of(self._node, self._settings)
        self._pool = open_job_pool(self._node, self._settings, self._net)
        self._jobs = asyncio.create_task(self._start_jobs())
        self._app = api.build(self._services, _no_lifespan)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._close())
        self._runner.close()

    async def _start_jobs(self) -> None:
        while True:
            await self._pool.start_due(0)
            await asyncio.sleep(0.002)

    async def _close(self) -> None:
        self._jobs.cancel()
        await asyncio.wait([self._jobs])
        await self._pool.close()
        await self._node.close()

    @property
    def root(self) -> Path:
        """The volume on the disk."""
        return self._settings.volume_root

    @contextmanager
    def busy(self) -> Iterator[None]:
        """One body is coming in, as long as the block lasts."""

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x"

        stream = self._node.slots.slotted(endless())
        self._runner.run(anext(stream))
        try:
            yield
        finally:
            self._runner.run(stream.aclose())

    def breathe(self) -> None:
        """Let jobs go on for a moment, as a server does between two requests."""
        self._runner.run(asyncio.sleep(0.01))

    def get(self, target: str, **headers: str) -> Reply:
        return self.ask("GET", target, b"", headers)

    def post(self, target: str, value: Any, **headers: str) -> Reply:
        return self.ask("POST", target, json.dumps(value).encode(), headers)

    def ask(self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Reply:
        """A whole request with the key of the first account, unless `authorization` says otherwise, and its reply."""
        length = {} if "transfer-encoding" in (headers or {}) else {"content-length": str(len(body))}
        given = {"host": "media.example.com", "authorization": f"Key {self.key}", **length, **(headers or {})}
        return self._runner.run(self._asked(method, target, body, given))

    def events(
        self, method: str, target: str, headers: dict[str, str], *messages: dict[str, Any]
    ) -> list[tuple[str, Any]]:
        """What the app does of a request with these headers alone, in order: `("receive", n)` for the nth message that
        it takes, `("status", code)`. After the last message the client says nothing more."""
        return self._runner.run(self._events(method, target, headers, messages))

    async def _events(
        self, method: str, target: str, headers: dict[str, str], messages: Sequence[dict[str, Any]]
    ) -> list[tuple[str, Any]]:
        done: list[tuple[str, Any]] = []
        coming = iter(messages)

        async def receive() -> dict[str, Any]:
            message = next(coming, None)
            if message is None:
                await asyncio.Event().wait()
            done.append(("receive", len([e for e in done if e[0] == "receive"]) + 1))
            assert message is not None
            return message

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                done.append(("status", message["status"]))

        await self._app(_scope(method, target, headers), receive, send)
        return done

    async def _asked(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> Reply:
        sent: list[dict[str, Any]] = []
        asked = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if not asked:
                await asyncio.Event().wait()
            return asked.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(_scope(method, target, headers), receive, send)
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Reply(sent[0]["status"], found, b"".join(message["body"] for message in sent[1:]))


def _scope(method: str, target: str, headers: dict[str, str]) -> dict[str, Any]:
    path, _, query = target.partition("?")
    return {
        "type": "http", "method": method, "path": path, "raw_path": quote(path, safe="/%").encode(),
        "query_string": query.encode(), "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    }  # fmt: skip


async def _no_lifespan(*_: Any) -> None:
    pass
