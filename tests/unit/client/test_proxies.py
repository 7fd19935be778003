"""Proxies of the environment, and time-outs of any length."""

from __future__ import annotations

import base64

import pytest

from entrepot.client import http
from entrepot.client.clients import SyncClient
from entrepot.client.commands import Request
from entrepot.client.errors import ConfigurationError, ConnectionFailed, EntrepotError
from entrepot.client.stop import Stop
from entrepot.domain.noproxy import is_exempt
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


@pytest.mark.parametrize(
    ("host", "port", "listed", "exempt"),
    [
        ("127.0.0.1", 80, "127.0.0.0/8", True),
        ("127.0.0.1", 80, "10.0.0.0/8 , 127.0.0.1", True),
        ("10.1.2.3", 80, "10.0.0.0/8", True),
        ("11.1.2.3", 80, "10.0.0.0/8", False),
        ("10.1.2.3", 80, "10.1.2.3/8", True),
        ("10.1.2.3", 80, "10.1.2.3:8080", False),
        ("10.1.2.3", 8080, "10.1.2.3:8080", True),
        ("::1", 443, "::1", True),
        ("::1", 443, "[::1]", True),
        ("::1", 443, "[::1]:443", True),
        ("::1", 443, "[::1]:80", False),
        ("fd00::7", 443, "fd00::/8", True),
        ("::ffff:10.0.0.1", 80, "10.0.0.0/8", True),
        ("10.0.0.1", 80, "fd00::/8", False),
        ("0:0:0:0:0:0:0:1", 80, "::1", True),
        ("example.com", 80, "example.com", True),
        ("EXAMPLE.com.", 80, "Example.COM", True),
        ("a.example.com", 80, "example.com", True),
        ("a.example.com", 80, ".example.com", True),
        ("example.com", 80, ".example.com", True),
        ("a.example.com", 80, "*.example.com", True),
        ("badexample.com", 80, "example.com", False),
        ("example.com", 8080, "example.com:8080", True),
        ("example.com", 80, "example.com:8080", False),
        ("example.com", 80, "*", True),
        ("example.com", 80, "a,*", True),
        ("example.com", 80, "", False),
        ("example.com", 80, " , ,", False),
        ("example.com", 80, "10.0.0.0/8,nonsense/9,:80,[", False),
        ("localhost", 80, "127.0.0.0/8", False),
        ("fe80::1", 80, "[fe80::]/10", True),
    ],
)
def test_s03_no_proxy_has_names_networks_and_ports(host: str, port: int, listed: str, exempt: bool) -> None:
    assert is_exempt(host, port, listed) is exempt


def test_s03_a_server_in_a_network_of_no_proxy_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with Stub(lambda asked: said(200, {})) as stub:
        transport = http.Transport(5.0)
        for listed in ("127.0.0.0/8", f"example.com,127.0.0.1:{stub.url.rpartition(':')[2]}", "*"):
            monkeypatch.setenv("no_proxy", listed)
            assert transport.send(Request("GET", f"{stub.url}/"), Stop()).status == 200
        transport.close()


@pytest.mark.parametrize(
    "proxy", ["http://name:pass-77@127.0.0.1:1", "name:pass-77@127.0.0.1:1", "http://127.0.0.1:1/"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_s03_a_proxy_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch, proxy: str, scheme: str) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", proxy)
    monkeypatch.setenv("no_proxy", "10.0.0.0/8")
    transport = http.Transport(5.0)
    with pytest.raises(ConnectionFailed, match=r"The proxy 127\.0\.0\.1:1 cannot be reached") as caught:
        transport.send(Request("GET", f"{scheme}://media.example.com/"), Stop())
    transport.close()
    assert "pass-77" not in str(caught.value) and "NO_PROXY" in caught.value.fix


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_s03_a_proxy_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    with Stub(lambda asked: said(407, {})) as stub:
        proxy = stub.url.partition("://")[2]
        monkeypatch.setenv(f"{scheme}_proxy", f"http://name:pass-77@{proxy}")
        transport = http.Transport(5.0)
        with pytest.raises(EntrepotError, match=f"The proxy {proxy} .*407") as caught:
            transport.send(Request("GET", f"{scheme}://media.example.com/"), Stop())
        transport.close()
    assert "pass-77" not in str(caught.value)
