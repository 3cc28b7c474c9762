"""The admin API without a door: callers are VirtualKeys, answers are read."""

import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from penstock.admin.api import Api
from penstock.config.load import Flags, load_text
from penstock.config.snapshot import Snapshot
from penstock.control.reload import Reload
from penstock.control.source import Source
from penstock.lib.clock import Clock, SystemClock
from penstock.store import open_store
from penstock.store.base import ScriptedStore
from penstock.types.door import Asked
from penstock.types.errors import PenstockError
from penstock.types.identity import VirtualKey
from penstock.types.ledger import Claim, Row

OWNER = VirtualKey("root", role="owner")
CONFIG = """
builtin: off
providers:
  up: {kind: openai-compatible, base_url: "http://127.0.0.1:1", api_key: sk-upstream-secret}
deployments:
  m: {provider: up, model: upstream-model}
  n: {provider: up, model: other-model}
routes:
  fixed: {targets: [{deployment: m}]}
teams:
  filed: {limits: {requests: 60/min}, budget: {usd: 25.5}}
keys:
  root: {secret: sk-owner, role: owner}
  filed-key: {secret: sk-filed, team: filed, ips: [10.0.0.0/8], expires: "2100-01-01T00:00:00Z"}
"""


class Office:
    def __init__(self, store: ScriptedStore, api: Api, reload: Reload) -> None:
        self.store = store
        self.api = api
        self.reload = reload
        self.taken: Snapshot

    def take(self, snapshot: Snapshot, ended: Collection[str]) -> None:
        del ended
        self.taken = snapshot

    async def ask(
        self, caller: VirtualKey, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        """path: below /admin/v1, with its query. headers: their names with _ for -."""
        path, _, query = path.partition("?")
        asked = Asked(
            id="req_test",
            method=method,
            path=f"/admin/v1{path}",
            query=parse_qsl(query, keep_blank_values=True),
            headers={name.replace("_", "-").encode(): value.encode() for name, value in headers.items()},
            body=b"" if body is None else json.dumps(body).encode(),
            caller=caller,
        )
        try:
            answer = await self.api(asked)
        except PenstockError as error:
            return error.status, {"code": error.code, "message": error.message, "param": error.param}
        if answer.content_type != "application/json":
            return answer.status, answer.body.decode()
        return answer.status, json.loads(answer.body)

    async def make(self, path: str, caller: VirtualKey = OWNER, **body: Any) -> Any:
        status, answer = await self.ask(caller, "POST", path, body)
        assert status == 201, answer
        return answer

    async def follow(self) -> None:
        """Takes what was written, as the running server does within a second."""
        await self.reload.take_rows()

    def callers(self) -> Collection[VirtualKey]:
        """Of the store, as they call."""
        return self.taken.keys.values()

    async def see(self, path: str, caller: VirtualKey = OWNER) -> Any:
        status, answer = await self.ask(caller, "GET", path)
        assert status == 200, answer
        return answer


async def used(claims: Sequence[Claim]) -> list[Row]:
    """As if half of each limit were used."""
    return [Row(claim.scope, limit, limit.amount // 2, 0, 0) for claim in claims for limit in claim.limits]


@asynccontextmanager
async def office(path: Path, config: str = CONFIG, clock: Clock | None = None) -> AsyncIterator[Office]:
    """path: of its store."""
    clock = clock or SystemClock()
    store = await open_store(f"sqlite:///{path}", clock=clock)
    try:
        settings = load_text(config, env={})
        reload = Reload(Source(Flags(), "penstock.yaml", secret=b"0" * 32), settings, store, clock)
        desk = Office(store, Api(store, reload, list, used, clock, version="test"), reload)
        await reload.start(desk.take)
        yield desk
    finally:
        await store.aclose()
