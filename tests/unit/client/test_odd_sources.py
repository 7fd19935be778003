"""Sources and names that mislead: wrappers around files, names that are no Unicode, a closed standard input."""

from __future__ import annotations

import gzip
import io
import mmap
import os
import sys
import tarfile
import time
from pathlib import Path

import pytest

from entrepot.client.clients import SyncClient, _wish
from entrepot.client.errors import SourceChanged, SourceError
from entrepot.client.retry import Policy
from entrepot.client.sources import Source, Stream, of_data, of_file, open_path
from support.stubs import Asked, Stub, fair, said


def _whole(source: Source | Stream) -> bytes:
    if isinstance(source, Stream):
        return bytes(source.take(1 << 20).read(0, 1 << 20))
    return bytes(source.read(0, source.size))


def test_of_a_buffered_decompressor_what_it_gives_is_sent_and_not_what_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "text.gz"
    with gzip.open(path, "wb") as file:
        file.write(b"plain text")
    with io.BufferedReader(gzip.open(path)) as reader:
        assert _whole(of_file(reader)) == b"plain text"


def test_a_member_of_an_archive_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"member")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "a.txt", "a.txt")
    with tarfile.open(tmp_path / "a.tar") as archive:
        member = archive.extractfile("a.txt")
        assert member is not None and _whole(of_file(member)) == b"member"


def test_a_file_object_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as written, pytest.raises(SourceError, match="it is not open for reading"):
        _whole(of_file(written))
    with gzip.GzipFile(fileobj=io.BytesIO(b"plain")) as packed, pytest.raises(SourceError, match="read: Not a gzipped"):
        _whole(of_file(packed))  # type: ignore[arg-type]
    ours, theirs = os.openpty()
    os.close(theirs)  # whoever wrote to this terminal has left
    with open(ours, "rb") as terminal, pytest.raises(SourceError, match="Input/output error"):
        _whole(of_file(terminal))


def test_a_name_that_is_no_unicode_can_be_said() -> None:
    assert _wish("text/plain", "a\udcff.txt", {}).headers()["x-fal-file-name"] == "UTF-8''a%EF%BF%BD.txt"


def test_a_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(SourceError):
        of_data("\udcff")


def test_a_closed_standard_input_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SourceError):
        open_path("-")


@pytest.mark.parametrize("threshold", [0, 1 << 20])
def test_a_change_that_sets_the_time_back_is_one_and_no_fault_of_the_line(tmp_path: Path, threshold: int) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old bytes")
    os.utime(path, (1_000_000_000, 1_000_000_000))

    def answer(asked: Asked) -> bytes:
        if not asked.body.endswith(b" bytes"):
            return fair(asked)
        path.write_bytes(b"new bytes")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        mismatch = {"code": "digest_mismatch", "message": "other bytes", "fix": ""}
        return said(400, mismatch) if threshold else fair(asked)

    with Stub(answer) as stub, SyncClient("id:secret", url=stub.url) as client:
        client._context.policy = Policy(attempts=2, base=0.001)
        with pytest.raises(SourceChanged):
            client.upload_file(path, multipart_threshold=threshold, fallback_repository=[], resume=False)
        assert not stub.said("POST", "/complete")


def test_a_write_through_a_mapping_is_a_change(tmp_path: Path) -> None:
    path, size = tmp_path / "file.bin", 1 << 16
    path.write_bytes(b"1" * 3 * size)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        os.fsync(file.fileno())
        before = path.stat().st_mtime_ns
        time.sleep(0.05)
        mapped[:] = b"1" * 3 * size  # from here on its pages are dirty
        if path.stat().st_mtime_ns == before:
            pytest.skip("this file system tells no time of writes through mappings")
        time.sleep(0.05)

        def answer(asked: Asked) -> bytes:
            reply = fair(asked)
            if asked.path.endswith("/1"):
                mapped[:size] = mapped[2 * size :] = b"2" * size
            return reply

        with (
            Stub(answer) as stub,
            SyncClient("id:secret", url=stub.url) as client,
            pytest.raises(SourceChanged),
        ):
            client.upload_file(
                path, multipart_threshold=0, part_size=size, concurrency=1, fallback_repository=[], resume=False
            )
        assert not stub.said("POST", "/complete")


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="no /proc here")
def test_a_file_that_tells_no_size_is_read_to_its_end() -> None:
    source = open_path("/proc/version")
    assert _whole(source) == Path("/proc/version").read_bytes() != b""
    source.close()
