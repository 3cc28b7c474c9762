"""Vertex AI: addresses, key files, tokens."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from penstock.providers.google_auth import EARLY_S, SCOPE, TOKEN_URL, GoogleSigner
from penstock.providers.profiles import profile
from penstock.providers.vertex import address_of, connect
from penstock.testing.clock import FakeClock
from penstock.types.deployment import Address, Connection, Credentials, Outgoing
from penstock.types.errors import UpstreamCredentials, UpstreamUnavailable

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ROW = profile("vertex")
OUTGOING = Outgoing("/publishers/google/models/m:generateContent", b"{}")


def pem(key: Any) -> str:
    return key.private_bytes(  # type: ignore[no-any-return]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def key_file(**fields: Any) -> str:
    told = {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "kid1",
        "private_key": pem(KEY),
        "client_email": "robot@my-project.iam.gserviceaccount.com",
        "token_uri": TOKEN_URL,
    }
    return json.dumps({name: value for name, value in (told | fields).items() if value is not None})


class Google:
    """The token endpoint."""

    def __init__(self, status: int = 200, body: Any = None) -> None:
        self.asked: list[dict[str, list[str]]] = []
        self.status = status
        self.body = body

    async def fetch(self, url: str, headers: tuple[tuple[str, str], ...], body: bytes) -> tuple[int, bytes]:
        assert url == TOKEN_URL
        assert ("content-type", "application/x-www-form-urlencoded") in headers
        self.asked.append(parse_qs(body.decode()))
        await asyncio.sleep(0)
        told = self.body
        if told is None:
            told = {"access_token": f"ya29.{len(self.asked)}", "expires_in": 3599, "token_type": "Bearer"}
        return self.status, told if isinstance(told, bytes) else json.dumps(told).encode()


def connected(clock: FakeClock | None = None, **fields: Any) -> Connection:
    credentials = Credentials(**{"service_account": key_file(), "region": "europe-west4", **fields})
    return connect(ROW, credentials, "vertex", clock or FakeClock())


async def signed(connection: Connection, google: Google) -> dict[str, str]:
    assert connection.signer is not None
    return dict(await connection.signer.sign(google.fetch, connection.address, OUTGOING))


def _unpacked(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


# -- addresses


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_addresses(region: str, host: str) -> None:
    path = f"/v1/projects/p-1/locations/{region}"
    assert address_of("p-1", region) == Address("https", host, 443, None, path)


def test_where_a_connection_goes() -> None:
    assert connected().address.path == "/v1/projects/my-project/locations/europe-west4"
    assert connected(region=None, project="other").address.path == "/v1/projects/other/locations/global"
    behind = connected(base_url="https://proxy.example/vertex/v1beta1").address
    assert (behind.host, behind.path) == (
        "proxy.example",
        "/vertex/v1beta1/projects/my-project/locations/europe-west4",
    )


def test_express_mode() -> None:
    express = connect(ROW, Credentials(api_key="AIza"), "vertex")
    assert express.address == Address("https", "aiplatform.googleapis.com", 443, None, "/v1")
    assert express.headers == {"x-goog-api-key": "AIza"}
    assert express.signer is None
    regional = connect(ROW, Credentials(api_key="AIza", project="p", region="us-east1"), "vertex")
    assert regional.address.path == "/v1/projects/p/locations/us-east1"


@pytest.mark.parametrize("region", ["evil.example/", "a b", "", "-x", "EU", "x" * 60])
def test_a_region_is_no_host(region: str) -> None:
    with pytest.raises(ValueError, match="region"):
        address_of("p", region)


# -- key files


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("/no/such/file", "no readable key file"),
        ("{", "not JSON"),
        ("{}", "type must be"),
        (key_file(type="external_account"), "type must be"),
        (key_file(private_key="-----BEGIN"), "no private key"),
        (key_file(private_key=None), "lacks private_key"),
        (key_file(client_email=None), "lacks client_email"),
        (key_file(token_uri="http://evil.example/token"), "https"),
        (key_file(private_key=pem(ec.generate_private_key(ec.SECP256R1()))), "no RSA key"),
        (json.dumps({"type": "authorized_user", "client_id": "x"}), "lacks client_secret"),
    ],
)
def test_key_files_that_are_none(given: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        connected(service_account=given)
    assert "BEGIN" not in str(caught.value)


def test_what_is_missing() -> None:
    with pytest.raises(ValueError, match="project is missing"):
        connected(service_account=key_file(project_id=None))
    with pytest.raises(ValueError, match="service_account or api_key"):
        connect(ROW, Credentials(), "vertex")


def test_a_key_file_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text(key_file())
    assert isinstance(connected(service_account=str(path)).signer, GoogleSigner)


# -- tokens


async def test_the_signed_statement() -> None:
    google, clock = Google(), FakeClock(wall=1_800_000_000.7)
    headers = await signed(connected(clock), google)
    assert headers == {"authorization": "Bearer ya29.1"}
    form = google.asked[0]
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    header, claims, signature = form["assertion"][0].split(".")
    assert json.loads(_unpacked(header)) == {"alg": "RS256", "typ": "JWT", "kid": "kid1"}
    assert json.loads(_unpacked(claims)) == {
        "iss": "robot@my-project.iam.gserviceaccount.com",
        "scope": SCOPE,
        "aud": TOKEN_URL,
        "iat": 1_800_000_000,
        "exp": 1_800_003_600,
    }
    KEY.public_key().verify(
        _unpacked(signature), f"{header}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
    )


async def test_a_token_is_kept_until_a_minute_before_its_end() -> None:
    google, clock = Google(), FakeClock()
    connection = connected(clock)
    await signed(connection, google)
    clock.advance(3599 - EARLY_S - 1)
    assert (await signed(connection, google))["authorization"] == "Bearer ya29.1"
    clock.advance(1)
    assert (await signed(connection, google))["authorization"] == "Bearer ya29.2"
    assert len(google.asked) == 2


async def test_calls_at_once_fetch_one_token() -> None:
    google, clock = Google(), FakeClock()
    connection = connected(clock)
    for expected in (1, 2):
        found = await asyncio.gather(*(signed(connection, google) for _ in range(50)))
        assert {headers["authorization"] for headers in found} == {f"Bearer ya29.{expected}"}
        assert len(google.asked) == expected
        clock.advance(4000)


async def test_a_caller_that_leaves_does_not_keep_the_others_waiting() -> None:
    google, connection = Google(), connected()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(signed(connection, google))
        second = group.create_task(signed(connection, google))
        await asyncio.sleep(0)
        first.cancel()
    assert second.result()["authorization"] == "Bearer ya29.2"


async def test_a_users_own_credentials() -> None:
    told = {
        "type": "authorized_user",
        "client_id": "c",
        "client_secret": "s",
        "refresh_token": "r",
        "quota_project_id": "q",
    }
    google = Google()
    headers = await signed(connected(service_account=json.dumps(told), project="p"), google)
    assert headers == {"authorization": "Bearer ya29.1", "x-goog-user-project": "q"}
    assert google.asked[0]["refresh_token"] == ["r"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}),
        (401, {"error": "invalid_client"}),
        (500, b"<html>"),
        (200, b"nonsense"),
        (200, []),
        (200, {}),
        (200, {"access_token": 7}),
        (200, {"access_token": "a\r\nb"}),
    ],
)
async def test_no_token(status: int, body: Any) -> None:
    google = Google(status, body)
    connection = connected()
    with pytest.raises(UpstreamCredentials) as caught:
        await signed(connection, google)
    assert "Invalid JWT" not in caught.value.message
    google.status, google.body = 200, None
    assert await signed(connection, google)  # the next one tries again


async def test_the_token_endpoint_is_away() -> None:
    async def away(url: str, headers: tuple[tuple[str, str], ...], body: bytes) -> tuple[int, bytes]:
        raise UpstreamUnavailable("no route")

    signer = connected().signer
    assert isinstance(signer, GoogleSigner)
    with pytest.raises(UpstreamCredentials):
        await signer.sign(away, Address(), OUTGOING)
