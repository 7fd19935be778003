"""What the command says when something fails: in the words of who typed it, and what to type next."""

from __future__ import annotations

import re
from pathlib import Path

import httpcore2
import pytest

from entrepot.api.responses import STATUS
from entrepot.cli import exits
from entrepot.cli.main import main
from entrepot.client.commands import Request
from entrepot.client.errors import ServerError, Stalled
from entrepot.client.http import _failure
from entrepot.domain.errors import Code
from support.server import Server, free_port
from support.stubs import Stub, said

# What is for programs that speak HTTP, or for who wrote the client.
INTERNAL = re.compile(r"Errno|fal_v3|\(fal\)|Authorization|header|httpcore|_ssl\.c|default_timeout|Traceback")


@pytest.fixture
def run(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    Path("a").write_text("a")
    for name, value in (("ENTREPOT_URL", server.url), ("ENTREPOT_KEY", server.key), ("HOME", str(tmp_path))):
        monkeypatch.setenv(name, value)

    def run(line: str, **environ: str) -> tuple[int, str]:
        with monkeypatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            code = main(line.split())
        err = capsys.readouterr().err
        assert not INTERNAL.search(err), err
        return code, err

    return run


@pytest.mark.parametrize("line", ["upload a", "files ls", "whoami", "files upload a x", "files rm x"])
def test_n4_a_wrong_key_leads_to_login(run, line):
    for key in ("id:secret", "nonsense"):
        code, err = run(line, ENTREPOT_KEY=key)
        assert code == 4 and "fix: Correct ENTREPOT_KEY, or unset it and run entrepot login." in err


def test_n4_what_is_in_the_way_leads_to_the_flag(run, tmp_path):
    place = tmp_path.name
    for name in ("a", "b", "d/a"):
        assert run(f"files upload -q a {place}/{name}")[0] == 0
    for line in (f"mv {place}/a {place}/b", f"cp {place}/a {place}/b", f"cp {place}/a {place}/d"):
        code, err = run(f"files {line}")
        assert code == 5 and "fix: Replace it with --overwrite" in err
        assert "--overwrite" not in run(f"files {line} --overwrite")[1]
        run(f"files upload -q a {place}/a")
    code, err = run(f"files cp -r {place}/d {place}/b")  # a folder is not put in place of a file
    assert code == 5 and "--overwrite" not in err
    for line in (f"upload --no-overwrite a {place}/b", f"download --no-overwrite {place}/b a"):
        code, err = run(f"files {line}")
        assert code == 5 and "leave out --no-overwrite" in err


@pytest.mark.parametrize("code", Code, ids=lambda code: code.code)
def test_n4_every_refusal_is_said_in_the_words_of_the_command(code, monkeypatch):
    monkeypatch.delenv("ENTREPOT_KEY", raising=False)
    failure = exits.failure(ServerError("No.", code.fix, STATUS[code], code.code, "r1"))
    assert failure.fix and not INTERNAL.search(failure.fix)


@pytest.mark.parametrize(
    ("kind", "code", "told"),
    [
        (Code.FORBIDDEN, 4, "entrepot whoami"),
        (Code.PRECONDITION_FAILED, 5, "entrepot files ls"),
        (Code.TOO_LARGE, 1, "smaller file"),
        (Code.RATE_LIMITED, 1, "run the same command again"),
        (Code.INSUFFICIENT_STORAGE, 1, "free space"),
    ],
    ids=str,
)
def test_n4_what_a_server_refuses_says_what_to_do(run, kind, code, told):
    body = {"error": {"message": "No.", "code": kind.code, "fix": kind.fix, "type": "x"}}
    with Stub(lambda asked: said(STATUS[kind], body, retry_after="600")) as stub:
        done, err = run("files ls", ENTREPOT_URL=stub.url)
    assert (done, told in err) == (code, True), err


def test_n4_a_server_that_is_not_there_is_said_so(run, server):
    code, err = run("whoami", ENTREPOT_URL=f"http://127.0.0.1:{free_port()}")
    assert code == 1 and "cannot be reached: Connection refused.\n  fix: Check the server's URL" in err
    code, err = run("whoami", ENTREPOT_URL=server.url.replace("http:", "https:"))
    assert code == 1 and "it does not speak TLS" in err


def test_n4_no_number_of_an_error_shows_through():
    asked = Request("GET", "http://host/files?x")
    for error, said_ in (
        (
            httpcore2.ConnectError("[Errno -2] Name or service not known"),
            "cannot be reached: Name or service not known.",
        ),
        (httpcore2.ReadError("[Errno 104] Connection reset by peer"), "broke: Connection reset by peer."),
        (
            httpcore2.ConnectError("[SSL: TLSV1_ALERT_X] tlsv1 alert x (_ssl.c:1006)"),
            "cannot be reached: tlsv1 alert x.",
        ),
        (httpcore2.ConnectTimeout("timed out"), "cannot be reached: timed out."),
    ):
        assert _failure(error, asked).message.endswith(said_)
    failure = exits.failure(Stalled("It stalled.", "Raise default_timeout."))
    assert "--timeout" in failure.fix


@pytest.mark.skipif(not Path("/proc").exists(), reason="a folder that nobody can write into")
def test_n4_what_this_machine_refuses_is_said_so(run, tmp_path):
    assert run(f"files upload -q a {tmp_path.name}/a")[0] == 0
    code, err = run(f"files download {tmp_path.name}/a /proc/nothing")
    assert code == 1 and "/proc/nothing: " in err and "fix: Check the folder" in err
    code, err = run("upload missing")
    assert code == 3 and "missing: No such file or directory" in err
