"""Deeds on the volume whose replies are lost, paths, and what replies must have; without any network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from entrepot.client.asking import Context
from entrepot.client.commands import Flow, Reply
from entrepot.client.entries import entry_of
from entrepot.client.errors import EntrepotError, PathError, ServerError
from entrepot.client.paths import parse, quoted
from entrepot.client.profile import Profile
from entrepot.client.retry import Policy
from entrepot.client.volume import Volume
from entrepot.domain.keys import Secret
from support.scripted import run

FILES = "a/v1/serverless/files"


def volume() -> Volume:
    return Volume(
        Context(lambda: 0.0, lambda: 0.5, lambda: "unique", Policy()), Profile("http://a", Secret("id:secret"))
    )


def said(value: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(status, {name.replace("_", "-"): text for name, text in headers.items()}, json.dumps(value).encode())


def refused(status: int, type: str, code: str) -> Reply:
    return said({"error": {"type": type, "message": "No.", "code": code, "request_id": "r1"}}, status)


def entry(path: str, **more: Any) -> dict[str, Any]:
    times = {"created_time": "2026-01-01T00:00:00.000Z", "updated_time": "2026-01-02T00:00:00.000Z"}
    return {"path": path, "name": path.rpartition("/")[2], "is_file": True, "size": 3, **times, **more}


LOST, GONE = said({}, 503), refused(404, "not_found", "not_found")
TAKEN = refused(409, "validation_error", "conflict")


def done(flow: Flow[Any], *replies: Reply) -> tuple[Any, list[str]]:
    """What comes of a flow with these replies, a result or an error, and what was sent."""
    sent: list[str] = []
    left: Iterator[Reply] = iter(replies)
    try:
        return run(flow, left, sent), [each for each in sent if each != "sleep"]
    except EntrepotError as error:
        return error, [each for each in sent if each != "sleep"]


def test_a_rename_whose_reply_was_lost_is_found_done():
    replies = [said(entry("x")), LOST, GONE, said(entry("y"))]
    found, sent = done(volume().rename("x", "/data/y"), *replies)
    assert found.path == "y"
    assert sent == [f"GET {FILES}/stat/x", f"POST {FILES}/rename/x", f"POST {FILES}/rename/x", f"GET {FILES}/stat/y"]


def test_a_rename_of_something_else_is_not_taken_for_it():
    other = said(entry("y", size=4))
    found, _ = done(volume().rename("x", "y"), said(entry("x")), LOST, GONE, other)
    assert isinstance(found, ServerError) and found.status_code == 404


def test_a_rename_that_was_refused_at_once_is_refused():
    found, sent = done(volume().rename("x", "y"), said(entry("x")), GONE)
    assert isinstance(found, ServerError) and (found.error_type, found.request_id, len(sent)) == ("not_found", "r1", 2)


def test_a_copy_whose_reply_was_lost_is_found_done():
    copy = entry("y", checksum_sha256="00ff")
    found, sent = done(volume().copy("x", "y"), LOST, TAKEN, said(copy), said(entry("x", checksum_sha256="00ff")))
    assert found.digest == "sha256:00ff" and sent[2] == f"GET {FILES}/stat/y?checksum=true"
    found, _ = done(volume().copy("x", "y"), LOST, TAKEN, said(copy), said(entry("x", checksum_sha256="11")))
    assert found.code == "conflict"
    found, sent = done(volume().copy("x", "y"), TAKEN)
    assert found.code == "conflict" and len(sent) == 1  # what is in the way is no reason to ask again


def test_a_delete_whose_reply_was_lost_is_found_in_the_trash():
    trash = [{"id": "t1", "path": "x", "is_file": True, "size": 3, "deleted_at": "2026-01-01T00:00:00.000Z"}]
    trash.append({**trash[0], "id": "t2", "deleted_at": "2026-01-02T00:00:00.000Z"})
    found, sent = done(volume().delete("x"), LOST, GONE, said(trash))
    assert found == "t2" and sent[0] == f"DELETE {FILES}/file/x?recursive=false"
    found, _ = done(volume().delete("x"), LOST, GONE, said([]))
    assert isinstance(found, ServerError)
    assert done(volume().delete("x", permanent=True), LOST, GONE)[0] is None


def test_a_listing_goes_on_until_there_is_no_further_page():
    pages = [said([entry("a")], x_entrepot_next_cursor="c 1"), said([entry("b")])]
    found, sent = done(volume().all("", recursive=True), *pages)
    assert [each.path for each in found] == ["a", "b"]
    assert sent == [
        f"GET {FILES}/list?limit=500&recursive=true",
        f"GET {FILES}/list?limit=1000&cursor=c+1&recursive=true",
    ]


@pytest.mark.parametrize("value", [{}, {"entries": []}, "", ["a"], [entry("a"), None]])
def test_what_is_no_listing_is_not_taken_for_an_empty_one(value):
    for flow in (volume().all(""), volume().trash()):
        error, _ = done(flow, said(value))
        assert isinstance(error, EntrepotError)
        assert "no list" in str(error)


def test_nothing_of_the_kind_is_done_to_the_whole_volume():
    for flow in (volume().delete("/"), volume().rename("", "x"), volume().copy("x", "/data/")):
        found, sent = done(flow)
        assert isinstance(found, PathError) and sent == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", ""), ("/", ""), (".", ""), ("/data", ""), ("/data/", ""), ("data/x", "data/x"), ("//data//a/", "a"),
        ("a//b/", "a/b"), ("/data/data/x", "data/x"), ("...", "..."), ("C:\\x", "C:\\x"), ("a b#?%", "a b#?%"),
    ],
)  # fmt: skip
def test_a_path_is_what_users_write(text, path):
    assert parse(text) == path


@pytest.mark.parametrize("text", ["/etc/passwd", "..", "a/../b", "./a", "a/.", "\udcff", "a\0b"])
def test_what_names_nothing_on_the_volume_is_refused(text):
    with pytest.raises(PathError):
        parse(text)


def test_names_are_escaped_once_and_a_path_is_never_a_longer_route():
    assert quoted("a b/ü#?%+;.bin") == "a%20b/%C3%BC%23%3F%25%2B%3B.bin"
    assert quoted("multipart/x/abcdefghijklmnopqrstuvwx/1") == "multipart%2Fx/abcdefghijklmnopqrstuvwx/1"


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/x", "a//b", ".", "a/.", "a\0b", None, 5])
def test_a_server_s_path_that_leads_out_is_refused(path):
    with pytest.raises(EntrepotError):
        entry_of(entry("x") | {"path": path})
