"""The Platform API's files (docs/protocol.md 6.1, 6.4) and our additions to it: every route, field and refusal."""

from __future__ import annotations

import hashlib
import os
import re
import time
from typing import Any
from urllib.parse import quote

import pytest

from support.files import FORM, Files, form
from support.talk import Reply

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
REQUIRED = {"path", "name", "created_time", "updated_time", "is_file", "size"}


def error(got: Reply, status: int, kind: str) -> dict[str, Any]:
    """What the error says beside its type."""
    assert (got.status, got.json().keys(), got.json()["error"]["type"]) == (status, {"error"}, kind), got
    told: dict[str, Any] = got.json()["error"]
    assert told["request_id"] == got.headers["x-request-id"]
    assert told["message"]
    assert told["fix"]
    return told


def test_an_entry_has_a_relative_path_and_times_in_iso_with_milliseconds(files: Files) -> None:
    files.store("v1/entry/a.txt", b"12345")
    folder, file = files.v1("GET", "list/v1").json()[0], files.v1("GET", "list/v1/entry").json()[0]
    assert (folder["path"], folder["name"], folder["is_file"], folder["size"]) == ("v1/entry", "entry", False, 0)
    assert (file["path"], file["name"], file["is_file"], file["size"]) == ("v1/entry/a.txt", "a.txt", True, 5)
    assert folder.keys() == REQUIRED
    assert REQUIRED <= file.keys() <= REQUIRED | {"etag", "checksum_sha256", "checksum_md5"}
    for entry in (folder, file):
        assert TIME.fullmatch(entry["created_time"])
        assert TIME.fullmatch(entry["updated_time"])


def test_times_that_no_calendar_has_are_told_as_the_nearest(files: Files) -> None:
    files.store("v1/old/a", b"x")
    for seconds in (-(2**33), 2**33, 2**39):
        os.utime(files.root / "v1/old/a", (seconds, seconds))
        (entry,) = files.v1("GET", "list/v1/old").json()
        assert TIME.fullmatch(entry["updated_time"])
        assert files.v1("GET", "file/v1/old/a").status == 200
        assert files.old("GET", "list/v1/old").status == 200


def test_an_upload_as_a_form_answers_true(files: Files) -> None:
    for path in ("v1/form/a.txt", "v1%2Fform%2Fb.txt", "//data/v1/form/c.txt"):
        got = files.form(f"/v1/serverless/files/file/local/{path}", b"x")
        assert (got.status, got.body) == (200, b"true")
    assert files.names("v1/form") == ["a.txt", "b.txt", "c.txt"]


def test_a_folder_named_data_is_a_folder_here(files: Files) -> None:
    files.store("data/v1/a", b"x")
    assert files.names("data/v1") == ["a"]
    assert files.old("GET", "file//data/data/v1/a").body == b"x"


def test_put_answers_201_for_a_new_file_and_200_for_a_replaced_one(files: Files) -> None:
    first, second = files.store("v1/put/a", b"one"), files.store("v1/put/a", b"two")
    assert (first.status, second.status) == (201, 200)
    entry = second.json()
    assert (entry["path"], entry["size"]) == ("v1/put/a", 3)
    assert entry["checksum_sha256"] == hashlib.sha256(b"two").hexdigest()
    assert entry["etag"] == second.headers["etag"] == files.v1("GET", "file/v1/put/a").headers["etag"]
    assert entry["etag"] != first.json()["etag"]


def test_a_body_with_another_digest_than_declared_changes_nothing(files: Files) -> None:
    files.store("v1/digest/a", b"before")
    wrong = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"
    for name in ("repr_digest", "content_digest"):
        assert error(files.store("v1/digest/a", b"after", **{name: wrong}), 400, "validation_error")["code"]
        assert error(files.store("v1/digest/a", b"x", **{name: "crc=:AA==:"}), 400, "validation_error")
    told = files.form("/v1/serverless/files/file/local/v1/digest/a", b"after", repr_digest=wrong)
    assert error(told, 400, "validation_error")["code"] == "digest_mismatch"
    assert files.form("/files/file/local/v1/digest/a", b"after", content_md5="x").status == 400
    assert files.read("v1/digest/a") == b"before"
    assert files.form("/files/file/local/v1/digest/a", b"hello", repr_digest=wrong).status == 200


def test_a_form_is_not_taken_for_the_bytes_of_a_put(files: Files) -> None:
    told = error(files.store("v1/put/form", form(b"x"), content_type=FORM), 400, "validation_error")
    assert "form" in told["message"]


def test_stat_tells_of_a_file_a_folder_and_the_volume(files: Files) -> None:
    (files.root / "v1stat").mkdir()
    (files.root / "v1stat" / "a").write_bytes(b"by hand")
    entry = files.v1("GET", "stat/v1stat/a?checksum=true").json()
    assert entry["checksum_sha256"] == hashlib.sha256(b"by hand").hexdigest()
    assert entry["checksum_md5"] == hashlib.md5(b"by hand").hexdigest()
    assert entry["etag"].startswith('"')
    assert files.v1("GET", "stat/v1stat").json()["is_file"] is False
    assert (files.v1("GET", "stat/").json()["path"], files.v1("GET", "stat//data").json()["name"]) == ("", "")
    error(files.v1("GET", "stat/v1stat/b"), 404, "not_found")


def test_lists_of_what_is_no_folder_are_errors_here(files: Files) -> None:
    files.store("v1/file", b"x")
    error(files.v1("GET", "list/v1/nowhere"), 404, "not_found")
    assert "file" in error(files.v1("GET", "list/v1/file"), 409, "validation_error")["message"]


def test_pages_lead_from_one_to_the_next(files: Files) -> None:
    names = sorted(f"{n:02}" for n in range(7))
    for name in names:
        files.store(f"v1/pages/{name}", b"x")
    seen, target = [], "/v1/serverless/files/list/v1%2Fpages?limit=3"
    while True:
        got = files.get(target, **files.key)
        seen += [entry["name"] for entry in got.json()]
        if "link" not in got.headers:
            break
        target, cursor = got.headers["link"].split(">")[0][1:], got.headers["x-entrepot-next-cursor"]
        assert target.startswith(files.server.url)
        assert target.endswith(f"cursor={cursor}")
    assert seen == names
    assert "x-entrepot-next-cursor" not in got.headers


def test_a_recursive_list_has_all_below(files: Files) -> None:
    for path in ("v1/deep/a", "v1/deep/b/c", "v1/deep/b/d/e"):
        files.store(path, b"x")
    seen, query = [], "recursive=true&limit=2"
    while True:
        got = files.v1("GET", f"list/v1/deep?{query}")
        seen += [entry["path"] for entry in got.json()]
        if "link" not in got.headers:
            break
        query = got.headers["link"].split("?")[1].split(">")[0]
        assert "recursive=true" in query
    assert sorted(seen) == ["v1/deep/a", "v1/deep/b", "v1/deep/b/c", "v1/deep/b/d", "v1/deep/b/d/e"]
    assert len(set(seen)) == len(seen)


WRONG_PAGES = ["limit=0", "limit=-1", "limit=x", "limit=10001", "limit=1&limit=2", "limit=", "limit=²",
               "recursive=maybe", "cursor=%ff%00", "cursor=*"]  # fmt: skip


@pytest.mark.parametrize("query", WRONG_PAGES)
def test_a_wrong_page_is_refused(files: Files, query: str) -> None:
    files.store("v1/wrong/a", b"x")
    for folder in ("list/v1/wrong", "trash"):
        if folder == "trash" and "recursive" in query:
            continue
        error(files.v1("GET", f"{folder}?{quote(query, safe='=&%*')}"), 400, "validation_error")


def test_delete_moves_to_the_trash_and_restore_brings_back(files: Files) -> None:
    for path in ("v1/bin/a", "v1/bin/b/c"):
        files.store(path, path.encode())
    gone = files.v1("DELETE", "file/v1/bin").json()
    assert gone["path"] == "v1/bin"
    assert files.read("v1/bin/a") is None
    (item,) = [each for each in files.v1("GET", "trash").json() if each["id"] == gone["trash_id"]]
    assert (item["path"], item["is_file"]) == ("v1/bin", False)
    assert TIME.fullmatch(item["deleted_at"])
    assert item["purge_at"] > item["deleted_at"]
    back = files.v1("POST", f"trash/{gone['trash_id']}/restore", {})
    assert back.json()["path"] == "v1/bin"
    assert files.read("v1/bin/b/c") == b"v1/bin/b/c"
    error(files.v1("POST", f"trash/{gone['trash_id']}/restore"), 404, "not_found")


def test_what_was_deleted_comes_back_elsewhere_when_its_place_is_taken(files: Files) -> None:
    files.store("v1/taken/a", b"old")
    trash_id = files.v1("DELETE", "file/v1/taken/a").json()["trash_id"]
    files.store("v1/taken/a", b"new")
    error(files.v1("POST", f"trash/{trash_id}/restore"), 409, "validation_error")
    error(files.v1("POST", f"trash/{trash_id}/restore", {"destination": "../x"}), 400, "validation_error")
    error(files.v1("POST", f"trash/{trash_id}/restore", {"destination": "x", "force": True}), 400, "validation_error")
    assert files.v1("POST", f"trash/{trash_id}/restore", {"destination": "v1/taken/b"}).json()["path"] == "v1/taken/b"
    assert (files.read("v1/taken/a"), files.read("v1/taken/b")) == (b"new", b"old")


def test_the_trash_is_paged_and_emptied_for_good(files: Files) -> None:
    ids = []
    for name in "abc":
        files.store(f"v1/paged/{name}", b"x")
        ids.append(files.v1("DELETE", f"file/v1/paged/{name}").json()["trash_id"])
    first = files.v1("GET", "trash?limit=1")
    assert [each["id"] for each in first.json()] == ids[-1:], "the newest first"
    second = files.v1("GET", f"trash?limit=1&cursor={first.headers['x-entrepot-next-cursor']}")
    assert [each["id"] for each in second.json()] == [ids[1]]
    for trash_id in ids:
        assert files.v1("DELETE", f"trash/{trash_id}").body == b"true"
        error(files.v1("DELETE", f"trash/{trash_id}"), 404, "not_found")
    assert not set(ids) & {each["id"] for each in files.v1("GET", "trash").json()}
    for odd in ("..", "%2e%2e", ".", "%2F", "a%2Fb", "%00", "x" * 300):
        assert files.v1("DELETE", f"trash/{odd}").status in (400, 404)


def test_delete_for_good_leaves_no_trash(files: Files) -> None:
    files.store("v1/good/a", b"x")
    assert files.v1("DELETE", "file/v1/good?permanent=true").json() == {"path": "v1/good", "trash_id": None}
    assert "v1/good" not in [each["path"] for each in files.v1("GET", "trash").json()]


def test_delete_without_recursion_takes_empty_folders_only(files: Files) -> None:
    files.store("v1/full/a", b"x")
    error(files.v1("DELETE", "file/v1/full?recursive=false"), 409, "validation_error")
    assert files.read("v1/full/a") == b"x"
    assert files.v1("POST", "dir/v1/empty").json()["is_file"] is False
    assert files.v1("DELETE", "file/v1/empty?recursive=0").status == 200


def test_folders_are_made_with_those_above_and_once_more(files: Files) -> None:
    for _ in range(2):
        got = files.v1("POST", "dir/v1/made/deep/folder")
        assert (got.status, got.json()["path"]) == (200, "v1/made/deep/folder")
    files.store("v1/made/file", b"x")
    error(files.v1("POST", "dir/v1/made/file"), 409, "validation_error")
    error(files.v1("POST", "dir/v1/made/x", {"mode": "0777"}), 400, "validation_error")


@pytest.mark.parametrize("deed", ["rename", "copy"])
def test_rename_and_copy_replace_only_when_told_to(files: Files, deed: str) -> None:
    base = f"v1/{deed}"
    files.store(f"{base}/a", b"one")
    files.store(f"{base}/b", b"two")
    told = error(files.v1("POST", f"{deed}/{base}/a", {"destination": f"{base}/b"}), 409, "validation_error")
    assert told["code"] == "conflict"
    assert files.read(f"{base}/b") == b"two"
    done = files.v1("POST", f"{deed}/{base}/a", {"destination": f"{base}/b", "overwrite": True}).json()
    assert (done["path"], done["size"]) == (f"{base}/b", 3)
    assert files.read(f"{base}/b") == b"one"
    assert files.read(f"{base}/a") == (b"one" if deed == "copy" else None)


@pytest.mark.parametrize("deed", ["rename", "copy"])
def test_rename_and_copy_take_whole_folders(files: Files, deed: str) -> None:
    base = f"v1/{deed}s"
    files.store(f"{base}/from/a/b", b"x")
    assert files.v1("POST", f"{deed}/{base}/from", {"destination": f"/data/{base}/to/there"}).status == 200
    assert files.read(f"{base}/to/there/a/b") == b"x"
    assert files.read(f"{base}/from/a/b") == (b"x" if deed == "copy" else None)


def test_a_copy_is_a_file_of_its_own(files: Files) -> None:
    files.store("v1/own/a", b"one")
    files.v1("POST", "copy/v1/own/a", {"destination": "v1/own/b"})
    with (files.root / "v1/own/a").open("r+b") as changed:
        changed.write(b"ONE")
    assert files.read("v1/own/b") == b"one"


@pytest.mark.parametrize("deed", ["rename", "copy"])
@pytest.mark.parametrize("wish", [{}, {"destination": 1}, {"destination": "x", "overwrite": "yes"},
                                  {"destination": "x", "force": True}])  # fmt: skip
def test_a_wish_that_is_not_right_is_400(files: Files, deed: str, wish: object) -> None:
    files.store("v1/wish/a", b"x")
    error(files.v1("POST", f"{deed}/v1/wish/a", wish), 400, "validation_error")
    assert files.names("v1/wish") == ["a"]


def test_usage_counts_files_folders_and_bytes(files: Files) -> None:
    for path, size in (("v1/du/a", 10), ("v1/du/b/c", 20)):
        files.store(path, b"x" * size)
    used = files.v1("GET", "usage/v1/du").json()
    assert (used["path"], used["files"], used["folders"], used["size"], used["quota"]) == ("v1/du", 2, 1, 30, None)
    assert used["free"] > 0
    assert files.v1("GET", "usage").json()["files"] >= 2
    error(files.v1("GET", "usage/v1/nowhere"), 404, "not_found")


def test_unknown_routes_and_methods_below_v1_are_told_in_its_words(files: Files) -> None:
    for path in ("/v1/", "/v1/nothing", "/v1/serverless", "/v1/serverless/files", "/v1/serverless/files/lists"):
        for method in ("GET", "POST"):
            error(files.ask(method, path), 404, "not_found")
    refused = files.v1("PATCH", "file/a")
    error(refused, 405, "validation_error")
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"}
    assert files.ask("GET", "/v1").json()["code"] == "not_found"
    assert files.ask("GET", "/files/nothing").json()["detail"]


def test_a_missing_or_wrong_key_is_told_in_the_words_of_v1(files: Files) -> None:
    assert error(files.ask("GET", "/v1/serverless/files/list"), 401, "authorization_error")["code"] == "unauthorized"
    refused = files.v1("GET", "list", authorization="Key a:b")
    error(refused, 401, "authorization_error")
    assert refused.headers["www-authenticate"].startswith("Key")


@pytest.mark.parametrize("back", [0, 3600, 86_400 * 365])
def test_n10_no_entry_was_made_after_its_last_change(files: Files, back: int) -> None:
    """Nor when a program sets the time of its file back."""
    files.store(f"n10/{back}/a", b"x")
    place = files.root / "n10" / str(back)
    now = time.time() - back
    if back:
        os.utime(place / "a", (now, now))
        os.utime(place, (now, now))
    entries = [*files.v1("GET", f"list/n10/{back}").json(), *files.old("GET", f"list/n10/{back}").json(),
               files.v1("GET", f"stat/n10/{back}").json(), files.v1("GET", f"stat/n10/{back}/a").json()]  # fmt: skip
    for entry in entries:
        assert entry["created_time"] <= entry["updated_time"], entry


def test_n10_what_is_ours_is_named_alike_everywhere(files: Files) -> None:
    """Moments end in `_at`, digests of the bytes are `digest`; of entries fal has names of its own."""
    fal = {"created_time", "updated_time", "checksum_sha256", "checksum_md5"}
    schemas = files.get("/openapi.json").json()["components"]["schemas"]
    for name, schema in schemas.items():
        ours = set(schema.get("properties", {})) - (fal if name in ("FileSpec", "VolumeEntry") else set())
        assert not [field for field in ours if field.endswith("_time") or "checksum" in field], name


def test_a_path_that_looks_like_a_longer_route_is_reached_escaped(files: Files) -> None:
    path = "multipart/some/" + "0" * 32
    assert files.store(path.replace("/", "%2F"), b"found").status == 201
    assert files.v1("GET", f"file/{path}").status == 404, "taken for the list of an upload's parts"
    assert files.v1("GET", "file/" + path.replace("/", "%2F")).body == b"found"
    assert files.v1("GET", f"file//data/{path}").body == b"found"
    assert files.v1("DELETE", f"file/{path}").status == 404
    for short in ("multipart/a/b", "multipart/a/b/1", "url/a", "local/a", "multipart/a/initiate"):
        assert files.store(short, b"plain").status == 201
        assert files.read(short) == b"plain"
        assert files.v1("DELETE", f"file/{short}").json()["path"] == short


@pytest.mark.parametrize("condition", [{"if_none_match": "*"}, {"if_match": "*"}, {"if_match": '"x"'}])
def test_a_deed_that_has_no_conditions_refuses_them(files: Files, condition: dict[str, str]) -> None:
    files.store("refuses/a", b"1")
    files.store("refuses/gone", b"2")
    trash_id = files.v1("DELETE", "file/refuses/gone").json()["trash_id"]
    upload_id = files.v1("POST", "file/multipart/refuses/parts/initiate").json()["upload_id"]
    upload = f"file/multipart/refuses/parts/{upload_id}"
    assert files.v1("PUT", f"{upload}/1", b"part", **condition).status == 400
    parts = [{"part_number": 1, "etag": files.v1("PUT", f"{upload}/1", b"part").json()["etag"]}]
    for rest, body in [
        ("rename/refuses/a", {"destination": "refuses/b"}),
        ("copy/refuses/a", {"destination": "refuses/b"}),
        ("dir/refuses/b", {}),
        ("publish/refuses/a", {}),
        (f"trash/{trash_id}/restore", {}),
        (f"{upload}/complete", {"parts": parts}),
    ]:
        assert files.v1("POST", rest, body, **condition).status == 400, rest
    assert files.v1("DELETE", f"trash/{trash_id}", **condition).status == 400
    assert files.old("POST", "rename/refuses/a", {"destination": "refuses/b"}, **condition).status == 422
    assert files.old("POST", f"{upload}/complete", {"parts": parts}, **condition).status == 422
    assert files.names("refuses") == ["a"]
    assert files.v1("POST", f"{upload}/complete", {"parts": parts}).status == 200
    assert files.v1("DELETE", "file/refuses/parts").status == 200
