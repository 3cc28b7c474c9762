"""A real gateway in the test's own loop, configured as a user would: YAML in, a listening server out."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from penstock import serve
from penstock.config.compile import compile_settings
from penstock.config.load import load_text
from penstock.lib import http1, tasks
from penstock.lib.sse import SSESplitter

KEY = "sk-test"
SECRET = b"0" * 32


class Answer:
    """A whole answer, read."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str | None, str | None]:
        """(status, code, param)"""
        error = self.json["error"]
        return self.status, error["code"], error["param"]

    @property
    def events(self) -> list[Any]:
        return [
            "[DONE]" if data == b"[DONE]" else json.loads(data) for data in SSESplitter().feed_data(self.body)
        ]


class Gateway:
    def __init__(self, url: str, client: http1.Client, stop: Callable[[], object]) -> None:
        self.url = url
        self.stop = stop  # asks the server to shut down; does not wait
        self.origin, _ = http1.Origin.parse(url)
        self.client = client

    @property
    def port(self) -> int:
        return self.origin.port

    async def open(
        self, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None, method: str = "POST"
    ) -> http1.Response:
        sent = {"authorization": f"Bearer {KEY}", "content-type": "application/json"} | dict(headers or {})
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return await self.client.request(self.origin, method, path, [*sent.items()], data)

    async def post(self, path: str, body: Any, *, headers: Mapping[str, str] | None = None) -> Answer:
        return await self._whole(await self.open(path, body, headers=headers))

    async def get(
        self, path: str, *, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> Answer:
        return await self._whole(await self.open(path, headers=headers, method=method))

    async def _whole(self, response: http1.Response) -> Answer:
        body = await response.read(64 * 1024 * 1024)
        headers = {name.decode(): value.decode("latin-1") for name, value in response.headers}
        return Answer(response.status, headers, body)

    async def metric(self, *parts: str) -> float:
        """The sum of all samples whose line holds every part."""
        text = (await self.get("/metrics")).body.decode()
        samples = (line for line in text.splitlines() if not line.startswith("#"))
        lines = [line for line in samples if all(part in line for part in parts)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    async def settled(self, *parts: str, at_least: float) -> float:
        """Waits until `metric` reaches a value: accounting ends just after the client saw its last byte."""
        for _ in range(500):
            value = await self.metric(*parts)
            if value >= at_least:
                return value
            await asyncio.sleep(0.01)
        return await self.metric(*parts)


@contextlib.asynccontextmanager
async def gateway(
    config: str, *, drain_s: float = 1.0, data_dir: Path | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Gateway]:
    """tls: how the client verifies a gateway that serves TLS."""
    # as at a start, where no loop runs yet: files are read
    snapshot = await asyncio.to_thread(lambda: compile_settings(load_text(config), secret=SECRET))
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    options = serve.Options(snapshot, port=0, data_dir=data_dir, drain_s=drain_s, on_ready=ready.set_result)
    async with asyncio.TaskGroup() as group, http1.Client(ssl_context=tls) as client:
        server = tasks.spawn(group, serve.serve(options), "server")
        try:
            yield Gateway(await ready, client, server.cancel)
        finally:
            await client.aclose()
            await tasks.cancel_and_wait(server)


def remote(url: str, extra: str = "") -> str:
    """One remote deployment `m` on an OpenAI-compatible upstream, one key."""
    return f"""
builtin: off
providers:
  up: {{kind: openai-compatible, base_url: "{url}", api_key: sk-upstream-secret}}
deployments:
  m: {{provider: up, model: upstream-model}}
keys:
  test: {{secret: {KEY}}}
{extra}
"""


def chat(text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}
