import asyncio
import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from penstock.protocols import openai_chat
from penstock.providers.azure import EntraSigner, connect
from penstock.providers.profiles import PROFILES
from penstock.testing.clock import FakeClock
from penstock.types.deployment import Address, Credentials, Deployment, Outgoing
from penstock.types.errors import UpstreamCredentials

ROW = PROFILES["azure"]
BASE = "https://mine.openai.azure.com"
CHAT = openai_chat.decode({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5})
OUT = Outgoing("/x", b"")


def made(**said: Any) -> tuple[str, Outgoing, dict[str, str]]:
    found = connect(ROW, Credentials(base_url=BASE, api_key="k", **said), "Azure")
    deployment = Deployment("d", "my gpt", found.codec, found.codec.operations)
    return found.address.path, found.codec.encode(CHAT, deployment), found.headers


@pytest.mark.parametrize("version", [None, "v1", "preview"])
def test_the_v1_surface_names_the_model_in_the_body(version: str | None) -> None:
    path, outgoing, headers = made(api_version=version)
    assert path + outgoing.path == "/openai/v1/chat/completions"
    body = json.loads(outgoing.body)
    assert (body["model"], body["max_completion_tokens"]) == ("my gpt", 5)
    assert headers == {"api-key": "k"}


def test_a_dated_version_names_it_in_the_path() -> None:
    path, outgoing, _ = made(api_version="2024-10-21")
    assert path == ""
    assert outgoing.path == "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"


@pytest.mark.parametrize("base", [BASE, f"{BASE}/", f"{BASE}/openai", f"{BASE}/openai/v1/"])
def test_the_address_may_hold_the_path_or_not(base: str) -> None:
    found = connect(ROW, Credentials(base_url=base, api_key="k"), "Azure")
    assert found.address.path == "/openai/v1"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "base_url is missing"),
        ({"base_url": BASE}, "api_key is missing"),
        ({"base_url": BASE, "tenant_id": "t"}, "belong together"),
    ],
)
def test_what_is_missing_is_said(said: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        connect(ROW, Credentials(**said), "Azure")


class Entra:
    """A token endpoint."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, list[str]]] = []

    async def fetch(self, url: str, headers: tuple[tuple[str, str], ...], body: bytes) -> tuple[int, bytes]:
        assert url == "https://login.microsoftonline.com/t/oauth2/v2.0/token"
        assert ("content-type", "application/x-www-form-urlencoded") in headers
        self.asked.append(parse_qs(body.decode()))
        await asyncio.sleep(0.01)
        status, answer = self.answers.pop(0)
        return status, json.dumps(answer).encode()


def signer(clock: FakeClock) -> EntraSigner:
    return EntraSigner("t", "app", "s3cret&", clock)


async def test_a_token_is_fetched_once_for_all_and_renewed_before_it_expires() -> None:
    clock = FakeClock()
    entra = Entra(
        (200, {"access_token": "one", "expires_in": 3600}), (200, {"access_token": "two", "expires_in": "99"})
    )
    made_ = signer(clock)
    found = await asyncio.gather(*(made_.sign(entra.fetch, Address(), OUT) for _ in range(5)))
    assert set(found) == {(("authorization", "Bearer one"),)}
    assert entra.asked == [
        {
            "client_id": ["app"],
            "client_secret": ["s3cret&"],
            "scope": ["https://cognitiveservices.azure.com/.default"],
            "grant_type": ["client_credentials"],
        }
    ]
    clock.advance(3539)
    assert await made_.sign(entra.fetch, Address(), OUT) == found[0]
    clock.advance(2)
    assert await made_.sign(entra.fetch, Address(), OUT) == (("authorization", "Bearer two"),)


async def test_a_refusal_tells_no_secret() -> None:
    entra = Entra((401, {"error": "invalid_client", "error_description": "the secret s3cret& is wrong"}))
    with pytest.raises(UpstreamCredentials) as raised:
        await signer(FakeClock()).sign(entra.fetch, Address(), OUT)
    assert "s3cret" not in raised.value.message
    assert "invalid_client" in raised.value.detail
