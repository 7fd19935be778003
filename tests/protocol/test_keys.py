"""Keys, tokens and signatures: who gets in, what a refusal says, and that no secret is ever shown again."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.server import Server
from support.talk import Talk
from support.trees import files_below

DATA = b"private bytes"
FORBID = '{"initial_acl": {"default": "forbid"}}'


def new_key(server: Server) -> str:
    return str(json.loads(server.run("keys", "create", "--json", "--home", str(server.home)).stdout)["key"])


def revoke(server: Server, key: str) -> None:
    server.run("keys", "revoke", key.partition(":")[0], "--home", str(server.home))


@pytest.mark.parametrize("scheme", ["Key {}", "key {}", "KEY  {}", "Bearer {}", "bearer {}"])
def test_a_key_is_taken_under_either_scheme(talk: Talk, scheme: str) -> None:
    assert talk.upload(DATA, authorization=scheme.format(talk.server.key))


WRONG = ["", "Key", "Key ", "Key a", "Key a:b", "Key :", "Bearer", "Bearer x", "Bearer a.b", "Basic YTpi", "nonsense",
         "Key {id}:{wrong}", "Key {id}:", "Key {id}", "Key {id}:{secret}x", "Key {ID}:{secret}", "Key {secret}:{id}",
         "Bearer {secret}", "Key \xff:\xff", "Key " + "x" * 5000 + ":y"]  # fmt: skip


@pytest.mark.parametrize("header", WRONG, ids=range(len(WRONG)))
def test_a_wrong_key_is_401_with_a_clear_body_on_every_route(talk: Talk, header: str) -> None:
    key_id, _, secret = talk.server.key.partition(":")
    value = header.format(id=key_id, secret=secret, ID=key_id.upper(), wrong="0" * len(secret)).encode("latin-1")
    for path in ("/files/upload", "/storage/upload/initiate", "/storage/auth/token"):
        reply = talk.post(path, b'{"file_name": "a"}', authorization=value)
        assert reply.status == 401
        told = reply.json()
        assert told["code"] == "unauthorized"
        assert told["detail"] == told["message"]
        assert "Key" in told["fix"]
        assert reply.headers["www-authenticate"].startswith("Key")
        assert secret not in reply.body.decode()


def test_no_header_at_all_is_401_on_every_route_that_writes(talk: Talk) -> None:
    for path in ("/files/upload", "/storage/upload/initiate", "/storage/auth/token"):
        reply = talk.ask("POST", path, {}, b'{"file_name": "a"}')
        assert (reply.status, reply.json()["detail"]) == (401, "Authorization header is required.")


def test_a_wrong_key_is_401_also_where_none_is_needed(talk: Talk) -> None:
    url = talk.upload(DATA)
    assert talk.get(url, authorization="Key a:b").status == 401


def test_an_unknown_key_and_a_wrong_secret_get_the_same_answer(talk: Talk) -> None:
    key_id = talk.server.key.partition(":")[0]
    replies = [talk.post("/files/upload", DATA, authorization=f"Key {k}:wrong") for k in (key_id, "0" * 32)]
    bodies = [{k: v for k, v in reply.json().items() if k != "request_id"} for reply in replies]
    assert bodies[0] == bodies[1]


def test_a_key_in_the_query_or_in_a_cookie_opens_nothing(talk: Talk) -> None:
    url = talk.upload(DATA, x_fal_object_lifecycle=FORBID)
    key = talk.server.key
    for query in (f"?key={key}", f"?authorization=Key%20{key}", f"?fal_key={key}", f"?identity={key}"):
        assert talk.get(url + query).status == 403
    assert talk.get(url, cookie=f"authorization=Key {key}").status == 403


def test_tokens_and_signatures_die_with_their_key(talk: Talk) -> None:
    key = new_key(talk.server)
    held = {"authorization": f"Key {key}"}
    url = talk.upload(DATA, **held, x_fal_object_lifecycle=FORBID)
    token, urls = talk.token(**held), talk.initiate(**held)
    assert talk.get(url, authorization=token).status == 200
    revoke(talk.server, key)
    for path in ("/files/upload", "/storage/upload/initiate", "/storage/auth/token"):
        assert talk.post(path, b'{"file_name": "a"}', **held).status == 401
    assert talk.get(url, authorization=token).status == 401
    assert talk.post("/files/upload", DATA, authorization=token).status == 401
    assert talk.put(urls["upload_url"], DATA).status == 403
    assert talk.get(urls["file_url"]).status == 404
    # The account's other keys, and its files, live on.
    assert talk.get(url, **talk.key).status == 200


@pytest.mark.parametrize("position", [0, 5, 30, -1])
def test_a_changed_token_or_signature_is_refused(talk: Talk, position: int) -> None:
    token = talk.token().removeprefix("Bearer ")
    at = position % len(token)
    changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
    assert talk.post("/files/upload", DATA, authorization=f"Bearer {changed}").status == 401
    urls = talk.initiate()
    signature = urlsplit(urls["upload_url"]).query.partition("=")[2]
    at = position % len(signature)
    changed = signature[:at] + ("A" if signature[at] != "A" else "B") + signature[at + 1 :]
    assert talk.put(f"{urls['file_url']}?signature={changed}", DATA).status == 403


def test_d14_ids_have_128_random_bits_and_more(talk: Talk) -> None:
    ids = [urlsplit(talk.upload(DATA)).path.rpartition("/")[2].partition(".")[0] for _ in range(20)]
    assert all(re.fullmatch(r"[0-9A-Za-z]{28}", each) for each in ids)
    random = [each[6:] for each in ids]  # behind the second: 62 ** 22 > 2 ** 130
    assert len({each[:4] for each in random}) == 20, "no common start that would make the rest guessable"


def test_d14_another_account_neither_reads_nor_writes_what_is_not_its_own(talk: Talk, stranger: str) -> None:
    theirs = {"authorization": f"Key {stranger}"}
    hidden = talk.upload(DATA, x_fal_object_lifecycle='{"initial_acl": {"default": "hide"}}')
    assert talk.get(hidden, **theirs).status == 404
    assert talk.get(hidden, authorization=talk.token(**theirs)).status == 404
    urls = talk.initiate()
    assert talk.put(urls["file_url"], DATA, **theirs).status == 403
    foreign = urlsplit(talk.initiate(**theirs)["upload_url"]).query
    assert talk.put(f"{urls['file_url']}?{foreign}", DATA).status == 403
    assert talk.get(urls["file_url"]).status == 404


def test_d14_a_guessed_id_is_404(talk: Talk) -> None:
    folder, _, last = urlsplit(talk.upload(DATA)).path.rpartition("/")
    for guess in ("0" * 22, last[:21] + ("x" if last[21] != "x" else "y")):
        assert talk.get(f"{folder}/{guess}.bin").status == 404


# D09: what is secret is not shown


def test_d09_only_a_hash_of_a_key_is_kept(server: Server) -> None:
    secret = server.key.partition(":")[2]
    for path in files_below(server.home):
        with contextlib.suppress(FileNotFoundError):  # what the keeper removes meanwhile
            content = path.read_bytes()
            assert secret.encode() not in content, path
            assert bytes.fromhex(secret) not in content, path
    with sqlite3.connect(f"file:{server.home / 'catalogue.db'}?mode=ro", uri=True) as db:
        columns = {row[1] for row in db.execute("PRAGMA table_info(keys)")}
    assert "secret" not in columns


def test_d09_keys_are_listed_without_their_secrets(server: Server) -> None:
    listed = server.run("keys", "list", "--json", "--home", str(server.home))
    plain = server.run("keys", "list", "--home", str(server.home))
    assert server.key.partition(":")[0] in listed.stdout
    assert server.key.partition(":")[2] not in listed.stdout + listed.stderr + plain.stdout + plain.stderr


def test_d09_a_failing_command_does_not_show_the_key(server: Server) -> None:
    secret = "s" * 64
    for url in ("http://127.0.0.1:9", server.url):
        failed = server.run("upload", __file__, check=False, ENTREPOT_URL=url, ENTREPOT_KEY=f"abc:{secret}")
        assert failed.returncode != 0
        assert secret not in failed.stdout + failed.stderr


@pytest.mark.parametrize(
    ("secret", "says"),
    [("", "empty"), ("changeme", "random"), ("0" * 64, "random"), ("ab" * 16, "short"), ("not hex " * 8, "random")],
)
def test_d13_an_empty_default_or_weak_signing_secret_refuses_to_start(tmp_path: Path, secret: str, says: str) -> None:
    refused = Server(tmp_path, environ={"ENTREPOT_SIGNING_SECRET": secret})
    done = refused.run(*refused.arguments(), check=False)
    assert done.returncode != 0
    assert "ENTREPOT_SIGNING_SECRET" in done.stderr
    assert says in done.stderr
    assert not secret or secret not in done.stderr


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_d13_a_secret_file_that_others_can_read_refuses_to_start(tmp_path: Path, mode: int) -> None:
    refused = Server(tmp_path)
    refused.new_key()
    path = refused.home / "signing.secret"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(mode)
    done = refused.run(*refused.arguments(), check=False)
    assert done.returncode != 0
    assert f"chmod 600 {path}" in done.stderr


def test_d13_what_a_new_home_keeps_can_be_read_by_its_owner_only(server: Server) -> None:
    for path in (server.home, server.home / "blobs", server.home / "signing.secret", server.home / "home.json"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_signing_secret_of_the_environment_is_used(tmp_path: Path) -> None:
    secret = base64.b16encode(bytes(range(32))).decode()
    other = Server(tmp_path, environ={"ENTREPOT_SIGNING_SECRET": secret})
    with other:
        talk = Talk(other)
        assert talk.put(talk.initiate()["upload_url"], DATA).status == 200
        assert secret not in other.log()
