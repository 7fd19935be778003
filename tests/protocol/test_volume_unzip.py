"""`unzip` on both doors (protocol 6.4, 6.8): what is in an archive becomes a folder, or nothing does."""

from __future__ import annotations

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
