"""Writes to the volume: conditions, many writers, limits, and bodies that are cut, odd or too large.

The server has its limits low: 2 MiB a file, 6 MiB in all, 2 seconds for a silent client.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.files import BOUNDARY, FORM, Files, form
from support.server import Server, running
from support.talk import Reply, eventually, line

MIB = 1024 * 1024
LIMIT = 2 * MIB
QUOTA = 6 * MIB


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limits = {"volume_max_file_size": str(LIMIT), "volume_quota": str(QUOTA), "stall_timeout": "2", "workers": "2"}
    with running(tmp_path_factory.mktemp("little"), **limits) as shared:
        yield shared


@pytest.fixture
def files(little: Server) -> Iterator[Files]:
    """Empty again after each test: its bytes count."""
    held = Files(little)
    yield held
    for entry in held.v1("GET", "list").json():
        held.v1("DELETE", f"file/{entry['name']}?permanent=true")
    eventually(lambda: held.leftovers() == [])


Write = Callable[[Files, str, bytes], Reply]


def by_form(files: Files, path: str, data: bytes) -> Reply:
    return files.form(f"/files/file/local//data/{path}", data)


def by_v1_form(files: Files, path: str, data: bytes) -> Reply:
    return files.form(f"/v1/serverless/files/file/local/{path}", data)


def by_put(files: Files, path: str, data: bytes) -> Reply:
    return files.store(path, data)


WRITES = pytest.mark.parametrize("write", [by_form, by_v1_form, by_put])


# Conditions


def test_a_write_may_ask_for_what_is_there(files: Files) -> None:
    assert files.store("a", b"1", if_match="*").status == 412
    first = files.store("a", b"1", if_none_match="*")
    assert first.status == 201
    again = files.store("a", b"2", if_none_match="*")
    assert (again.status, again.json()["error"]["code"]) == (412, "precondition_failed")
    second = files.store("a", b"2", if_match=f'"x", {first.headers["etag"]}')
    assert second.status == 200
    assert files.store("a", b"3", if_match=first.headers["etag"]).status == 412
    assert files.store("a", b"3", if_match="W/" + second.headers["etag"]).status == 412
    assert files.v1("DELETE", "file/a", if_match=first.headers["etag"]).status == 412
    assert files.read("a") == b"2"
    assert files.v1("DELETE", "file/a", if_match=second.headers["etag"]).status == 200


def test_a_form_a_url_and_a_legacy_delete_may_ask_for_what_is_there_too(files: Files) -> None:
    etag = files.store("a", b"1").headers["etag"]
    for family in ("/files", "/v1/serverless/files"):
        local = f"{family}/file/local/a"
        assert files.form(local, b"2", if_none_match="*").status == 412
        assert files.form(local, b"2", if_match='"x"').status == 412
        assert files.form(local + "?unzip=true", b"2", if_match="*").status == 400
        own = files.upload(b"2")
        assert files.post_json(f"{family}/file/url/a", {"url": own}, if_none_match="*").status == 412
    assert files.old("DELETE", "file/a", if_match='"x"').status == 412
    assert files.read("a") == b"1"
    assert files.form("/files/file/local/a", b"2", if_match=etag).status == 200


@pytest.mark.parametrize("condition", [{"if_none_match": '"x"'}, {"if_none_match": ""}, {"if_match": ""},
                                       {"if_unmodified_since": "Thu, 01 Jan 1970 00:00:00 GMT"}])  # fmt: skip
def test_a_condition_that_a_write_cannot_have_is_refused_and_not_passed_over(
    files: Files, condition: dict[str, str]
) -> None:
    files.store("a", b"1")
    assert files.store("a", b"2", **condition).status == 400
    assert files.v1("DELETE", "file/a", **condition).status == 400
    assert files.read("a") == b"1"


def test_a_file_that_is_there_is_not_deleted_as_if_it_were_not(files: Files) -> None:
    files.store("a", b"1")
    for reply in (
        files.v1("DELETE", "file/a", if_none_match="*"),
        files.v1("DELETE", "file/a?permanent=true", if_none_match="*"),
        files.old("DELETE", "file/a", if_none_match="*"),
    ):
        assert reply.status == 412
    assert files.read("a") == b"1"


def test_a_write_of_a_program_on_the_disk_is_seen_by_a_condition(files: Files) -> None:
    etag = files.store("a", b"1").headers["etag"]
    (files.root / "a").write_bytes(b"2")
    assert files.store("a", b"3", if_match=etag).status == 412
    assert files.read("a") == b"2"


# I01


@WRITES
def test_i01_of_a_hundred_writers_to_one_path_one_content_stays_whole(files: Files, write: Write) -> None:
    bodies = [bytes([n]) * (30_000 + n) for n in range(100)]
    with ThreadPoolExecutor(16) as pool:
        statuses = [got.status for got in pool.map(lambda body: write(files, "same/path", body), bodies)]
    assert set(statuses) <= {200, 201}
    assert files.read("same/path") in bodies
    assert files.names("same") == ["path"]


def test_i01_of_a_hundred_writers_with_one_condition_one_wins_and_the_others_are_told(files: Files) -> None:
    etag = files.store("one", b"before").headers["etag"]
    bodies = [f"writer {n}".encode() for n in range(100)]
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda body: files.store("one", body, if_match=etag), bodies))
    assert sorted(got.status for got in replies) == [200] + [412] * 99
    winner = next(n for n, got in enumerate(replies) if got.status == 200)
    assert files.read("one") == bodies[winner]


def test_i01_of_a_hundred_writers_of_a_new_file_one_makes_it(files: Files) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = pool.map(lambda n: files.store("new", b"%d" % n, if_none_match="*").status, range(100))
    assert sorted(made) == [201] + [412] * 99


# Limits


@WRITES
def test_a08_a_file_of_the_largest_size_is_taken_and_one_byte_more_is_not(files: Files, write: Write) -> None:
    assert write(files, "max", b"x" * LIMIT).status in (200, 201)
    assert files.v1("GET", "stat/max").json()["size"] == LIMIT
    refused = write(files, "more", b"x" * (LIMIT + 1))
    assert (refused.status, b"too_large" in refused.body) == (413, True)
    assert files.read("more") is None


@WRITES
def test_the_quota_bounds_all_files_and_what_is_freed_can_be_used_again(files: Files, write: Write) -> None:
    for n in range(3):
        assert write(files, f"q/{n}", b"x" * (LIMIT - 1000)).status in (200, 201)
    refused = write(files, "q/3", b"x" * LIMIT)
    assert (refused.status, b"quota_exceeded" in refused.body) == (413, True)
    assert files.v1("GET", "usage").json()["quota"] == QUOTA
    assert files.v1("DELETE", "file/q/0").status == 200
    assert write(files, "q/3", b"x" * LIMIT).status == 413, "the trash counts"
    for item in files.v1("GET", "trash").json():
        files.v1("DELETE", f"trash/{item['id']}")
    assert write(files, "q/3", b"x" * LIMIT).status in (200, 201)


def test_a06_what_is_too_large_is_refused_before_its_bytes_are_sent(files: Files) -> None:
    targets: tuple[tuple[str, str, dict[str, str]], ...] = (
        ("PUT", "/v1/serverless/files/file/a", {}),
        ("POST", "/files/file/local/a", {"content_type": FORM}),
        ("POST", "/v1/serverless/files/file/local/a", {"content_type": FORM}),
        ("POST", "/v1/serverless/files/rename/a", {}),
    )
    for method, target, headers in targets:
        with line(files.server) as waiting:
            asked = {**files.key, **headers, "content_length": str(10 * MIB), "expect": "100-continue"}
            waiting.send_head(method, target, **asked)
            assert waiting.answer().status == 413
        with line(files.server) as waiting:
            waiting.send_head(method, target, **{**asked, "authorization": "Key a:b"})
            assert waiting.answer().status == 401


def test_a05_an_endless_body_ends_at_the_limit(files: Files) -> None:
    head = form(b"").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    targets: tuple[tuple[str, str, dict[str, str], bytes], ...] = (
        ("PUT", "/v1/serverless/files/file/a", {}, b""),
        ("POST", "/files/file/local/a", {"content_type": FORM}, head),
    )
    for method, target, headers, start in targets:
        with line(files.server) as endless:
            endless.send_head(method, target, **files.key, **headers, transfer_encoding="chunked")
            if start:
                endless.send_chunk(start)
            for _ in range(5):
                endless.send_chunk(b"x" * (MIB // 2))
            assert endless.answer().status == 413


def test_a07_an_empty_file_is_a_file(files: Files) -> None:
    for n, write in enumerate((by_form, by_v1_form, by_put)):
        assert write(files, f"empty/{n}", b"").status in (200, 201)
    assert [e["size"] for e in files.v1("GET", "list/empty").json()] == [0, 0, 0]
    entry = files.v1("GET", "stat/empty/0?checksum=true").json()
    assert entry["checksum_sha256"] == hashlib.sha256().hexdigest()


@pytest.mark.parametrize("name", ["repr_digest", "content_digest"])
def test_a10_bytes_with_another_digest_are_dropped(files: Files, name: str) -> None:
    wrong = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"
    refused = files.store("digest", b"x" * 100_000, **{name: wrong})
    assert (refused.status, refused.json()["error"]["code"]) == (400, "digest_mismatch")
    assert files.leftovers() == []
    assert files.read("digest") is None


# What is in the way


@WRITES
def test_a_file_in_place_of_a_folder_and_a_folder_in_place_of_a_file_are_conflicts(files: Files, write: Write) -> None:
    files.store("file", b"x")
    files.store("folder/a", b"x")
    for path in ("file/below", "file/far/below", "folder"):
        refused = write(files, path, b"y")
        assert (refused.status, b"conflict" in refused.body) == (409, True), path
    assert (files.read("file"), files.read("folder/a")) == (b"x", b"x")


# Bodies that are cut or odd


@pytest.mark.parametrize("way", ["close", "reset", "half_close"])
@pytest.mark.parametrize("kind", ["put", "form", "form without its end"])
def test_a01_a_body_that_is_cut_changes_nothing_and_leaves_nothing(files: Files, way: str, kind: str) -> None:
    files.store("cut", b"before")
    body = b"x" * 100_000 if kind == "put" else form(b"x" * 100_000)
    target, method = ("/v1/serverless/files/file/cut", "PUT") if kind == "put" else ("/files/file/local/cut", "POST")
    headers = {} if kind == "put" else {"content_type": FORM}
    short = body[: -len(BOUNDARY) - 8] if kind == "form without its end" else body[:50_000]
    with line(files.server) as cut:
        cut.send_head(method, target, **files.key, **headers, content_length=str(len(body)))
        cut.send(short)
        getattr(cut, way)()
    eventually(lambda: files.leftovers() == [])
    assert files.read("cut") == b"before"


def test_a23_a_body_that_stands_still_is_given_up(files: Files) -> None:
    with line(files.server) as slow:
        slow.send_head("POST", "/files/file/local/slow", **files.key, content_type=FORM, content_length="100000")
        slow.send(form(b"x" * 1000)[:500])
        assert slow.answer().status == 408
    assert files.read("slow") is None


@pytest.mark.parametrize("header", [{"content_encoding": "gzip"}, {"content_range": "bytes 0-0/5"}])
def test_a_body_that_is_not_the_file_as_it_is_is_refused(files: Files, header: dict[str, str]) -> None:
    assert files.store("a", b"1", **header).status == 400
    assert files.form("/files/file/local/a", b"1", **header).status == 400
    assert files.post("/files/upload", b"1", **header).status == 400
    assert files.read("a") is None


A26 = {
    "no boundary": ("multipart/form-data", form(b"x")),
    "a long boundary": ("multipart/form-data; boundary=" + "b" * 71, b"--" + b"b" * 71 + b"\r\n"),
    "a preamble": (FORM, b"x" * MIB + form(b"x")),
    "100,000 headers": (FORM, form(b"x").replace(b"\r\n\r\n", b"\r\nX-A: b" * 100_000 + b"\r\n\r\n", 1)),
    "an endless epilogue": (FORM, form(b"x") + b"x" * MIB),
    "a nested form": (FORM, form(b"x").replace(b"application/octet-stream", b"multipart/mixed; boundary=b")),
    "two names": (FORM, form(b"x", 'form-data; name="file_upload"; filename="a"; filename="b"')),
    "a smuggled name": (FORM, form(b"x", 'form-data; name="file_upload"; filename="a"; filename*=UTF-8\'\'b')),
    "no form": ("application/octet-stream", b"x"),
}


@pytest.mark.parametrize("kind", A26)
def test_a26_a_form_that_is_not_in_order_is_400_on_all_routes_that_take_one(files: Files, kind: str) -> None:
    content_type, body = A26[kind]
    targets = ("/files/file/local/a26", "/files/file/local/a26?unzip=true", "/v1/serverless/files/file/local/a26")
    for target in targets:
        got = files.post(target, body, content_type=content_type)
        assert (got.status, b"invalid_request" in got.body, b"curl -F" in got.body) == (400, True, True), got
    assert files.v1("GET", "list").json() == []


def test_a26_a_form_without_the_field_is_422_and_400_below_v1(files: Files) -> None:
    body = form(b"x", 'form-data; name="other"; filename="a"')
    got = files.post("/files/file/local/a26", body, content_type=FORM)
    assert (got.status, got.json()["detail"][0]["loc"]) == (422, ["body", "file_upload"])
    assert files.post("/v1/serverless/files/file/local/a26", body, content_type=FORM).status == 400


def test_a_volume_that_was_replaced_is_refused_with_503_and_nothing_is_written_there(files: Files) -> None:
    files.store("a", b"x")
    away = files.root.with_name("away")
    files.root.rename(away)
    files.root.mkdir()
    try:
        for got in (files.store("b", b"y"), files.form("/files/file/local/b", b"y")):
            assert (got.status, b"unavailable" in got.body) == (503, True)
        assert list(files.root.iterdir()) == []
    finally:
        files.root.rmdir()
        away.rename(files.root)
    assert files.store("b", b"y").status == 201
