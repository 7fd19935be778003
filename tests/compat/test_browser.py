"""A page of another origin in a real browser: preflights, the signed PUT and a multipart upload (docs/protocol.md
3.6)."""

from __future__ import annotations

import html
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.browser import CHROMIUM, FLAGS
from support.server import Server
from support.talk import Talk

SCRIPT = Path(__file__).with_name("js") / "page.js"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: no browser uploads across origins")
SIZE = 2_500_000


@contextmanager
def page(text: str) -> Iterator[str]:
    """Serve one page on a port of its own, and so from another origin."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/"
            self.send_response(200 if found else 404)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(text.encode() if found else b"")

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{httpd.server_port}/"
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def told_by(server: Server, folder: Path) -> dict[str, dict[str, object]]:
    """What the page found, once its script has ended."""
    wish = json.dumps({"server": server.url, "key": server.key, "size": SIZE}).replace("<", "\\u003c")
    text = (
        f'<!DOCTYPE html><body><script type="application/json" id="wish">{wish}</script><pre id="told"></pre>'
        f"<script>{SCRIPT.read_text('utf-8')}</script></body>"
    )
    with page(text) as url:
        # Virtual time stands still while requests are under way, so the page is dumped when all is done.
        command = [
            str(CHROMIUM), *FLAGS, f"--user-data-dir={folder}", "--virtual-time-budget=60000", "--dump-dom", url,
        ]  # fmt: skip
        dumped = subprocess.run(command, capture_output=True, text=True, timeout=250).stdout
    found = re.search(r'<pre id="told">(.*?)</pre>', dumped, re.DOTALL)
    assert found, dumped
    assert found[1], dumped[-2000:]
    told: dict[str, dict[str, object]] = json.loads(html.unescape(found[1]))
    return told


def test_a_page_of_another_origin_uploads_in_one_piece_and_in_parts_and_reads_both(
    server: Server, tmp_path: Path
) -> None:
    since = len(server.log_lines())
    told = told_by(server, tmp_path)
    assert "error" not in told, told
    assert told["one"]["same"] is True
    assert (told["one"]["range"], told["one"]["seen"]) == (206, "bytes 10-19/50000")
    assert told["many"]["same"] is True
    assert told["many"]["listed"] == 3
    assert told["none"] == {"status": 401, "code": "unauthorized", "id": True}
    preflights = [e for e in server.log_lines()[since:] if e.get("method") == "OPTIONS"]
    assert {e["status"] for e in preflights} == {204}
    assert {e["path"].partition("/files/b/")[0] for e in preflights} >= {"", "/storage/upload/initiate"}
    assert Talk(server).head(str(told["many"]["url"])).headers["content-length"] == str(SIZE)
