"""What a newcomer meets: the first start, what it prints, and the commands beside it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import stat
import subprocess
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot import __version__
from support.server import FirstServer, clean_environ, command, free_port


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstServer]:
    server = FirstServer(tmp_path_factory.mktemp("first"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def key(first: FirstServer) -> str:
    (found,) = re.findall(r"^Your key, shown this once: +(\S+)$", "\n".join(first.said()), re.MULTILINE)
    return found


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as reply:
        return reply.read()


def test_the_first_start_says_where_it_is_the_key_once_and_three_lines_to_try(first, key):
    lines = first.said()
    assert lines[0] == f"Entrepot serves {first.home} on {first.url}"
    assert sum("shown this once" in line for line in lines) == 1
    tries = [line.strip() for line in lines[lines.index("Try it from another terminal:") + 1 :] if line[:2] == "  "]
    assert [shlex.split(line)[0].rpartition("/")[2] for line in tries] == ["curl", "entrepot", "python"]


def test_the_three_lines_work_as_printed(first, key):
    (first.folder / "picture.png").write_bytes(b"not really a picture")
    tries = [line.strip() for line in first.said() if line.startswith("  ")]
    assert len(tries) == 3
    for line in tries:
        environ = clean_environ(first.folder)
        ran = subprocess.run(
            line, shell=True, cwd=first.folder, env=environ, capture_output=True, text=True, timeout=120
        )
        assert ran.returncode == 0, f"{line}\n{ran.stderr}"
        url = json.loads(ran.stdout)["access_url"] if line.startswith("curl") else ran.stdout.strip()
        assert fetch(url) == (b"hello" if line.startswith("curl") else b"not really a picture")


def test_the_profile_can_be_read_by_its_user_only(first, key):
    assert stat.S_IMODE(first.profile.stat().st_mode) == 0o600
    saved = tomllib.loads(first.profile.read_text())
    assert saved["profiles"][saved["current"]] == {"url": first.url, "key": key}


def test_only_the_hash_of_the_key_is_stored(first, key):
    secret = key.partition(":")[2].encode()
    assert len(secret) >= 32
    files = [path for path in first.home.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        assert secret not in content and bytes.fromhex(secret.decode()) not in content, path


def test_the_log_says_the_key_once_and_no_request_line_has_it(first, key):
    assert all(key.partition(":")[2] not in json.dumps(line) for line in first.log_lines())


def test_c5_n2_w6_a_server_is_saved_when_none_is_and_found_on_its_new_port(tmp_path):
    """One server after another for one user: each says where the user's commands go."""
    config = {"ENTREPOT_CONFIG": str(tmp_path / "config.toml")}
    public = {"public_url": "https://rest.fal.ai"}  # stands in for fal, where names are redirected
    one = FirstServer(tmp_path / "one", public, config)
    address = f"http://127.0.0.1:{one.port}"
    one_said = served(one)
    assert one_said[:2] == [
        f"Entrepot serves {one.home} on {address}",
        "Links that it gives begin with https://rest.fal.ai.",
    ]
    assert one_said[-1] == "Entrepot has stopped."
    assert f"{address}/files/upload" in "\n".join(one_said)
    profiles = tomllib.loads((tmp_path / "config.toml").read_text())
    key = profiles["profiles"]["default"]["key"]
    assert profiles == {"current": "default", "profiles": {"default": {"url": address, "key": key}}}

    two_said = "\n".join(served(FirstServer(tmp_path / "two", {}, config)))
    assert f"It is not saved: this user's commands go to {address} (profile 'default'; saved are: default)." in two_said
    assert "entrepot login --url http://127.0.0.1:" in two_said
    assert re.search(r"^  ENTREPOT_URL=\S+ ENTREPOT_KEY=\S+ \S+entrepot upload picture.png$", two_said, re.MULTILINE)
    assert tomllib.loads((tmp_path / "config.toml").read_text()) == profiles

    one.port = free_port()
    address = f"http://127.0.0.1:{one.port}"
    assert served(one, first=False) == [  # the second start: no key is shown
        f"Entrepot serves {one.home} on {address}",
        "Links that it gives begin with https://rest.fal.ai.",
        "Profile 'default' points here now.",
        "Entrepot has stopped.",
    ]
    moved = {"url": address, "key": key}
    assert tomllib.loads((tmp_path / "config.toml").read_text())["profiles"] == {"default": moved}


def served(server: FirstServer, *, first: bool = True) -> list[str]:
    """What a server says to people from its start to its end."""
    if server.log_path.exists():
        server.log_path.unlink()
    try:
        server.start()
        server.said(first=first)
    finally:
        server.stop()
    return [line for line in server.log().splitlines() if not line.startswith("{")]


def test_n8_a_terminal_is_shown_lines_to_read(tmp_path):
    terminal, theirs = pty.openpty()
    server = FirstServer(tmp_path)
    environ = clean_environ(tmp_path)
    process = subprocess.Popen(
        command(*server.arguments()), env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown = ""
    try:
        while "Stop with Ctrl-C." not in shown:
            shown += os.read(terminal, 4096).decode()
        while True:
            with contextlib.suppress(OSError):
                fetch(f"http://127.0.0.1:{server.port}/healthz?sig=hushhush")
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # EIO is how a terminal ends
            while more := os.read(terminal, 4096):
                shown += more.decode()
    finally:
        os.close(terminal)
        process.kill()
    assert process.wait() == 0
    lines = [line for line in shown.splitlines() if "/healthz" in line]
    assert lines and re.fullmatch(r"\d\d:\d\d:\d\d 200 GET /healthz \d+ bytes in \d+ ms", lines[0])
    assert shown.splitlines()[-1] == "Entrepot has stopped."
    assert "hushhush" not in shown and "{" not in shown


def test_upload_prints_the_url_alone(first, key, tmp_path):
    file = tmp_path / "note.txt"
    file.write_bytes(b"a note")
    ran = first.run("upload", str(file))
    assert re.fullmatch(rf"{re.escape(first.url)}/files/b/\w{{8}}/\w+_note\.txt\n", ran.stdout)
    assert ran.stderr == ""
    assert fetch(ran.stdout.strip()) == b"a note"


def test_upload_prints_one_json_object_a_file(first, key, tmp_path):
    files = [tmp_path / "one.txt", tmp_path / "zwei ü.txt"]
    for file in files:
        file.write_text(file.name)
    ran = first.run("upload", "--json", *map(str, files))
    said = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [one["file"] for one in said] == [str(file) for file in files]
    assert [fetch(one["url"]).decode() for one in said] == [file.name for file in files]
    assert said[0]["size"] == len("one.txt") and said[0]["digest"].startswith("sha256:")


def test_a_program_with_a_key_of_fal_finds_the_server(first, key, tmp_path):
    file = tmp_path / "note.txt"
    file.write_bytes(b"a note")
    environ = {"ENTREPOT_CONFIG": str(tmp_path / "none.toml"), "ENTREPOT_URL": first.url, "FAL_KEY": key}
    assert fetch(first.run("upload", str(file), **environ).stdout.strip()) == b"a note"


def test_keys_are_made_listed_and_revoked_beside_a_running_server(first, key, tmp_path):
    home = ["--home", str(first.home)]
    made = json.loads(first.run("keys", "create", "--json", "--name", "laptop", *home).stdout)
    assert made["key"].startswith(made["id"] + ":") and made["name"] == "laptop"
    file = tmp_path / "note.txt"
    file.write_bytes(b"a note")
    environ = {"ENTREPOT_URL": first.url, "ENTREPOT_KEY": made["key"]}
    first.run("upload", str(file), **environ)

    listed = first.run("keys", "list", *home).stdout
    assert made["key"].partition(":")[2] not in listed
    (line,) = [line for line in listed.splitlines() if line.startswith(made["id"])]
    assert line.split("\t")[1:] == ["default", line.split("\t")[2], "active", "laptop"]

    first.run("keys", "revoke", made["id"], *home)
    refused = first.run("upload", str(file), check=False, **environ)
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "revoked" in refused.stderr and "fix:" in refused.stderr and "request " in refused.stderr


def run(folder: Path, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    environ = clean_environ(folder, **environ)
    return subprocess.run(command(*args), env=environ, capture_output=True, text=True, timeout=120)


def test_keys_are_made_on_a_home_without_a_server(tmp_path):
    home = ["--home", str(tmp_path / "home")]
    first = json.loads(run(tmp_path, "keys", "create", "--init", "--json", *home).stdout)
    second = json.loads(run(tmp_path, "keys", "create", "--json", *home).stdout)
    listed = run(tmp_path, "keys", "list", "--json", *home).stdout.splitlines()
    assert [json.loads(line)["id"] for line in listed] == [first["id"], second["id"]]


def test_a_home_that_is_not_there_is_not_made(tmp_path):
    for verb in (["create", "--json"], ["list"], ["revoke", "x"]):
        ran = run(tmp_path, "keys", *verb, "--home", str(tmp_path / "home"))
        assert (ran.returncode, ran.stdout) == (3, "")
        assert "There is no home" in ran.stderr and "fix: Name the one" in ran.stderr
        assert ("--init" in ran.stderr) == (verb[0] == "create")
    assert list(tmp_path.iterdir()) == []


def test_the_key_to_revoke_must_exist(tmp_path):
    home = ["--home", str(tmp_path / "home")]
    run(tmp_path, "keys", "create", "--init", *home)
    assert run(tmp_path, "keys", "revoke", "unknown", *home).returncode == 3


def test_the_version_is_printed(tmp_path):
    ran = run(tmp_path, "--version")
    assert (ran.returncode, ran.stdout) == (0, f"entrepot {__version__}\n")


@pytest.mark.parametrize(
    ("typed", "meant"), [(["uplaod"], "upload"), (["srve"], "serve"), (["keys", "craete"], "create")]
)
def test_a_misspelt_command_is_answered_with_the_one_that_was_meant(tmp_path, typed, meant):
    ran = run(tmp_path, *typed)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert f"Did you mean: {meant}?" in ran.stderr


def test_the_exit_code_says_what_kind_of_failure_it_was(first, key, tmp_path):
    file = tmp_path / "note.txt"
    file.write_bytes(b"a note")
    missing = str(tmp_path / "missing")
    assert first.run("upload", missing, check=False).returncode == 3
    some = first.run("upload", str(file), missing, check=False)
    assert some.returncode == 7 and some.stdout.count("\n") == 1
    wrong = {"ENTREPOT_URL": first.url, "ENTREPOT_KEY": "no:key"}
    assert first.run("upload", str(file), check=False, **wrong).returncode == 4
    nowhere = {"ENTREPOT_URL": "http://127.0.0.1:1", "ENTREPOT_KEY": key}
    assert first.run("upload", str(file), check=False, **nowhere).returncode == 1
    assert run(tmp_path, "upload", str(file)).returncode == 2  # no server is configured
    assert run(tmp_path, "serve", "--port", "no").returncode == 2
    assert run(tmp_path, "serve", "--host", "0.0.0.0").returncode == 2


def test_a_profile_that_others_can_read_is_refused(tmp_path):
    profile = tmp_path / "profile.toml"
    profile.write_text('[profiles.default]\nurl = "http://127.0.0.1:1"\nkey = "a:b"\n')
    profile.chmod(0o644)
    ran = run(tmp_path, "upload", __file__, ENTREPOT_CONFIG=str(profile))
    assert ran.returncode == 2
    assert f"chmod 600 {profile}" in ran.stderr


def test_a_saved_key_goes_to_no_other_server(first, key):
    ran = first.run("upload", __file__, check=False, ENTREPOT_URL="http://127.0.0.1:1")
    assert ran.returncode == 2
    assert "There is no key for http://127.0.0.1:1" in ran.stderr


def test_a_port_that_is_taken_is_refused(first, tmp_path):
    ran = run(tmp_path, "serve", "--home", str(tmp_path / "home"), "--port", str(first.port))
    assert ran.returncode == 2
    assert "Choose another --port" in ran.stderr


def test_an_address_that_is_not_of_this_machine_is_refused(tmp_path):
    ran = run(tmp_path, "serve", "--home", str(tmp_path / "home"), "--host", "192.0.2.7")
    assert ran.returncode == 2
    assert "Cannot listen on 192.0.2.7:8000" in ran.stderr and "Choose another --host" in ran.stderr


def test_a_first_key_is_shown_though_it_cannot_be_saved(tmp_path):
    server = FirstServer(tmp_path, environ={"XDG_CONFIG_HOME": "/dev/null/none"})
    try:
        server.start()
        said = "\n".join(server.said())
    finally:
        server.stop()
    (shown,) = re.findall(r"^Your key, shown this once: +(\S+)$", said, re.MULTILINE)
    assert "It could not be saved" in said
    assert "ENTREPOT_KEY" in said
    assert shown.partition(":")[0] in server.run("keys", "list", "--home", str(server.home)).stdout


def test_a_folder_with_foreign_files_is_not_made_a_home(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(b"x")
    for words in (["serve", "--port", str(free_port())], ["keys", "create", "--init"]):
        ran = run(tmp_path, *words, "--home", str(photos))
        assert (ran.returncode, ran.stdout) == (1, "")
        assert f"entrepot: The folder {photos} is not a home, and it is not empty: it holds 'a.jpg'." in ran.stderr
    assert [path.name for path in photos.iterdir()] == ["a.jpg"]


def test_a_home_may_hold_volume_certificate_and_settings_before_the_first_start(tmp_path):
    home = tmp_path / "home"
    (home / "shared").mkdir(parents=True)
    (home / "shared" / "a.bin").write_bytes(b"mine")
    (home / "settings.toml").write_text(f'volume = "{home / "shared"}"\n')
    ran = run(tmp_path, "keys", "create", "--init", "--home", str(home))
    assert ran.returncode == 1 and "it holds 'settings.toml', 'shared'." in ran.stderr
    server = FirstServer(tmp_path, environ={"ENTREPOT_SETTINGS": str(home / "settings.toml")})
    try:
        server.start()
        key = next(line for line in server.said() if "shown this once" in line).split()[-1]
        request = urllib.request.Request(f"{server.url}/v1/serverless/files/file/a.bin")
        request.add_header("authorization", f"Key {key}")
        assert urllib.request.urlopen(request, timeout=10).read() == b"mine"
    finally:
        server.stop()


def test_a_home_that_cannot_be_made_is_one_sentence(tmp_path):
    ran = run(tmp_path, "serve", "--home", "/dev/null/home", "--port", "8000")
    assert ran.returncode in (1, 2)
    assert "Traceback" not in ran.stderr
    assert "entrepot:" in ran.stderr
