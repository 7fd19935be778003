"""Carries a flow out without any network: what a server says is told before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from entrepot.client.commands import Alone, Call, Flow, Join, Receive, Reply, Send, Sleep, Spawn


def run(flow: Flow[Any], replies: Iterator[Reply], sent: list[str]) -> Any:
    """Carry a flow out with these replies, one thing after the other."""
    value: Any = None
    failed: Exception | None = None
    spawned: list[Any] = []
    while True:
        try:
            command = flow.throw(failed) if failed else flow.send(value)
        except StopIteration as end:
            return end.value
        value, failed = None, None
        try:
            match command:
                case Send(request) | Receive(request, _):
                    sent.append(f"{request.method} {request.url.partition('/')[2].partition('/')[2]}")
                    if not isinstance(request.body, bytes):
                        b"".join(request.body.chunks())
                    value = next(replies)
                case Sleep():
                    sent.append("sleep")
                case Call(work):
                    value = work()
                case Spawn(inner, _):
                    spawned.append(run(inner, replies, sent))
                case Join():
                    value, spawned = spawned, []
                case Alone(_, inner):
                    value = run(inner, replies, sent)
        except Exception as error:
            failed = error
