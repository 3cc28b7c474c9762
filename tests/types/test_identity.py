from ipaddress import ip_network

import pytest

from penstock.types.identity import ROLES, Terms, lowest

INSIDE = Terms(networks=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")))


@pytest.mark.parametrize(
    ("terms", "address", "is_allowed"),
    [
        (Terms(), "anything", True),
        (Terms(expires_s=100.0), "10.0.0.1", False),
        (Terms(expires_s=100.5), "10.0.0.1", True),
        (INSIDE, "10.1.2.3", True),
        (INSIDE, "11.1.2.3", False),
        (INSIDE, "::ffff:10.1.2.3", True),  # as a socket for both families says it
        (INSIDE, "::ffff:11.1.2.3", False),
        (INSIDE, "2001:db8::7%eth0", True),
        (INSIDE, "2001:db9::7", False),
        (INSIDE, "unix", False),
    ],
)
def test_terms_say_until_when_and_from_where(terms: Terms, address: str, is_allowed: bool) -> None:
    assert terms.allow(100.0, address) is is_allowed


def test_the_lowest_role_counts() -> None:
    assert lowest(["admin", "viewer", "developer"]) == "viewer"
    assert [lowest([role, "developer"]) for role in ROLES] == [*["developer"] * 4, "viewer"]
