"""Azure OpenAI, outbound: https://learn.microsoft.com/azure/ai-foundry/openai/reference

OpenAI's dialect at other addresses, with other credentials.

    api_version not said    {base_url}/openai/v1/...; the deployment's name is the model
    a dated api_version     {base_url}/openai/deployments/{model}/...?api-version=2024-10-21

api_key travels in the header `api-key`. With tenant_id, client_id and client_secret instead, a token of Entra
ID (OAuth 2.0 client credentials) is fetched and kept until a minute before it expires; calls that come
meanwhile wait for the same one.
"""

import asyncio
from urllib.parse import quote, urlencode

import msgspec

from penstock.lib.clock import Clock, SystemClock
from penstock.providers.openai import OpenAICodec
from penstock.providers.profiles import Profile, plain_connection
from penstock.types.deployment import (
    Address,
    Connection,
    Credentials,
    Deployment,
    Fetch,
    Outgoing,
)
from penstock.types.errors import UpstreamCredentials
from penstock.types.requests import Request

AUTHORITY = "https://login.microsoftonline.com"
SCOPE = "https://cognitiveservices.azure.com/.default"
EARLY_S = 60.0  # before a token expires

_FORM = (("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json"))


class DatedCodec(OpenAICodec):
    """The older interface: model and api-version stand in the path."""

    def __init__(self, profile: Profile, name: str, api_version: str) -> None:
        super().__init__(profile.quirks, name=name)
        self._query = urlencode({"api-version": api_version})

    def encode(self, request: Request, deployment: Deployment) -> Outgoing:
        outgoing = super().encode(request, deployment)
        path = f"/openai/deployments/{quote(deployment.model, safe='')}{outgoing.path}?{self._query}"
        return outgoing._replace(path=path)


class EntraSigner:
    """A bearer token of one application."""

    def __init__(
        self, tenant_id: str, client_id: str, client_secret: str, clock: Clock | None = None
    ) -> None:
        self._url = f"{AUTHORITY}/{quote(tenant_id, safe='')}/oauth2/v2.0/token"
        asked = {"client_id": client_id, "client_secret": client_secret, "scope": SCOPE}
        self._body = urlencode({**asked, "grant_type": "client_credentials"}).encode()
        self._clock = clock or SystemClock()
        self._token = ""
        self._until_s = 0.0  # monotonic
        self._lock = asyncio.Lock()

    async def sign(
        self,
        fetch: Fetch,
        address: Address,  # noqa: ARG002 - one token for all
        outgoing: Outgoing,  # noqa: ARG002
    ) -> tuple[tuple[str, str], ...]:
        if self._clock.monotonic() >= self._until_s:
            async with self._lock:
                if self._clock.monotonic() >= self._until_s:
                    await self._renew(fetch)
        return (("authorization", f"Bearer {self._token}"),)

    async def _renew(self, fetch: Fetch) -> None:
        """Raises UpstreamCredentials; what Entra said is for the log only."""
        try:
            status, body = await fetch(self._url, _FORM, self._body)
        except Exception as exc:
            raise UpstreamCredentials("No token could be had from Entra ID.", detail=str(exc)) from exc
        try:
            answer = msgspec.json.decode(body)
            token, lasts_s = answer["access_token"], float(answer["expires_in"])
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, RecursionError) as exc:
            said = body[:300].decode("utf-8", "replace")
            raise UpstreamCredentials(
                "Entra ID refused to give a token.", detail=f"status {status}: {said}"
            ) from exc
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token:
            raise UpstreamCredentials("Entra ID gave no token.", detail=f"status {status}")
        self._token = token
        self._until_s = self._clock.monotonic() + max(0.0, lasts_s - EARLY_S)


def connect(profile: Profile, credentials: Credentials, name: str) -> Connection:
    """Raises ValueError without an address, or without credentials."""
    if credentials.base_url is None:
        raise ValueError("base_url is missing; write base_url: https://<resource>.openai.azure.com")
    url = credentials.base_url.rstrip("/").removesuffix("/openai/v1").removesuffix("/openai")
    codec: OpenAICodec
    if credentials.api_version in (None, "v1", "preview"):
        url += "/openai/v1"
        codec = OpenAICodec(profile.quirks, name=name)
    else:
        codec = DatedCodec(profile, name, credentials.api_version)
    made = plain_connection(profile, msgspec.structs.replace(credentials, base_url=url), codec)
    parts = (credentials.tenant_id, credentials.client_id, credentials.client_secret)
    tenant_id, client_id, client_secret = parts
    if tenant_id and client_id and client_secret:
        return made._replace(signer=EntraSigner(tenant_id, client_id, client_secret))
    if any(parts):
        raise ValueError("tenant_id, client_id and client_secret belong together")
    if credentials.api_key is None:
        raise ValueError("api_key is missing, or tenant_id, client_id and client_secret")
    return made
