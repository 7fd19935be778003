"""Headless Chromium: how it is started, and tabs that are driven over its DevTools protocol."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
SECONDS = 120.0


class Browser:
    """A browser with one tab. Commands and replies go through pipes as JSON, each ended by NUL."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._held = b""
        self._count = 0
        self._session = ""
        self.ask("Browser.setDownloadBehavior", behavior="deny")
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Page.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command."""
        self._count += 1
        told = {"id": self._count, "method": method, "params": params}
        if self._session:
            told["sessionId"] = self._session
        os.write(self._to, json.dumps(told).encode() + b"\0")
        while (reply := self._next()).get("id") != self._count:
            pass
        assert "result" in reply, reply
        result: dict[str, Any] = reply["result"]
        return result

    def open(self, url: str) -> dict[str, Any]:
        """Navigate the tab, as its address bar does, and wait for the page to load. A download ends at once, and
        leaves the page that was there."""
        result = self.ask("Page.navigate", url=url)
        if not result.get("isDownload") and "errorText" not in result:
            while self._next().get("method") != "Page.loadEventFired":
                pass
        return result

    def evaluate(self, script: str) -> Any:
        """The value of an expression, a promise's too, in a world of its own: the page's scripts may be forbidden."""
        frame = self.ask("Page.getFrameTree")["frameTree"]["frame"]["id"]
        world = self.ask("Page.createIsolatedWorld", frameId=frame)["executionContextId"]
        result = self.ask(
            "Runtime.evaluate",
            expression=script,
            contextId=world,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._held:
            data = os.read(self._from, 1 << 16)
            assert data, "the browser ended"
            self._held += data
        message, _, self._held = self._held.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@contextlib.contextmanager
def browser(home: Path) -> Iterator[Browser]:
    """A browser for one `with` block. It ends with all processes that it started, and after `SECONDS` in any case."""
    (inward, to_browser), (from_browser, outward) = os.pipe(), os.pipe()
    # It reads descriptor 3 and writes 4; a shell puts ours there.
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={home / 'profile'}", "--remote-debugging-pipe"]
    process = subprocess.Popen(
        ["bash", "-c", f'exec "$@" 3<&{inward} 4>&{outward}', "bash", *command],
        pass_fds=(inward, outward),
        env={**os.environ, "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(inward)
    os.close(outward)
    limit = threading.Timer(SECONDS, os.killpg, (process.pid, signal.SIGKILL))
    limit.start()
    try:
        yield Browser(to_browser, from_browser)
    finally:
        limit.cancel()
        limit.join()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(to_browser)
        os.close(from_browser)
