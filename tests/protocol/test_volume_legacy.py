"""The legacy REST paths as fal's command line uses them (docs/protocol.md 6.5, 6.6): every field and quirk."""

from __future__ import annotations

import hashlib
import time

import pytest

from support.files import FORM, Files, form

SPELLINGS = ["//data/{}", "/data/{}", "data/{}", "{}", "%2Fdata%2F{}", "//data//{}", "//data/{}/", "///{}"]


def test_a_filespec_has_an_absolute_path_and_times_as_numbers(files: Files) -> None:
    before = time.time()
    files.form("/files/file/local//data/spec/sub/a.txt", b"12345")
    folder, file = (files.old("GET", f"list//data/{path}").json() for path in ("spec", "spec/sub"))
    assert [(e["path"], e["name"], e["is_file"], e["size"]) for e in folder + file] == [
        ("/data/spec/sub", "sub", False, 0),
        ("/data/spec/sub/a.txt", "a.txt", True, 5),
    ]
    for entry in folder + file:
        for name in ("created_time", "updated_time"):
            assert isinstance(entry[name], float)
            assert before - 2 < entry[name] < time.time() + 2
    known = {"path", "name", "created_time", "updated_time", "is_file", "size", "checksum_sha256", "checksum_md5"}
    assert known >= file[0].keys() >= known - {"checksum_sha256", "checksum_md5"}


@pytest.mark.parametrize("spelling", SPELLINGS[:-1])
def test_all_spellings_of_a_path_mean_the_same(files: Files, spelling: str) -> None:
    path, absolute = spelling.format("spelled"), "/data/spelled/a"
    files.store("spelled/a", b"x")
    assert [e["path"] for e in files.old("GET", f"list/{path}").json()] == [absolute]
    file = path.rstrip("/") + "/a"
    assert files.old("GET", f"file/{file}").body == b"x"
    assert files.old("POST", f"file/exists/{file}").json()["path"] == absolute
    assert files.form(f"/files/file/local/{file}", b"y").json() is True
    assert files.read("spelled/a") == b"y"
    assert files.old("DELETE", f"file/{file}").json() is True
    assert files.read("spelled/a") is None


def test_an_absolute_path_elsewhere_is_refused(files: Files) -> None:
    for path in ("//etc/passwd", "%2Fetc%2Fpasswd", "//data2/x"):
        assert files.old("GET", f"list/{path}").status == 422
        assert files.old("GET", f"file/{path}").status == 422


def test_the_root_is_listed_under_all_its_names(files: Files) -> None:
    files.store("rooted/a", b"x")
    for path in ("list", "list/", "list//data", "list//data/", "list/data"):
        got = files.old("GET", path)
        assert (got.status, "/data/rooted" in [e["path"] for e in got.json()]) == (200, True), path


@pytest.mark.parametrize("path", ["//data/nowhere", "//data/nowhere/deep/", "listed/a.txt", "listed/a.txt/below"])
def test_a_list_of_what_is_no_folder_is_empty(files: Files, path: str) -> None:
    files.store("listed/a.txt", b"x")
    got = files.old("GET", f"list/{path}")
    assert (got.status, got.body) == (200, b"[]")


def test_an_upload_makes_its_folders_and_replaces_what_is_there(files: Files) -> None:
    for data in (b"first", b"", b"second " * 100_000):
        got = files.form("/files/file/local//data/made/of/parts/a.bin", data)
        assert (got.status, got.body, got.headers["content-type"]) == (200, b"true", "application/json")
        down = files.old("GET", "file//data/made/of/parts/a.bin")
        assert (down.status, down.body, down.headers["content-length"]) == (200, data, str(len(data)))
    assert (files.root / "made/of/parts/a.bin").read_bytes() == data


def test_an_upload_is_visible_on_the_disk_and_the_other_way_round(files: Files) -> None:
    (files.root / "disk").mkdir()
    (files.root / "disk" / "theirs.txt").write_bytes(b"theirs")
    files.store("disk/ours.txt", b"ours")
    assert files.old("GET", "file/disk/theirs.txt").body == b"theirs"
    assert (files.root / "disk" / "ours.txt").read_bytes() == b"ours"
    assert {e["name"] for e in files.old("GET", "list/disk").json()} == {"ours.txt", "theirs.txt"}


def test_the_form_s_file_name_is_no_path(files: Files) -> None:
    for name in ("../../evil", "/etc/evil", "..%2fevil", "named/other"):
        body = form(b"x", f'form-data; name="file_upload"; filename="{name}"')
        assert files.old("POST", "file/local/named/a", body, content_type=FORM).status == 200
    assert files.names("named") == ["a"]
    assert not (files.root.parent / "evil").exists()


def test_a_download_is_an_attachment_that_runs_nowhere(files: Files) -> None:
    files.store("page/a.html", b"<script>")
    headers = files.old("GET", "file/page/a.html").headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"].startswith("attachment")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("sandbox")
    assert headers["cache-control"] == "no-store"


def test_rm_takes_folders_with_all_that_is_in_them(files: Files) -> None:
    for path in ("tree/a", "tree/b/c", "tree/b/d/e", "tree2/x"):
        files.store(path, b"x")
    assert files.old("DELETE", "file//data/tree").json() is True
    assert files.old("GET", "list/tree").json() == []
    assert not (files.root / "tree").exists()
    assert files.names("tree2") == ["x"]
    gone = files.old("DELETE", "file//data/tree")
    assert (gone.status, gone.json()["code"]) == (404, "not_found")
    assert isinstance(gone.json()["detail"], str)


@pytest.mark.parametrize("path", ["", "/", "//data", "//data/", "data"])
def test_the_volume_itself_is_not_removed_renamed_or_overwritten(files: Files, path: str) -> None:
    files.store("kept/a", b"x")
    assert files.old("DELETE", f"file/{path}").status in (409, 422)
    assert files.old("POST", f"rename/{path}", {"destination": "/data/elsewhere"}).status in (409, 422)
    assert files.form(f"/files/file/local/{path}", b"x").status in (409, 422)
    assert files.read("kept/a") == b"x"


def test_mv_renames_files_and_folders_and_makes_what_is_above(files: Files) -> None:
    files.store("moved/from/a", b"x")
    assert files.old("POST", "rename//data/moved/from", {"destination": "/data/moved/to/b"}).json() is True
    assert files.read("moved/to/b/a") == b"x"
    assert files.old("GET", "list/moved/from").json() == []
    files.store("moved/c", b"y")
    assert files.old("POST", "rename//data/moved/c", {"destination": "/data/moved/to/b/a"}).json() is True
    assert files.read("moved/to/b/a") == b"y", "a file at the destination is replaced, as mv does"
    assert files.old("POST", "rename/moved/to/b/a", {"destination": "data/moved/to/b/a"}).json() is True


@pytest.mark.parametrize(
    ("destination", "status"),
    [
        ("/data/mvd/none", 404),
        ("../../etc/passwd", 422),
        ("/etc/passwd", 422),
        ("a/../b", 422),
        ("a\0b", 422),
        ("\ud800", 422),
        (7, 422),
        (None, 422),
    ],
)
def test_a_rename_that_cannot_be_says_why(files: Files, destination: object, status: int) -> None:
    got = files.old("POST", "rename/mvd/missing", {"destination": destination})
    assert (got.status, bool(got.json()["detail"])) == (status, True)


def test_a_rename_onto_a_folder_or_into_itself_is_refused(files: Files) -> None:
    files.store("onto/file", b"x")
    files.store("onto/folder/a", b"y")
    assert files.old("POST", "rename/onto/file", {"destination": "/data/onto/folder"}).status == 409
    assert files.old("POST", "rename/onto/folder", {"destination": "/data/onto/folder/deeper"}).status == 422
    assert (files.read("onto/file"), files.read("onto/folder/a")) == (b"x", b"y")


def test_exists_tells_of_a_file_with_its_digests_or_404(files: Files) -> None:
    (files.root / "there").mkdir()
    (files.root / "there" / "a").write_bytes(b"by hand")
    got = files.old("POST", "file/exists//data/there/a?calculate_checksum=true").json()
    assert got["checksum_sha256"] == hashlib.sha256(b"by hand").hexdigest()
    assert got["checksum_md5"] == hashlib.md5(b"by hand").hexdigest()
    assert (got["path"], got["is_file"], got["size"]) == ("/data/there/a", True, 7)
    assert files.old("POST", "file/exists/there").json()["is_file"] is False
    assert files.old("POST", "file/exists/there/b").status == 404


@pytest.mark.parametrize("value", ["true", "True", "1", "false", "False", "0", "", "null"])
def test_spellings_of_yes_and_no(files: Files, value: str) -> None:
    files.store("flags/a", b"x")
    assert files.old("POST", f"file/exists/flags/a?calculate_checksum={value}").status == 200


@pytest.mark.parametrize("query", ["unzip=maybe", "unzip=2", "unzip=true&unzip=false"])
def test_another_answer_than_yes_or_no_is_refused_and_named(files: Files, query: str) -> None:
    got = files.form(f"/files/file/local/flags/b?{query}", b"x")
    assert (got.status, got.json()["detail"][0]["loc"]) == (422, ["query", "unzip"])
    assert files.read("flags/b") is None


def test_what_the_legacy_objects_do_not_know_is_passed_over(files: Files) -> None:
    files.store("open/a", b"x")
    wish = {"destination": "/data/open/b", "dry_run": False}
    assert files.old("POST", "rename/open/a", wish).json() is True


NO_OBJECTS = [b"", b"[]", b"null", b"{", b'{"destination": NaN}', b'{"destination":"a","destination":"b"}', b"\xff",
              b"[" * 30_000]  # fmt: skip


@pytest.mark.parametrize("body", NO_OBJECTS, ids=range(len(NO_OBJECTS)))
def test_a_body_that_is_no_such_object_is_a_field_error(files: Files, body: bytes) -> None:
    got = files.old("POST", "rename/open/a", body)
    assert (got.status, got.json()["detail"][0]["loc"][0]) == (422, "body")


def test_a_huge_body_is_refused(files: Files) -> None:
    got = files.old("POST", "missing_hashes", b" " * (5 * 1024 * 1024))
    assert (got.status, got.json()["code"]) == (413, "too_large")


def test_no_route_of_the_volume_redirects(files: Files) -> None:
    for path in ("list//data/a//b/", "file//data//a", "list/./", "file//data/%2e%2e/x"):
        assert files.old("GET", path).status in (200, 404, 422), path
