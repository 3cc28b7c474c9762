"""Redis as companies run it: a cluster, a primary that changes, TLS and a user of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from ledger_cases import claim

from penstock.lib import tasks
from penstock.limits.redis import UNHEARD, RedisLedger
from penstock.testing.servers import RedisServer, free_port, redis_server
from penstock.types.ledger import Cost, Lease, LedgerUnavailable, Limit

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("redis")]  # skipped where there is none

SLOTS = 16_384
CI = claim("ci", Limit("requests", 4, 60))


@contextlib.asynccontextmanager
async def ledger(url: str) -> AsyncIterator[RedisLedger]:
    made = RedisLedger(url, timeout_s=10.0)
    try:
        yield made
    finally:
        await made.close()


async def taken(it: RedisLedger) -> bool:
    return isinstance(await it.reserve([CI], Cost(1), 0.0, 60.0), Lease)


async def told(server: RedisServer, *words: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    with contextlib.closing(writer):
        writer.write(" ".join(words).encode() + b"\r\n")
        return (await reader.read(65_536)).decode()


@pytest.fixture
def servers() -> Iterator[tuple[RedisServer, RedisServer]]:
    with redis_server() as one, redis_server() as other:
        yield one, other


# -- a cluster


@pytest.fixture
def nodes() -> Iterator[tuple[RedisServer, RedisServer]]:
    def node() -> AbstractContextManager[RedisServer]:
        return redis_server(options=("--cluster-enabled", "yes", "--cluster-port", str(free_port())))

    with node() as one, node() as other:
        yield one, other


async def united(nodes: tuple[RedisServer, RedisServer]) -> None:
    """Each with half of the slots."""
    for node, first in zip(nodes, (0, SLOTS // 2), strict=True):
        assert "OK" in await told(node, "CLUSTER", "ADDSLOTSRANGE", str(first), str(first + SLOTS // 2 - 1))
    bus = (await told(nodes[1], "CONFIG", "GET", "cluster-port")).split()[-1]
    assert "OK" in await told(nodes[0], "CLUSTER", "MEET", "127.0.0.1", str(nodes[1].port), bus)
    for node in nodes:
        await is_whole(node)


async def is_whole(node: RedisServer) -> None:
    async with asyncio.timeout(30):
        while "cluster_state:ok" not in await told(node, "CLUSTER", "INFO"):
            await asyncio.sleep(0.05)


async def test_any_node_of_a_cluster_leads_to_the_limits(nodes: tuple[RedisServer, RedisServer]) -> None:
    await united(nodes)
    async with ledger(nodes[0].url) as it:
        assert all(await asyncio.gather(*(taken(it) for _ in range(3))))
    async with ledger(nodes[1].url) as it:
        assert sum(await asyncio.gather(*(taken(it) for _ in range(3)))) == 1


async def test_a_node_that_is_gone_is_looked_for_where_the_url_leads(
    nodes: tuple[RedisServer, RedisServer],
) -> None:
    await united(nodes)
    one, other = nodes
    owner, asked = (other, one) if "MOVED" in await told(one, "GET", "{penstock}") else (one, other)
    async with ledger(asked.url) as it:
        assert await taken(it)
        await asyncio.to_thread(owner.stop, kill=True)
        with pytest.raises(LedgerUnavailable):
            await taken(it)
        assert it._connections._node is it._connections._home
        await asyncio.to_thread(owner.start)
        for node in nodes:
            await is_whole(node)
        assert await taken(it)


async def test_a_node_that_is_silent_is_left(nodes: tuple[RedisServer, RedisServer]) -> None:
    await united(nodes)
    one, other = nodes
    owner, asked = (other, one) if "MOVED" in await told(one, "GET", "{penstock}") else (one, other)
    async with ledger(asked.url) as it:
        assert await taken(it)
        owner.pause()
        for _ in range(UNHEARD):
            assert it._connections._node is not it._connections._home
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(taken(it), 0.05)
        assert it._connections._node is it._connections._home
        owner.resume()
        await is_whole(asked)
        assert await it.report([CI], 0.0)


# -- another primary


class Address:
    """Of whoever is the primary, as a name that a provider points elsewhere. Connections stay as they are."""

    def __init__(self, port: int) -> None:
        self.leads_to = port
        self._copying: tasks.Tasks = set()

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in [*self._copying]:
            await tasks.cancel_and_wait(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to = await asyncio.open_connection("127.0.0.1", self.leads_to)
        for source, sink in ((reader, to), (there, writer)):
            tasks.spawn(self._copying, self._copy(source, sink), "copy")

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.closing(sink), contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                sink.write(data)


async def test_who_was_the_primary_is_left_at_once(servers: tuple[RedisServer, RedisServer]) -> None:
    old, new = servers
    address = Address(old.port)
    async with address as url, ledger(url) as it:
        assert all(await asyncio.gather(*(taken(it) for _ in range(3))))
        await told(old, "REPLICAOF", "127.0.0.1", str(new.port))
        address.leads_to = new.port
        assert all(await asyncio.gather(*(taken(it) for _ in range(3))))
    async with ledger(new.url) as it:
        assert [await taken(it) for _ in range(2)] == [True, False]


async def test_a_replica_is_no_store_of_limits(servers: tuple[RedisServer, RedisServer]) -> None:
    primary, replica = servers
    await told(replica, "REPLICAOF", "127.0.0.1", str(primary.port))
    async with ledger(replica.url) as it:
        with pytest.raises(LedgerUnavailable, match="read only"):
            await taken(it)
        await told(replica, "REPLICAOF", "NO", "ONE")
        assert await taken(it)


# -- TLS


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """The port of a server with TLS, and what a URL says of who issued its certificate."""
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    known, chain, key = (tmp_path / f"{name}.pem" for name in ("ca", "chain", "key"))
    ca.cert_pem.write_to_path(str(known))
    issued.private_key_pem.write_to_path(str(key))
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    port = free_port()
    options = (
        *("--tls-port", str(port), "--tls-cert-file", str(chain), "--tls-key-file", str(key)),
        *("--tls-ca-cert-file", str(known), "--tls-auth-clients", "no"),
        *("--user", "penstock", "on", ">p@ss", "~*", "&*", "+@all"),
    )
    with redis_server(options=options):
        yield port, f"?ssl_ca_certs={quote(str(known), safe='')}"


async def test_tls_and_a_user_of_its_own(secured: tuple[int, str]) -> None:
    port, known = secured
    async with ledger(f"rediss://penstock:p%40ss@127.0.0.1:{port}/0{known}") as it:
        assert await taken(it)
    for user, issuer in (("penstock:p%40ss", ""), ("penstock:wrong", known)):
        async with ledger(f"rediss://{user}@127.0.0.1:{port}/0{issuer}") as it:
            with pytest.raises(LedgerUnavailable):
                await taken(it)
