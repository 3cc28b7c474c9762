"""Which addresses a stranger may make us connect to: public ones (server-side request forgery)."""

import asyncio
import ipaddress
import socket


class NotPublic(Exception):
    """A name that leads, or may lead, into a private network."""


async def public_address(host: str, port: int) -> str:
    """An address of `host`, to connect to that very one: the name may say another the next time.

    Raises NotPublic where one of its addresses is not public, OSError where it has none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(map(is_public, addresses)):
        raise NotPublic(host)
    return addresses[0]


def is_public(address: str) -> bool:
    """Neither private, loopback, link-local (cloud metadata), multicast nor reserved, also inside IPv6."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if inner is None and parsed in _NAT64:
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
