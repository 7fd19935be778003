"""docs/threats.md B on the volume: no name leads out of it, and every name that may be comes back byte for byte."""

from __future__ import annotations

import os
import socket
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.files import FORM, Files, form
from support.talk import line

SECRET = b"outside the volume"

# Raw, as they stand in a URL behind the route.
CLIMBS = [
    "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "a/../../x", "a/%2e%2e/b", ".",
    "%2e", "a/./b", "a/..", "..", "%2e%2e", "//data/../x", "//data/..%2fx", "//etc/passwd", "%2fetc%2fpasswd",
    "//", "/", "a%00b", "%00", ".entrepot", ".entrepot/staging", ".entrepot/trash/x", "%2eentrepot/lock",
    "//data/.entrepot/lock", ".ENTREPOT/lock", "%ff", "a/%c0%ae%c0%ae/b", "%ed%a0%80", "x" * 256, "%C3%A9" * 128,
    "a/" * 64 + "a", "/".join(["x" * 250] * 17),
]  # fmt: skip
ROUTES = [("GET", "/files/file/{}"), ("GET", "/files/list/{}"), ("DELETE", "/files/file/{}"),
          ("POST", "/files/rename/{}"), ("POST", "/files/file/exists/{}"), ("POST", "/files/file/url/{}"),
          ("POST", "/files/file/local/{}"), ("POST", "/files/dir/check_hash/{}"),
          ("POST", "/files/file/multipart/{}/initiate"), ("GET", "/v1/serverless/files/file/{}"),
          ("PUT", "/v1/serverless/files/file/{}"), ("DELETE", "/v1/serverless/files/file/{}"),
          ("GET", "/v1/serverless/files/list/{}"), ("GET", "/v1/serverless/files/stat/{}"),
          ("GET", "/v1/serverless/files/usage/{}"), ("POST", "/v1/serverless/files/rename/{}"),
          ("POST", "/v1/serverless/files/copy/{}"), ("POST", "/v1/serverless/files/dir/{}"),
          ("POST", "/v1/serverless/files/publish/{}"), ("POST", "/v1/serverless/files/keep/{}"),
          ("POST", "/v1/serverless/files/file/url/{}"), ("POST", "/v1/serverless/files/file/local/{}"),
          ("POST", "/v1/serverless/files/file/multipart/{}/initiate")]  # fmt: skip
# Legacy paths may have single dots in them.
DOTS = (".", "%2e", "a/./b")
# The volume itself may be listed and looked at.
ROOT = ("//", "/")


@pytest.fixture(scope="module", autouse=True)
def outside(server: object) -> Iterator[Path]:
    """A file beside the volume, which no request may reach."""
    path = Files(server).root.parent / "passwd"  # type: ignore[arg-type]
    path.write_bytes(SECRET)
    yield path
    assert path.read_bytes() == SECRET


@pytest.mark.parametrize(("method", "route"), ROUTES, ids=[f"{m} {r}" for m, r in ROUTES])
def test_b01_b03_a_name_that_is_none_is_refused_on_every_route(files: Files, method: str, route: str) -> None:
    wanted = {422} if route.startswith("/files") else {400}
    for name in CLIMBS:
        if name in DOTS and route.startswith("/files"):
            continue
        if name in ROOT and ("list" in route or "stat" in route or "usage" in route or "check_hash" in route):
            continue
        got = files.ask(method, route.format(name), {**files.key, "content-length": "2"}, b"{}")
        allowed = wanted | {409} if name in ROOT else wanted
        allowed = allowed | {200} if name in ROOT and "exists" in route else allowed
        assert got.status in allowed, (name, got)
        assert SECRET not in got.body
        assert name in ROOT or b"path" in got.body, (name, got)
        assert ("error" in got.json()) == route.startswith("/v1") or got.status == 200


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "a/../b", "/etc/passwd", "/", "", "/data", ".entrepot/x",
                                  "a\0b", "x" * 256, "\ud800"])  # fmt: skip
def test_b01_a_destination_that_is_none_is_refused(files: Files, name: str) -> None:
    files.store("b01/a", b"x")
    for deed in ("rename", "copy"):
        got = files.v1("POST", f"{deed}/b01/a", {"destination": name})
        assert got.status in ((400, 409) if name in ("/", "", "/data") else (400,)), got
    assert files.old("POST", "rename/b01/a", {"destination": name}).status in (409, 422)
    assert files.names("b01") == ["a"]


# Odd, and names all the same: stored as they are.
ODD = [
    "..\\..\\etc", "....", "...", "C:\\x", "~root", "CON", "a:b", " ", "  x  ", "x.", "x ", ". .", "-rf", "%2e%2e",
    "%252e", "100%", "a#b", "a?b=c", "a+b", "a b", "a;b", "a&b=c", "'\"`$(x)", "; rm -rf", '"; rm -rf',
    "<img src=x onerror=1>", "[bold]x", "=cmd()", "naïve",
    "e\u0301", "日本語", "😀", "\u202egpj.exe", "\ufeffbom", "\u2028", "a" * 255, "é" * 127, ".hidden", "data", "list",
    "multipart", "*", "?", "{x}", 'a"b;filename=x.html',
]  # fmt: skip
# Names that programs on the disk may give, and requests may not.
CONTROL = ["\x1b[31mred", "new\nline", "tab\t", "\x7f", "\x01", "a\r\nSet-Cookie: x=1", "\x85", "\x9b31m"]


def test_b11_every_odd_name_makes_the_round_trip_on_both_apis(files: Files) -> None:
    """Through the list: the name that it tells, escaped, gives the bytes."""
    for number, name in enumerate(ODD):
        assert files.store(f"odd/{quote(name, safe='')}", b"%d" % number).status == 201, name
    for number, name in enumerate(CONTROL, len(ODD)):
        (files.root / "odd" / name).write_bytes(b"%d" % number)
    listed = files.v1("GET", "list/odd").json()
    names = [*ODD, *CONTROL]
    assert sorted(e["name"] for e in listed) == sorted(names)
    assert sorted(os.listdir(files.root / "odd")) == sorted(names)
    assert [e["name"] for e in listed] == sorted(names, key=str.encode), "by name, bytewise"
    for number, name in enumerate(names):
        escaped = quote(name, safe="")
        assert files.read(f"odd/{escaped}") == b"%d" % number, name
        assert files.old("GET", f"file//data/odd/{escaped}").body == b"%d" % number, name
        assert files.old("POST", f"file/exists/odd/{escaped}").json()["path"] == f"/data/odd/{name}"


def test_b05_names_that_look_alike_are_different_files(files: Files) -> None:
    composed, decomposed = "caf\u00e9", unicodedata.normalize("NFD", "caf\u00e9")
    for name in (composed, decomposed, "CAF\u00c9", "cafe", "Cafe"):
        files.store(f"alike/{quote(name)}", name.encode())
    assert len(files.names("alike")) == 5
    for name in (composed, decomposed, "Cafe"):
        assert files.read(f"alike/{quote(name)}") == name.encode()


@pytest.mark.parametrize(
    "name", ['a"b;filename=x.html', "a\r\nSet-Cookie: x=1", "naïve\\", "x%41", "a\x00b"[:1] + "\x1b"]
)
def test_b07_a_name_adds_nothing_to_the_header_that_tells_it(files: Files, name: str) -> None:
    files.store("b07/any", b"x")
    (files.root / "b07" / name).write_bytes(b"x")
    got = files.v1("GET", f"file/b07/{quote(name)}")
    (told,) = [value for key, value in got.pairs if key == "content-disposition"]
    assert "set-cookie" not in got.headers
    kind, plain, encoded = told.split("; ", 2)
    assert kind == "attachment"
    assert plain.startswith('filename="')
    assert plain.count('"') == 2
    assert encoded == f"filename*=UTF-8''{quote(name, safe='')}"


def test_b06_a_name_is_inert_in_the_log(files: Files) -> None:
    assert files.store("b06/" + quote("\x1b[31m\nred"), b"x").status == 400
    files.v1("GET", "list/b06/" + quote("\x1b[31m\nred"))
    assert "\x1b" not in files.server.log()


# B09: what is not a plain file, or leads out


@pytest.fixture
def special(files: Files) -> Path:
    folder = files.root / "b09"
    if not folder.exists():
        folder.mkdir()
        (folder / "plain").write_bytes(b"plain")
        (folder / "inside").symlink_to("plain")
        (folder / "out").symlink_to("../../passwd")
        (folder / "absolute").symlink_to("/etc/passwd")
        (folder / "folder out").symlink_to("../..")
        (folder / "loop").symlink_to("loop")
        (folder / "nowhere").symlink_to("missing")
        (folder / "to proc").symlink_to("/proc/self/environ")
        os.mkfifo(folder / "pipe")
        with socket.socket(socket.AF_UNIX) as unix:
            here = os.open(folder, os.O_RDONLY)
            unix.bind(f"/proc/self/fd/{here}/socket")
            os.close(here)
    return folder


@pytest.mark.parametrize("name", ["out", "absolute", "folder%20out/passwd", "loop", "nowhere", "to%20proc"])
def test_b09_a_link_that_leads_out_is_not_followed(files: Files, special: Path, name: str) -> None:
    for api in (files.old, files.v1):
        got = api("GET", f"file/b09/{name}")
        assert got.status == 404
        assert SECRET not in got.body
        assert api("HEAD", f"file/b09/{name}").status == 404
    assert files.old("POST", f"file/exists/b09/{name}?calculate_checksum=1").status == 404
    assert files.v1("GET", f"stat/b09/{name}").status == 404


@pytest.mark.parametrize("name", ["pipe", "socket"])
def test_b09_a_pipe_or_a_socket_is_never_opened(files: Files, special: Path, name: str) -> None:
    assert files.old("GET", f"file/b09/{name}").status == 422
    assert files.v1("GET", f"file/b09/{name}").status == 400
    assert files.old("POST", f"file/exists/b09/{name}").status == 422


def test_b09_nothing_is_written_through_a_link_that_leads_out(files: Files, special: Path) -> None:
    assert files.form("/files/file/local/b09/folder%20out/new", b"x").status == 422
    assert files.store("b09/folder%20out/new", b"x").status == 400
    assert files.v1("POST", "dir/b09/folder%20out/new").status == 400
    assert files.v1("POST", "copy/b09/plain", {"destination": "b09/folder out/new"}).status == 400
    assert files.old("POST", "rename/b09/plain", {"destination": "b09/folder out/new"}).status == 422
    assert not (files.root.parent / "new").exists()
    assert (special / "plain").exists()


def test_b09_a_link_that_stays_inside_is_read_and_the_list_tells_of_files_only(files: Files, special: Path) -> None:
    assert files.read("b09/inside") == b"plain"
    assert files.names("b09") == ["inside", "plain"]


def test_what_a_program_notes_beside_a_file_hides_no_folder(files: Files) -> None:
    """Where the store keeps digests any program on the disk may write."""
    files.store("noted/a", b"1")
    os.setxattr(files.root / "noted" / "a", "user.entrepot.volume", b"[" * 3000)
    assert files.names("noted") == ["a"]
    assert files.read("noted/a") == b"1"


def test_b09_a_delete_takes_the_link_and_not_what_it_leads_to(files: Files, special: Path) -> None:
    for name in ("out", "folder%20out"):
        assert files.old("DELETE", f"file/b09/{name}").json() is True
    assert (files.root.parent / "passwd").read_bytes() == SECRET
    assert not os.path.lexists(special / "out")


def test_paths_are_taken_from_the_bytes_of_the_request_line(files: Files) -> None:
    """No client library in between: raw bytes, an absolute-form target, a fragment."""
    files.store("raw/caf%C3%A9", b"x")
    with line(files.server) as wire:
        auth = files.key
        wire.send_head("GET", "/v1/serverless/files/file/raw/caf\u00e9", **auth)
        assert wire.answer().body == b"x"
    with line(files.server) as wire:
        wire.send_head("GET", f"{files.server.url}/v1/serverless/files/file/raw/caf%c3%a9", **auth)
        assert wire.answer().status in (200, 400, 404)
    assert urlsplit(files.server.url).path == ""


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(
        st.sampled_from([*CLIMBS[:40], "/", "//", "%2f", "..", "%2e", "%00", "%25", "data", "x", "%F0%9F%98%80", "\\"]),
        min_size=1,
        max_size=5,
    ).map("".join)
)
def test_b01_no_path_at_all_is_a_fault_of_ours_or_leads_out(files: Files, path: str) -> None:
    """The class and not the line: whatever is written is below the root, and is read again under the same name."""
    path = f"any/{path}"
    written = files.store(path, b"any")
    assert written.status in (200, 201, 400, 409), written
    read = files.v1("GET", f"file/{path}")
    assert read.status in (200, 400, 404, 409)
    if written.status in (200, 201):
        assert read.body == b"any"
        assert (files.root / written.json()["path"]).read_bytes() == b"any"
    assert files.old("GET", f"list/{path}").status in (200, 422)


# Fault L3: one rule for new names, whichever route makes them

WRITES = [
    ("PUT", "/v1/serverless/files/file/{}", b"x"),
    ("POST", "/v1/serverless/files/dir/{}", None),
    ("POST", "/v1/serverless/files/file/local/{}", form(b"x")),
    ("POST", "/v1/serverless/files/file/local/{}?unzip=true", form(b"x")),
    ("POST", "/v1/serverless/files/file/url/{}", b'{"url": "https://example.com/a"}'),
    ("POST", "/v1/serverless/files/file/multipart/{}/initiate", None),
    ("POST", "/v1/serverless/files/keep/{}", b'{"url": "https://example.com/a"}'),
    ("POST", "/files/file/local/{}", form(b"x")),
    ("POST", "/files/file/url/{}", b'{"url": "https://example.com/a"}'),
    ("POST", "/files/file/multipart/{}/initiate", None),
]


@pytest.mark.parametrize("name", ["a\rb", "a\nb", "\x1b[31m", "\x7f", "a\tb", "\x85", "in\n/file"])
def test_l3_no_route_makes_a_name_with_control_characters(files: Files, name: str) -> None:
    files.store("l3/plain", b"x")
    trash_id = files.v1("DELETE", "file/l3/plain").json()["trash_id"]
    files.store("l3/plain", b"x")
    before = sorted(os.listdir(files.root / "l3"))
    for method, route, body in WRITES:
        headers = {**files.key, "content-type": FORM} if "local" in route else files.key
        got = files.ask(method, route.format(f"l3/{quote(name)}"), headers, body)
        assert (got.status, b"control characters" in got.body) == (400 if "v1" in route else 422, True), (route, got)
    for call, rest in ((files.v1, "rename"), (files.v1, "copy"), (files.old, "rename")):
        assert call("POST", f"{rest}/l3/plain", {"destination": f"l3/{name}"}).status in (400, 422)
    assert files.v1("POST", f"trash/{trash_id}/restore", {"destination": f"l3/{name}"}).status == 400
    assert sorted(os.listdir(files.root / "l3")) == before


def test_l3_what_a_program_named_so_can_be_read_moved_deleted_and_restored(files: Files) -> None:
    folder = files.root / "l3 by program" / "a\nb"
    folder.mkdir(parents=True)
    (folder / "\x1b").write_bytes(b"found")
    escaped = "l3%20by%20program/a%0Ab"
    assert files.names(escaped) == ["\x1b"]
    assert files.read(f"{escaped}/%1B") == b"found"
    deleted = files.v1("DELETE", f"file/{escaped}").json()
    assert files.v1("POST", f"trash/{deleted['trash_id']}/restore").json()["path"] == "l3 by program/a\nb"
    assert files.v1("POST", f"copy/{escaped}", {"destination": "l3 by program/copy"}).status == 200
    assert files.v1("POST", f"rename/{escaped}", {"destination": "l3 by program/plain"}).status == 200
    assert files.read("l3%20by%20program/plain/%1B") == files.read("l3%20by%20program/copy/%1B") == b"found"


@pytest.mark.parametrize("path", [".", "%2e", "./w3", "w3/.", "./w3/./", "//data/.", "//data/./w3", "data/./w3"])
def test_w3_legacy_lists_drop_single_dots(files: Files, path: str) -> None:
    files.store("w3/a", b"x")
    plain = "w3" if "w3" in path else ""
    listed = files.old("GET", f"list/{path}")
    assert listed.status == 200
    assert {each["path"] for each in listed.json()} >= ({"/data/w3/a"} if plain else {"/data/w3"})
    assert files.old("GET", "file/./w3/./a").body == b"x"
    assert files.old("POST", "file/exists/w3/./a").json()["path"] == "/data/w3/a"
    for climbing in ("..", "./..", "w3/../..", "w3/./%2e%2e"):
        assert files.old("GET", f"list/{climbing}").status == 422
