"""The transport: what a server says while a body is still being sent."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable

import pytest

from entrepot.client.commands import Request
from entrepot.client.http import Transport
from entrepot.client.sources import BytesSource, Window
from entrepot.client.stop import Stop

BODY = bytes(8 * 1024 * 1024)


def answered_by(behave: Callable[[socket.socket], None]) -> int:
    """The status that a body gets from a server that behaves so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                behave(connection)

        server = threading.Thread(target=serve)
        server.start()
        transport = Transport(10)
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            window = Window(BytesSource(BODY), 0, len(BODY), lambda count: None)
            return transport.send(Request("PUT", url, {}, window), Stop()).status
        finally:
            transport.close()
            server.join(20)


def take(connection: socket.socket, count: int) -> None:
    while count > 0 and (data := connection.recv(min(count, 1 << 20))):
        count -= len(data)


def head_of(connection: socket.socket) -> int:
    """Read the head; how many bytes of the body came with it."""
    file = io.BytesIO()
    while b"\r\n\r\n" not in file.getvalue():
        file.write(connection.recv(4096))
    return len(file.getvalue().split(b"\r\n\r\n", 1)[1])


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"]
)
def test_an_interim_reply_does_not_end_the_sending(interim):
    def behave(connection: socket.socket) -> None:
        came = head_of(connection)
        connection.sendall(interim)
        take(connection, len(BODY) - came)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    assert answered_by(behave) == 200


def test_an_early_refusal_ends_the_sending_and_is_what_the_caller_gets():
    def behave(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        take(connection, len(BODY))  # until the client has had enough

    assert answered_by(behave) == 413
