"""Carries flows out with threads."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, TypeVar

from entrepot.client.commands import Alone, Call, Command, Flow, Join, Receive, Send, Sleep, Spawn
from entrepot.client.crew import Crew
from entrepot.client.http import Transport
from entrepot.client.stop import Stop, Stopped

T = TypeVar("T")


class SyncDriver:
    """Runs flows. May be used from several threads; in a forked child it begins with connections of its own."""

    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self.begin_afresh()
        _alive.add(self)

    def begin_afresh(self) -> None:
        """In a forked child: the connections of the parent are not ours to use nor to close, its locks may be held."""
        self.transport = Transport(self._stall_seconds)
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def run(self, flow: Flow[T], stop: Stop | None = None) -> T:
        """The result of a flow. Whatever ends it ends what it spawned; `stop` ends it from outside."""
        crew, stop = Crew(self.run), stop or Stop()
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
            try:
                crew.end()
            finally:
                flow.close()

    def _do(self, command: Command, crew: Crew, stop: Stop) -> Any:
        stop.check()
        match command:
            case Send(request):
                return self.transport.send(request, stop)
            case Receive(request, take):
                return self.transport.send(request, stop, take)
            case Sleep(seconds):
                stop.sleep(seconds)
            case Call(work):
                return work()
            case Spawn(flow, limit):
                crew.spawn(flow, limit)
            case Join():
                return crew.join()
            case Alone(name, flow):
                with self._guard:
                    lock = self._locks.setdefault(name, threading.Lock())
                with lock:
                    return self.run(flow, stop)


_alive: weakref.WeakSet[SyncDriver] = weakref.WeakSet()


def _after_fork() -> None:
    for driver in tuple(_alive):
        driver.transport.abandon()
        driver.begin_afresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
