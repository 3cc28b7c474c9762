"""The admin API against its own document: requests made from the schemas, good and bad ones."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from administered import KEYS, OWNER, administered
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from penstock.admin.openapi import document
from penstock.admin.table import described
from penstock.testing.upstream import Upstream

EXAMPLES = 20  # per endpoint and kind
PROMISES = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
CONFIG = f"""
builtin: off
providers:
  up: {{{{kind: openai-compatible, base_url: "{{url}}", api_key: sk-upstream-secret}}}}
deployments:
  m: {{{{provider: up, model: upstream-model}}}}
{KEYS.replace("{", "{{").replace("}", "}}")}"""


ROWS = described()
DOCUMENT = document(ROWS, "test")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a gateway that runs in another thread, as schemathesis blocks its own."""
    ready: list[str] = []
    started, stop = threading.Event(), threading.Event()
    folder: Path = tmp_path_factory.mktemp("admin")

    async def serve() -> None:
        async with Upstream() as up, administered(folder, CONFIG.format(url=up.url)) as gate:
            ready.append(gate.url)
            started.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(10)
    yield ready[0]
    stop.set()
    thread.join(10)


CASES = [(row.path, row.method, GenerationMode.POSITIVE) for row in ROWS]
CASES += [(row.path, row.method, GenerationMode.NEGATIVE) for row in ROWS if row.body or row.query]


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("path", "method", "mode"), CASES)
def test_no_admin_request_breaks_a_promise(door: str, path: str, method: str, mode: GenerationMode) -> None:
    load_all_checks()
    checks = [CHECKS.get_one(name) for name in PROMISES]
    operation = schemathesis.openapi.from_dict(DOCUMENT)[f"/admin/v1{path}"][method]
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
        case.headers = {**(case.headers or {}), "authorization": f"Bearer {OWNER}"}
        case.call_and_validate(base_url=door, checks=checks)

    check()
