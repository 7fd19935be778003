"""Fixtures of the protocol tests: ways to talk to the shared server, and one server with small limits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.files import Files
from support.inside import add_account
from support.server import Server, running
from support.talk import Talk


@pytest.fixture
def talk(server: Server) -> Talk:
    return Talk(server)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes 32 MiB at most and gives up on a silent connection after two seconds."""
    folder = tmp_path_factory.mktemp("small")
    with running(folder, max_upload_size="32M", stall_timeout="2", sweep_interval="0.2") as shared:
        yield shared


@pytest.fixture(scope="session")
def stranger(server: Server) -> str:
    """The key of another account, nickname `bob`, on the shared server."""
    return add_account(server, "bob")


@pytest.fixture
def files(server: Server) -> Files:
    """The volume of the shared server: each test has a folder of its own there."""
    return Files(server)
