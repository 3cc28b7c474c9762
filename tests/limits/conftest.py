import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

import pytest

from penstock.testing.servers import NotInstalled, PostgresServer, RedisServer, postgres_server, redis_server

T = TypeVar("T")


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    with _installed(redis_server) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with _installed(postgres_server) as server:
        yield server


@contextlib.contextmanager
def _installed(start: Callable[[], AbstractContextManager[T]]) -> Iterator[T]:
    try:
        with start() as server:
            yield server
    except NotInstalled as exc:
        if os.environ.get("PENSTOCK_TEST_REQUIRE_ALL") == "1":
            pytest.fail(str(exc))
        pytest.skip(str(exc))
