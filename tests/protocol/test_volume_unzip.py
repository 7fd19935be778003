"""`unzip` on both doors (docs/protocol.md 6.4, 6.8): what is in an archive becomes a folder, or nothing does."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest

from support.files import Files

BOTH = ["/files/file/local//data/{}?unzip=true", "/v1/serverless/files/file/local/{}?unzip=true"]


def archive(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in members.items():
            zipped.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize("route", BOTH)
def test_an_archive_becomes_the_folder_of_the_path(files: Files, route: str) -> None:
    base = "unzip/" + ("v1" if "v1" in route else "old")
    files.store(f"{base}/kept", b"kept")
    files.store(f"{base}/sub/a", b"before")
    got = files.form(route.format(base), archive(**{"sub/a": b"after", ".fal_hash": b"0" * 64, "b": b""}))
    assert (got.status, got.body) == (200, b"true")
    assert {name: files.read(f"{base}/{name}") for name in ("kept", "sub/a", ".fal_hash", "b")} == {
        "kept": b"kept",
        "sub/a": b"after",
        ".fal_hash": b"0" * 64,
        "b": b"",
    }


@pytest.mark.parametrize("route", BOTH)
def test_an_archive_is_kept_as_it_is_when_it_is_not_to_be_unpacked(files: Files, route: str) -> None:
    for n, answer in enumerate(("?unzip=false", "?unzip=", "")):
        data = archive(a=b"x")
        target = route.format(f"unzip/whole/{n}").partition("?")[0] + answer
        assert files.form(target, data).status == 200
        assert files.read(f"unzip/whole/{n}") == data


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", ".entrepot/x", "a/" * 70 + "a"])
@pytest.mark.parametrize("route", BOTH)
def test_g01_a_member_that_leads_out_is_refused_and_nothing_is_kept(files: Files, route: str, name: str) -> None:
    root = route.format("unzip/evil")
    got = files.form(root, archive(**{"first": b"x", name: b"evil"}))
    if name == ".entrepot/x":  # a plain name below a folder, but not at the root
        assert got.status == 200
        assert files.form(route.format(""), archive(**{name: b"evil"})).status == (400 if "v1" in route else 422)
        files.v1("DELETE", "file/unzip/evil")
        return
    assert got.status in ((400, 413) if "v1" in route else (422, 413))
    assert files.v1("GET", "stat/unzip/evil").status == 404
    assert not (files.root.parent / "evil").exists()


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x03\x04" + b"x" * 100])
def test_what_is_no_archive_is_refused(files: Files, data: bytes) -> None:
    assert files.form(BOTH[0].format("unzip/none"), data).status == 422
    assert files.form(BOTH[1].format("unzip/none"), data).status == 400
    assert files.v1("GET", "stat/unzip/none").status == 404


def test_a_declared_digest_of_an_archive_is_not_passed_over(files: Files) -> None:
    wrong = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"
    assert files.form(BOTH[0].format("unzip/digest"), archive(a=b"x"), repr_digest=wrong).status == 400
    assert files.v1("GET", "stat/unzip/digest").status == 404


def gbk_archive(name: str) -> bytes:
    """A ZIP as old Chinese programs make it: names in GBK, without the mark of UTF-8."""
    placeholder = "x" * len(name.encode("gbk"))
    return archive(**{placeholder: b"found"}).replace(placeholder.encode(), name.encode("gbk"))


@pytest.mark.parametrize("route", BOTH)
def test_a03_names_are_read_in_the_encoding_that_is_told(files: Files, route: str) -> None:
    base = "unzip/a03-" + ("v1" if "v1" in route else "old")
    name = "\u7167\u7247.png"
    assert files.form(route.format(base) + "&encoding=gbk", gbk_archive(name)).status == 200
    assert files.names(base) == [name]
    assert files.form(route.format(f"{base}/untold"), gbk_archive(name)).status == 200
    assert files.names(f"{base}/untold") == [name.encode("gbk").decode("cp437")]
    assert files.form(route.format(f"{base}/utf-8") + "&encoding=gbk", archive(**{name: b"x"})).status == 200
    assert files.names(f"{base}/utf-8") == [name], "marked as UTF-8"


@pytest.mark.parametrize("encoding", ["nonsense", "hex", "gbk&encoding=gbk", "%00", "x" * 5000])
def test_a03_an_encoding_that_is_none_is_refused(files: Files, encoding: str) -> None:
    for route, status in zip(BOTH, (422, 400), strict=True):
        got = files.form(route.format("unzip/a03-none") + f"&encoding={encoding}", archive(a=b"x"))
        assert got.status == status
        assert b"encoding" in got.body
        assert files.form(route.format("unzip/a03-none").replace("unzip=true", "encoding=gbk"), b"x").status == status
    assert files.v1("GET", "stat/unzip/a03-none").status == 404


def test_a01_a_zip_with_a_line_end_after_it_is_unpacked(files: Files) -> None:
    assert files.form(BOTH[0].format("unzip/a01"), archive(a=b"x") + b"\n").status == 200
    assert files.read("unzip/a01/a") == b"x"


def test_a05_one_compressed_file_is_called_so(files: Files) -> None:
    got = files.form(BOTH[1].format("unzip/a05"), gzip.compress(b"a,b\n1,2\n"))
    assert (got.status, b"one file compressed with gzip" in got.body) == (400, True)
