"""What toolkits `fal` 1.5 to 1.75 send with the repository fal_v2, to `https://upload.<CDN host>/upload...` (fault
W2)."""

from __future__ import annotations

import json

import pytest

from entrepot.settings import Settings
from support.talk import Talk, line

DATA = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100
HOST = "upload.cdn.example"


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_w2_a_file_is_put_to_upload_with_a_token_on_any_host(talk: Talk, method: str) -> None:
    headers = {"authorization": talk.token(), "host": HOST, "accept": "application/json", "content-type": "image/png",
               "x-fal-file-name": "cat.png"}  # fmt: skip
    told = talk.ask(method, "/upload", headers, DATA).json()
    assert told["file_url"] == told["access_url"]
    assert told["file_url"].endswith("_cat.png")
    got = talk.get(told["file_url"])
    assert (got.body, got.headers["content-type"]) == (DATA, "image/png")


@pytest.mark.parametrize("credential", [{}, {"authorization": "Bearer nonsense"}, {"authorization": "Key a:b"}])
@pytest.mark.parametrize("target", ["/upload", "/upload/initiate-multipart"])
def test_w2_without_a_credential_the_body_is_not_waited_for(
    talk: Talk, target: str, credential: dict[str, str]
) -> None:
    with line(talk.server) as wire:
        wire.send_head("PUT" if target == "/upload" else "POST", target, content_length="100000", **credential)
        assert wire.answer("PUT").status == 401


def test_w2_a_file_in_parts_has_its_numbers_in_the_query(talk: Talk) -> None:
    bearer = {"authorization": talk.token(), "host": HOST}
    wish = json.dumps({"file_name": "big.png", "content_type": "image/png"}).encode()
    begun = talk.ask("POST", "/upload/initiate-multipart", {**bearer, "content-type": "application/json"}, wish).json()
    url, parts = begun["upload_url"], []
    for number, data in ((2, DATA[20_000:]), (1, DATA[:20_000])):
        reply = talk.put(f"{url}&part_number={number}", data, content_type="image/png")
        assert reply.status == 200
        parts.append({"part_number": number, "etag": reply.headers["etag"]})
    for wrong in ("", "&part_number=", "&part_number=-1", "&part_number=1&part_number=2", "&part_number=0"):
        assert talk.put(f"{url}{wrong}", DATA).status == 422, wrong
    assert talk.put(url.partition("?")[0] + "?part_number=1", DATA).status in (401, 403)
    done = talk.ask("POST", url, {"content-type": "application/json"}, json.dumps({"parts": parts}).encode())
    assert done.status == 200
    assert talk.get(begun["file_url"]).body == DATA


def test_w2_the_host_name_of_old_toolkits_is_always_accepted() -> None:
    flags = {"cdn_url": "https://cdn.example", "public_url": "https://api.example", "accepted_hosts": "other.example"}
    assert HOST in Settings.load(flags).host_names
