"""What a browser may show of a stranger's bytes: docs/threats.md C01-C03, with a real browser where there is one."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.browser import CHROMIUM, FLAGS
from support.talk import Talk

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
HTML = b"<!DOCTYPE html><html><body><script>document.title='ran'</script></body></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>document.title="ran"</script></svg>'
XSLT = b'<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="#x"?><a xmlns:xsl="x"/>'
XHTML = b'<html xmlns="http://www.w3.org/1999/xhtml"><head><script>document.title="ran"</script></head></html>'
PDF = b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj"
UTF7 = b"+ADw-script+AD4-document.title='ran'+ADw-/script+AD4-"
MHTML = (
    b"MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n"
    + HTML
)

ACTIVE = {
    "html": (HTML, "text/html"),
    "svg": (SVG, "image/svg+xml"),
    "xml with xslt": (XSLT, "application/xml"),
    "xhtml": (XHTML, "application/xhtml+xml"),
    "pdf": (PDF, "application/pdf"),
    "utf-7": (UTF7, "text/html;charset=utf-7"),
    "utf-7 text": (UTF7, "text/plain;charset=utf-7"),
    "mhtml": (MHTML, "multipart/related"),
    "message": (MHTML, "message/rfc822"),
    "javascript": (b"document.title='ran'", "text/javascript"),
}
POLYGLOTS = {
    "gif and javascript": (b"GIF89a/*" + bytes(20) + b"*/=1;document.title='ran'", "text/javascript"),
    "gif and html": (b"GIF89a" + HTML, "text/html"),
    "pdf and html": (b"%PDF-1.7\n" + HTML, "text/html"),
    "png and html": (PNG + HTML, "text/html"),
    "html that claims to be a gif": (HTML, "image/gif"),
    "svg that claims to be a png": (SVG, "image/png"),
    "javascript that claims to be text, then html": (HTML, "text/plain"),
}


def assert_guarded(talk: Talk, url: str) -> None:
    for method in ("GET", "HEAD"):
        headers = talk.ask(method, url).headers
        assert headers["content-disposition"].startswith("attachment")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("sandbox;")


# Bytes that are plain text, whatever else they were declared to be: shown as text, which runs nowhere.
LETTERS = {"utf-7", "utf-7 text", "mhtml", "message", "javascript"}


@pytest.mark.parametrize("kind", ACTIVE)
def test_c01_active_content_is_an_attachment_in_a_sandbox_as_itself_and_as_a_png(talk: Talk, kind: str) -> None:
    data, content_type = ACTIVE[kind]
    for declared in (content_type, "image/png"):
        assert_guarded(talk, talk.upload(data, content_type=declared))


@pytest.mark.parametrize("kind", ACTIVE)
def test_c01_active_content_without_a_type_is_an_attachment_or_plain_text(talk: Talk, kind: str) -> None:
    for headers in ({}, {"content_type": "application/octet-stream"}):
        url = talk.upload(ACTIVE[kind][0], **headers)
        if kind in LETTERS:
            assert talk.get(url).headers["content-type"] == "text/plain"
        else:
            assert_guarded(talk, url)


@pytest.mark.parametrize("kind", POLYGLOTS)
def test_c02_a_polyglot_is_never_shown_in_place_under_the_type_that_runs(talk: Talk, kind: str) -> None:
    data, content_type = POLYGLOTS[kind]
    assert_guarded(talk, talk.upload(data, content_type=content_type))


def test_c02_a_polyglot_is_shown_only_as_the_safe_type_that_it_says_and_looks_like(talk: Talk) -> None:
    data, _ = POLYGLOTS["gif and javascript"]
    headers = talk.get(talk.upload(data, content_type="image/gif")).headers
    assert headers["content-type"] == "image/gif"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("sandbox;")


@pytest.mark.parametrize("declared", ["audio/wav", "video/mp4", "text/plain"])
def test_c03_a_contradiction_keeps_its_declared_type_and_becomes_an_attachment(talk: Talk, declared: str) -> None:
    url = talk.upload(PNG, content_type=declared, x_fal_file_name="a.mp4")
    assert talk.get(url).headers["content-type"] == declared
    assert_guarded(talk, url)


@pytest.mark.parametrize(
    ("data", "content_type"), [(PNG, "image/png"), (b"GIF89a" + bytes(20), "image/gif"), (b"some words", "text/plain")]
)
def test_a_safe_type_whose_bytes_agree_is_shown_in_place(talk: Talk, data: bytes, content_type: str) -> None:
    headers = talk.get(talk.upload(data, content_type=content_type)).headers
    assert "content-disposition" not in headers
    assert headers["content-type"] == content_type


@pytest.mark.parametrize(
    ("content_type", "sources"),
    [
        ("video/mp4", "media-src 'self'"),
        ("Audio/MPEG", "media-src 'self'"),
        ("image/png", "img-src 'self'"),
        ("text/plain", None),
        ("application/pdf", None),
    ],
)
def test_r01_the_policy_lets_a_browser_load_what_it_shows(talk: Talk, content_type: str, sources: str | None) -> None:
    policy = talk.get(talk.upload(b"x", content_type=content_type)).headers["content-security-policy"]
    more = f"; {sources}; style-src 'unsafe-inline'" if sources else ""
    assert policy == f"sandbox; default-src 'none'{more}"


# In a browser: a page of another origin embeds every upload in every way, and each upload, were it to run, would tell
# that page. Bytes of the page's own server do so, which shows that the page would hear of it.

TELL = "for (const w of [parent, top, opener]) w && w.postMessage(NAME, '*')"
HARNESS = """<!DOCTYPE html><title>nothing ran</title><script>
addEventListener("message", e => { document.title += " | " + e.data })
</script>%s"""


def telling(name: str, data: bytes) -> bytes:
    """The payload with its script replaced by one that tells the page."""
    script = TELL.replace("NAME", f"'{name}'").encode()
    return data.replace(b"document.title='ran'", script).replace(
        b'document.title="ran"', script.replace(b"&&", b"&amp;&amp;")
    )


@contextlib.contextmanager
def page_server(folder: Path) -> Iterator[str]:
    """Serve a folder's files on the loopback; gives the origin."""
    handler = functools.partial(SilentHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def dumped(url: str, home: Path) -> str:
    """The page as Chromium shows it in the end. The browser ends with all processes that it started."""
    command = [
        str(CHROMIUM),
        *FLAGS,
        "--virtual-time-budget=5000",
        f"--user-data-dir={home / 'profile'}",
        "--dump-dom",
        url,
    ]
    surroundings = {**os.environ, "HOME": str(home)}
    with subprocess.Popen(
        command, env=surroundings, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as browser:
        try:
            return browser.communicate(timeout=250)[0].decode()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: no browser tries to run uploads")
def test_c01_no_script_of_an_upload_runs_in_a_browser(talk: Talk, tmp_path: Path) -> None:
    (tmp_path / "own.html").write_bytes(telling("own", HTML))
    (tmp_path / "own.svg").write_bytes(telling("own svg", SVG))
    uploads = [
        talk.upload(telling(f"{kind} as {declared}", data), content_type=declared)
        for kind, (data, content_type) in {**ACTIVE, **POLYGLOTS}.items()
        for declared in (content_type, "image/png")
    ]
    ways = '<iframe src="{0}"></iframe><object data="{0}"></object><embed src="{0}"><img src="{0}">'
    embedded = "".join(ways.format(url) for url in ["own.html", "own.svg", *uploads])
    (tmp_path / "page.html").write_text(HARNESS % embedded)
    with page_server(tmp_path) as origin:
        title = re.search("<title>(.*?)</title>", dumped(f"{origin}/page.html", tmp_path))
    assert title
    first, *ran = title[1].split(" | ")
    assert first == "nothing ran"
    assert {"own", "own svg"} == set(ran), "what is in the page's own files runs, and nothing else does"
