"""Where a request comes from: the peer's address, or what trusted proxies say of it.

X-Forwarded-For is read from the right, where the nearest proxy wrote: the first address that is no trusted
proxy's is the client's. What stands left of it was said by the client, who may say anything.
"""

import functools
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from penstock.types.identity import Network

Address = IPv4Address | IPv6Address

_MAX_HOPS = 32
_MAX_CHARS = 64  # of an address, its scope included
_MAPPED_BITS = 96  # of ::ffff:0:0/96
_PREFIX_V6 = 64  # what one customer usually has
_USUAL_PORTS = {"http": ":80", "https": ":443"}


def parse_network(text: str) -> Network:
    """`10.0.0.0/8`, `2001:db8::/32` or one address. Raises ValueError with a sentence for the user."""
    try:
        return unmapped(ip_network(text))
    except ValueError:
        pass
    try:
        wide = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"{text!r} is no address range; write one such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7"
        ) from None
    raise ValueError(f"{text!r} has bits set beyond its prefix; did you mean {wide}?")


def unmapped(network: Network) -> Network:
    """IPv4 in IPv6's clothes is taken for what it is, as addresses are (`parse_address`)."""
    first = network.network_address
    if isinstance(first, IPv4Address) or first.ipv4_mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return IPv4Network((first.ipv4_mapped, network.prefixlen - _MAPPED_BITS))


def parse_address(text: str) -> Address | None:
    """An IPv4 address in IPv6's clothes is taken for what it is."""
    return _parsed(text) if len(text) <= _MAX_CHARS else None


@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return found.ipv4_mapped
        if found.scope_id is not None:
            return IPv6Address(int(found))
    return found


def is_within(address: str, networks: Iterable[Network]) -> bool:
    found = parse_address(address)
    return found is not None and any(found in network for network in networks)


def client_address(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """The client's address; empty where trusted proxies say something that is no address.

    forwarded: the value of X-Forwarded-For, empty where there is none.
    """
    if not trusted or not forwarded or not is_within(peer, trusted):
        return peer
    address = peer
    for said in reversed(forwarded.split(",")[-_MAX_HOPS:]):
        found = parse_address(_without_port(said.strip()))
        if found is None:
            return ""
        address = str(found)
        if not any(found in network for network in trusted):
            break
    return address


def neighbourhood(address: str) -> str:
    """Who is counted together: an IPv4 address, the /64 of an IPv6 one."""
    found = parse_address(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found), _PREFIX_V6), strict=False))
    return str(found) if found is not None else ""


def is_loopback(address: str) -> bool:
    found = parse_address(address)
    return found is not None and found.is_loopback


def leads_here(host: str) -> bool:
    """host: as a `Host` header says it, with a port or without; whether it names this machine to itself."""
    bare = host if host.endswith("]") else host.rpartition(":")[0] or host
    return bare == "localhost" or is_loopback(bare.strip("[]"))


def origin_of(scheme: str, host: str) -> str:
    """As a browser writes it in `Origin`: in lower case, without the port that goes without saying."""
    return f"{scheme}://{host.lower().removesuffix(_USUAL_PORTS.get(scheme, ''))}"


def _without_port(said: str) -> str:
    """Some proxies write `192.0.2.7:4711` or `[2001:db8::7]:4711`."""
    if said.startswith("["):
        return said[1:].partition("]")[0]
    host, colon, _ = said.partition(":")
    return host if colon and "." in host and said.count(":") == 1 else said
