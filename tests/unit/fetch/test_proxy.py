"""The proxy that an operator names: what it is asked, what it is never asked, and what it never gets to see."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading

import pytest
import trustme

from entrepot.fetch import Fetcher, FetchError, Policy, Proxy, configured_proxy, proxy_of
from entrepot.fetch.addresses import read_networks
from entrepot.fetch.errors import BlockedAddress, BlockedPort, ConnectionFailed, ProxyFailed, TlsFailed
from support.internet import PUBLIC, SECONDS, Handler, Internet, Reply, Request, Site, body_of

PROXY = Proxy("proxy.corp.example", 3128, "Basic c2VjcmV0OnNlY3JldA==")
ADDRESS = ("10.0.0.9", 3128)


def hello(request: Request) -> Reply:
    return Reply(b"hello")


class ProxySite(Site):
    """Answers plain requests itself. A tunnel that its handler opens leads to `site`, whatever is asked for."""

    def __init__(self, handler: Handler) -> None:
        self.site: Site | None = None
        super().__init__(handler)

    def _answer(self, connection: socket.socket, request: Request, reply: Reply) -> None:
        if request.method != "CONNECT" or self.site is None:
            return super()._answer(connection, request, reply)
        with socket.create_connection(("127.0.0.1", self.site.port), SECONDS) as onward:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=relay, args=(onward, connection))
            back.start()
            relay(connection, onward)
            back.join()


def relay(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def net():
    with Internet() as net:
        yield net


@pytest.fixture
def proxy(net):
    """A proxy whose handler can be changed; tunnels lead to `site`."""
    made = ProxySite(hello)
    net.host(PROXY.host, [ADDRESS[0]])
    net.sites[ADDRESS] = made
    return made


def read(net: Internet, url: str, headers: dict[str, str] | None = None, **policy: object) -> bytes:
    with Fetcher(Policy(**{"proxy": PROXY, **policy}), net).open(url, headers) as response:  # type: ignore[arg-type]
        response.expect(200)
        return body_of(response)


def test_a_plain_request_has_the_whole_url_and_the_name_is_not_looked_up_here(net, proxy):
    secrets = {"Proxy-Authorization": "mine", "Authorization": "Bearer t"}
    assert read(net, "http://files.example.com:8080/a?b#c", secrets) == b"hello"
    (request,) = proxy.requests
    assert (request.method, request.path) == ("GET", "http://files.example.com:8080/a?b")
    assert request.headers["host"] == "files.example.com:8080"
    assert request.headers["proxy-authorization"] == PROXY.credential
    assert request.headers["authorization"] == "Bearer t"
    assert (net.lookups, net.connections) == ([PROXY.host], [ADDRESS])


CA = trustme.CA()


@pytest.fixture
def secure(net, proxy, tmp_path, monkeypatch):
    """A host behind the proxy that speaks TLS, with a certificate for this name."""
    CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    sites = []

    def secure(name: str) -> Site:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        CA.issue_cert(name).configure_cert(context)
        proxy.site = Site(hello, context)
        sites.append(proxy.site)
        return proxy.site

    yield secure
    for site in sites:
        site.close()


def test_tls_goes_through_a_tunnel_to_the_host_itself(net, proxy, secure):
    site = secure("files.example.com")
    assert read(net, "https://files.example.com/a") == b"hello"
    (asked,) = proxy.requests
    assert (asked.method, asked.path) == ("CONNECT", "files.example.com:443")
    assert asked.headers == {"host": "files.example.com:443", "proxy-authorization": PROXY.credential}
    (request,) = site.requests
    assert request.path == "/a"
    assert "proxy-authorization" not in request.headers
    assert net.lookups == [PROXY.host]


def test_a_proxy_cannot_stand_in_for_the_host(net, proxy, secure):
    secure("proxy.corp.example")
    with pytest.raises(TlsFailed, match=r"files\.example\.com"):
        read(net, "https://files.example.com/")


def test_a_redirect_goes_through_the_proxy_too(net, proxy):
    proxy.handler = lambda r: Reply(status=302, headers={"Location": "/2"}) if r.path.endswith("/1") else hello(r)
    assert read(net, "http://files.example.com/1") == b"hello"
    assert net.connections == [ADDRESS, ADDRESS]


INSIDE = [
    "10.0.0.1", "[::1]", "169.254.169.254", "127.1", "0x7f.1", "2130706433", "[64:ff9b::a00:1]", "localhost",
    "a.localhost", "printer", "metadata.google.internal", "nas.local", "router.home.arpa", "localhost.",
]  # fmt: skip


@pytest.mark.parametrize("host", INSIDE)
def test_f01_what_is_inside_is_no_business_of_the_proxy(net, proxy, host):
    """An address is refused as without a proxy; a name is looked up here and then refused."""
    net.host(host.rstrip("."), ["127.0.0.1"], hello)
    with pytest.raises(BlockedAddress):
        read(net, f"http://{host}/")
    proxy.handler = lambda request: Reply(status=302, headers={"Location": f"http://{host}/"})
    with pytest.raises(BlockedAddress):
        read(net, "http://files.example.com/")
    assert net.connections == [ADDRESS]


def test_f06_blocked_ports_stay_blocked(net, proxy):
    with pytest.raises(BlockedPort):
        read(net, "http://files.example.com:6379/")
    assert net.connections == []


@pytest.mark.parametrize(
    "url", ["http://10.0.0.5/", "http://nas.local/", "http://media.example.com/files/b/0123abcd/x"]
)
def test_neighbours_and_our_own_server_are_not_asked_for_at_the_proxy(net, proxy, url):
    for name in ("nas.local", "media.example.com"):
        net.host(name, ["10.0.0.5"])
    net.host("itself", ["10.0.0.5"], hello)
    own = frozenset({"http://media.example.com"})
    assert read(net, url, allow=read_networks("10.0.0.5"), own_origins=own) == b"hello"
    assert net.connections == [("10.0.0.5", 80)]


@pytest.mark.parametrize(
    ("scheme", "reply", "says"),
    [
        ("http", Reply(status=407), "credentials"),
        ("https", Reply(status=407), "credentials"),
        ("https", Reply(status=403), "403"),
        ("https", Reply(raw=b"HTTP/1.1 200 x\r\n\r\nbefore the tunnel"), "200"),
    ],
)
def test_what_a_proxy_refuses_is_told_without_its_credential(net, proxy, scheme, reply, says):
    proxy.handler = lambda request: reply
    with pytest.raises(ProxyFailed, match=says) as caught:
        read(net, f"{scheme}://files.example.com/x?token=secret")
    assert caught.value.code == "proxy_failed"
    assert "proxy.corp.example:3128" in str(caught.value)
    shown = repr(caught.value) + repr(PROXY) + repr(Policy(proxy=PROXY)) + str(caught.value)
    assert "secret" not in shown and "c2Vj" not in shown


def test_a_proxy_that_is_not_there_is_told(net, proxy):
    del net.sites[ADDRESS]
    with pytest.raises(ProxyFailed, match="cannot be reached"):
        read(net, "http://files.example.com/")
    net.names[PROXY.host] = [[]]
    with pytest.raises(ProxyFailed, match="no address"):
        read(net, "http://files.example.com/")


def test_a_proxy_that_answers_no_http_is_told(net, proxy):
    proxy.handler = lambda request: Reply(raw=b"SSH-2.0\r\n\r\n")
    for scheme in ("http", "https"):
        with pytest.raises((FetchError, ConnectionFailed)) as caught:
            read(net, f"{scheme}://files.example.com/")
        assert caught.value.code == "bad_reply"


def test_the_variable_names_a_proxy_or_none():
    assert configured_proxy({}) is configured_proxy({"ENTREPOT_FETCH_PROXY": " "}) is None
    assert (
        configured_proxy({"HTTPS_PROXY": "http://a:1", "HTTP_PROXY": "http://a:1", "ALL_PROXY": "http://a:1"}) is None
    )
    assert proxy_of("http://proxy:3128") == proxy_of("http://proxy:3128/") == Proxy("proxy", 3128)
    assert proxy_of("http://[fd00::1]") == Proxy("fd00::1", 80)
    found = configured_proxy({"ENTREPOT_FETCH_PROXY": "http://me:p%40s%3as@proxy:1"})
    assert found == Proxy("proxy", 1, "Basic " + base64.b64encode(b"me:p@s:s").decode())


@pytest.mark.parametrize(
    "text",
    ["proxy:3128", "https://me:secret@proxy:1", "socks5://secret@proxy:1", "http://me:secret@proxy:x", "http://",
     "http://me:secret@proxy/path", "http://me:secret@pro xy:1", "http://me:secret@[x", "http://me:secret@proxy:1?q"],
)  # fmt: skip
def test_what_is_no_proxy_is_refused_and_not_quoted(text):
    with pytest.raises(FetchError, match="ENTREPOT_FETCH_PROXY") as caught:
        proxy_of(text)
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"


@pytest.mark.parametrize("listed", ["example.com", ".example.com:80", "other.example,*", "93.184.216.0/24"])
def test_s03_what_no_proxy_lists_is_connected_to_from_here(net, proxy, listed):
    net.host("files.example.com", [PUBLIC], hello)
    host = PUBLIC if "/" in listed else "files.example.com"
    assert read(net, f"http://{host}/a", no_proxy=listed) == b"hello"
    assert proxy.requests == []
    net.host("evil.example.com", ["10.0.0.1"], hello)
    with pytest.raises(BlockedAddress):
        read(net, "http://evil.example.com/" if "/" not in listed else "http://10.0.0.1/", no_proxy=listed)


def test_s03_what_it_does_not_list_goes_through_the_proxy(net, proxy):
    assert read(net, "http://files.example.com/a", no_proxy="example.org,10.0.0.0/8,files.example.com:81") == b"hello"
    assert len(proxy.requests) == 1
