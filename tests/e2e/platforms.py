"""A Penstock of its own process, started the way a user starts it."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from penstock.lib import http1

PENSTOCK = [sys.executable, "-c", "from penstock.cli import main; main()"]
FIRST_FETCH_S = 240.0  # the embedding model, where the cache has none yet
CHAT = "/v1/chat/completions"
MODEL = "builtin:chat"


class Platform:
    def __init__(self, process: subprocess.Popen[bytes], home: Path, said: dict[str, Any]) -> None:
        self.process = process
        self.home = home
        self.url: str = said["url"]
        self.key: str = said["key"]
        self.pid: int = said["pid"]
        self.origin, _ = http1.Origin.parse(self.url)

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def env(self) -> dict[str, str]:
        return environment(self.home)

    def printed(self) -> str:
        return (self.home / "out").read_text("utf-8")

    def log(self) -> str:
        return (self.home / "err").read_text("utf-8")

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)

    def worker(self, module: str) -> psutil.Process:
        (found,) = [child for child in self.children() if module in child.cmdline()]
        return found

    def rss(self) -> int:
        rss: int = psutil.Process(self.pid).memory_info().rss
        return rss

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 40.0) -> int:
        """The exit code, after which no child may be left."""
        children = self.children()
        self.process.send_signal(number)
        code = self.process.wait(timeout_s)
        assert gone(children) == [], self.log()
        return code

    async def open(self, client: http1.Client, path: str, body: Any = None) -> http1.Response:
        headers = [("authorization", f"Bearer {self.key}"), ("content-type", "application/json")]
        data = b"" if body is None else json.dumps(body).encode()
        return await client.request(self.origin, "GET" if body is None else "POST", path, headers, data)

    async def post(self, client: http1.Client, body: Any, path: str = CHAT) -> tuple[int, Any]:
        response = await self.open(client, path, body)
        return response.status, json.loads(await response.read(1 << 24))

    async def metric(self, client: http1.Client, *parts: str) -> float:
        """The sum of all samples whose line holds every part."""
        text = (await (await self.open(client, "/metrics")).read(1 << 24)).decode()
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return sum(float(line.rpartition(" ")[2]) for line in lines if all(part in line for part in parts))

    async def settled(self, client: http1.Client, *parts: str, value: float, within_s: float = 15.0) -> float:
        """Waits until `metric` is a value: accounting ends just after the client saw its last byte."""
        began = time.monotonic()
        while (got := await self.metric(client, *parts)) != value and time.monotonic() - began < within_s:
            await asyncio.sleep(0.02)
        return got


def environment(home: Path) -> dict[str, str]:
    """A user's, without vendors: what is adopted must not depend on whose machine this is."""
    env = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        env.pop(name, None)
        env.pop(name.lower(), None)
    return {**env, "PENSTOCK_DATA_DIR": str(home / "data")}


def start(home: Path) -> Platform:
    ready = home / "ready.json"
    with (home / "out").open("wb") as out, (home / "err").open("wb") as err:
        process = subprocess.Popen(
            [*PENSTOCK, "up", "--port", "0", "--ready-file", str(ready)],
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
            cwd=home,
            env=environment(home),
        )
    began = time.monotonic()
    while not ready.exists():
        if process.poll() is not None or time.monotonic() - began > 20:
            process.kill()
            process.wait()
            raise AssertionError((home / "err").read_text("utf-8"))
        time.sleep(0.01)
    return Platform(process, home, json.loads(ready.read_text("utf-8")))


@contextlib.contextmanager
def running(home: Path) -> Iterator[Platform]:
    """Kills whatever the test left running; whether it ended well is the test's to say."""
    platform = start(home)
    children: list[psutil.Process] = []
    try:
        yield platform
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            children = platform.children()
        platform.process.kill()
        platform.process.wait()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def gone(processes: list[psutil.Process], within_s: float = 5.0) -> list[psutil.Process]:
    """Those that are still alive after a while."""
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    return [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def ask(text: str = "Hello!", **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "temperature": 0, **more}


__all__ = ["CHAT", "FIRST_FETCH_S", "MODEL", "PENSTOCK", "Platform", "ask", "gone", "running", "start"]
