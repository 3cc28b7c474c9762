"""Vertex AI, outbound: the Gemini dialect behind Google Cloud's door.

                with a service account                             with an API key (express mode)
    ----------  -------------------------------------------------  -----------------------------------
    host        {region}-aiplatform.googleapis.com                 aiplatform.googleapis.com
      global    aiplatform.googleapis.com
      us, eu    aiplatform.{region}.rep.googleapis.com
    path        /v1/projects/{project}/locations/{region}          /v1
    model       /publishers/google/models/{m}                      the same
                /endpoints/{id} and full names stand for themselves
    credentials a bearer token, fetched and renewed (google_auth)  x-goog-api-key

What differs from the Gemini API (gemini.py): calls and results have no ids (they meet by name and order),
:countTokens takes the bare request, embeddings come from :predict.

REST, though Google offers gRPC, too (google.cloud.aiplatform.v1.PredictionService): the messages are the
same, REST needs neither a second HTTP stack nor compiled stubs, and streams are server-sent events like those
of every other vendor, so time-outs, limits and cancelling are the ones this gateway has.
"""

import re
from urllib.parse import quote

from penstock.dialects.gemini import JSON
from penstock.lib.clock import Clock, SystemClock
from penstock.lib.http1 import Origin
from penstock.providers.gemini import GeminiCodec, _encode
from penstock.providers.gemini_vectors import predict_body
from penstock.providers.google_auth import GoogleSigner, read_key
from penstock.providers.profiles import Profile
from penstock.types.deployment import Address, Connection, Credentials, Deployment, Outgoing
from penstock.types.requests import EmbeddingRequest

HOST = "aiplatform.googleapis.com"
_REGION = re.compile(r"[a-z][a-z0-9-]{1,39}")
_JURISDICTIONS = frozenset({"us", "eu"})
_WHOLE = ("publishers/", "endpoints/", "projects/")
_COUNTED = ("contents", "systemInstruction", "tools", "generationConfig")


class VertexCodec(GeminiCodec):
    ids = False

    def path_of(self, model: str) -> str:
        """Below the project's location. A full name of a project is cut to what is below it, too."""
        if model.startswith("projects/"):
            model = "/".join(model.split("/")[4:])
        if not model.startswith(_WHOLE):
            model = f"publishers/google/models/{model.removeprefix('models/')}"
        return "/" + quote(model, safe="/-._~@")

    def count_body(self, body: JSON, model: str) -> JSON:  # noqa: ARG002 - it is in the path
        return {name: body[name] for name in _COUNTED if name in body}

    def _embedding(self, request: EmbeddingRequest, deployment: Deployment) -> Outgoing:
        return Outgoing(f"{self.path_of(deployment.model)}:predict", _encode(predict_body(request)))


def connect(
    profile: Profile,  # noqa: ARG001 - of the registry's signature
    credentials: Credentials,
    name: str,
    clock: Clock | None = None,
) -> Connection:
    """Raises ValueError for credentials that cannot work."""
    codec = VertexCodec(name=name)
    if credentials.service_account is not None:
        key = read_key(credentials.service_account)
        project = credentials.project or key.project
        if not project:
            raise ValueError("project is missing; the key file names none")
        address = address_of(project, credentials.region or "global", credentials.base_url)
        return Connection(address, {}, codec, GoogleSigner(key, clock or SystemClock(), name=name))
    if credentials.api_key is None:
        raise ValueError("service_account or api_key is missing")
    if credentials.project and credentials.region:
        address = address_of(credentials.project, credentials.region, credentials.base_url)
    else:
        address = _at(credentials.base_url or f"https://{HOST}", "/v1")
    return Connection(address, {"x-goog-api-key": credentials.api_key}, codec)


def address_of(project: str, region: str, base_url: str | None = None) -> Address:
    """`base_url` is a private endpoint's, or a proxy's: the project's path is put below it."""
    if _REGION.fullmatch(region) is None:  # it becomes a part of a host name
        raise ValueError(f"region: {region[:40]!r} is no location of Google Cloud")
    if base_url is None:
        if region == "global":
            host = HOST
        elif region in _JURISDICTIONS:
            host = f"aiplatform.{region}.rep.googleapis.com"
        else:
            host = f"{region}-{HOST}"
        base_url = f"https://{host}"
    where = f"/projects/{quote(project, safe='-:.')}/locations/{quote(region, safe='-')}"
    return _at(base_url, "/v1", where)


def _at(base_url: str, version: str, below: str = "") -> Address:
    origin, path = Origin.parse(base_url)
    return Address(origin.scheme, origin.host, origin.port, origin.uds, (path or version) + below)
