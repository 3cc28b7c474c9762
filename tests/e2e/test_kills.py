"""What must not hurt: killed engines, a killed gateway, signals, clients that leave or hardly read."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from platforms import CHAT, PENSTOCK, Platform, ask, gone, running

from penstock.lib import http1
from penstock.lib.sse import SSESplitter

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

LLAMA = "penstock.engines.llamacpp_worker"
# About two seconds of generation.
LONG = ask("Count.", stream=True, max_tokens=2000, ignore_eos=True)
# More than the buffers between two programs hold; one of four slots stays free.
LARGE = {**LONG, "logprobs": True, "top_logprobs": 20, "n": 3}
STREAMS = 120


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Platform]:
    """A platform of the test's own, warm: it will not survive."""
    with running(tmp_path) as platform:
        status, answer = asyncio.run(_first(platform))
        assert status == 200, answer
        yield platform


async def _first(platform: Platform) -> tuple[int, Any]:
    async with http1.Client() as client:
        return await platform.post(client, ask())


async def events(response: http1.Response) -> list[Any]:
    data = b""
    while part := await response.read_some():
        data += part
    return [one if one == b"[DONE]" else json.loads(one) for one in SSESplitter().feed_data(data)]


async def begun(platform: Platform, client: http1.Client, body: Any = LONG) -> http1.Response:
    response = await platform.open(client, CHAT, body)
    assert response.status == 200
    return response


def ask_slowly(platform: Platform, client: socket.socket) -> None:
    """Asks for more than the buffers on the way hold, through a socket that takes little at a time."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", platform.origin.port))
    body = json.dumps(LARGE).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: penstock\r\nauthorization: Bearer {platform.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    client.sendall(head.encode() + body)
    client.setblocking(False)


async def busy_slots(platform: Platform, client: http1.Client) -> int:
    """What llama.cpp itself says, asked with the worker's own key."""
    worker = platform.worker(LLAMA)
    (listening,) = [one for one in worker.net_connections("tcp") if one.status == "LISTEN"]
    origin = http1.Origin("http", "127.0.0.1", listening.laddr.port)
    key = worker.environ()["PENSTOCK_ENGINE_KEY"]
    response = await client.request(origin, "GET", "/slots", [("authorization", f"Bearer {key}")])
    return sum(bool(slot["is_processing"]) for slot in json.loads(await response.read(1 << 20)))


async def test_a_killed_engine_is_an_error_event_and_comes_back(own: Platform) -> None:
    async with http1.Client() as client:
        response = await begun(own, client)
        own.worker(LLAMA).kill()
        got = await events(response)
        assert got[-1] != b"[DONE]"
        error = got[-1]["error"]
        assert error["code"] == "upstream_cut"
        assert error["partial"] is True
        requests = ("penstock_requests_total", 'operation="chat"')
        assert await own.settled(client, *requests, 'code="upstream_cut"', value=1) == 1
        status, answer = await own.post(client, ask())
        assert status == 200, answer
        assert await own.settled(client, *requests, value=3) == 3
        assert await own.metric(client, "penstock_replica_restarts_total", "builtin:chat") == 1
        assert await own.metric(client, "penstock_requests_in_flight") == 0
    assert own.stop() == 0


async def test_a_killed_engine_is_an_error_answer(own: Platform) -> None:
    async with http1.Client() as client:
        asked = asyncio.ensure_future(own.post(client, {**LONG, "stream": False}))  # noqa: TID251 - a client
        while not await busy_slots(own, client):
            await asyncio.sleep(0.005)
        own.worker(LLAMA).kill()
        status, answer = await asked
        assert status == 502, answer
        assert answer["error"]["code"] in ("upstream_cut", "upstream_unavailable")
        assert (await own.post(client, ask()))[0] == 200


async def test_a_killed_gateway_takes_its_engines_along(own: Platform) -> None:
    children = own.children()
    assert len(children) >= 1
    async with http1.Client() as client:
        response = await begun(own, client)
        own.process.kill()
        with pytest.raises(http1.HTTPClientError):
            await events(response)
        own.process.wait(5)
        assert gone(children) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_a_running_stream_finish(own: Platform, number: signal.Signals) -> None:
    async with http1.Client() as client:
        response = await begun(own, client)
        children = own.children()
        own.process.send_signal(number)
        got = await events(response)
        assert got[-1] == b"[DONE]"
        await client.aclose()
    assert own.process.wait(20) == 0, own.log()
    assert gone(children) == []
    assert "Traceback" not in own.log()
    assert not (own.home / "ready.json").exists()


async def test_a_second_signal_does_not_wait(own: Platform) -> None:
    children = own.children()
    with contextlib.closing(socket.socket()) as deaf:
        ask_slowly(own, deaf)
        async with http1.Client() as client:
            await own.settled(client, "penstock_requests_in_flight", value=1)
        own.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):  # the stream cannot end: its client reads nothing
            await asyncio.to_thread(own.process.wait, 6)
        own.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(own.process.wait, 15) == 0, own.log()
    assert gone(children) == []


def test_a_port_in_use_is_said(platform: Platform, tmp_path: Path) -> None:
    port = str(platform.origin.port)
    done = subprocess.run(
        [*PENSTOCK, "up", "--port", port, "--data-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        env=platform.env,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("stream", [True, False])
async def test_clients_that_leave_cost_nothing(own: Platform, stream: bool) -> None:
    async with http1.Client() as client:
        body = {**LONG, "stream": stream}
        if stream:
            for response in await asyncio.gather(*(begun(own, client, body) for _ in range(4))):
                response.close()
        else:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(own.open(client, CHAT, body)) for _ in range(4)]
                while not await busy_slots(own, client):
                    await asyncio.sleep(0.005)
                await own.settled(client, "penstock_requests_in_flight", value=4)
                for one in asked:
                    one.cancel()
        left = ("penstock_requests_total", 'code="client_left"')
        assert await own.settled(client, *left, value=4) == 4
        async with asyncio.timeout(5):
            while await busy_slots(own, client):
                await asyncio.sleep(0.01)
        assert await own.metric(client, "penstock_requests_in_flight") == 0
        assert (await own.post(client, ask()))[0] == 200


async def test_a_client_that_hardly_reads_holds_nobody_up(own: Platform) -> None:
    before = own.rss()
    with contextlib.closing(socket.socket()) as slow:
        ask_slowly(own, slow)
        loop = asyncio.get_running_loop()
        async with http1.Client() as client:
            for _ in range(3):
                assert len(await loop.sock_recv(slow, 1)) == 1
                answers = await asyncio.gather(*(own.post(client, ask(max_tokens=10)) for _ in range(3)))
                assert [status for status, _ in answers] == [200] * 3
                await asyncio.sleep(1)
            slow.close()
            await own.settled(client, "penstock_requests_in_flight", value=0)
            assert await own.settled(client, "penstock_requests_total", value=11) == 11
    assert own.rss() - before < 48 * 1024 * 1024


async def test_many_streams_at_once(own: Platform) -> None:
    async def one(client: http1.Client, number: int) -> list[Any]:
        body = ask(f"Hello number {number}!", stream=True, max_tokens=16)
        return await events(await begun(own, client, body))

    async with http1.Client(max_connections_per_origin=STREAMS) as client:
        sizes = []
        for turn in range(1, 3):
            got = await asyncio.gather(*(one(client, number) for number in range(STREAMS)))
            assert all(answer[-1] == b"[DONE]" for answer in got)
            assert all(answer[-2]["choices"][0]["finish_reason"] for answer in got)
            total = 1 + turn * STREAMS
            assert await own.settled(client, "penstock_requests_total", 'code=""', value=total) == total
            sizes.append(own.rss())
        assert await own.settled(client, "penstock_requests_in_flight", value=0) == 0
    assert sizes[1] - sizes[0] < 24 * 1024 * 1024, sizes
    assert psutil.Process(own.pid).num_fds() < 200 + STREAMS
