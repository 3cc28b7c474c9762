from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from store_help import Opened, opened

from penstock.testing.servers import PostgresServer

_number = count(1)


@pytest.fixture(params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """The URL of another empty database each time."""

    def new(backend: str) -> str:
        name = f"test_{next(_number)}"
        if backend == "sqlite":
            return f"sqlite:///{tmp_path / name}.db"
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.new_database(name)

    return new


@pytest.fixture
def url(backend: str, new_url: Callable[[str], str]) -> str:
    return new_url(backend)


@pytest.fixture
def postgres_url(new_url: Callable[[str], str]) -> str:
    return new_url("postgres")


@pytest.fixture
def store(url: str) -> Opened:
    """`async with store() as one`: each time a process of its own, as it were, on the same database."""
    return lambda: opened(url)
