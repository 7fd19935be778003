"""The threads that one flow spawned."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from entrepot.client.commands import Flow
from entrepot.client.errors import EntrepotError
from entrepot.client.stop import Stop, Stopped

# How long the threads of an upload that failed are waited for.
END_SECONDS = 5.0

Run = Callable[[Flow[Any], Stop], Any]


class Crew:
    """Runs flows side by side until one fails. Its threads are daemons: a program that ends is not held up by them."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._changed = threading.Condition()
        self._ending = Stop()
        self._busy: set[threading.Thread] = set()
        self._results: list[Any] = []
        self._failure: BaseException | None = None

    def spawn(self, flow: Flow[Any], limit: int) -> None:
        """Begin a flow when fewer than `limit` run. Raises what one of them failed with."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._busy) < limit or self._failure)
            if self._failure:
                flow.close()
                raise self._failure
            self._results.append(None)
            worker = threading.Thread(target=self._work, args=(flow, len(self._results) - 1), daemon=True)
            try:
                worker.start()  # it waits for the lock when it ends
            except RuntimeError as error:
                flow.close()
                message = "This machine gives no further thread to the upload."
                raise EntrepotError(message, "Try again, or with a smaller concurrency.") from error
            self._busy.add(worker)

    def join(self) -> list[Any]:
        """The results of all, in order of spawning. Raises what one of them failed with."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy or self._failure)
            if self._failure:
                raise self._failure
            results, self._results = self._results, []
            return results

    def end(self) -> None:
        """Stop what still runs, and wait a moment for it. Nothing is spawned afterwards."""
        self._ending.set()
        deadline = time.monotonic() + END_SECONDS
        for worker in tuple(self._busy):
            worker.join(max(0.0, deadline - time.monotonic()))

    def _work(self, flow: Flow[Any], place: int) -> None:
        try:
            self._results[place] = self._run(flow, self._ending)
        except Stopped:
            pass  # it is told to
        except BaseException as error:  # a callback may raise anything, and it is for the caller
            self._failure = self._failure or error
        finally:
            with self._changed:
                self._busy.discard(threading.current_thread())
                self._changed.notify_all()
