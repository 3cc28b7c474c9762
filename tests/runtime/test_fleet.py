"""The fleet with real child processes: penstock.testing.engine obeys the contract without a model."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from penstock.lib import http1, tasks
from penstock.models.store import Progress
from penstock.runtime import fleet as fleet_module
from penstock.runtime import process, replica
from penstock.runtime.fleet import Fleet
from penstock.testing.engine import FakeEngine
from penstock.types.deployment import Pool, ReplicaView
from penstock.types.errors import (
    InvalidRequest,
    ModelLoading,
    ModelNotFound,
    PenstockError,
    UpstreamInvalid,
    UpstreamUnavailable,
)

POOL = Pool(name="p", engine="fake", source="file:/m")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "FIRST_BACKOFF_S", 0.02)
    monkeypatch.setattr(replica, "MAX_BACKOFF_S", 0.05)
    monkeypatch.setattr(replica, "STOP_GRACE_S", 2.0)
    monkeypatch.setattr(fleet_module, "DRAIN_S", 0.5)


@pytest.fixture(autouse=True)
def _no_orphans() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    after = set(psutil.Process().children(recursive=True)) - before
    # PostgreSQL of other tests starts workers when it likes.
    left = [child for child in after if child.status() != "zombie" and child.name() != "postgres"]
    assert not left, f"processes left behind: {left}"


async def here(_source: str, _report: Callable[[Any], None]) -> str:
    return "/m"


@contextlib.asynccontextmanager
async def running(*arguments: str, replicas: int = 1, resolve: Any = here) -> AsyncIterator[Fleet]:
    pool = Pool(name="p", engine="fake", source="file:/m", replicas=replicas)
    async with http1.Client() as client:
        fleet = Fleet([pool], resolve, lambda _: FakeEngine(*arguments), client=client)
        owned: tasks.Tasks = set()
        task = tasks.spawn(owned, fleet.run(), "fleet")
        try:
            yield fleet
        finally:
            await tasks.cancel_and_wait(task)
            assert {one.state for one in fleet.status()[0].replicas} <= {"stopped"}


async def ask(view: ReplicaView, **body: Any) -> bytes:
    import msgspec

    async with http1.Client() as client:
        origin = http1.Origin("http", view.address.host, view.address.port)
        headers = [("content-type", "application/json"), *view.headers]
        sent = msgspec.json.encode(body)
        response = await client.request(origin, "POST", "/v1/chat/completions", headers, sent)
        return await response.read(1 << 20)


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not check():
            await asyncio.sleep(0.01)


def only(fleet: Fleet) -> fleet_module.ReplicaStatus:
    (found,) = fleet.status()[0].replicas
    return found


async def test_a_request_waits_for_the_load_and_is_served() -> None:
    async with running("--load-s", "0.3") as fleet:
        view = await fleet.acquire("p", 10)
        assert only(fleet).state == "ready"
        assert only(fleet).in_flight == 1
        assert view.info["context"] == 128
        assert b"[DONE]" in await ask(view)
        fleet.release(view)
        assert only(fleet).in_flight == 0


async def test_the_least_used_replica_is_given_first() -> None:
    async with running(replicas=3) as fleet:
        await until(lambda: len(fleet.replicas("p")) == 3)
        views = [await fleet.acquire("p", 10) for _ in range(6)]
        assert {sum(view.id == name for view in views) for name in {view.id for view in views}} == {2}
        for view in views:
            fleet.release(view)


async def test_nobody_without_the_key_is_answered() -> None:
    async with running() as fleet:
        view = await fleet.acquire("p", 10)
        assert b"authentication_error" in await ask(ReplicaView("x", "ready", view.address))
        fleet.release(view)


async def test_waiting_too_long_says_what_is_going_on() -> None:
    async with running("--mute") as fleet:
        with pytest.raises(ModelLoading, match=r"p is loading \(starting\)") as caught:
            await fleet.acquire("p", 0.2)
        assert caught.value.retry_after_s


async def test_a_cancelled_waiter_leaves_nothing_behind() -> None:
    async with running("--load-s", "0.2") as fleet:
        owned: tasks.Tasks = set()
        waiting = tasks.spawn(owned, fleet.acquire("p", 10), "waiter")
        await asyncio.sleep(0.05)
        await tasks.cancel_and_wait(waiting)
        view = await fleet.acquire("p", 10)
        assert only(fleet).in_flight == 1
        fleet.release(view)


async def test_progress_of_a_fetch_is_told(tmp_path: Path) -> None:
    began = asyncio.Event()

    async def slow(_source: str, report: Callable[[Any], None]) -> str:
        report(Progress("file:/m", "downloading", done_bytes=42_000_000, total_bytes=100_000_000))
        began.set()
        await asyncio.Event().wait()
        return ""

    async with running(resolve=slow) as fleet:
        await began.wait()
        with pytest.raises(ModelLoading, match="downloading, 42% of 100 MB"):
            await fleet.acquire("p", 0.05)
        assert fleet.status()[0].fetching is not None


async def test_a_failed_fetch_is_said_and_tried_again() -> None:
    tries = 0

    async def flaky(_source: str, _report: Callable[[Any], None]) -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise UpstreamUnavailable("the hub is down")
        await asyncio.sleep(0)
        return "/m"

    async with running(resolve=flaky) as fleet:
        await until(lambda: tries > 0)
        with contextlib.suppress(UpstreamUnavailable):  # or it was mended in the meantime
            fleet.release(await fleet.acquire("p", 0.01))
        view = await _patient(fleet)
        assert fleet.status()[0].error == ""
        fleet.release(view)


async def test_a_fetch_that_is_tried_again_shows_its_progress_not_the_old_error() -> None:
    tries = 0

    async def flaky(_source: str, report: Callable[[Any], None]) -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise UpstreamUnavailable("the hub is down")
        report(Progress("file:/m", "downloading", done_bytes=42_000_000, total_bytes=100_000_000))
        await asyncio.Event().wait()
        return ""

    async with running(resolve=flaky) as fleet:
        await until(lambda: tries == 2)
        with pytest.raises(ModelLoading, match="downloading, 42%"):
            await fleet.acquire("p", 0.05)


async def test_a_fetch_that_breaks_otherwise_costs_its_own_pool_only() -> None:
    async def full(source: str, _report: Callable[[Any], None]) -> str:
        await asyncio.sleep(0)
        if source == "full":
            raise OSError(28, "No space left on device")
        return "/m"

    pools = [Pool(name="a", engine="fake", source="full"), Pool(name="b", engine="fake", source="file:/m")]
    async with http1.Client() as client:
        fleet = Fleet(pools, full, lambda _: FakeEngine(), client=client)
        owned: tasks.Tasks = set()
        task = tasks.spawn(owned, fleet.run(), "fleet")
        try:
            fleet.release(await fleet.acquire("b", 10))
            with pytest.raises(UpstreamUnavailable, match="a could not be fetched; the server's log") as told:
                await fleet.acquire("a", 10)
            assert "No space left" not in told.value.message
            assert "No space left" in told.value.detail
            assert "No space left" in fleet.status()[0].error
        finally:
            await tasks.cancel_and_wait(task)


@pytest.mark.parametrize(
    ("error", "is_slow"),
    [
        (ModelNotFound("file:/home/me/m.gguf: there is no such file"), True),
        (InvalidRequest("the disk became full"), True),
        (UpstreamInvalid("wrong sha256"), True),
        (UpstreamUnavailable("the hub is down"), False),
        (NotADirectoryError(20, "Not a directory", "/home/me/cache"), False),
    ],
)
async def test_what_somebody_has_to_mend_is_tried_slowly_and_told_to_no_client(
    error: Exception, is_slow: bool
) -> None:
    tries = 0

    async def broken(_source: str, _report: Callable[[Any], None]) -> str:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0)
        raise error

    async with running(resolve=broken) as fleet:
        await until(lambda: bool(fleet.status()[0].error))
        with pytest.raises(UpstreamUnavailable) as told:
            await fleet.acquire("p", 10)
        assert told.value.message == "The model p could not be fetched; the server's log says why."
        if is_slow:
            await asyncio.sleep(0.2)  # a dozen quick tries
            assert tries == 1
        else:
            await until(lambda: tries > 2)
        said = error.message if isinstance(error, PenstockError) else "/home/me/cache"
        assert said in fleet.status()[0].error


class Watch:
    """A clock that is set by hand."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    wall = monotonic


async def test_the_time_left_counts_only_what_this_fetch_brought() -> None:
    clock, began, go_on = Watch(), asyncio.Event(), asyncio.Event()

    async def resumed(_source: str, report: Callable[[Any], None]) -> str:
        report(Progress("hf:a/b", "connecting"))
        report(Progress("hf:a/b", "downloading", done_bytes=80_000_000, total_bytes=100_000_000))
        began.set()
        await go_on.wait()
        clock.now = 10.0
        report(Progress("hf:a/b", "downloading", done_bytes=90_000_000, total_bytes=100_000_000))
        await asyncio.Event().wait()
        return ""

    async with http1.Client() as client:
        fleet = Fleet([POOL], resumed, lambda _: FakeEngine(), client=client, clock=clock)
        owned: tasks.Tasks = set()
        task = tasks.spawn(owned, fleet.run(), "fleet")
        try:
            await began.wait()
            with pytest.raises(ModelLoading, match=r"downloading, 80% of 100 MB\.$"):
                await fleet.acquire("p", 0.01)
            go_on.set()
            await asyncio.sleep(0.01)
            with pytest.raises(ModelLoading, match="90% of 100 MB, about 10 s left") as told:
                await fleet.acquire("p", 0.01)
            assert told.value.retry_after_s == 10
        finally:
            await tasks.cancel_and_wait(task)


async def _patient(fleet: Fleet) -> ReplicaView:
    async with asyncio.timeout(10):
        while True:
            try:
                return await fleet.acquire("p", 5)
            except UpstreamUnavailable:
                await asyncio.sleep(0.01)


async def test_a_killed_engine_is_started_again() -> None:
    async with running() as fleet:
        view = await fleet.acquire("p", 10)
        fleet.release(view)
        pid = only(fleet).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: only(fleet).pid != pid)
        again = await fleet.acquire("p", 10)
        assert again.address != view.address
        assert view.ready_s is not None
        assert again.ready_s is not None
        assert view.ready_s < again.ready_s == fleet.newest_s
        assert only(fleet).restarts == 1
        assert "SIGKILL" in only(fleet).error
        fleet.release(again)


async def test_an_engine_that_dies_in_an_answer_cuts_it_and_comes_back(tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    async with running("--die-after", "1", "--slow-s", "0.02", "--first-only", mark) as fleet:
        view = await fleet.acquire("p", 10)
        assert b"[DONE]" not in await ask(view)
        fleet.release(view)
        await until(lambda: only(fleet).restarts == 1)
        again = await fleet.acquire("p", 10)
        assert b"[DONE]" in await ask(again)
        fleet.release(again)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(("--refuse", "bad magic"), "bad magic"), (("--babble",), "is not its ready line")],
)
async def test_a_load_that_cannot_work_fails_with_the_reason(arguments: tuple[str, ...], reason: str) -> None:
    async with running(*arguments) as fleet:
        with pytest.raises(UpstreamUnavailable, match="could not be loaded; the server's log") as told:
            await fleet.acquire("p", 10)
        assert reason not in told.value.message
        assert reason in told.value.detail
        assert reason in only(fleet).error
        assert only(fleet).state == "failed"


async def test_a_crash_loop_ends_in_failed_with_the_last_words() -> None:
    async with running("--die-at-load") as fleet:
        with pytest.raises(UpstreamUnavailable) as caught:
            await fleet.acquire("p", 15)
        assert "the disk is on fire" not in caught.value.message
        assert "gave up after 5 tries: exited with status 7" in only(fleet).error
        assert "the disk is on fire" in only(fleet).error


async def test_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(replica, "RETRY_FAILED_S", 0.2)
    async with running("--refuse", "no", "--first-only", str(tmp_path / "mark")) as fleet:
        with pytest.raises(UpstreamUnavailable):
            await fleet.acquire("p", 10)
        await until(lambda: only(fleet).state == "ready")


async def test_an_engine_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(replica, "HEALTH_EVERY_S", 0.05)
    monkeypatch.setattr(replica, "HEALTH_TIMEOUT_S", 0.1)
    async with running("--hang-health", "--first-only", str(tmp_path / "mark")) as fleet:
        await until(lambda: only(fleet).restarts == 1 and only(fleet).state == "ready")
        assert "health checks" in only(fleet).error


async def test_a_load_above_its_deadline_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "LOAD_S", 0.3)
    async with running("--mute") as fleet:
        await until(lambda: "not ready within" in only(fleet).error)


async def test_one_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "STOP_GRACE_S", 0.2)
    async with running("--ignore-sigterm") as fleet:
        fleet.release(await fleet.acquire("p", 10))


async def test_stopping_waits_for_requests_in_flight() -> None:
    async with running("--slow-s", "0.03") as fleet:
        view = await fleet.acquire("p", 10)
        owned: tasks.Tasks = set()
        asked = tasks.spawn(owned, ask(view), "request")
        asked.add_done_callback(lambda _: fleet.release(view))
        await asyncio.sleep(0.05)
    assert b"[DONE]" in asked.result()


async def test_a_talkative_engine_keeps_only_a_bounded_log() -> None:
    async with running("--log-lines", "5000") as fleet:
        fleet.release(await fleet.acquire("p", 10))
    tail = fleet._pools["p"].replicas[0].log_tail
    assert len(tail) <= process.LOG_LINES
    assert tail[-1] == "log line 4999"


SECRETS = [
    "OPENAI_API_KEY",
    "OPENAI_API_KEY_2",
    "PGPASSWORD",
    "MYSQL_PWD",
    "DATABASE_URL",
    "TEAM_KEY",
    "AZURE_OPENAI_KEY",
    "AWS_ACCESS_KEY_ID",
    "LITELLM_MASTER_KEY",
    "GITHUB_PAT",
    "HF_TOKEN",
    "HTTPS_PROXY",
    "https_proxy",
    "SLACK_WEBHOOK",
    "PENSTOCK_CI_KEY",
    "PENSTOCK_DATA_DIR",
    "NVIDIA_API_KEY",
    "LLAMA_CLOUD_API_KEY",
    "LLAMA_ARG_HF_TOKEN",
    "A_SECRET",
    "SSH_AUTH_SOCK",
    "PWD",
]
NEEDED = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "TZ",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "GGML_CUDA_ENABLE_UNIFIED_MEMORY",
    "LLAMA_LOG_COLORS",
    "CUDA_VISIBLE_DEVICES",
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "XDG_CACHE_HOME",
    "HF_HOME",
    "SSL_CERT_FILE",
]


@pytest.mark.parametrize("name", SECRETS)
def test_engines_get_no_secrets(name: str) -> None:
    assert process.engine_environment({name: "x"}) == {}


@pytest.mark.parametrize("name", NEEDED)
def test_engines_get_what_programs_need(name: str) -> None:
    assert process.engine_environment({name: "x"}) == {name: "x"}


async def test_a_suspected_replica_that_lives_is_given_again() -> None:
    async with running() as fleet:
        view = await fleet.acquire("p", 10)
        fleet.suspect(view)
        assert fleet.replicas("p") == ()
        again = await fleet.acquire("p", 10)
        assert again == view
        assert only(fleet).restarts == 0
        fleet.release(view)
        fleet.release(again)


async def test_a_suspected_replica_that_died_is_replaced_first() -> None:
    async with running() as fleet:
        view = await fleet.acquire("p", 10)
        os.kill(only(fleet).pid or 0, signal.SIGKILL)
        fleet.suspect(view)
        fleet.release(view)
        again = await fleet.acquire("p", 10)
        assert again.address != view.address
        fleet.release(again)
