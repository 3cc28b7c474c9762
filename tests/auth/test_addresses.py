"""Where a request comes from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.auth.addresses import client_address, is_within, neighbourhood, parse_network

TRUSTED = (parse_network("10.0.0.0/8"), parse_network("2001:db8::/32"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.9", "192.0.2.1"),  # nobody of ours says so
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.9", "198.51.100.9"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.9", "198.51.100.9"),  # the left part is the client's own words
        ("10.0.0.1", "198.51.100.9, 10.2.3.4", "198.51.100.9"),  # two proxies
        ("10.0.0.1", "10.9.9.9, 10.2.3.4", "10.9.9.9"),  # a client that is a neighbour
        ("10.0.0.1", "198.51.100.9:4711", "198.51.100.9"),
        ("10.0.0.1", "[2001:db9::7]:4711", "2001:db9::7"),
        ("10.0.0.1", "2001:db9::7", "2001:db9::7"),
        ("2001:db8::1", "198.51.100.9", "198.51.100.9"),
        ("::ffff:10.0.0.1", "198.51.100.9", "198.51.100.9"),
        ("10.0.0.1", "unknown", ""),
        ("10.0.0.1", "198.51.100.9, unknown", ""),
        ("10.0.0.1", "198.51.100.9,", ""),
        ("", "198.51.100.9", ""),
    ],
)
def test_the_rightmost_address_that_no_proxy_of_ours_has(peer: str, forwarded: str, expected: str) -> None:
    assert client_address(peer, forwarded, TRUSTED) == expected


def test_without_trusted_proxies_nothing_is_believed() -> None:
    assert client_address("10.0.0.1", "198.51.100.9", ()) == "10.0.0.1"


@given(st.text(max_size=60))
def test_what_the_client_says_never_changes_what_the_proxy_says(said: str) -> None:
    assert client_address("10.0.0.1", f"{said}, 198.51.100.9", TRUSTED) == "198.51.100.9"


@pytest.mark.parametrize("address", ["", "x", "10.0.0.1.1", "10.0.0.1/8", "1" * 5000])
def test_what_is_no_address_is_nowhere(address: str) -> None:
    assert not is_within(address, (parse_network("0.0.0.0/0"), parse_network("::/0")))
    assert neighbourhood(address) == ""


def test_neighbours() -> None:
    assert neighbourhood("2001:db8:1:2:3::9") == neighbourhood("2001:db8:1:2:ffff::1")
    assert neighbourhood("2001:db8:1:2:3::9") != neighbourhood("2001:db8:1:3:3::9")
    assert neighbourhood("192.0.2.1") != neighbourhood("192.0.2.2")
    assert neighbourhood("::ffff:192.0.2.1") == "192.0.2.1"
    assert neighbourhood("fe80::1%eth0") == "fe80::/64"


def test_ranges() -> None:
    assert is_within("192.0.2.7", (parse_network("192.0.2.7"),))
    assert is_within("192.0.2.7", (parse_network("::ffff:192.0.2.0/120"),))  # as some systems write it
    assert is_within("::ffff:192.0.2.7", (parse_network("192.0.2.0/24"),))
    assert not is_within("192.0.2.7", (parse_network("::/0"), parse_network("::ffff:198.51.100.0/120")))
    with pytest.raises(ValueError, match=r"did you mean 10\.0\.0\.0/8"):
        parse_network("10.0.0.1/8")
    with pytest.raises(ValueError, match="no address range"):
        parse_network("example.com")
