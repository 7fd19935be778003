"""Proxies of the environment, and time-outs of any length."""

from __future__ import annotations

import base64

import pytest

from entrepot.client import http
from entrepot.client.clients import SyncClient
from entrepot.client.commands import Request
from entrepot.client.errors import ConfigurationError, EntrepotError
from entrepot.client.stop import Stop
from support.stubs import Stub, fair, said


@pytest.mark.parametrize("proxy", ["socks5://host:1", "ftp://host:1", "http://[::1", "http://user:pass-77@host:x"])
def test_a_proxy_that_is_none_is_told_of_and_not_repeated(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ConfigurationError) as caught:
        SyncClient("id:secret", url="http://host.example").upload(b"x", "text/plain")
    assert "pass-77" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_is_told_the_user_of_its_url(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    with Stub(lambda asked: said(200, {})) as stub:
        monkeypatch.setenv("http_proxy", f"{scheme}us%C3%A9r:pass@{stub.url.partition('://')[2]}")
        transport = http.Transport(5.0)
        transport.send(Request("GET", "http://host.example/"), Stop())
        transport.close()
    known = base64.b64encode("us\u00e9r:pass".encode()).decode()
    assert stub.asked[0].headers["proxy-authorization"] == f"Basic {known}"


@pytest.mark.parametrize("seconds", [1e7, 1e300, float("inf")])
def test_no_patience_is_too_long(seconds: float) -> None:
    with Stub(fair) as stub, SyncClient("id:secret", seconds, url=stub.url) as client:
        try:
            client.upload(b"x", "text/plain")
        except EntrepotError as error:
            pytest.fail(str(error))
