"""`entrepot login`, `logout`, `whoami`, `profiles` and `completion`, and that no key is ever said."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest

from entrepot.cli.root import parser
from support.server import clean_environ, command


@pytest.fixture
def cli(tmp_path: Path):
    """Run a command as somebody who knows nothing yet: `cli("login", stdin="key")`."""

    def run(*args: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        env = clean_environ(tmp_path, **environ)
        return subprocess.run(
            command(*args), cwd=tmp_path, env=env, input=stdin, capture_output=True, text=True, timeout=120
        )

    return run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config" / "entrepot" / "config.toml"


def test_a_login_is_tried_saved_and_used_and_a_logout_forgets_it(server, cli, config, tmp_path):
    ran = cli("login", "--url", server.url + "/", stdin=server.key + "\n")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert tomllib.loads(config.read_text())["profiles"]["default"] == {"url": server.url, "key": server.key}

    (tmp_path / "a").write_text("a")
    assert cli("upload", "a").stdout.startswith(server.url)
    said = json.loads(cli("whoami", "--json").stdout)
    assert said["url_from"] == said["key_from"] == "profile default"
    assert (said["key_id"], said["reachable"], said["accepted"]) == (server.key.partition(":")[0], True, True)
    assert said["account"]["nickname"] == "default"

    ran = cli("logout")
    assert ran.returncode == 0 and "removed profile 'default'" in ran.stderr
    assert server.key.partition(":")[2] not in config.read_text()
    again = cli("logout")
    assert again.returncode == 3 and "No profile is current; saved are: none." in again.stderr
    assert cli("whoami").returncode == 2


def test_a_key_that_the_server_refuses_is_not_saved(server, cli, config):
    ran = cli("login", "--url", server.url, stdin="some:wrongsecret")
    assert ran.returncode == 4 and "Nothing was saved" in ran.stderr and "wrongsecret" not in ran.stderr
    assert not config.exists()
    assert cli("login", "--url", server.url, "--no-verify", stdin="some:wrongsecret").returncode == 0
    who = cli("whoami", "--json")
    said = json.loads(who.stdout)
    assert (who.returncode, said["reachable"], said["accepted"], said["account"]) == (4, True, False, None)


def test_a_server_out_of_reach_is_told_apart_from_a_refusal(cli):
    environ = {"ENTREPOT_URL": "http://127.0.0.1:1", "ENTREPOT_KEY": "some:secret"}
    who = cli("whoami", "--json", **environ)
    said = json.loads(who.stdout)
    assert (who.returncode, said["reachable"], said["accepted"]) == (1, False, False)
    assert "server out of reach" in cli("whoami", **environ).stdout


@pytest.mark.parametrize(
    "args",
    [
        ["login", "id:0123456789abcdef"],
        ["login", "--key", "id:0123456789abcdef"],
        ["login", "--key=id:0123456789abcdef"],
        ["upload", "--key=id:0123456789abcdef", "x"],
        ["id:0123456789abcdef"],
    ],
    ids=" ".join,
)
def test_a_key_on_the_command_line_is_refused_and_not_repeated(cli, args):
    ran = cli(*args)
    assert ran.returncode == 2
    assert "0123456789abcdef" not in ran.stdout + ran.stderr


@pytest.mark.parametrize("text", ["", "nocolonatall", "two words:x", "id:ö"])
def test_what_is_no_key_is_refused_and_not_repeated(cli, text):
    ran = cli("login", "--url", "http://127.0.0.1:1", stdin=text)
    assert ran.returncode == 2 and "This is no key" in ran.stderr
    assert not text or text not in ran.stderr


def test_a_key_that_is_no_text_is_refused(tmp_path):
    env = clean_environ(tmp_path, PYTHONIOENCODING="utf-8:strict")
    args = command("login", "--url", "http://127.0.0.1:1")
    ran = subprocess.run(args, env=env, input=b"id:\xff\xfesecret\n", capture_output=True, timeout=60)
    assert ran.returncode == 2 and b"This is no key" in ran.stderr and b"Traceback" not in ran.stderr


@pytest.mark.parametrize("typed", [b"\x04", b"id:\xff\xfesecret\n"], ids=["the end", "no text"])
def test_a_person_who_types_no_key_is_told_so(tmp_path, typed):
    terminal, theirs = pty.openpty()
    args = command("login", "--url", "http://127.0.0.1:1")
    ran = subprocess.Popen(args, env=clean_environ(tmp_path), stdin=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = b""
    while b"not shown" not in shown:
        shown += os.read(terminal, 4096)
    os.write(terminal, typed)
    with contextlib.suppress(OSError):  # EIO is how a terminal ends
        while more := os.read(terminal, 4096):
            shown += more
    os.close(terminal)
    assert ran.wait() == 2 and b"This is no key" in shown and b"Traceback" not in shown


@pytest.mark.parametrize("url", ["media.example.com", "https://u:p@x", "https://x/path"])
def test_a_url_that_is_no_origin_is_refused(cli, url):
    assert cli("login", "--url", url, stdin="some:key").returncode == 2
    assert cli("login", stdin="some:key").returncode == 2  # no server at all


def test_a_login_is_for_one_of_the_servers_that_the_variable_names(cli, config):
    several = {"ENTREPOT_URL": "http://127.0.0.1:1, http://127.0.0.1:2"}
    ran = cli("login", "--no-verify", stdin="some:key", **several)
    assert ran.returncode == 2 and "here are several" in ran.stderr
    assert cli("login", "--no-verify", "--url", "http://127.0.0.1:2", stdin="some:key", **several).returncode == 0
    assert tomllib.loads(config.read_text())["profiles"]["default"]["url"] == "http://127.0.0.1:2"


def test_half_of_a_password_that_looks_like_a_port_is_not_repeated(cli):
    ran = cli("login", "--url", "https://user:s3cr3t/half@host", stdin="some:key")
    assert ran.returncode == 2 and "s3cr3t" not in ran.stderr


def test_profiles_are_listed_and_chosen(cli, config):
    for name in ("one", "two"):
        url = f"https://{name}.example.com"
        cli("login", "--url", url, "--profile", name, "--no-verify", stdin=f"id-{name}:secret-{name}")
    rows = [line.split("\t") for line in cli("profiles").stdout.splitlines()]
    assert rows == [
        [" ", "one", "https://one.example.com", "id-one"],
        ["*", "two", "https://two.example.com", "id-two"],
    ]
    assert cli("profiles", "use", "one").returncode == 0
    said = [json.loads(line) for line in cli("profiles", "--json").stdout.splitlines()]
    assert [(one["name"], one["current"]) for one in said] == [("one", True), ("two", False)]
    assert cli("profiles", "use", "three").returncode == 3


def test_n2_logout_says_where_commands_go_afterwards(cli, config):
    """The only profile that is left is the current one; of several one must be chosen."""
    said = []
    for name in ("one", "two", "three"):
        ran = cli("login", "--url", f"https://{name}.example.com", "--profile", name, "--no-verify", stdin="id:secret")
        said.append(ran.stderr.splitlines()[1:])
    assert said[0] == [] and "go back to 'two' with: entrepot profiles use two" in said[2][0]
    assert (
        "no profile is current now; saved are: one, two. Choose one: entrepot profiles use one" in cli("logout").stderr
    )
    lost = cli("whoami")
    assert lost.returncode == 3 and "No profile is current; saved are: one, two." in lost.stderr
    assert "entrepot profiles use NAME" in lost.stderr
    assert "commands go to https://two.example.com now (profile 'two')" in cli("logout", "--profile", "one").stderr
    assert [line.split("\t")[:2] for line in cli("profiles").stdout.splitlines()] == [["*", "two"]]
    assert list(tomllib.loads(config.read_text())["profiles"]) == ["two"]


def test_j04_flags_win_over_variables_and_those_over_the_file(cli):
    """The key of each place has an id of its own, by which the winner is known."""
    for name in ("one", "two"):
        cli("login", "--url", "http://127.0.0.1:1", "--profile", name, "--no-verify", stdin=f"{name}:key")

    def key_id(*args: str, **environ: str) -> str:
        return str(json.loads(cli("whoami", "--json", *args, **environ).stdout)["key_id"])

    assert key_id() == "two"
    assert key_id(ENTREPOT_PROFILE="one") == "one"
    assert key_id(ENTREPOT_KEY="env:key") == "env"
    assert key_id("--profile", "one", ENTREPOT_KEY="env:key", ENTREPOT_PROFILE="two") == "one"


def test_j04_a_profile_file_that_cannot_be_read_is_one_sentence(cli, config):
    config.parent.mkdir(parents=True)
    config.write_text('[profiles.default]\nkey = "id:verysecret\n')
    for args in (["whoami"], ["profiles"], ["upload", __file__], ["logout"]):
        ran = cli(*args)
        assert ran.returncode == 2 and str(config) in ran.stderr
        assert "verysecret" not in ran.stderr and "Traceback" not in ran.stderr
    config.unlink()
    config.mkdir()
    assert cli("whoami").returncode == 2


def test_whoami_prints_the_key_alone_when_asked_for_it(cli):
    environ = {"ENTREPOT_URL": "http://127.0.0.1:1", "ENTREPOT_KEY": "some:secret"}
    ran = cli("whoami", "--key", **environ)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "some:secret\n", "")
    assert cli("whoami", "--key", "--json", **environ).returncode == 2


def test_j04_the_key_is_in_no_output(server, cli):
    secret = server.key.partition(":")[2]
    environ = {"ENTREPOT_URL": server.url, "ENTREPOT_KEY": server.key}
    for args in (["whoami"], ["whoami", "--json"], ["upload", __file__], ["upload", "missing"], ["profiles"]):
        ran = cli(*args, **environ)
        assert secret not in ran.stdout + ran.stderr


def test_a_flag_or_command_that_is_misspelt_is_answered_with_the_right_one(cli):
    for args, meant in (
        (["lgoin"], "login"),
        (["upload", "x", "--dryrun"], "--dry-run"),
        (["whoami", "--jsn"], "--json"),
        (["upload", "x", "--conc", "3"], "--concurrency"),
        (["comp", "bash"], "completion"),
    ):
        ran = cli(*args)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert f"Did you mean: {meant}?" in ran.stderr


def test_a_page_of_a_proxy_is_a_readable_message(cli, tmp_path):
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = b"<html><head><title>Sign in to Corp Wi-Fi</title></head><body>...</body></html>"
            self.send_response(403)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as proxy:
        Thread(target=proxy.serve_forever, daemon=True).start()
        environ = {"ENTREPOT_URL": f"http://127.0.0.1:{proxy.server_port}", "ENTREPOT_KEY": "some:secret"}
        ran = cli("upload", __file__, **environ)
        proxy.shutdown()
    assert ran.returncode == 4
    assert "Sign in to Corp Wi-Fi" in ran.stderr and "<" not in ran.stderr and "proxy" in ran.stderr


def test_nothing_heavy_is_loaded_for_the_help():
    heavy = "{'asyncio', 'httpcore2', 'httpx2', 'pydantic', 'fastapi', 'ssl', 'urllib.request', 'apsw'}"
    program = f"import sys, entrepot.cli.root as m; m.parser().format_help(); print({heavy} & set(sys.modules))"
    ran = subprocess.run([command()[0], "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.stdout == "set()\n", ran.stderr


def complete(folder: Path, script: str, *words: str) -> list[str]:
    """What bash offers for the last word."""
    given = " ".join(f"'{word}'" for word in words)
    lines = (
        f"{script}\nCOMP_WORDS=({given}); COMP_CWORD={len(words) - 1}; _entrepot; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    ran = subprocess.run(["bash", "-c", lines], cwd=folder, capture_output=True, text=True, timeout=60)
    assert ran.stderr == ""
    return ran.stdout.splitlines()


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_bash_completes_commands_flags_values_and_files(cli, tmp_path):
    script = cli("completion", "bash").stdout
    (tmp_path / "a file.png").touch()
    assert complete(tmp_path, script, "entrepot", "up") == ["upload", "uploads"]
    assert set(complete(tmp_path, script, "entrepot", "log")) == {"login", "logout"}
    assert complete(tmp_path, script, "entrepot", "upload", "--priv") == ["--private"]
    assert complete(tmp_path, script, "entrepot", "upload", "--expires", "im") == ["immediate"]
    assert complete(tmp_path, script, "entrepot", "keys", "cr") == ["create"]
    assert complete(tmp_path, script, "entrepot", "keys", "create", "--na") == ["--name"]
    assert complete(tmp_path, script, "entrepot", "upload", "a") == ["a file.png"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_knows_every_command_and_is_well_formed(cli, tmp_path, shell):
    script = cli("completion", shell).stdout
    (commands,) = [action for action in parser()._actions if action.dest == "command"]
    assert commands.choices
    for name in commands.choices:
        assert name in script
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        assert subprocess.run([shell, "-n", str(tmp_path / "script")], timeout=60).returncode == 0
