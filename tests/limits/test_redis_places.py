"""Redis as companies run it: a cluster, a primary that changes, TLS and a user of its own."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from ledger_cases import claim

from penstock.limits.redis import RedisLedger
from penstock.testing.servers import RedisServer, redis_server
from penstock.types.ledger import Cost, Lease, LedgerUnavailable, Limit, Refusal

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("redis")]  # skipped where there is none

SLOTS = 16_384
CI = claim("ci", Limit("requests", 3, 60))


@contextlib.asynccontextmanager
async def ledger(url: str) -> AsyncIterator[RedisLedger]:
    made = RedisLedger(url, timeout_s=10.0)
    try:
        yield made
    finally:
        await made.close()


async def taken(it: RedisLedger) -> bool:
    return isinstance(await it.reserve([CI], Cost(1), 0.0, 60.0), Lease)


def told(server: RedisServer, *words: str) -> str:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(" ".join(words).encode() + b"\r\n")
        return connection.recv(65_536).decode()


# -- a cluster


@contextlib.asynccontextmanager
async def cluster() -> AsyncIterator[list[RedisServer]]:
    """Two nodes, each with half of the slots."""
    with contextlib.ExitStack() as stack:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "5000", "--cluster-port", "0")
        nodes = [stack.enter_context(redis_server(options=options)) for _ in range(2)]
        for at, node in enumerate(nodes):
            first = at * SLOTS // 2
            assert "OK" in told(node, "CLUSTER", "ADDSLOTSRANGE", str(first), str(first + SLOTS // 2 - 1))
            told(node, "CONFIG", "SET", "cluster-allow-reads-when-down", "yes")
        other = nodes[1]
        bus = told(other, "CLUSTER", "MYID") and other.port + 10_000
        assert "OK" in told(nodes[0], "CLUSTER", "MEET", "127.0.0.1", str(other.port), str(bus))
        async with asyncio.timeout(30):
            while not all("cluster_state:ok" in told(node, "CLUSTER", "INFO") for node in nodes):
                await asyncio.sleep(0.05)
        yield nodes


async def test_any_node_of_a_cluster_leads_to_the_limits() -> None:
    async with cluster() as nodes:
        for node in nodes:
            async with ledger(node.url) as it:
                got = await asyncio.gather(*(taken(it) for _ in range(3)))
                assert got == ([True] * 3 if node is nodes[0] else [False] * 3)


async def test_a_cluster_is_asked_again_where_it_was_first_once_a_node_is_gone() -> None:
    async with cluster() as nodes:
        owner = next(node for node in nodes if "MOVED" not in told(node, "GET", "{penstock}"))
        (other,) = (node for node in nodes if node is not owner)
        async with ledger(other.url) as it:
            assert await taken(it)
            owner.stop(kill=True)
            with pytest.raises(LedgerUnavailable):
                await taken(it)
            owner.start()
            async with asyncio.timeout(30):
                while "cluster_state:ok" not in told(other, "CLUSTER", "INFO"):
                    await asyncio.sleep(0.05)
            assert await taken(it)


# -- another primary


class Address:
    """Of whoever is the primary, as a name is that a provider points elsewhere. Connections stay as they are."""

    def __init__(self, port: int) -> None:
        self.leads_to = port
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to = await asyncio.open_connection("127.0.0.1", self.leads_to)
        for source, sink in ((reader, to), (there, writer)):
            task = asyncio.create_task(self._copy(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.closing(sink), contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                sink.write(data)


async def test_who_was_the_primary_is_left_at_once() -> None:
    with redis_server() as old, redis_server() as new:
        address = Address(old.port)
        async with address as url, ledger(url) as it:
            assert all(await asyncio.gather(*(taken(it) for _ in range(3))))
            told(old, "REPLICAOF", "127.0.0.1", str(new.port))
            address.leads_to = new.port
            assert all(await asyncio.gather(*(taken(it) for _ in range(3))))
            assert isinstance(await it.reserve([CI], Cost(1), 0.0, 60.0), Refusal)
        assert "connected_clients:2" not in told(old, "INFO", "clients")


async def test_a_replica_is_no_store_of_limits() -> None:
    with redis_server() as primary, redis_server() as replica:
        told(replica, "REPLICAOF", "127.0.0.1", str(primary.port))
        async with ledger(replica.url) as it:
            with pytest.raises(LedgerUnavailable, match="read only"):
                await taken(it)
            told(replica, "REPLICAOF", "NO", "ONE")
            assert await taken(it)


# -- TLS


async def test_tls_and_a_user_of_its_own(tmp_path: Path) -> None:
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "chain", "key")}
    ca.cert_pem.write_to_path(paths["ca"])
    issued.private_key_pem.write_to_path(paths["key"])
    for blob in issued.cert_chain_pems:
        blob.write_to_path(paths["chain"], append=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = (
        *("--tls-port", str(port), "--tls-cert-file", str(paths["chain"]), "--tls-key-file", str(paths["key"])),
        *("--tls-ca-cert-file", str(paths["ca"]), "--tls-auth-clients", "no"),
        *("--user", "penstock on >p@ss ~* +@all"),
    )
    with redis_server(options=options):
        known = f"?ssl_ca_certs={quote(str(paths['ca']), safe='')}"
        async with ledger(f"rediss://penstock:p%40ss@127.0.0.1:{port}/0{known}") as it:
            assert await taken(it)
        for url in (
            f"rediss://penstock:p%40ss@127.0.0.1:{port}/0",  # nobody knows who issued its certificate
            f"rediss://penstock:wrong@127.0.0.1:{port}/0{known}",
        ):
            async with ledger(url) as it:
                with pytest.raises(LedgerUnavailable):
                    await taken(it)
