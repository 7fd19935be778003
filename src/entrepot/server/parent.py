"""`serve`: the parent, which takes the home and starts and ends the others."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from entrepot import logs
from entrepot.server.bootstrap import Start, home_errors, prepare, take_home
from entrepot.server.keeper_process import keep
from entrepot.settings import Settings
from entrepot.sockets import (
    check_certificate,
    check_port,
    possible_connections,
    raise_file_limit,
)

if TYPE_CHECKING:
    from granian.server import MPServer

    from entrepot.api.front import Front

log = logging.getLogger("entrepot.server")

# For the workers, who move bodies in pieces of half a megabyte: by default glibc gives the memory of a piece back to
# the system when it is freed and takes it anew for the next, zeroed and page by page, which costs more than the read
# and the send (docs/performance.md). Other C libraries do not know these.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(4 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}


def serve(settings: Settings, announce: Callable[[Start], None]) -> None:
    """Serve until SIGTERM or SIGINT. Raises HomeError or SettingsError before anything is started."""
    logs.configure(settings.log_format)
    signal.signal(signal.SIGTERM, _end_early)  # until the ASGI server sets its own
    check_port(settings.host, settings.port)
    if settings.tls_cert and settings.tls_key:
        check_certificate(settings.tls_cert, settings.tls_key)
    raise_file_limit()
    lock = take_home(settings.home, settings.named_paths)
    try:
        with home_errors(settings.home):
            start = prepare(settings)
        os.environ.update({**ALLOCATOR, **os.environ})
        lock.share()
        announce(start)
        with _keeper(settings):
            _granian(settings).serve(target_loader=partial(_worker_app, settings), wrap_loader=False)
    finally:
        lock.release()


def _worker_app(settings: Settings) -> Front:
    """The ASGI app of a worker, made in its process; the parent loads nothing of it."""
    from entrepot.server import worker

    return worker.app(settings)


def _end_early(*_: object) -> None:
    """SIGTERM before anything serves: an orderly end, as later."""
    raise SystemExit(0)


def _granian(settings: Settings) -> MPServer:
    from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
    from granian.http import HTTP1Settings
    from granian.log import LogLevels
    from granian.server import MPServer

    # Forked workers would share the parent's locks, and keep them after its death.
    multiprocessing.set_start_method("spawn", force=True)
    return MPServer(
        "entrepot.server.worker",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        workers=settings.workers,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        backlog=1024,
        backpressure=possible_connections(settings.max_connections),
        http1_settings=HTTP1Settings(header_read_timeout=30_000, max_buffer_size=400 * 1024),
        ssl_cert=settings.tls_cert,
        ssl_key=settings.tls_key,
        ssl_protocol_min=SSLProtocols.tls12,
        workers_kill_timeout=settings.drain_timeout,
        respawn_failed_workers=True,
        log_level=LogLevels.warning,
        log_dictconfig=logs.configuration(settings.log_format),
        process_name=None,
    )


@contextlib.contextmanager
def _keeper(settings: Settings) -> Iterator[None]:
    """Run the keeper beside the workers; start it again when it dies."""
    context = multiprocessing.get_context("spawn")
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.is_set():
            process = context.Process(target=keep, args=(settings, os.getpid()), name="entrepot-keeper")
            process.start()
            while process.is_alive() and not stopping.wait(0.2):
                pass
            if stopping.is_set():
                process.terminate()
                process.join(settings.drain_timeout)
                if process.is_alive():
                    process.kill()
            # A signal to the whole group ends the keeper a moment before we hear of it.
            elif not stopping.wait(1.0):
                log.error("the keeper ended with %s: starting it again", process.exitcode)

    thread = threading.Thread(target=watch, name="keeper-watch")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
