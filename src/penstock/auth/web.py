"""Requests to identity providers: few, small, bounded in time, and over TLS.

http is for loopback hosts, and for an issuer whose configuration says `insecure: on`: keys fetched over a
line that others can write to are anybody's keys. Redirects are not followed.
"""

from typing import Final, Protocol
from urllib.parse import urlsplit

from penstock.lib.http1 import Client, HTTPClientError, Origin, Timeouts

LIMIT_BYTES: Final = 1024 * 1024
TIMEOUTS: Final = Timeouts(connect_s=5.0, first_byte_s=10.0, between_s=10.0, total_s=15.0, pool_s=5.0)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

Headers = tuple[tuple[str, str], ...]


class Unreachable(Exception):
    """No usable answer; the message is for the log."""


class Fetch(Protocol):
    async def __call__(
        self, method: str, url: str, headers: Headers = (), body: bytes = b""
    ) -> tuple[int, bytes]:
        """Status and body. Raises Unreachable."""
        ...


class Web:
    """Satisfies Fetch."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def __call__(
        self, method: str, url: str, headers: Headers = (), body: bytes = b""
    ) -> tuple[int, bytes]:
        try:
            parts = urlsplit(url)
            origin, _ = Origin.parse(f"{parts.scheme}://{parts.netloc}")
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            response = await self._client.request(origin, method, target, headers, body, timeouts=TIMEOUTS)
            return response.status, await response.read(LIMIT_BYTES)
        except (HTTPClientError, ValueError) as exc:
            raise Unreachable(f"{url}: {exc}") from exc


def is_safe(url: str, *, is_insecure: bool) -> bool:
    """Whether it may be asked for keys or tokens."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if not host or "@" in parts.netloc or parts.fragment or not url.isascii() or not url.isprintable():
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and (is_insecure or host in _LOOPBACK))
