import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from store_help import Opened, opened

from penstock.testing.postgres import NotInstalled, Postgres

_number = count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    try:
        server = Postgres()
    except NotInstalled as exc:
        if os.environ.get("PENSTOCK_TEST_REQUIRE_ALL") == "1":
            pytest.fail(str(exc))
        pytest.skip(str(exc))
    with server:
        yield server


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
        server: Postgres = request.getfixturevalue("postgres")
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
