"""Files in a browser's tab: media plays and pictures show, and the bytes of strangers never run."""

from __future__ import annotations

import io
import threading
import time
import wave
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from entrepot.api.bytes.sending import guards
from support.browser import CHROMIUM, Browser, browser
from support.server import Server
from support.talk import Talk

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: no file is opened in a tab")

# Half a second of a test pattern or of one tone, made with ffmpeg from its synthetic sources.
SAMPLES = Path(__file__).parents[1] / "support" / "media"
MEDIA = {
    "film.mp4": "video/mp4",
    "film.webm": "video/webm",
    "film.mov": "video/quicktime",
    "tone.mp3": "audio/mpeg",
    "tone.ogg": "audio/ogg",
    "tone.flac": "audio/flac",
    "tone.m4a": "audio/mp4",
    "tone.aac": "audio/aac",
    "tone.weba": "audio/webm",
    "tone.wav": "audio/wav",
}
PICTURES = {name: f"image/{name}" for name in ("png", "jpeg", "gif", "webp", "bmp", "avif")}

PLAY = "(() => { const media = document.querySelector('video'); media.muted = true; media.play() })()"
PLAYING = """(() => {
    const media = document.querySelector("video");
    if (media.error) return {error: media.error.message};
    return media.readyState >= 2 && media.currentTime > 0
        ? {error: null, duration: media.duration, width: media.videoWidth, controls: media.controls} : null;
})()"""
PICTURE = (
    "(() => { const img = document.images[0]; return img.complete ? [img.naturalWidth, img.naturalHeight] : null })()"
)
STYLED = "getComputedStyle(document.images[0]).userSelect"

SCRIPT = "document.documentElement.setAttribute('ran', '')"
RAN = "document.documentElement.hasAttribute('ran')"
XHTML = 'xmlns="http://www.w3.org/1999/xhtml"'
# Each runs in Chromium when it is sent without our headers.
ACTIVE = {
    "html": (f"<!DOCTYPE html><script>{SCRIPT}</script>", "text/html"),
    "html of an event": (f'<!DOCTYPE html><body onload="{SCRIPT}">', "text/html"),
    "html without a type": (f"<!DOCTYPE html><script>{SCRIPT}</script>", ""),
    "xhtml": (f"<html {XHTML}><head><script>{SCRIPT}</script></head></html>", "application/xhtml+xml"),
    "xml with a script": (f"<a><script {XHTML}>{SCRIPT}</script></a>", "application/xml"),
    "svg": (f'<svg xmlns="http://www.w3.org/2000/svg"><script>{SCRIPT}</script></svg>', "image/svg+xml"),
    "svg of an event": (f'<svg xmlns="http://www.w3.org/2000/svg" onload="{SCRIPT}"></svg>', "image/svg+xml"),
    "gif and html": (f"GIF89a<script>{SCRIPT}</script>", "text/html"),
    "pdf and html": (f"%PDF-1.7\n<script>{SCRIPT}</script>", "text/html"),
}
# These do not run there in any case, or are downloaded.
QUIET = {
    "xml with xslt": ('<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="#x"?><a id="x"/>', "text/xml"),
    "pdf with javascript": (
        "%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj",
        "application/pdf",
    ),
    "mhtml": (
        f"Content-Type: multipart/related; boundary=x\r\n\r\n--x\r\n\r\n<script>{SCRIPT}</script>",
        "message/rfc822",
    ),
}


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module")
def talk(server: Server) -> Talk:
    return Talk(server)


def sample(name: str) -> bytes:
    if name != "tone.wav":
        return (SAMPLES / name).read_bytes()
    held = io.BytesIO()
    with wave.open(held, "wb") as out:
        out.setparams((1, 1, 8000, 0, "NONE", ""))
        out.writeframes(bytes(range(64, 192)) * 32)
    return held.getvalue()


def picture(name: str) -> bytes:
    if name == "avif":  # Pillow may be built without it
        return (SAMPLES / "picture.avif").read_bytes()
    held = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 60, 20)).save(held, name)
    return held.getvalue()


def awaited(look: Callable[[], Any]) -> Any:
    """The first value that is seen; the browser's own limit ends the wait."""
    while (found := look()) is None:
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("name", MEDIA)
def test_r01_sound_and_film_play_in_a_tab(tab: Browser, talk: Talk, name: str) -> None:
    tab.open(talk.upload(sample(name), content_type=MEDIA[name]))
    tab.evaluate(PLAY)
    found = awaited(lambda: tab.evaluate(PLAYING))
    assert found["error"] is None
    assert found["duration"] > 0
    assert found["controls"] is True
    assert found["width"] == (32 if name.startswith("film") else 0)


def test_r01_a_film_plays_from_its_middle_in_a_tab(tab: Browser, talk: Talk) -> None:
    url = talk.upload(sample("film.mp4"), content_type="video/mp4")
    tab.open(f"{url}#t=0.5")
    tab.evaluate(PLAY)
    assert awaited(lambda: tab.evaluate(PLAYING))["duration"] == 1
    assert tab.evaluate("document.querySelector('video').currentTime") > 0.5


@pytest.mark.parametrize("name", PICTURES)
def test_r01_pictures_show_in_a_tab_with_the_browsers_style(tab: Browser, talk: Talk, name: str) -> None:
    tab.open(talk.upload(picture(name), content_type=PICTURES[name]))
    assert awaited(lambda: tab.evaluate(PICTURE)) == [32, 32]
    assert tab.evaluate(STYLED) == "none"


def test_r01_text_shows_in_a_tab(tab: Browser, talk: Talk) -> None:
    tab.open(talk.upload("Grüße\n".encode() * 9, content_type="text/plain; charset=utf-8"))
    assert tab.evaluate("document.body.innerText.split('\\n')[8]") == "Grüße"


@contextmanager
def unguarded(headers: Mapping[str, str]) -> Iterator[str]:
    """A server that sends the payloads by name, with these headers beside their type."""
    payloads = {f"/{number}": payload for number, payload in enumerate(ACTIVE.values())}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text, content_type = payloads.get(self.path, ("", "text/plain"))
            self.send_response(200)
            for name, value in {**headers, **({"content-type": content_type} if content_type else {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


def test_c01_scripts_run_in_a_tab_without_our_headers(tab: Browser) -> None:
    """Which shows that the tests below would see a script that runs."""
    with unguarded({}) as origin:
        for number, name in enumerate(ACTIVE):
            tab.open(f"{origin}/{number}")
            assert tab.evaluate(RAN), name


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", "video/mp4", "audio/mpeg"])
def test_c01_the_policy_of_each_type_alone_stops_scripts(tab: Browser, content_type: str) -> None:
    policy = dict(guards(content_type))[b"content-security-policy"].decode()
    with unguarded({"content-security-policy": policy}) as origin:
        for number, name in enumerate(ACTIVE):
            if name in ("html", "svg of an event"):
                tab.open(f"{origin}/{number}")
                assert not tab.evaluate(RAN), name


@pytest.mark.parametrize("name", [*ACTIVE, *QUIET])
def test_c01_no_upload_runs_in_a_tab_under_any_type(tab: Browser, talk: Talk, name: str) -> None:
    text, content_type = {**ACTIVE, **QUIET}[name]
    for declared in {content_type, "image/png", "video/mp4"} - {""}:
        tab.open("about:blank")
        tab.open(talk.upload(text.encode(), content_type=declared))
        assert not tab.evaluate(RAN), declared


def test_a_page_of_another_origin_runs_our_bytes_only_as_what_they_are(tab: Browser, talk: Talk) -> None:
    """In that page's origin a script runs as a script. A picture or a text is none, and no file starts a worker."""
    script, polyglot = b"document.title += ' script'", b"GIF89a=1;document.title += ' gif'"
    urls = {
        "script": talk.upload(script, content_type="text/javascript"),
        "gif": talk.upload(polyglot, content_type="image/gif"),
        "text": talk.upload(b"document.title += ' text'", content_type="text/plain"),
    }
    with unguarded({}) as origin:
        tab.open(f"{origin}/none")
        for url in urls.values():
            for kind in ("text/javascript", "module"):
                add = f"const s = document.createElement('script'); s.type = '{kind}'; s.src = '{url}';"
                tab.evaluate(
                    f"new Promise(done => {{ {add} s.onload = s.onerror = () => done(); document.head.append(s) }})"
                )
        assert tab.evaluate("document.title").split() == ["script", "script"]
        worker = (
            f"(() => {{ try {{ new Worker('{urls['script']}'); return 'started' }} catch (e) {{ return e.name }} }})()"
        )
        assert tab.evaluate(worker) == "SecurityError"
