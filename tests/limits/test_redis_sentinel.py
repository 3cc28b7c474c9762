"""Redis behind Sentinel: who the primary is, after a failover too, and where sentinels are gone or silent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
from ledger_cases import claim

from penstock.lib.clock import SystemClock
from penstock.limits.guarded import Guarded
from penstock.limits.redis import RedisLedger
from penstock.testing.servers import RedisServer, free_port, redis_sentinel, redis_server
from penstock.types.ledger import Cost, Lease, LedgerUnavailable, Limit

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("redis")]  # skipped where there is none

CI = claim("ci", Limit("requests", 100, 60))


@contextlib.asynccontextmanager
async def ledger(url: str) -> AsyncIterator[RedisLedger]:
    made = RedisLedger(url, timeout_s=10.0)
    try:
        yield made
    finally:
        await made.close()


async def taken(it: RedisLedger) -> bool:
    return isinstance(await it.reserve([CI], Cost(1), 0.0, 60.0), Lease)


async def used(it: RedisLedger) -> int:
    (row,) = await it.report([CI], 0.0)
    return row.used + row.reserved


async def told(server: RedisServer, *words: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    with contextlib.closing(writer):
        writer.write(" ".join(words).encode() + b"\r\n")
        return (await reader.read(65_536)).decode()


async def until_told(server: RedisServer, *words: str, what: str) -> None:
    async with asyncio.timeout(30):
        while what not in await told(server, *words):
            await asyncio.sleep(0.05)


class Watched:
    """A primary, its replica, and two sentinels, of which one decides alone."""

    def __init__(self, primary: RedisServer, replica: RedisServer, *sentinels: RedisServer) -> None:
        self.primary, self.replica, self.sentinels = primary, replica, sentinels

    def url(self, *ports: int) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports or (one.port for one in self.sentinels))
        return f"redis+sentinel://{hosts}/main/0"

    async def is_ready(self) -> None:
        for one in self.sentinels:
            await until_told(one, "SENTINEL", "REPLICAS", "main", what=str(self.replica.port))
        await until_told(self.replica, "INFO", "replication", what="master_link_status:up")


@pytest.fixture
def watched() -> Iterator[Watched]:
    with ExitStack() as stack:
        primary = stack.enter_context(redis_server())
        of = ("--replicaof", "127.0.0.1", str(primary.port))
        replica = stack.enter_context(redis_server(options=("--appendonly", "yes", *of)))
        sentinels = [stack.enter_context(redis_sentinel(primary)) for _ in range(2)]
        yield Watched(primary, replica, *sentinels)


async def test_sentinels_name_the_primary_and_after_a_failover_the_new_one(watched: Watched) -> None:
    await watched.is_ready()
    async with ledger(watched.url()) as it:
        assert all(await asyncio.gather(*(taken(it) for _ in range(5))))
        await told(watched.primary, "WAIT", "1", "5000")
        await told(watched.sentinels[0], "SENTINEL", "FAILOVER", "main")
        await until_told(watched.primary, "INFO", "replication", what="role:slave")
        async with asyncio.timeout(30):
            while True:
                try:
                    assert await taken(it)
                    break
                except LedgerUnavailable:  # as long as a sentinel names the one before
                    await asyncio.sleep(0.05)
        assert (it._connections._home.port, await used(it)) == (watched.replica.port, 6)


async def test_a_primary_that_dies_is_left_for_the_one_that_is_chosen(watched: Watched) -> None:
    """As the gateway asks: a quarter of a second for each question, then by policy."""
    await watched.is_ready()
    ours = RedisLedger(watched.url())
    it = Guarded(ours, SystemClock(), replicas=1)
    try:
        assert isinstance(await it.reserve([CI], Cost(1), 0.0, 60.0), Lease)
        await told(watched.primary, "WAIT", "1", "5000")
        await asyncio.to_thread(watched.primary.stop, kill=True)
        await until_told(watched.replica, "INFO", "replication", what="role:master")
        async with asyncio.timeout(30):
            while ours._connections._home.port != watched.replica.port:
                await it.reserve([CI], Cost(1), 0.0, 60.0)
                await asyncio.sleep(0.05)
        assert await used(ours) > 1
    finally:
        await it.close()


async def test_sentinels_that_are_gone_or_silent_are_passed_over(watched: Watched) -> None:
    one, other = watched.sentinels
    async with ledger(watched.url(free_port(), other.port)) as it:
        assert await taken(it)
    one.pause()
    try:
        async with ledger(watched.url(one.port, other.port)) as it:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(taken(it), 0.1)  # who asks leaves before the second is asked
            assert await taken(it)
    finally:
        one.resume()


async def test_what_no_sentinel_can_say_is_told_of_each(watched: Watched) -> None:
    port = free_port()
    url = watched.url(port, watched.sentinels[0].port).replace("/main/", "/other/")
    async with ledger(url.replace("://", "://:hush@")) as it:
        with pytest.raises(LedgerUnavailable) as caught:
            await taken(it)
    said = str(caught.value)
    assert f"127.0.0.1:{watched.sentinels[0].port} knows no master 'other'" in said
    assert f"127.0.0.1:{port}: " in said
    assert "hush" not in said


@pytest.fixture
def guarded_sentinel() -> Iterator[RedisServer]:
    """Its primary knows another user."""
    options = ("--user", "penstock", "on", ">p@ss", "~*", "&*", "+@all")
    with redis_server(options=options) as primary, redis_sentinel(primary) as sentinel:
        yield sentinel


async def test_passwords_of_the_primary_and_of_its_sentinels_are_two(guarded_sentinel: RedisServer) -> None:
    port = guarded_sentinel.port
    await told(guarded_sentinel, "ACL", "SETUSER", "default", "resetpass", ">s3c&t")
    url = f"redis+sentinel://penstock:p%40ss@127.0.0.1:{port}/main?sentinel_password=s3c%26t"
    async with ledger(url) as it:
        assert await taken(it)
    for wrong in (url.replace("s3c", "no"), url.partition("?")[0]):
        async with ledger(wrong) as it:
            with pytest.raises(LedgerUnavailable, match="no sentinel tells the primary"):
                await taken(it)
