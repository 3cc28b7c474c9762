"""Full disks, locked files, lost connections: typed errors, nothing half-written; it goes on by itself."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from store_help import NOON_US, Opened, call, key, opened

from penstock.store import connect, open_store
from penstock.store.sql import Aside, Ask, Do, Rows, Script
from penstock.store.sqlite import SQLiteStore
from penstock.testing.servers import PostgresServer
from penstock.types.errors import Conflict, InvalidRequest, SchemaMismatch, StoreFull, StoreUnavailable
from penstock.types.store import Key, StoredRoute, Team
from penstock.types.usage_store import DAY_US, UsageWhere

EVER = UsageWhere(0, 2**60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "penstock.db"


def limit_pages(pages: int) -> Script[None]:
    yield Do(f"PRAGMA max_page_count = {pages}")


async def test_a_full_disk_loses_nothing_and_heals(path: Path) -> None:
    """SQLite's own bound on pages stands in for the disk."""
    async with opened(f"sqlite:///{path}") as one:
        await one.add_usage([call(1)])
        pages = (await one.status()).bytes // 4096
        await one.run(lambda: limit_pages(pages + 2))
        with pytest.raises(StoreFull, match="disk is full"):
            await one.add_usage([call(number, dropped=("x" * 100,)) for number in range(10, 2000)])
        with pytest.raises(StoreFull):
            await one.create(StoredRoute(id="big", body={"x": "y" * 100_000}), actor="ann")
        assert (await one.sum_usage(EVER)).rows[0].calls == 1
        assert await one.revision() == 0
        assert (await one.page(StoredRoute)).rows == ()
        await one.run(lambda: limit_pages(1_000_000))
        await one.add_usage([call(number) for number in range(10, 2000)])
        assert (await one.sum_usage(EVER)).rows[0].calls == 1991
    with contextlib.closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_job_that_fails_takes_no_other_with_it(path: Path) -> None:
    """They are queued together, so they share a transaction."""
    async with opened(f"sqlite:///{path}") as one:
        pages = (await one.status()).bytes // 4096
        await one.run(lambda: limit_pages(pages + 3))
        rows = [
            Team(name="a"),
            StoredRoute(id="big", body={"x": "y" * 100_000}),
            Team(name="b"),
            Team(name="a"),
        ]
        answers = await asyncio.gather(
            *(one.create(row, actor="ann") for row in rows), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [Team, StoreFull, Team, Conflict]
        assert [row.name for row in (await one.page(Team)).rows if row.name in "ab"]
        assert len((await one.page(Team)).rows) == 2
        assert await one.revision() == 2


async def test_a_locked_file_is_said_to_be_locked(path: Path) -> None:
    async with opened(f"sqlite:///{path}"):
        pass
    one = SQLiteStore(path, busy_s=0.05)
    await one.open()
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked by another process"):
            await one.create(Team(name="a"), actor="ann")
        assert (await one.page(Team)).rows == ()  # reading goes on
        other.execute("ROLLBACK")
        await one.create(Team(name="a"), actor="ann")
    finally:
        other.close()
        await one.aclose()


async def test_a_file_that_is_gone_or_another_takes_no_writes(path: Path) -> None:
    """What was answered would be in a file that nobody finds again."""
    aside = path.with_name("aside.db")
    async with opened(f"sqlite:///{path}") as store:
        await store.create(Team(name="one"), actor="x")
        await asyncio.to_thread(path.rename, aside)
        with pytest.raises(StoreUnavailable, match="was moved or deleted"):
            await store.create(Team(name="two"), actor="x")
        await asyncio.to_thread(path.touch)
        several = (store.create(Team(name=name), actor="x") for name in ("three", "more"))
        for answer in await asyncio.gather(*several, return_exceptions=True):
            assert isinstance(answer, StoreUnavailable)
        await asyncio.to_thread(aside.replace, path)
        await store.create(Team(name="four"), actor="x")
        assert {row.name for row in (await store.page(Team)).rows} == {"one", "four"}


async def test_a_file_that_cannot_be_written_stops_the_start_and_is_named(path: Path) -> None:
    async with opened(f"sqlite:///{path}"):
        pass
    await asyncio.to_thread(as_one_who_may_not_write, path)


WRITES = """
import asyncio, sys
from penstock.store import connect, open_store
from penstock.types.errors import StoreUnavailable
from penstock.types.store import Team

async def main(url):
    store = await connect(url)  # whoever only looks may
    await store.status()
    for what in (store.create(Team(name="a"), actor="x"), open_store(url)):
        try:
            await what
        except StoreUnavailable as exc:
            print(exc.message)
    await store.aclose()

asyncio.run(main(sys.argv[1]))
"""


def as_one_who_may_not_write(path: Path) -> None:
    """Root may write anything, but for what is mounted read-only: it gives that up first."""
    path.chmod(0o400)
    argv = [sys.executable, "-c", WRITES, f"sqlite:///{path}"]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not installed: sudo apt install util-linux")
        argv = ["setpriv", "--bounding-set=-dac_override", *argv]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    assert said == [
        f"The database {path} does not answer: attempt to write a readonly database.",
        f"The database {path} cannot be written: make it and its folder writable for who runs the server.",
    ]


async def test_what_waits_is_written_before_it_closes(path: Path) -> None:
    one = await open_store(f"sqlite:///{path}")
    writing = [asyncio.ensure_future(one.create(key(number), actor="ann")) for number in range(300)]  # noqa: TID251
    await asyncio.sleep(0)
    await one.aclose()
    assert all(made.version == 1 for made in await asyncio.gather(*writing))
    with pytest.raises(StoreUnavailable, match="closed"):
        await one.create(key(999), actor="ann")
    async with opened(f"sqlite:///{path}") as again:
        assert len((await again.page(Key, limit=1000)).rows) == 300


async def test_what_comes_while_it_closes_is_refused(path: Path) -> None:
    goes_on, has_begun = threading.Event(), threading.Event()

    def slow() -> Script[None]:
        def wait() -> Rows:
            has_begun.set()
            goes_on.wait(20)
            return ()

        yield Aside(wait)

    one = SQLiteStore(path)
    await one.open()
    try:
        writing = asyncio.ensure_future(one.run(slow))  # noqa: TID251
        await asyncio.to_thread(has_begun.wait)
        closing = asyncio.ensure_future(one._writer.aclose())  # noqa: TID251
        await asyncio.sleep(0)
        late = asyncio.ensure_future(one.run(slow))  # noqa: TID251
        await asyncio.sleep(0)
        goes_on.set()
        await asyncio.gather(writing, closing)
        with pytest.raises(StoreUnavailable, match="closed"):
            async with asyncio.timeout(5):
                await late
    finally:
        await one.aclose()


async def test_an_error_that_ends_a_read_is_the_one_that_is_told(path: Path) -> None:
    def read() -> Script[None]:
        yield Do("ROLLBACK")  # as SQLite does by itself where a disk fails
        yield Do("SELECT * FROM nowhere")

    async with opened(f"sqlite:///{path}") as one:
        with pytest.raises(sqlite3.OperationalError, match="no such table: nowhere"):
            await one.read(read)
        assert (await one.page(Team)).rows == ()


WORKER = """
import asyncio, sys
from store_help import call, opened

async def main():
    async with opened(sys.argv[1]) as one:
        for batch in range(10_000):
            await one.add_usage([call(batch * 100 + at, key=str(at % 7)) for at in range(100)])
            print(batch, flush=True)

asyncio.run(main())
"""


async def test_a_process_that_is_killed_leaves_whole_batches(url: str) -> None:
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WORKER, url),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])},
    )
    assert worker.stdout is not None
    answered = 0
    while answered < 5:
        assert await worker.stdout.readline()
        answered += 1
    worker.kill()
    answered += (await worker.stdout.read()).count(b"\n")
    await worker.wait()
    async with opened(url) as one:
        (total,) = (await one.sum_usage(EVER)).rows
        assert total.calls % 100 == 0
        assert answered * 100 <= total.calls <= (answered + 1) * 100
        by_rows = await one.sum_usage(UsageWhere(NOON_US - 5, NOON_US + 5), by=("key",))
        assert sum(row.calls for row in by_rows.rows) == total.calls
        await one.add_usage([call(10**7)])


async def test_a_long_statement_does_not_keep_small_reads_waiting(path: Path) -> None:
    def long() -> Script[int]:
        return (yield Ask("test.long"))[0]["value"]

    from penstock.store.sql import QUERIES

    QUERIES["sqlite"]["test.long"] = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT MAX(x) AS value FROM n"
    )
    async with opened(f"sqlite:///{path}") as one:
        statement = asyncio.ensure_future(one.read(long, is_heavy=True))  # noqa: TID251
        assert (await one.page(Team)).rows == ()
        assert not statement.done()
        await one.aclose()  # ends it: it would never end by itself
        with pytest.raises(StoreUnavailable):
            await statement
    del QUERIES["sqlite"]["test.long"]


async def test_what_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database at all" * 99)
    with pytest.raises(SchemaMismatch, match="no SQLite database"):
        await open_store(f"sqlite:///{tmp_path / 'x.db'}")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        await open_store(f"sqlite:///{tmp_path / 'file' / 'penstock.db'}")
    for url in ("mysql://localhost/x", "penstock.db", "sqlite:///", "sqlite:///:memory:"):
        with pytest.raises(InvalidRequest, match="is neither"):
            await open_store(url)


async def test_the_file_is_its_owners_alone(path: Path) -> None:
    async with opened(f"sqlite:///{path}"):
        pass
    assert os.stat(path).st_mode & 0o777 == 0o600  # noqa: PTH116 - nobody waits


@contextlib.asynccontextmanager
async def _restarting(server: PostgresServer) -> AsyncIterator[None]:
    """The server is gone inside."""
    await asyncio.to_thread(server.stop, kill=True)
    try:
        yield
    finally:
        await asyncio.to_thread(server.start)


async def test_a_server_that_restarts_is_found_again(postgres: PostgresServer, postgres_url: str) -> None:
    async with opened(postgres_url) as one:
        team = await one.create(Team(name="a"), actor="ann")
        waiting = asyncio.ensure_future(one.wait_for_revision(1))  # noqa: TID251
        async with _restarting(postgres):
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await one.create(Team(name="b"), actor="ann")
            with pytest.raises(StoreUnavailable):
                await one.page(Team)
            with pytest.raises(StoreUnavailable):
                await waiting
        assert (await one.page(Team)).rows == (team,)
        waiting = asyncio.ensure_future(one.wait_for_revision(1))  # noqa: TID251
        await one.create(Team(name="c"), actor="ann")
        assert await waiting == 2


async def test_a_table_that_a_restore_makes_anew_is_read_when_it_is_there(postgres_url: str) -> None:
    """A read that waited for the old table sees the new one as it was before: empty."""
    async with opened(postgres_url) as one:
        await one.create(Team(name="a"), actor="ann")
        other = await asyncpg.connect(postgres_url)
        try:
            async with other.transaction():
                await other.execute(
                    "ALTER TABLE revision RENAME TO old; CREATE TABLE revision (LIKE old INCLUDING ALL);"
                    " INSERT INTO revision SELECT * FROM old; DROP TABLE old"
                )
                waiting = asyncio.ensure_future(one.revision())  # noqa: TID251
                while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                    await asyncio.sleep(0.01)
            assert await waiting == 1
        finally:
            await other.close()


async def test_a_batch_in_the_middle_of_a_restart_is_whole_or_not_there(
    postgres: PostgresServer, postgres_url: str
) -> None:
    async with opened(postgres_url) as one:
        await one.add_usage([call(0)])
        batches = [[call(number * 1000 + at) for at in range(500)] for number in range(1, 40)]
        writing = [asyncio.ensure_future(one.add_usage(batch)) for batch in batches]  # noqa: TID251
        while not any(task.done() for task in writing):
            await asyncio.sleep(0)
        async with _restarting(postgres):
            answers = await asyncio.gather(*writing, return_exceptions=True)
        assert any(isinstance(answer, StoreUnavailable) for answer in answers)
        calls = (await one.sum_usage(EVER)).rows[0].calls
        assert calls % 500 == 1
        assert calls >= 1 + 500 * answers.count(None)
        for batch in batches:  # all once more: those that were written stay as they are
            await one.add_usage(batch)
        assert (await one.sum_usage(EVER)).rows[0].calls == 1 + 500 * len(batches)
        by_rows = await one.sum_usage(UsageWhere(NOON_US - 5, NOON_US + 5))
        assert by_rows.rows[0].calls == 1 + 500 * len(batches)


async def test_a_connection_that_was_ended_is_replaced(store: Opened, backend: str) -> None:
    if backend == "sqlite":
        pytest.skip("it has no connections that others could end")

    def end() -> Script[None]:
        yield Do(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )

    async with store() as one, store() as other:
        await one.create(Team(name="a"), actor="ann")
        waiting = asyncio.ensure_future(one.wait_for_revision(1))  # noqa: TID251
        await one.page(Team)
        await other.run(end)
        assert len((await one.page(Team)).rows) == 1
        await other.create(Team(name="b"), actor="ann")
        assert await waiting == 2


async def test_passwords_are_not_shown() -> None:
    url = "postgresql://ann:s3cret@127.0.0.1:1/x?password=s3cret"
    with pytest.raises(StoreUnavailable) as caught:
        await connect(url)
    assert "s3cret" not in str(caught.value)
    assert "postgresql://ann@127.0.0.1:1/x" in str(caught.value)


async def test_a_day_that_nobody_made_is_made_by_who_needs_it(postgres_url: str) -> None:
    async with opened(postgres_url) as one:
        await one.add_usage([call(1), call(2, time_us=NOON_US + 400 * DAY_US), call(3, time_us=5)])
        assert (await one.sum_usage(EVER)).rows[0].calls == 3
