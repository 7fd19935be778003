"""`download_model_weights`: reuse without the network, and a check that it is whole."""

from __future__ import annotations

import hashlib
import os

import pytest

from entrepot.toolkit import download_model_weights
from support.internet import Reply, Site


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("ENTREPOT_VOLUME", str(tmp_path))
    monkeypatch.setenv("ENTREPOT_FETCH_ALLOW", "127.0.0.1")
    with Site(lambda request: Reply(b"weights", headers={"ETag": '"1"'})) as site:
        yield site


def test_weights_lie_in_a_folder_of_their_url_and_are_not_asked_for_again(site, tmp_path):
    url = f"{site.url}/w.bin"
    path = download_model_weights(url)
    assert path == tmp_path / ".fal" / "model_weights" / hashlib.sha256(url.encode()).hexdigest() / "w.bin"
    assert download_model_weights(url) == path
    assert len(site.requests) == 1
    assert (path.parent / ".fal_used").exists()


def test_force_downloads_them_anew_with_the_caller_s_headers(site):
    url = f"{site.url}/w.bin"
    download_model_weights(url)
    download_model_weights(url, True, {"Authorization": "Bearer t"})
    assert site.requests[-1].headers["authorization"] == "Bearer t"
    assert site.count("GET") == 2


@pytest.mark.parametrize("damage", [b"", b"weight", b"weights and more"])
def test_what_is_not_whole_any_more_is_not_reused(site, damage):
    path = download_model_weights(f"{site.url}/w.bin")
    path.write_bytes(damage)
    assert download_model_weights(f"{site.url}/w.bin").read_bytes() == b"weights"


def test_what_another_program_put_there_is_believed(site, tmp_path):
    url = f"{site.url}/w.bin"
    folder = tmp_path / ".fal" / "model_weights" / hashlib.sha256(url.encode()).hexdigest()
    folder.mkdir(parents=True)
    (folder / ".fal_used").touch()
    (folder / "theirs.bin").write_bytes(b"x")
    assert download_model_weights(url) == folder / "theirs.bin"
    assert site.requests == []


def test_the_mark_of_use_is_renewed_after_a_day(site):
    path = download_model_weights(f"{site.url}/w.bin")
    used = path.parent / ".fal_used"
    os.utime(used, (1, 1))
    download_model_weights(f"{site.url}/w.bin")
    assert used.stat().st_mtime > 1_000_000
