"""Unfinished uploads: each key has its share of them, and they end with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from entrepot.cli.main import main
from support.files import Files
from support.inside import a_key, revoke, rows, segment_files
from support.parts import begin
from support.server import Server
from support.talk import Talk, eventually


@pytest.fixture
def uploads(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[dict[str, Any]]]:
    """`entrepot uploads VERB ... --json` in this process: what it says."""

    def run(server: Server, *args: str, code: int = 0) -> list[dict[str, Any]]:
        assert main(["uploads", *args, "--json", "--home", str(server.home)]) == code
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def test_s2_one_key_cannot_spend_the_unfinished_uploads_of_all(
    serve: Callable[..., Server], uploads: Callable[..., list[dict[str, Any]]]
) -> None:
    server = serve(max_unfinished_uploads="8", sweep_interval="0.2")
    talk, files = Talk(server), Files(server)
    key = a_key(server)
    greedy: dict[str, Any] = {"authorization": f"Key {key}"}
    token = talk.token(**greedy)
    held = begin(talk, **greedy)
    held.put(1, b"held" * 1000)
    while (reply := talk.post("/files/upload/multipart", authorization=token)).status == 200:
        assert len(uploads_of(server, key)) <= 8
    assert (reply.status, reply.json()["code"]) == (429, "rate_limited")
    for _ in range(2):
        assert talk.post_json("/storage/upload/initiate", {"file_name": "a"}, **greedy).status == 429
    for _ in range(20):
        if files.v1("POST", "file/multipart/a/initiate", {}, **greedy).status != 200:
            break

    # Who brings the bytes in the same request needs no place, and the other key has its own.
    assert talk.post("/files/upload", b"whole", idempotency_key="once", **greedy).status == 200
    assert begin(talk, "rest").part(1, b"x")
    assert talk.initiate()
    assert files.v1("POST", "file/multipart/b/initiate", {}).status == 200

    listed = uploads(server, "list")
    by_greedy = [each for each in listed if each["key_id"] == key.partition(":")[0]]
    assert {each["place"] for each in listed} > {"/a", "/b"}
    assert [each["size"] for each in by_greedy if each["id"] == held.id] == [4000]
    assert len(by_greedy) > len(listed) - len(by_greedy)
    on_volume, on_cdn = (
        next(each["id"] for each in by_greedy if (each["place"] == "/a") is volume) for volume in (True, False)
    )
    assert uploads(server, "abort", on_volume, on_cdn) == [{"id": x, "aborted": True} for x in (on_volume, on_cdn)]
    assert uploads(server, "abort", on_cdn, code=3) == []
    begin(talk, **greedy)

    revoke(server, key)
    assert uploads_of(server, key) == []
    eventually(lambda: len(uploads(server, "list")) == 3)
    for _ in range(6):
        begin(talk)
    eventually(lambda: len(segment_files(server)) <= 2)


def uploads_of(server: Server, key: str) -> list[Any]:
    return rows(server, "SELECT id FROM uploads WHERE key_id = ? AND state = 'open'", key.partition(":")[0])
