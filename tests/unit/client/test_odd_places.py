"""URLs that people write by mistake end in an error that says so and never shows a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot.client import profile
from entrepot.client.clients import SyncClient
from entrepot.client.errors import ConfigurationError


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://[::1",
        "http://host:99999",
        "http://host:abc",
        "http://ex ample",
        "http://\u00e9.example",
        f"https://{'a' * 70}.example",
        "http://host?x=1",
        "http://host#x",
        "http://user:pass-77@host",
    ],
)
def test_a_url_that_is_none_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        profile.targets("id:secret", [url], environ={})
    assert "pass-77" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://host/", "https://host:8443", "http://[::1]:80/", "http://host/below"])
def test_a_url_that_is_one_is_taken(url: str) -> None:
    assert profile.targets("id:secret", [url], environ={})[0].url == url.rstrip("/")


def test_a_user_without_a_home_needs_none_when_the_variables_say_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    known = {"ENTREPOT_URL": "http://host", "ENTREPOT_KEY": "id:secret"}
    assert profile.targets(environ=known)[0].url == "http://host"
    with pytest.raises(ConfigurationError):
        profile.targets(environ={})


@pytest.mark.parametrize("url", [None, "http://user:pass-77@host"])
def test_a_client_that_knows_no_server_can_be_shown(
    url: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ENTREPOT_URL", "ENTREPOT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENTREPOT_CONFIG", str(tmp_path / "none.toml"))
    assert repr(SyncClient(url=url)) == "SyncClient()"
