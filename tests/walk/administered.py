"""A gateway with a store, as `penstock serve` starts it, and callers of its admin API."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateways import Answer, Gateway

from penstock import serve
from penstock.config.load import Flags, load
from penstock.control.source import Source
from penstock.lib import http1, tasks
from penstock.types.store import SQLITE

OWNER = "sk-owner"
SECRET = b"0" * 32
ADMIN = "/admin/v1"
KEYS = f"keys: {{root: {{secret: {OWNER}, role: owner}}}}\n"


class Administered(Gateway):
    """`as_(secret)` asks as somebody else."""

    secret = OWNER
    file: Path

    def as_(self, secret: str) -> "Administered":
        other = Administered(self.url, self.client, self.stop)
        other.secret, other.file = secret, self.file
        return other

    async def ask(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """path: below /admin/v1."""
        sent = {"authorization": f"Bearer {self.secret}", **(headers or {})}
        data = b"" if body is None else json.dumps(body).encode()
        return await self._whole(
            await self.client.request(self.origin, method, f"{ADMIN}{path}", [*sent.items()], data)
        )

    async def make(self, path: str, **body: Any) -> Any:
        """POSTs what must succeed."""
        answer = await self.ask("POST", path, body)
        assert answer.status == 201, answer.body
        return answer.json

    async def see(self, path: str) -> Any:
        """GETs what must be there."""
        answer = await self.ask("GET", path)
        assert answer.status == 200, answer.body
        return answer.json

    async def every(self, path: str, *, limit: int = 50) -> list[Any]:
        """All pages of a list."""
        mark = "&" if "?" in path else "?"
        found = await self.see(f"{path}{mark}limit={limit}")
        rows = found["data"]
        while found["cursor"] is not None:
            found = await self.see(f"{path}{mark}limit={limit}&cursor={found['cursor']}")
            rows += found["data"]
        return list(rows)

    async def until(self, status: int, secret: str, path: str = "/v1/models") -> None:
        """Waits until this key gets this answer."""
        async with asyncio.timeout(5):
            while (await self.get(path, headers={"authorization": f"Bearer {secret}"})).status != status:
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def administered(
    folder: Path, config: str, *, url: str | None = None, drain_s: float = 1.0
) -> AsyncIterator[Administered]:
    """config: a penstock.yaml; it may be changed while the gateway runs (`file`). url: of its store."""
    file = folder / "penstock.yaml"

    def prepared() -> serve.Options:  # as at a start, where no loop runs yet: files are read
        file.write_text(config)
        flags = Flags(config=file, data_dir=folder)
        loaded = load(flags, env={})
        source = Source(flags, loaded.origin, loaded.path, SECRET)
        live = serve.Live(source, loaded.settings, url or f"{SQLITE}{folder / 'penstock.db'}")
        return serve.Options(source.compile(loaded.settings, {}), port=0, live=live, drain_s=drain_s)

    options = await asyncio.to_thread(prepared)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    options = replace(options, on_ready=ready.set_result)
    async with asyncio.TaskGroup() as group, http1.Client() as client:
        server = tasks.spawn(group, serve.serve(options), "server")
        try:
            gate = Administered(await ready, client, server.cancel)
            gate.file = file
            yield gate
        finally:
            await client.aclose()
            await tasks.cancel_and_wait(server)
