"""Which addresses are public."""

from ipaddress import ip_address

import pytest

from entrepot.fetch import addresses

CLOSED = [
    "127.0.0.1", "0.0.0.0", "::1", "::", "169.254.169.254", "10.0.0.1", "172.16.0.1", "172.31.255.255",
    "192.168.1.1", "100.64.0.1", "100.100.100.200", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "198.18.0.1",
    "198.19.255.255", "198.51.100.1", "203.0.113.1", "192.88.99.1", "168.63.129.16", "0.1.2.3",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1",
    "2002:7f00:1::", "2002:5db8:d822::1", "2001:0:7f00:1::1", "2001:db8::1", "2001:10::1", "3fff::1", "5f00::1",
    "100::1", "ff02::1", "2600::5efe:a00:1", "2600::200:5efe:7f00:1", "4000::1",
]  # fmt: skip
OPEN = [
    "93.184.216.34", "8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1", "198.17.0.1",
    "198.20.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::808:808",
]  # fmt: skip


@pytest.mark.parametrize("text", CLOSED)
def test_f01_what_is_not_reachable_from_everywhere_is_not_public(text):
    address = addresses.read(text)
    assert address is not None and not addresses.is_public(address)


@pytest.mark.parametrize("text", OPEN)
def test_what_is_reachable_from_everywhere_is_public(text):
    address = addresses.read(text)
    assert address is not None and addresses.is_public(address)


@pytest.mark.parametrize("text", ["fe80::1%eth0", "", "localhost", "1.2.3", "01.2.3.4", "::g"])
def test_what_is_no_plain_address_is_none(text):
    assert addresses.read(text) is None


def test_networks_are_read_with_commas_and_blanks():
    networks = addresses.read_networks("10.0.0.0/8, 192.168.1.7 fd00::/8,")
    assert addresses.is_within(ip_address("10.1.2.3"), networks)
    assert addresses.is_within(ip_address("192.168.1.7"), networks)
    assert addresses.is_within(ip_address("fd00::9"), networks)
    assert not addresses.is_within(ip_address("192.168.1.8"), networks)


def test_a_network_that_is_none_is_named():
    with pytest.raises(ValueError, match="10\\.0\\.0\\.0/99"):
        addresses.read_networks("10.0.0.0/99")
