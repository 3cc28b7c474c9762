"""Async tests run on uvloop, and fail for what they leave behind.

An `async def` test fails when it, or code it called in `penstock`,
- leaves an asyncio task or an open socket,
- raises where nobody looks (a callback, a task that was never awaited for),
- makes a blocking call on the event loop (blockbuster).
"""

import asyncio
import contextlib
import inspect
import os
import stat
import sysconfig
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog
import uvloop
from blockbuster import blockbuster_ctx

from penstock.telemetry import log
from penstock.testing.servers import (
    NotInstalled,
    PostgresServer,
    RedisServer,
    pgbouncer,
    postgres_server,
    redis_server,
)

T = TypeVar("T")
GRACE_ROUNDS = 200  # of 10 ms: peers of a closed connection need a moment to see it


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    run_strictly(lambda: pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    with _installed(redis_server) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with _installed(postgres_server) as server:
        yield server


@pytest.fixture
def pooled(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[str]:
    """The URL of PostgreSQL behind PgBouncer; its mode is what the test is marked with, by `indirect`."""
    with _installed(lambda: pgbouncer(postgres, request.param)) as url:
        yield url


@contextlib.contextmanager
def _installed(start: Callable[[], AbstractContextManager[T]]) -> Iterator[T]:
    try:
        with start() as server:
            yield server
    except NotInstalled as exc:
        if os.environ.get("PENSTOCK_TEST_REQUIRE_ALL") == "1":
            pytest.fail(str(exc))
        pytest.skip(str(exc))


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(autouse=True)
def _logs_as_at_start(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command run in this process sets the level and the stream of all loggers: for its own test only."""
    monkeypatch.setattr(log, "_write_call", None)
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def node() -> Path:
    """The program, once the clients in tests/node are installed beside it."""
    found = Path(sysconfig.get_path("scripts")) / "node"
    if not found.exists() or not (Path(__file__).parent / "node" / "node_modules" / "ai").exists():
        message = "node and its packages are not installed: make setup-dev"
        if os.environ.get("PENSTOCK_TEST_REQUIRE_ALL") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(scope="session")
def strictly() -> Callable[[Callable[[], Awaitable[Any]]], None]:
    """For hypothesis tests, which are plain functions: `strictly(check)` runs the coroutine function."""
    return run_strictly


def run_strictly(test: Callable[[], Awaitable[Any]]) -> None:
    with blockbuster_ctx("penstock") as guard:
        for function in guard.functions.values():  # asyncpg looks for ~/.pgpass and keys when it connects
            function.can_block_in("asyncpg/connect_utils.py", "_parse_connect_dsn_and_args")
            function.can_block_in("asyncpg/connect_utils.py", "_parse_connect_arguments")
        uvloop.run(_checked(test), debug=False)


async def _checked(test: Callable[[], Awaitable[Any]]) -> None:
    complaints: list[dict[str, Any]] = []
    main = asyncio.current_task()

    def complain(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        complaints.append(context)
        if isinstance(context.get("exception"), pytest.fail.Exception) and main is not None:
            main.cancel()  # pytest-timeout raised it in a signal handler, where uvloop only reports it

    asyncio.get_running_loop().set_exception_handler(complain)
    sockets = set(_sockets())
    try:
        await test()
    except asyncio.CancelledError:
        for context in complaints:
            raise context["exception"] from None
        raise
    for _ in range(GRACE_ROUNDS):
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        left = set(_sockets()) - sockets
        if not tasks and not left:
            break
        await asyncio.sleep(0.01)
    assert not tasks, f"the test left tasks: {tasks}"
    assert not left, f"the test left {len(left)} open sockets"
    assert not complaints, f"raised where nobody looks: {complaints}"


def _sockets() -> Iterator[tuple[int, int]]:
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - a path object per descriptor is waste
        try:
            status = os.fstat(int(name))
        except OSError:
            continue
        if stat.S_ISSOCK(status.st_mode):
            yield int(name), status.st_ino
