"""A WebSocket whose client is behind."""

import asyncio
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from penstock.gateway.exchange import ClientLeft
from penstock.gateway.websocket import Socket
from penstock.lib import tasks


class Wire:
    """The listener of a connection and its transport in one."""

    def hand_over(self, _protocol: asyncio.Protocol) -> "Wire":
        return self

    def write(self, data: bytes) -> None:
        """It goes nowhere."""

    def close(self) -> None:
        """Nothing is open."""

    def abort(self) -> None:
        """Nothing is open."""

    def connection_lost(self, _exc: Exception | None) -> None:
        """It was none."""


async def test_a_client_that_says_goodbye_while_it_is_behind_has_left() -> None:
    client, server = ClientProtocol(parse_uri("ws://localhost/")), ServerProtocol()
    client.send_request(client.connect())
    server.receive_data(b"".join(client.data_to_send()))
    (request,) = server.events_received()
    server.send_response(server.accept(request))  # type: ignore[arg-type]  # a request it is
    client.receive_data(b"".join(server.data_to_send()))
    wire: Any = Wire()
    socket = Socket(server, wire)
    socket.pause_writing()
    owner: tasks.Tasks = set()
    sending = tasks.spawn(owner, socket.send(b"late"), "send")
    await asyncio.sleep(0)
    client.send_close()
    socket.data_received(b"".join(client.data_to_send()))
    socket.resume_writing()
    with pytest.raises(ClientLeft):
        await sending
    socket.connection_lost(None)
