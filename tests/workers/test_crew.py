"""Worker processes that do not come up, or do not stay."""

import asyncio
import contextlib
import os
import signal
from typing import Any

import psutil
import pytest
import structlog

from penstock import serve, supervisor
from penstock.config.compile import compile_settings
from penstock.config.load import load_text
from penstock.lib import tasks
from penstock.workers import crew, watch

NOTHING = "builtin: off\nkeys: {k: {secret: sk-test}}"


def options(**more: Any) -> serve.Options:
    snapshot = compile_settings(load_text(NOTHING), secret=b"0" * 32)
    return serve.Options(snapshot, port=0, workers=2, drain_s=1.0, **more)


def workers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if crew.MODULE in child.cmdline():
                found.append(child)
    return found


async def test_a_worker_that_cannot_begin_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "MODULE", "keyword")  # ends at once, and says nothing
    chosen = await asyncio.to_thread(options)
    with pytest.raises(crew.WorkerFailed, match=r"worker \d exited with status 0 before all were ready"):
        await supervisor.supervise(chosen)
    assert workers() == []


@pytest.mark.timeout(60)
async def test_one_that_is_being_started_hears_of_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "STOP_S", 3600.0)  # beyond which it would be killed
    start, told = crew._start, asyncio.Event()

    async def starts_in_the_last_moment(*sockets: Any) -> asyncio.subprocess.Process:
        child = await start(*sockets)
        if not told.is_set():
            told.set()
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.1)  # the loop hears of signals between two rounds
        return child

    monkeypatch.setattr(crew, "_start", starts_in_the_last_moment)
    await supervisor.supervise(await asyncio.to_thread(options))
    assert workers() == []


@pytest.mark.timeout(60)
async def test_one_that_dies_is_started_again_until_all_are_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crew, "backoff_s", lambda *_: 0.01)
    ready = asyncio.Event()
    chosen = await asyncio.to_thread(options, on_ready=lambda _: ready.set())
    running: tasks.Tasks = set()
    server = tasks.spawn(running, supervisor.supervise(chosen), "supervisor")
    await ready.wait()
    before = {one.pid for one in workers()}
    assert len(before) == 2
    os.kill(min(before), signal.SIGKILL)
    async with asyncio.timeout(30):
        while len(now := {one.pid for one in workers()}) < 2 or now == before:
            await asyncio.sleep(0.05)
    await tasks.cancel_and_wait(server)
    assert workers() == []


@pytest.mark.timeout(90)
async def test_one_that_hangs_is_killed_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SILENT_S", 3.0)
    monkeypatch.setattr(crew, "backoff_s", lambda *_: 0.01)
    ready = asyncio.Event()
    chosen = await asyncio.to_thread(options, on_ready=lambda _: ready.set())
    running: tasks.Tasks = set()
    with structlog.testing.capture_logs() as logs:
        server = tasks.spawn(running, supervisor.supervise(chosen), "supervisor")
        await ready.wait()
        stopped = min(one.pid for one in workers())
        os.kill(stopped, signal.SIGSTOP)
        async with asyncio.timeout(60):
            while len(now := {one.pid for one in workers()}) < 2 or stopped in now:
                await asyncio.sleep(0.05)
        await tasks.cancel_and_wait(server)
    assert workers() == []
    (said,) = [line for line in logs if line.get("pid") == stopped]
    assert (said["event"], said["log_level"]) == ("a worker hangs and is killed", "error")
    assert (said["worker"] in (0, 1), said["silent_s"]) == (True, 3.0)


@pytest.mark.timeout(60)
async def test_one_that_never_accepts_is_killed_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "START_S", 0.5)
    start = crew._start

    async def stands_still(*sockets: Any) -> asyncio.subprocess.Process:
        child = await start(*sockets)
        os.kill(child.pid, signal.SIGSTOP)
        return child

    monkeypatch.setattr(crew, "_start", stands_still)
    with pytest.raises(crew.WorkerFailed, match=r"worker \d did not accept connections within 0\.5 s"):
        await supervisor.supervise(await asyncio.to_thread(options))
    assert workers() == []
