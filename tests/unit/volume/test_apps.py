"""Files of apps, by hash of content and mode (docs/protocol.md 6.5, 6.7)."""

from __future__ import annotations

import hashlib
from pathlib import Path as Folder
from typing import Any

import pytest

from entrepot.domain.acl import Principal
from entrepot.domain.errors import Code
from entrepot.domain.multipart import Cited
from entrepot.volume.paths import parse
from support.inparts import OWNER, Process, files, played, refuses, stream

DATA, MODE = b"print('hello')\n", 33188


def described(data: bytes, mode: int = MODE) -> tuple[str, dict[str, Any]]:
    """The hash of a file, and what the stock client says of it."""
    digest = hashlib.sha256(data + str(mode).encode()).hexdigest()
    return digest, {"size": str(len(data)), "mtime": "1700000000.25", "mode": str(mode), "hash": digest}


HASH, FACTS = described(DATA)


@pytest.fixture
def root(tmp_path) -> Folder:
    return tmp_path / "data"


async def sent(p: Process, data: bytes = DATA, *, mode: int = MODE, size: int = 6) -> str:
    """Upload a file as the stock client does, in small parts."""
    digest, facts = described(data, mode)
    upload = await p.apps.begin(OWNER, digest, facts)
    pieces = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
    parts = [await p.apps.write(OWNER, digest, upload, n, stream(piece)) for n, piece in enumerate(pieces, 1)]
    cited = [Cited(part.number, part.etag) for part in parts]
    done = await p.apps.finish(OWNER, digest, upload, cited, facts)
    assert done == await p.apps.finish(OWNER, digest, upload, cited, facts)
    assert done.md5 == hashlib.md5(data).hexdigest()
    return digest


def stored(root: Folder, digest: str) -> bytes | None:
    path = root / ".entrepot/apps" / digest[:2] / digest
    return path.read_bytes() if path.exists() else None


@pytest.mark.parametrize("data", [DATA, b"", bytes(range(256)) * 20], ids=["text", "empty", "bytes"])
def test_a_file_is_stored_by_its_hash_and_not_missing_then(root, data):
    async def act(p: Process) -> None:
        digest, _ = described(data)
        other = "0" * 64
        assert await p.apps.missing(OWNER, [other, digest]) == [other, digest]
        assert await sent(p, data, size=1000) == digest
        assert stored(root, digest) == data
        assert await p.apps.missing(OWNER, [digest, other, "../x", ""]) == [other, "../x", ""]
        assert files(root) == {}
        assert p.staged() < 2000

    played(act, Process(root))


def test_what_is_stored_already_is_a_conflict_and_the_same_content_of_another_mode_is_not(root):
    async def act(p: Process) -> None:
        await sent(p)
        await refuses(Code.CONFLICT, p.apps.begin(OWNER, HASH, FACTS))
        other = await sent(p, mode=33261)
        assert stored(root, HASH) == stored(root, other) == DATA

    played(act, Process(root))


@pytest.mark.parametrize("wrong", ["bytes", "mode"])
def test_bytes_that_have_another_hash_are_refused_and_nothing_is_kept(root, wrong):
    async def act(p: Process) -> None:
        upload = await p.apps.begin(OWNER, HASH, FACTS)
        part = await p.apps.write(OWNER, HASH, upload, 1, stream(DATA[::-1] if wrong == "bytes" else DATA))
        facts = {**FACTS, "mode": "33189"} if wrong == "mode" else FACTS
        await refuses(Code.VALIDATION_FAILED, p.apps.finish(OWNER, HASH, upload, [Cited(1, part.etag)], facts))
        assert await p.apps.missing(OWNER, [HASH]) == [HASH]
        assert stored(root, HASH) is None
        assert p.staged() < 2000
        await refuses(Code.NOT_FOUND, p.apps.write(OWNER, HASH, upload, 1, stream(DATA)))
        await sent(p)

    played(act, Process(root))


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {**FACTS, "hash": "0" * 64},
        {**FACTS, "hash": 7},
        {**FACTS, "size": 15},
        {**FACTS, "size": "-1"},
        {**FACTS, "size": "9" * 30},
        {**FACTS, "mode": "0o644"},
        {**FACTS, "mode": None},
        {**FACTS, "mtime": "nan"},
        {**FACTS, "mtime": []},
        {**FACTS, "mtime": 10**400},
    ],
    ids=str,
)
def test_metadata_that_says_nothing_is_refused(root, facts):
    async def act(p: Process) -> None:
        await refuses(Code.VALIDATION_FAILED, p.apps.begin(OWNER, HASH, facts))
        upload = await p.apps.begin(OWNER, HASH, FACTS)
        await p.apps.write(OWNER, HASH, upload, 1, stream(DATA))
        await refuses(Code.VALIDATION_FAILED, p.apps.finish(OWNER, HASH, upload, [Cited(1, None)], facts))
        done = await p.apps.finish(OWNER, HASH, upload, [Cited(1, None)], FACTS)
        assert done.entry.size == len(DATA)

    played(act, Process(root))


def test_another_size_than_was_said_is_refused(root):
    async def act(p: Process) -> None:
        upload = await p.apps.begin(OWNER, HASH, FACTS)
        await p.apps.write(OWNER, HASH, upload, 1, stream(DATA))
        facts = {**FACTS, "size": "14"}
        await refuses(Code.SIZE_MISMATCH, p.apps.finish(OWNER, HASH, upload, [Cited(1, None)], facts))

    played(act, Process(root))


@pytest.mark.parametrize("digest", ["", "..", "../../x", "0" * 63, "G" * 64, HASH.upper()])
def test_what_is_no_hash_is_refused(root, digest):
    async def act(p: Process) -> None:
        facts = {**FACTS, "hash": digest}
        await refuses(Code.VALIDATION_FAILED, p.apps.begin(OWNER, digest, facts))
        await refuses(Code.VALIDATION_FAILED, p.apps.write(OWNER, digest, "0" * 32, 1, stream(DATA)))
        await refuses(Code.VALIDATION_FAILED, p.apps.finish(OWNER, digest, "0" * 32, [], facts))
        await refuses(Code.VALIDATION_FAILED, p.apps.abort(OWNER, digest, "0" * 32))

    played(act, Process(root))


def test_uploads_of_files_and_of_apps_are_not_each_others(root):
    async def act(p: Process) -> None:
        path = parse(f"app:{HASH}", legacy=False)
        file, app = await p.parts.begin(OWNER, path), await p.apps.begin(OWNER, HASH, FACTS)
        await refuses(Code.NOT_FOUND, p.put(app, 1, DATA, path))
        await refuses(Code.NOT_FOUND, p.apps.write(OWNER, HASH, file, 1, stream(DATA)))
        await p.apps.abort(OWNER, HASH, app)
        await p.apps.abort(OWNER, HASH, app)
        await refuses(Code.NOT_FOUND, p.apps.write(OWNER, HASH, app, 1, stream(DATA)))

    played(act, Process(root))


def test_only_the_owner_has_files_of_apps(root):
    async def act(p: Process) -> None:
        for who, code in ((Principal(), Code.UNAUTHORIZED), (Principal("other", "k", by_key=True), Code.FORBIDDEN)):
            await refuses(code, p.apps.missing(who, [HASH]))
            await refuses(code, p.apps.begin(who, HASH, FACTS))
            await refuses(code, p.apps.write(who, HASH, "0" * 32, 1, stream(DATA)))
            await refuses(code, p.apps.finish(who, HASH, "0" * 32, [], FACTS))
            await refuses(code, p.apps.abort(who, HASH, "0" * 32))

    played(act, Process(root))
