"""The platform most of these tests share: one process, started once, stopped as a user stops it."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import pytest
from platforms import FIRST_FETCH_S, Platform, running

from penstock.lib import http1


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running(tmp_path_factory.mktemp("platform")) as started:
        yield started
        assert started.process.poll() is None, started.log()
        assert started.stop(signal.SIGTERM) == 0, started.log()
        assert "Traceback" not in started.log()


@pytest.fixture(scope="session")
def encoder(platform: Platform) -> Platform:
    """The platform once its embedding model is there: it may have to be fetched first."""
    said = asyncio.run(_wait_for_encoder(platform))
    if said:
        message = f"the embedding model could not be had: {said}"
        if os.environ.get("PENSTOCK_TEST_REQUIRE_ALL") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return platform


async def _wait_for_encoder(platform: Platform) -> str:
    """ "" once it answers, else what it said last."""
    began = time.monotonic()
    async with http1.Client() as client:
        while True:
            asked = {"model": "builtin:embedding", "input": "ready?"}
            status, answer = await platform.post(client, asked, "/v1/embeddings")
            if status == 200:
                return ""
            if answer["error"]["code"] != "model_loading" or time.monotonic() - began > FIRST_FETCH_S:
                return str(answer["error"]["message"])
            await asyncio.sleep(0.5)


def pytest_configure(config: pytest.Config) -> None:
    """Marks of langchain-tests, whose plugins stay away."""
    for name in ("benchmark", "vcr"):
        config.addinivalue_line("markers", f"{name}: of langchain-tests")
