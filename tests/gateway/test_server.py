"""The end of a server: nobody whose connection or request is there already is lost."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import cast

from penstock.gateway.exchange import Exchange
from penstock.gateway.listener import Listener
from penstock.gateway.server import LINGER_S, LOOK_S, Server
from penstock.lib import tasks

REQUEST = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"


async def answer(exchange: Exchange) -> None:
    await exchange.send(200, b"{}", "")


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[Server, socket.socket]]:
    def connection(**made: object) -> Listener:
        return Listener(answer, lambda: False, **made)  # type: ignore[arg-type]  # as uvicorn makes them

    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    listening.setblocking(False)
    server = Server(connection, drain_s=5)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup([listening])
    try:
        yield server, listening
    finally:
        listening.close()


def connect(listening: socket.socket) -> socket.socket:
    """The system connects, though nobody accepts meanwhile."""
    made = socket.create_connection(listening.getsockname(), timeout=10)
    made.setblocking(False)
    return made


async def heard(client: socket.socket) -> bytes:
    """Until the server closes. Raises ConnectionResetError."""
    loop, told = asyncio.get_running_loop(), b""
    async with asyncio.timeout(10):
        while part := await loop.sock_recv(client, 65536):
            told += part
    client.close()
    return told


async def test_who_waits_to_be_accepted_is_answered() -> None:
    async with serving() as (server, listening):
        clients = [connect(listening) for _ in range(50)]
        for client in clients:
            client.send(REQUEST)
        await server.shutdown([listening])
        for client in clients:
            assert (await heard(client)).startswith(b"HTTP/1.1 200")


async def test_who_connected_and_has_yet_to_ask_is_answered() -> None:
    async with serving() as (server, listening):
        client = connect(listening)
        ending = tasks.spawn(set(), server.shutdown([listening]), "end")
        await asyncio.sleep(LOOK_S)
        client.send(REQUEST)
        assert (await heard(client)).startswith(b"HTTP/1.1 200")
        await ending


async def test_a_request_on_a_connection_that_rests_is_answered() -> None:
    loop = asyncio.get_running_loop()
    async with serving() as (server, listening):
        client = connect(listening)
        client.send(REQUEST)
        assert b"connection: close" not in await loop.sock_recv(client, 65536)
        ending = tasks.spawn(set(), server.shutdown([listening]), "end")
        await asyncio.sleep(LOOK_S)
        client.send(REQUEST)
        assert (await heard(client)).startswith(b"HTTP/1.1 200")
        await ending


async def test_a_connection_that_rests_is_closed() -> None:
    async with serving() as (server, listening):
        client = connect(listening)
        await server.shutdown([listening])
        assert await heard(client) == b""


async def test_nobody_can_connect_any_more() -> None:
    async with serving() as (server, listening):
        address = listening.getsockname()
        await server.shutdown([listening])
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(address, timeout=10)
            raise AssertionError


async def test_nothing_that_has_come_is_closed_upon() -> None:
    """The loop is busy: requests have come, and nobody has read them."""
    loop = asyncio.get_running_loop()
    async with serving() as (server, listening):
        client = connect(listening)
        client.send(REQUEST)
        await loop.sock_recv(client, 65536)
        (connection,) = cast("set[Listener]", server.server_state.connections)
        client.send(REQUEST)
        assert not connection.let_go(0.0)
        assert (await loop.sock_recv(client, 65536)).startswith(b"HTTP/1.1 200")
        assert not connection.let_go(LINGER_S)  # it has not rested for so long
        assert connection.let_go(0.0)
        assert await heard(client) == b""
        await server.shutdown([listening])
