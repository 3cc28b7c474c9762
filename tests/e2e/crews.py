"""A `penstock serve` of several workers in processes of its own, and doors to each of them."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
from platforms import PENSTOCK, environment, gone

T = TypeVar("T")
KEY = "sk-test"
WORKER = "penstock.worker"
LLAMA = "penstock.engines.llamacpp_worker"


class Door:
    """A connection to one worker that stays open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._connection.connect()
        self.key = KEY
        self.port: int = self._connection.sock.getsockname()[1]

    def open(
        self, path: str, body: Any = None, method: str = "", *, idempotency: str = ""
    ) -> http.client.HTTPResponse:
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        if idempotency:
            headers["idempotency-key"] = idempotency
        data = None if body is None else json.dumps(body)
        self._connection.request(method or ("GET" if body is None else "POST"), path, data, headers)
        return self._connection.getresponse()

    def ask(self, path: str, body: Any = None, method: str = "", *, idempotency: str = "") -> tuple[int, Any]:
        response = self.open(path, body, method, idempotency=idempotency)
        return response.status, json.loads(response.read())

    def text(self, path: str) -> str:
        return self.open(path).read().decode()

    def close(self) -> None:
        self._connection.close()


class Crew:
    def __init__(self, process: subprocess.Popen[bytes], home: Path, url: str) -> None:
        self.process = process
        self.home = home
        self.url = url
        self.port = int(url.rpartition(":")[2])

    def log(self) -> str:
        return (self.home / "err").read_text("utf-8")

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def of(self, module: str) -> list[psutil.Process]:
        found = []
        for child in self.children():
            with contextlib.suppress(psutil.Error):
                if module in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child)
        return found

    def worker_of(self, door: Door) -> int:
        """The process that has the other end. A connection may wait to be accepted."""

        def look() -> int:
            for worker in self.of(WORKER):
                with contextlib.suppress(psutil.Error):
                    for one in worker.net_connections("tcp"):
                        if one.raddr and one.raddr.port == door.port:
                            return int(worker.pid)
            return 0

        return until(look)

    @contextlib.contextmanager
    def doors(self, number: int = 2) -> Iterator[list[Door]]:
        """One to each worker."""
        opened: list[Door] = []
        try:
            found: dict[int, Door] = {}
            while len(found) < number:
                opened.append(Door(self.port))
                found.setdefault(self.worker_of(opened[-1]), opened[-1])
                assert len(opened) < 200
            yield list(found.values())
        finally:
            for door in opened:
                door.close()

    def metric(self, *parts: str) -> float:
        """The sum of all samples whose line holds every part, from whichever worker answers."""
        text = until(self._scrape)
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return sum(float(line.rpartition(" ")[2]) for line in lines if all(part in line for part in parts))

    def _scrape(self) -> str:
        """Empty where the worker that was asked has just been killed."""
        try:
            with contextlib.closing(Door(self.port)) as door:
                return door.text("/metrics")
        except (OSError, http.client.HTTPException):
            return ""

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 40.0) -> int:
        children = self.children()
        self.process.send_signal(number)
        code = self.process.wait(timeout_s)
        assert gone(children) == [], self.log()
        return code


@contextlib.contextmanager
def serving(home: Path, config: str, *arguments: str) -> Iterator[Crew]:
    """Kills what the test left running."""
    path, ready = home / "crew.yaml", home / "ready.json"
    path.write_text(config)
    words = ["serve", "-c", str(path), "--port", "0", "--ready-file", str(ready), *arguments]
    with (home / "out").open("wb") as out, (home / "err").open("wb") as err:
        process = subprocess.Popen(
            [*PENSTOCK, *words],
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
            cwd=home,
            env=environment(home),
        )
    children: list[psutil.Process] = []
    try:
        until(lambda: ready.exists() or process.poll() is not None)
        assert process.poll() is None, (home / "err").read_text("utf-8")
        crew = Crew(process, home, json.loads(ready.read_text("utf-8"))["url"])
        yield crew
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


@contextlib.contextmanager
def upstream(home: Path) -> Iterator[str]:
    """An OpenAI-compatible server in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock.testing.upstream", "--port", str(port)],
        cwd=home,
        env=os.environ,
    )
    try:
        until(lambda: _listens(port))
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(look: Callable[[], T], within_s: float = 30.0) -> T:
    """What `look` says once that is true."""
    give_up = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < give_up, f"{look} did not come true"
        time.sleep(0.02)
    return found
