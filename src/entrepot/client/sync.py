"""Carries flows out with threads."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any, TypeVar

import httpx2

from entrepot.client import http
from entrepot.client.commands import Alone, Call, Command, Flow, Join, Reply, Request, Send, Sleep, Spawn
from entrepot.client.crew import Crew, Stopped

T = TypeVar("T")


class SyncDriver:
    """Runs flows. May be used from several threads; in a forked child it begins with connections of its own."""

    def __init__(self, stall_seconds: float) -> None:
        self._settings = http.settings(stall_seconds)
        self.begin_afresh()
        _alive.add(self)

    def begin_afresh(self) -> None:
        """In a forked child: the connections of the parent are not ours to use nor to close, its locks may be held."""
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._client: httpx2.Client | None = None

    def run(self, flow: Flow[T], stop: threading.Event | None = None) -> T:
        """The result of a flow. Whatever ends it ends what it spawned; `stop` ends it from outside."""
        crew, stop = Crew(self.run), stop or threading.Event()
        value: Any = None
        failed: Exception | None = None
        try:
            while True:
                try:
                    command = flow.throw(failed) if failed else flow.send(value)
                except StopIteration as end:
                    done: T = end.value
                    return done
                value, failed = None, None
                try:
                    value = self._do(command, crew, stop)
                except Stopped:
                    raise
                except Exception as error:
                    crew.end()
                    crew, failed = Crew(self.run), error
        finally:
            crew.end()
            flow.close()

    def close(self) -> None:
        """Close all connections; the next request opens new ones."""
        with self._guard:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _do(self, command: Command, crew: Crew, stop: threading.Event) -> Any:
        if stop.is_set():
            raise Stopped
        match command:
            case Send(request):
                return self._send(request, stop)
            case Sleep(seconds):
                return stop.wait(seconds)
            case Call(work):
                return work()
            case Spawn(flow, limit):
                return crew.spawn(flow, limit)
            case Join():
                return crew.join()
            case Alone(name, flow):
                with self._guard:
                    lock = self._locks.setdefault(name, threading.Lock())
                with lock:
                    return self.run(flow, stop)

    def _send(self, request: Request, stop: threading.Event) -> Reply:
        body, received = request.body, bytearray()
        content = body if isinstance(body, bytes) else _until(stop, body.chunks())
        try:
            with self._http().stream(
                request.method, request.url, headers=http.headers_of(request), content=content
            ) as response:
                for chunk in response.iter_raw():
                    http.take(received, chunk, request)
                return http.reply_of(response.status_code, response.headers, received)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise http.failure(error, request) from error

    def _http(self) -> httpx2.Client:
        with self._guard:
            if self._client is None:
                self._client = httpx2.Client(**self._settings)
            return self._client


_alive: weakref.WeakSet[SyncDriver] = weakref.WeakSet()


def _after_fork() -> None:
    for driver in tuple(_alive):
        driver.begin_afresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _until(stop: threading.Event, chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        if stop.is_set():
            raise Stopped
        yield chunk
