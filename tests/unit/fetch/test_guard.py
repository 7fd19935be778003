"""Where a fetch goes, and where it never goes: no packet is sent to what is refused."""

from __future__ import annotations

import pytest

from entrepot.fetch import Fetcher, Policy, allowed_networks
from entrepot.fetch.addresses import read_networks
from entrepot.fetch.errors import (
    Blocked,
    BlockedAddress,
    BlockedPath,
    BlockedPort,
    BlockedScheme,
    ConnectionFailed,
    FetchError,
    InvalidHeader,
    InvalidUrl,
    TooManyRedirects,
)
from support.internet import OTHER, PUBLIC, Internet, Reply, Request, body_of
from unit.fetch.test_addresses import CLOSED


@pytest.fixture
def net():
    with Internet() as net:
        yield net


def hello(request: Request) -> Reply:
    return Reply(b"hello")


def redirect(location: str, status: int = 302):
    return lambda request: Reply(status=status, headers={"Location": location})


def body(net: Internet, url: str, headers: dict[str, str] | None = None, policy: Policy | None = None) -> bytes:
    with Fetcher(policy or Policy(), net).open(url, headers) as response:
        response.expect(200)
        return body_of(response)


def test_a_public_host_is_read_with_its_name_at_its_address(net):
    site = net.serve(hello)
    assert body(net, "http://files.example.com/a?b#c") == b"hello"
    assert net.connections == [(PUBLIC, 80)]
    assert site.requests[0].path == "/a?b"
    assert site.requests[0].headers["host"] == "files.example.com"
    assert site.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("address", CLOSED)
def test_f01_a_name_with_an_address_that_is_not_public_gets_no_packet(net, address):
    net.host("evil.example.com", [address], hello)
    with pytest.raises(BlockedAddress) as caught:
        body(net, "http://evil.example.com/")
    assert caught.value.code == "blocked_address"
    assert net.connections == []


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:169.254.169.254]", "10.0.0.1", "0x7f.1", "2130706433"])
def test_f01_an_address_in_the_url_is_checked_too(net, host):
    with pytest.raises(BlockedAddress):
        body(net, f"http://{host}/")
    assert net.connections == []


@pytest.mark.parametrize("answers", [[PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], [PUBLIC, "::1"], [PUBLIC, "nonsense"]])
def test_f03_one_private_address_among_public_ones_is_enough_to_refuse(net, answers):
    net.host("mixed.example.com", answers, hello)
    with pytest.raises(BlockedAddress):
        body(net, "http://mixed.example.com/")
    assert net.connections == []


def test_f03_a_name_that_changes_between_lookups_is_looked_up_once(net):
    net.host("rebind.example.com", [PUBLIC], hello)
    net.host("rebind.example.com", ["127.0.0.1"])
    assert body(net, "http://rebind.example.com/") == b"hello"
    assert net.lookups == ["rebind.example.com"]
    assert net.connections == [(PUBLIC, 80)]


def test_f03_a_host_with_ipv6_alone_is_read(net):
    net.host("six.example.com", ["2606:4700::1111"], hello)
    assert body(net, "http://six.example.com/") == b"hello"


def test_f03_a_name_whose_alias_is_internal_is_refused(net):
    net.host("cname.example.com", ["192.168.0.10"], hello)
    with pytest.raises(BlockedAddress):
        body(net, "http://cname.example.com/")


def test_another_address_of_the_same_lookup_is_tried_when_one_is_dead(net):
    net.host("two.example.com", [OTHER, PUBLIC])
    net.host("alive.example.com", [PUBLIC], hello)
    assert body(net, "http://two.example.com/") == b"hello"
    assert net.connections == [(OTHER, 80), (PUBLIC, 80)]
    assert net.lookups == ["two.example.com"]


def test_a_name_with_very_many_addresses_does_not_hold_anybody_up(net):
    net.host("many.example.com", [f"93.184.216.{n}" for n in range(1, 200)])
    with pytest.raises(ConnectionFailed):
        body(net, "http://many.example.com/")
    assert len(net.connections) < 10


def test_a_dead_host_and_an_unknown_one_are_told(net):
    net.host("dead.example.com", [PUBLIC])
    for host in ("dead", "unknown"):
        with pytest.raises(ConnectionFailed, match=f"{host}.example.com"):
            body(net, f"http://{host}.example.com/")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_f04_a_redirect_to_a_private_host_is_refused_at_the_hop(net, status):
    net.host("inside.example.com", ["10.0.0.1"], hello)
    net.serve(redirect("http://inside.example.com/", status))
    with pytest.raises(BlockedAddress, match="inside"):
        body(net, "http://files.example.com/")
    assert net.connections == [(PUBLIC, 80)]


@pytest.mark.parametrize("location", ["http://127.0.0.1/", "//169.254.169.254/latest", "http://[::1]:80/"])
def test_f04_a_redirect_to_an_address_is_refused(net, location):
    net.serve(redirect(location))
    with pytest.raises(BlockedAddress):
        body(net, "http://files.example.com/")


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://files.example.com/", "data:,x", "ftp://x.com/"])
def test_f04_a_redirect_to_another_scheme_is_refused(net, location):
    net.serve(redirect(location))
    with pytest.raises(BlockedScheme):
        body(net, "http://files.example.com/")


def test_f04_relative_redirects_are_followed(net):
    steps = {"/a": "b", "/b": "/c", "/c": "//files.example.com/d"}
    net.serve(lambda r: Reply(status=302, headers={"Location": steps[r.path]}) if r.path in steps else hello(r))
    assert body(net, "http://files.example.com/a") == b"hello"


def test_f04_five_hops_are_followed_and_no_more(net):
    def countdown(request: Request) -> Reply:
        left = int(request.path[1:])
        return Reply(status=302, headers={"Location": f"/{left - 1}"}) if left else hello(request)

    site = net.serve(countdown)
    assert body(net, "http://files.example.com/5") == b"hello"
    site.requests.clear()
    with pytest.raises(TooManyRedirects):
        body(net, "http://files.example.com/20")
    assert len(site.requests) == 6


def test_f04_a_loop_is_seen(net):
    site = net.serve(redirect("/"))
    with pytest.raises(TooManyRedirects, match="circle"):
        body(net, "http://files.example.com/")
    assert len(site.requests) == 1


def test_f04_a_redirect_with_credentials_or_a_line_break_is_refused(net):
    for location in ("http://u:p@files.example.com/x", "http://files.example.com/\x01x"):
        net.serve(redirect(location))
        with pytest.raises(InvalidUrl):
            body(net, "http://files.example.com/")


def test_credentials_stay_with_their_origin(net):
    other = net.serve(hello, "cdn.example.com", OTHER)
    first = net.serve(lambda r: redirect("/2")(r) if r.path == "/1" else redirect("http://cdn.example.com/3")(r))
    secrets = {"Authorization": "Bearer s", "Cookie": "c=s", "X-Api-Key": "s", "Proxy-Authorization": "s"}
    body(net, "http://files.example.com/1", {**secrets, "Accept": "image/png"})
    assert [r.headers.get("authorization") for r in first.requests] == ["Bearer s"] * 2
    assert not any("s" in (other.requests[0].headers.get(name.lower()) or "") for name in secrets)
    assert other.requests[0].headers["accept"] == "image/png"


def test_credentials_do_not_come_back_with_a_redirect_back(net):
    first = net.serve(lambda r: redirect("http://cdn.example.com/")(r) if r.path == "/1" else hello(r))
    net.serve(redirect("http://files.example.com/2"), "cdn.example.com", OTHER)
    body(net, "http://files.example.com/1", {"Authorization": "Bearer s"})
    assert "authorization" not in first.requests[1].headers


@pytest.mark.parametrize("port", [0, 22, 25, 53, 3306, 5432, 6379, 9200, 11211, 27017])
def test_f06_ports_of_other_protocols_are_refused(net, port):
    net.serve(hello)
    with pytest.raises(BlockedPort):
        body(net, f"http://files.example.com:{port}/")
    assert net.lookups == []


def test_f06_a_redirect_to_such_a_port_is_refused(net):
    net.serve(redirect("http://files.example.com:6379/"))
    with pytest.raises(BlockedPort):
        body(net, "http://files.example.com/")


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nHost: evil"}, {"X\r\nY": "a"}, {"X": "a\0"}, {"X": "é€"}, {"Host": "evil"}, {"a b": "c"},
        {"Transfer-Encoding": "chunked"}, {"Content-Length": "5"}, {"Connection": "x"},
    ],
)  # fmt: skip
def test_f06_request_headers_cannot_split_the_request(net, headers):
    net.serve(hello)
    with pytest.raises(InvalidHeader):
        body(net, "http://files.example.com/", headers)
    assert net.connections == []


def test_f08_of_our_own_server_files_are_read_even_at_a_private_address(net):
    policy = Policy(own_origins=frozenset({"http://media.example.com"}))
    site = net.host("media.example.com", ["10.0.0.5"], hello)
    assert body(net, "http://media.example.com/files/b/0123abcd/x.png", {"Authorization": "Key k"}, policy) == b"hello"
    assert "authorization" not in site.requests[0].headers


@pytest.mark.parametrize("path", ["/", "/users/current", "/files/upload", "/files/b/0123abcd/../../../users/current"])
def test_f08_nothing_else_of_our_own_server_is_read(net, path):
    policy = Policy(own_origins=frozenset({"http://media.example.com"}))
    net.host("media.example.com", ["10.0.0.5"], hello)
    net.serve(redirect(f"http://media.example.com{path}"))
    for url in (f"http://media.example.com{path}", "http://files.example.com/"):
        with pytest.raises(BlockedPath):
            body(net, url, policy=policy)
    assert ("10.0.0.5", 80) not in net.connections


def test_f08_our_admin_port_is_any_other_address(net):
    policy = Policy(own_origins=frozenset({"http://media.example.com"}))
    net.host("media.example.com", ["10.0.0.5"], hello)
    with pytest.raises(BlockedAddress):
        body(net, "http://media.example.com:8001/files/b/0123abcd/x.png", policy=policy)


def test_f08_a_redirect_by_our_own_server_is_not_followed(net):
    policy = Policy(own_origins=frozenset({"http://media.example.com"}))
    net.host("media.example.com", ["10.0.0.5"], redirect("http://files.example.com/"))
    net.serve(hello)
    with pytest.raises(BlockedPath):
        body(net, "http://media.example.com/files/b/0123abcd/x.png", policy=policy)


def test_a_credential_for_our_own_server_goes_there_alone_and_never_over_a_redirect(net):
    policy, ours = Policy(own_origins=frozenset({"http://media.example.com"})), {"Authorization": "Bearer ours"}
    own_url, other_url = (
        "http://media.example.com/files/b/0123abcd/x.png",
        "http://files.example.com/files/b/0123abcd/x",
    )
    own = net.host("media.example.com", ["10.0.0.5"], hello)
    other = net.serve(redirect(own_url))
    fetcher = Fetcher(policy, net)
    fetcher.open(own_url, {"Authorization": "theirs"}, credential=ours).close()
    fetcher.open(other_url, credential=ours).close()
    assert [request.headers.get("authorization") for request in own.requests] == ["Bearer ours", None]
    assert "authorization" not in other.requests[0].headers
    own.handler = redirect(other_url)
    with pytest.raises(BlockedPath):
        fetcher.open(own_url, credential=ours)
    assert len(other.requests) == 1


def test_neighbours_that_are_allowed_are_read_and_no_others(net):
    policy = Policy(allow=read_networks("10.0.0.0/8"))
    net.host("near.example.com", ["10.9.8.7"], hello)
    net.host("far.example.com", ["192.168.1.1"], hello)
    assert body(net, "http://near.example.com/", policy=policy) == b"hello"
    with pytest.raises(BlockedAddress):
        body(net, "http://far.example.com/", policy=policy)


def test_the_variable_of_neighbours_is_read_or_refused_as_a_whole():
    assert len(allowed_networks({"ENTREPOT_FETCH_ALLOW": "10.0.0.0/8,127.0.0.1"})) == 2
    assert allowed_networks({}) == ()
    with pytest.raises(FetchError, match="ENTREPOT_FETCH_ALLOW"):
        allowed_networks({"ENTREPOT_FETCH_ALLOW": "10.0.0.0/8,localhost"})


def test_no_proxy_of_the_environment_is_asked(net, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    net.serve(hello)
    assert body(net, "http://files.example.com/") == b"hello"


def test_an_error_says_url_cause_and_remedy_without_secrets(net):
    net.host("evil.example.com", ["10.0.0.1"])
    with pytest.raises(Blocked) as caught:
        body(net, "http://evil.example.com/x?signature=secret")
    assert "http://evil.example.com/x" in str(caught.value)
    assert "non-routable" in str(caught.value)
    assert "ENTREPOT_FETCH_ALLOW" in caught.value.fix
    assert "secret" not in repr(caught.value)
