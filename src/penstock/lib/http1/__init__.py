"""Our own upstream HTTP/1.1 client on httptools: asyncio protocols, no streams, nothing between them.

    async with Client() as client:
        origin, base = Origin.parse("https://api.example.com/v1")
        async with await client.request(origin, "POST", f"{base}/completions", headers, body) as response:
            while data := await response.read_some():
                ...

Errors: `penstock.lib.http1.errors`. Proxies: `penstock.lib.http1.proxy`.
"""

from penstock.lib.http1.client import Client, Headers
from penstock.lib.http1.connection import Response
from penstock.lib.http1.errors import (
    BodyTooLarge,
    ConnectError,
    ConnectionCut,
    ConnectTimeout,
    FirstByteTimeout,
    HTTPClientError,
    PoolTimeout,
    ProtocolError,
    ReadTimeout,
    TotalTimeout,
    WriteTimeout,
)
from penstock.lib.http1.origin import Origin, Timeouts

__all__ = [
    "BodyTooLarge",
    "Client",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionCut",
    "FirstByteTimeout",
    "HTTPClientError",
    "Headers",
    "Origin",
    "PoolTimeout",
    "ProtocolError",
    "ReadTimeout",
    "Response",
    "Timeouts",
    "TotalTimeout",
    "WriteTimeout",
]
