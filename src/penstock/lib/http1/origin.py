"""Where a request goes, and how long each of its phases may take."""

from typing import NamedTuple
from urllib.parse import unquote, urlsplit


class Origin(NamedTuple):
    """One pool of connections: same scheme, host and port, or the same Unix socket."""

    scheme: str
    host: str
    port: int
    uds: str | None = None
    ip: str | None = None  # connect to this address, whatever the name resolves to; not through a proxy

    @classmethod
    def parse(cls, url: str) -> tuple["Origin", str]:
        """The origin of a base URL, and its path without the last slash.

        `https://api.x.com/v1` -> (https api.x.com 443, `/v1`)
        `http+unix://%2Frun%2Fengine.sock/v1` -> (socket /run/engine.sock, `/v1`)
        `unix:/run/engine.sock` -> (socket /run/engine.sock, ``)

        Raises ValueError for other schemes, and for credentials, a query or a fragment in the URL.
        """
        parts = urlsplit(url)
        if parts.query or parts.fragment:
            raise ValueError("a base URL has no query and no fragment")
        if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
            return cls("http", "localhost", 80, unquote(parts.path)), ""
        if "@" in parts.netloc:
            raise ValueError("credentials do not belong in a URL: it is logged")
        path = parts.path.rstrip("/")
        if parts.scheme == "http+unix" and parts.netloc:
            return cls("http", "localhost", 80, unquote(parts.netloc)), path
        if parts.scheme not in {"http", "https"}:
            raise ValueError(f"not an http, https, unix or http+unix URL: {url!r}")
        if not parts.hostname:
            raise ValueError(f"no host in {url!r}")
        host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
        if not host.isprintable() or " " in host:
            raise ValueError(f"not a host name: {host!r}")
        default = 443 if parts.scheme == "https" else 80
        return cls(parts.scheme, host, default if parts.port is None else parts.port), path

    @property
    def authority(self) -> str:
        """Host and port as the `host` header wants them: brackets for IPv6, no default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_default = self.uds is not None or self.port == (443 if self.scheme == "https" else 80)
        return host if is_default else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"unix:{self.uds}" if self.uds is not None else f"{self.scheme}://{self.authority}"


class Timeouts(NamedTuple):
    """Seconds; None switches one off."""

    connect_s: float | None = 5.0  # name, TCP, proxy and TLS together
    first_byte_s: float | None = 60.0  # request sent -> response head
    between_s: float | None = 60.0  # how long one read of the body may wait
    total_s: float | None = 600.0  # call of `request` -> last byte
    pool_s: float | None = 5.0  # waiting for a connection when all are busy
