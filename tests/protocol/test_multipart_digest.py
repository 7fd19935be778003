"""The digest of the whole in the list that ends a multipart upload: held against what arrived, at every door."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from support.parts import DOORS, begin
from support.talk import Talk

PIECES = [b"one" * 1000, b"two" * 1000]


def digest(*pieces: bytes) -> str:
    return f"sha256:{hashlib.sha256(b''.join(pieces)).hexdigest()}"


@pytest.mark.parametrize("door", DOORS)
def test_a_digest_that_is_not_that_of_the_whole_publishes_nothing(talk: Talk, door: str) -> None:
    upload = begin(talk, door)
    parts = upload.parts(PIECES)
    upload.followed()
    refused = upload.finish(parts, size=6000, digest=digest(*reversed(PIECES)))
    assert (refused.status, refused.json()["code"]) == (400, "digest_mismatch")
    assert "ETag" in refused.json()["fix"]
    assert talk.get(upload.url).status == 404
    assert upload.listing().json()["state"] == "open"
    right = digest(*PIECES)
    told = upload.finished(parts, size=6000, digest="sha256:" + right[7:].upper())
    assert told["digest"] == right
    assert talk.get(upload.url).body == b"".join(PIECES)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("data", [b"alone", b""])
def test_the_digest_of_one_part_is_known_at_once(talk: Talk, door: str, data: bytes) -> None:
    upload = begin(talk, door)
    parts = upload.parts([data])
    assert upload.finish(parts, digest=digest(b"other")).status == 400
    assert upload.finished(parts, digest=digest(data))["digest"] == digest(data)


@pytest.mark.parametrize("door", DOORS)
def test_a_repeated_end_is_held_to_what_was_published(talk: Talk, door: str) -> None:
    upload = begin(talk, door)
    parts = upload.parts(PIECES)
    upload.followed()
    told = upload.finished(parts, digest=digest(*PIECES))
    assert upload.finished(parts, digest=digest(*PIECES)) == upload.finished(parts) == told
    refused = upload.finish(parts, digest=digest(b"other"))
    assert (refused.status, refused.json()["code"]) == (400, "digest_mismatch")
    assert talk.get(upload.url).body == b"".join(PIECES)


def test_the_part_that_was_mangled_is_sent_again_and_the_upload_ends(talk: Talk) -> None:
    upload = begin(talk)
    parts = upload.parts([PIECES[0], b"mangled"])
    upload.followed()
    assert upload.finish(parts, digest=digest(*PIECES)).status == 400
    parts[1] = upload.part(2, PIECES[1])
    assert upload.finished(parts, digest=digest(*PIECES))["size"] == 6000


@pytest.mark.parametrize(
    "value",
    ["", "sha256:", digest(b"")[7:], digest(b"")[:-1], digest(b"") + "0", digest(b"") + "\n", "sha256:" + "g" * 64,
     "SHA256:" + "0" * 64, "sha512:" + "0" * 128, "sha256:" + "\u0660" * 64, "x" * 100_000, 7, True, [], {},
     [digest(b"")]],
)  # fmt: skip
@pytest.mark.parametrize("door", ["cdn", "gcs"])
def test_a_digest_of_bad_form_is_422_by_name(talk: Talk, door: str, value: Any) -> None:
    upload = begin(talk, door)
    parts = upload.parts([b""])
    reply = upload.finish(parts, digest=value)
    assert (reply.status, reply.json()["detail"][0]["loc"]) == (422, ["body", "digest"])
    assert upload.finished(parts, digest=None)["size"] == 0
