"""A gateway in a process of its own, by `penstock serve`, and what it says of itself."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from accounts_world import BOSS, ESCALATING, KEYS, PICO, ROUTES, TEAMS, Key

from penstock.lib import http1

PENSTOCK = [sys.executable, "-c", "from penstock.cli import main; main()"]
STARTS_S: Final = 60.0
RESTS_S: Final = 60.0
MIRRORED: Final = {"usd": "pico", "tokens": "tokens", "requests": "requests"}

Used = dict[tuple[str, str, str], int]  # by kind of scope, its name and resource


class Gateway:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "penstock.yaml"
        self.data = folder / "data"
        self.log = folder / "log"
        self.database = str(self.data / "penstock.db")  # or a URL
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        arguments = ["serve", "-c", str(self.config), "--port", "0", "--data-dir", str(self.data)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - nobody is served meanwhile
                [*PENSTOCK, *arguments, "--ready-file", str(ready)],
                stdout=subprocess.DEVNULL,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        async with asyncio.timeout(STARTS_S):
            while not ready.exists():
                assert self._process.poll() is None, self.log.read_text("utf-8")[-2000:]
                await asyncio.sleep(0.02)
        self.url = json.loads(ready.read_text("utf-8"))["url"]

    def kill(self) -> float:
        """When."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        killed_s = time.monotonic()
        self._process.wait()
        return killed_s

    async def stop(self, *, again_after_s: float | None = None) -> None:
        """`again`: it does not wait for calls then."""
        assert self._process is not None
        self._process.terminate()
        if again_after_s is not None:
            await asyncio.sleep(again_after_s)
            self._process.terminate()
        assert await asyncio.to_thread(self._process.wait, 60) == 0, self.log.read_text("utf-8")[-2000:]

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    async def get(self, path: str, secret: str = BOSS) -> bytes:
        origin, _ = http1.Origin.parse(self.url)
        async with http1.Client(proxies={}) as client:
            headers = [("authorization", f"Bearer {secret}")]
            response = await client.request(origin, "GET", path, headers)
            body = await response.read(1 << 24)
            assert response.status == 200, body
            return body

    async def metrics(self) -> dict[str, float]:
        """Sums over all labels but `kind`; apart is the route whose metrics count what was not told, too."""
        found: dict[str, float] = {}
        for line in (await self.get("/metrics")).decode().splitlines():
            if line.startswith("#"):
                continue
            series, _, value = line.rpartition(" ")
            name, _, labels = series.partition("{")
            if f'route="{ESCALATING}"' in labels:
                name = f"{name}/{ESCALATING}"
            for kind in ("prompt", "completion"):
                if f'kind="{kind}"' in labels:
                    name = f"{name}/{kind}"
            found[name] = found.get(name, 0) + float(value)
        return found

    async def rests(self) -> dict[str, float]:
        """Waits until no call is under way and every row is written."""
        async with asyncio.timeout(RESTS_S):
            while True:
                found = await self.metrics()
                waiting = ("penstock_requests_in_flight", "penstock_usage_rows_waiting")
                if not any(found.get(name, 0) for name in (*waiting, "penstock_ledger_leases")):
                    return found
                await asyncio.sleep(0.05)

    async def person(self, token: str) -> str:
        """Who a token is of, as limits call it."""
        lines = json.loads(await self.get("/admin/v1/limits", token))["data"]
        (name,) = {line["id"] for line in lines if line["scope"] == "user"}
        return str(name)

    async def ledger(self, period: str = "total", keys: Sequence[Key] = KEYS) -> tuple[Used, Used]:
        """The ledger's report: used, and reserved; of budgets, those of this period."""
        used: Used = {}
        reserved: Used = {}
        asked = [("key", f"?key={key.name}", BOSS) for key in keys if not key.is_token]
        asked += [("user", "", key.secret) for key in keys if key.is_token]
        asked += [("team", f"?team={name}", BOSS) for name in TEAMS]
        asked += [("route", f"?route={name}", BOSS) for name in ROUTES]
        for kind, query, secret in asked:
            body: dict[str, Any] = json.loads(await self.get(f"/admin/v1/limits{query}", secret))
            for line in body["data"]:
                if line["scope"] != kind:
                    continue
                if line["resource"] in MIRRORED and line["window"] in (period, _YEAR):
                    scope = " ".join([line["id"], *line["models"]])
                    resource = MIRRORED[line["resource"]]
                    factor = PICO if resource == "pico" else 1
                    for sums, what in ((used, "used"), (reserved, "reserved")):
                        sums[kind, scope, resource] = int(Decimal(line[what]) * factor)
        return used, reserved

    async def settled(self, period: str = "total", keys: Sequence[Key] = KEYS) -> Used:
        """The same once nothing is reserved any more. Raises TimeoutError."""
        async with asyncio.timeout(RESTS_S):
            while True:
                used, reserved = await self.ledger(period, keys)
                if not any(reserved.values()):
                    return used
                await asyncio.sleep(0.1)


_YEAR = "31622400"  # window of the limits that only count: 366 days
