"""From an origin to an open socket: Unix socket, TCP, TLS, or through a proxy. All of it the cold path."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import cast

from penstock.lib.http1.connection import Connection
from penstock.lib.http1.errors import ConnectError, ConnectTimeout
from penstock.lib.http1.origin import Origin
from penstock.lib.http1.proxy import Proxy

MAX_PROXY_HEAD_BYTES = 16 * 1024


def default_ssl_context() -> ssl.SSLContext:
    """Verification against the system's CAs, or certifi's where the system has none. Reads files: blocks."""
    context = ssl.create_default_context()
    has_directory = ssl.get_default_verify_paths().capath is not None
    if not has_directory and not context.cert_store_stats()["x509_ca"]:
        import certifi

        context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


async def dial(
    loop: asyncio.AbstractEventLoop,
    origin: Origin,
    proxy: Proxy | None,
    context: ssl.SSLContext | None,
    make: Callable[[], Connection],
) -> Connection:
    """Open a connection. `context` is set for https and for a TLS proxy. Raises ConnectError."""
    try:
        if origin.uds is not None:
            _, conn = await loop.create_unix_connection(make, origin.uds)
            return conn
        if proxy is not None and origin.scheme == "https":
            return await _through(loop, origin, proxy, cast(ssl.SSLContext, context), make)
        host, port = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
        is_tls = origin.scheme == "https" if proxy is None else proxy.is_tls
        to = origin.ip if origin.ip is not None and proxy is None else host
        transport, conn = await loop.create_connection(
            make, to, port, ssl=context if is_tls else None, server_hostname=host if is_tls else None
        )
    except ssl.SSLCertVerificationError as exc:
        raise ConnectError(f"{origin}: TLS certificate refused: {exc.verify_message}") from exc
    except ssl.SSLError as exc:
        raise ConnectError(f"{origin}: TLS failed: {exc.reason or exc}") from exc
    except socket.gaierror as exc:
        name = origin.host if proxy is None else proxy.host
        raise ConnectError(f"{origin}: cannot resolve {name}: {exc.strerror}") from exc
    except TimeoutError as exc:
        raise ConnectTimeout(f"{origin}: cannot connect: the network gave up") from exc
    except OSError as exc:
        raise ConnectError(f"{origin}: cannot connect: {exc.strerror or exc or type(exc).__name__}") from exc
    _keep_alive(transport)
    return conn


class _Tunnel(asyncio.Protocol):
    """Reads a proxy's answer to CONNECT, up to its blank line and no further."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answer: asyncio.Future[bytes] = loop.create_future()
        self._seen = b""

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if self.answer.done():
            return
        if self._seen.endswith(b"\r\n\r\n"):
            self.answer.set_result(self._seen)
        elif b"\r\n\r\n" in self._seen or len(self._seen) > MAX_PROXY_HEAD_BYTES:
            self.answer.set_result(b"")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.answer.done():
            self.answer.set_result(b"")


async def _through(
    loop: asyncio.AbstractEventLoop,
    origin: Origin,
    proxy: Proxy,
    context: ssl.SSLContext,
    make: Callable[[], Connection],
) -> Connection:
    transport, tunnel = await loop.create_connection(
        lambda: _Tunnel(loop),
        proxy.host,
        proxy.port,
        ssl=context if proxy.is_tls else None,
        server_hostname=proxy.host if proxy.is_tls else None,
    )
    try:
        _keep_alive(transport)
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        target = f"{host}:{origin.port}".encode()
        lines = [b"CONNECT %b HTTP/1.1" % target, b"host: %b" % target]
        if proxy.authorization is not None:
            lines.append(b"proxy-authorization: " + proxy.authorization)
        transport.write(b"\r\n".join(lines) + b"\r\n\r\n")
        status = (await tunnel.answer).split(b"\r\n", 1)[0].split(b" ", 2)[1:2]
        if not status or not status[0].isdigit() or not 200 <= int(status[0]) < 300:
            said = status[0].decode("latin-1") if status else "no HTTP answer"
            raise ConnectError(f"{origin}: the proxy {proxy.host}:{proxy.port} refused the tunnel: {said}")
        conn = make()
        inner = await loop.start_tls(transport, conn, context, server_hostname=origin.host)
        if inner is None:
            raise ConnectError(f"{origin}: the proxy closed the tunnel")
        conn.connection_made(inner)
    except BaseException:
        transport.abort()
        raise
    return conn


def _keep_alive(transport: asyncio.BaseTransport) -> None:
    """A peer that vanished without a word is noticed by the kernel, also under a long silent stream."""
    if (sock := transport.get_extra_info("socket")) is not None:
        with contextlib.suppress(OSError):  # closed already: whoever uses it will see
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
