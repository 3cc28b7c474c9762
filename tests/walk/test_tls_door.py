"""TLS at our own door, and certificates of clients."""

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest
import trustme
from gateways import chat, gateway, remote

from penstock.lib import http1
from penstock.testing.upstream import Upstream

CHAT = "/v1/chat/completions"
NO_KEY = {"authorization": ""}


class Tls:
    """An authority, the gateway's files, and contexts for clients."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        issued = self.ca.issue_cert("127.0.0.1", "localhost")
        for name, blob in (
            ("cert", issued.cert_chain_pems[0]),
            ("key", issued.private_key_pem),
            ("ca", self.ca.cert_pem),
        ):
            blob.write_to_path(folder / f"{name}.pem")
        self.written = f"cert: {folder}/cert.pem, key: {folder}/key.pem"
        self.with_clients = f"{self.written}, client_ca: {folder}/ca.pem"

    def client(self, *names: str, ca: trustme.CA | None = None) -> ssl.SSLContext:
        """A client's context; with names it shows a certificate for them."""
        context = ssl.create_default_context(cadata=self.ca.cert_pem.bytes().decode())
        if names:
            (ca or self.ca).issue_cert(*names, common_name=names[0]).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return Tls(tmp_path_factory.mktemp("tls"))


def config(url: str, written: str, extra: str = "") -> str:
    return remote(url, f"{extra}\nserver: {{tls: {{{written}}}}}")


MAP = '  runner: {}\nidentity: {client_certificates: {map: {"dns:runner.example.com": runner}}}'


async def test_everything_is_over_tls(tls: Tls) -> None:
    async with Upstream() as up, gateway(config(up.url, tls.written), tls=tls.client()) as gate:
        assert gate.url.startswith("https://127.0.0.1:")
        assert (await gate.post(CHAT, chat())).status == 200
        streamed = await gate.post(CHAT, chat(stream=True))
        assert streamed.events[-1] == "[DONE]"
        assert (await gate.get("/health/live", headers=NO_KEY)).status == 200


async def test_what_is_no_tls_gets_nothing(tls: Tls) -> None:
    async with Upstream() as up, gateway(config(up.url, tls.written), tls=tls.client()) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert not (await reader.read()).startswith(b"HTTP")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        assert (await gate.get("/v1/models")).status == 200


async def test_a_client_s_certificate_stands_for_a_key(tls: Tls) -> None:
    context = tls.client("runner.example.com")
    async with Upstream() as up, gateway(config(up.url, tls.with_clients, MAP), tls=context) as gate:
        assert (await gate.post(CHAT, chat(), headers=NO_KEY)).status == 200
        assert (await gate.get("/auth/me", headers=NO_KEY)).json["name"] == "runner"
        assert (await gate.get("/auth/me")).json["name"] == "test"  # a key goes before it


async def test_a_certificate_that_stands_for_nothing(tls: Tls) -> None:
    context = tls.client("other.example.com")
    async with Upstream() as up, gateway(config(up.url, tls.with_clients, MAP), tls=context) as gate:
        assert (await gate.post(CHAT, chat(), headers=NO_KEY)).error[:2] == (401, "invalid_api_key")
        assert (await gate.post(CHAT, chat())).status == 200


async def test_a_certificate_is_optional_unless_it_is_required(tls: Tls) -> None:
    async with Upstream() as up:
        async with gateway(config(up.url, tls.with_clients, MAP), tls=tls.client()) as gate:
            assert (await gate.post(CHAT, chat())).status == 200
            assert (await gate.post(CHAT, chat(), headers=NO_KEY)).status == 401
        required = f"{tls.with_clients}, client: required"
        async with gateway(config(up.url, required, MAP), tls=tls.client("x.example.com")) as gate:
            assert (await gate.post(CHAT, chat())).status == 200
        async with gateway(config(up.url, required, MAP), tls=tls.client()) as gate:
            with pytest.raises(http1.HTTPClientError):
                await gate.get("/health/live")


async def test_a_certificate_of_another_authority_ends_the_handshake(tls: Tls) -> None:
    context = tls.client("runner.example.com", ca=trustme.CA())
    async with Upstream() as up, gateway(config(up.url, tls.with_clients, MAP), tls=context) as gate:
        with pytest.raises(http1.HTTPClientError):
            await gate.get("/auth/me", headers=NO_KEY)


async def test_a_header_of_nobody_is_no_certificate(tls: Tls) -> None:
    """The configured header counts from proxies only, on a TLS door, too."""
    extra = MAP.replace(
        "{client_certificates: {", "{trusted_proxies: [127.0.0.9], client_certificates: {header: x-cert, "
    )
    cert = tls.ca.issue_cert("runner.example.com").cert_chain_pems[0].bytes().replace(b"\n", b" ").decode()
    async with Upstream() as up, gateway(config(up.url, tls.with_clients, extra), tls=tls.client()) as gate:
        assert (await gate.get("/auth/me", headers={**NO_KEY, "x-cert": cert})).status == 401
        assert (await gate.get("/auth/me", headers={"x-cert": cert})).json["name"] == "test"
