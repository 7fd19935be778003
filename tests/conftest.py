"""Fixtures for tests against a real server, and how properties are tested."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support import isolation
from support.server import Server, running

# Before any test module is imported, and in each process of pytest-xdist.
OWN_HOME = isolation.isolate()

# A shell that starts the tests in the background has them ignore the interrupt, and so would all that they start.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A property holds or does not, however busy the machine is: no example has a deadline.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_unconfigure() -> None:
    isolation.leave(OWN_HOME)


@pytest.fixture(scope="session", autouse=True)
def untouched_user() -> Iterator[None]:
    """Fails the last test of the process when the real user's own folders were changed meanwhile."""
    before = isolation.fingerprint(isolation.protected_folders())
    yield
    assert isolation.fingerprint(isolation.protected_folders()) == before


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that do not change it: two workers, small limits that no honest test meets."""
    with running(tmp_path_factory.mktemp("server"), workers="2", max_upload_size="512M") as shared:
        yield shared


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers with settings of their own: `serve(max_upload_size="1M")`. They end with the test."""
    with ExitStack() as stack:
        count = 0

        def start(**settings: str) -> Server:
            nonlocal count
            count += 1
            return stack.enter_context(running(tmp_path / f"server{count}", **settings))

        yield start
