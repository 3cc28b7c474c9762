"""The door against its own OpenAPI document: requests made from the schemas, good and bad ones.

Nothing they send is a 5xx, and every answer is one that the document promises.
"""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from gateways import KEY, gateway, remote
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from penstock.lib import http1
from penstock.protocols import INBOUND, openapi
from penstock.testing.upstream import Upstream

EXAMPLES = 25  # per endpoint and kind
PROMISES = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


@pytest.fixture(scope="module")
def door() -> Iterator[str]:
    """The URL of a gateway that runs in another thread, as schemathesis blocks its own."""
    ready: list[str] = []
    started, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with Upstream() as up, gateway(remote(up.url)) as gate:
            ready.append(gate.url)
            started.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(10)
    yield ready[0]
    stop.set()
    thread.join(10)


def test_every_model_endpoint_is_in_the_document() -> None:
    documented = {row.path for row in openapi.ROWS}
    assert set(INBOUND) <= documented


def test_the_document_is_served(door: str) -> None:
    async def ask() -> None:
        async with http1.Client() as client:
            origin, _ = http1.Origin.parse(door)
            response = await client.request(origin, "GET", "/openapi.json")
            assert response.status == 200
            assert b'"openapi":"3.1.0"' in await response.read(1 << 20)

    asyncio.run(ask())


CASES = [(row.path, row.method, GenerationMode.POSITIVE) for row in openapi.ROWS]
CASES += [(row.path, row.method, GenerationMode.NEGATIVE) for row in openapi.ROWS if row.body is not None]


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("path", "method", "mode"), CASES)
def test_no_request_breaks_a_promise(door: str, path: str, method: str, mode: GenerationMode) -> None:
    load_all_checks()
    checks = [CHECKS.get_one(name) for name in PROMISES]
    schema = schemathesis.openapi.from_dict(openapi.document("test"))
    operation = schema[path][method.upper()]
    cases: st.SearchStrategy[Any] = operation.as_strategy(generation_mode=mode)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(case=cases)
    def check(case: Any) -> None:
        if isinstance(case.body, dict) and "model" in case.body and mode is GenerationMode.POSITIVE:
            case.body["model"] = "m"  # so that requests go all the way
        for key in ("dimensions", "output_dimension"):
            if isinstance(case.body, dict) and isinstance(case.body.get(key), int):
                case.body[key] = min(
                    case.body[key], 64
                )  # the double makes as many numbers as it is asked for
        if isinstance(case.body, dict) and isinstance(case.body.get("format"), dict):
            case.body["format"] = "json"  # the double obeys no schema, and is told so: 502
        case.headers = {"authorization": f"Bearer {KEY}"}
        case.call_and_validate(base_url=door, checks=checks)

    check()
