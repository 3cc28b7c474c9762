"""Embedded engines through Penstock, against the same library driven directly.

llama.cpp is driven in two ways: by its callback, in the process that decodes and without any HTTP, which is
what the ratios are taken against because nothing can be more direct; and through its own HTTP server with the
same client as Penstock, which shows how much of the distance is HTTP and how much is Penstock. The ONNX engine
is its tokenizer and its session, driven by a loop without HTTP or JSON.

All three get the arguments of Penstock's own worker (threads, sequences, context) and the same requests: so
many answers of so many tokens (`ignore_eos`), no prompt cached. Nothing is pinned: gateway, engine and
client share all cores, as they do for a user. The demonstration model has 5M parameters and gives thousands of
tokens per second, so that one token of it takes no longer than a gateway's event: a model that somebody would
use is slower by orders and leaves the ratio nearer to 1.
"""

import contextlib
import itertools
import json
import os
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from bench import harness
from bench.harness import Bench, Program
from bench.reach import Reach
from bench.subjects import SECRET

NAME = "engines"
TITLE = "Embedded engines, through Penstock and driven directly"
IS_LONG = False

STREAMS = (1, 4, 16)
CONTEXT = "2048"  # of each: what the model was trained for, and what the worker takes by itself
SEQUENCES = 16  # so that 16 streams are decoded together
TOKENS = (128, 96, 160, 112, 144)  # of the answers: of one length, 16 streams would end and begin as one
ANSWERS_PER_S = {1: 20, 4: 30, 16: 34}  # about what two cores give; decides only how long a trial lasts
EMBEDDINGS = {"one text, 8 at once": (1, 8, 200), "32 texts": (32, 1, 10)}  # texts, connections, requests/s
DOCUMENTS, RERANK_CONNECTIONS, RERANKS_PER_S = 32, 2, 10
SUBJECTS = ("direct", "http", "penstock")
START_S = 60.0
SLOW_S = 60.0  # an answer that takes longer has hung

QUESTIONS = ("What is Penstock?", "How is tea made?", "Tell me about the sea.", "What does a gateway do?")
TEXT = "The {} gate of the dam opens when the water in the reservoir stands above its mark, and the pipe leads it down to the turbine."
NAMES = ("first", "second", "third", "upper", "lower", "old", "new", "northern", "southern", "narrow")


def run(bench: Bench) -> dict[str, Any]:
    seconds = 0.1 if bench.is_quick else bench.window_s * 0.3
    with harness.scratch() as work, contextlib.ExitStack() as stack:
        penstock = stack.enter_context(Penstock(work))
        llamacpp = stack.enter_context(Direct("llamacpp", penstock.workers["llamacpp"], work))
        onnx = stack.enter_context(Direct("onnx", penstock.workers["onnx"], work))
        cases: list[Case] = [Chat(streams, seconds, penstock, llamacpp) for streams in STREAMS]
        for name, (texts, connections, per_s) in EMBEDDINGS.items():
            requests = _at_least(connections, per_s * seconds)
            cases.append(
                Vectors(f"embeddings, {name}", texts, connections, requests, penstock=penstock, direct=onnx)
            )
        requests = _at_least(RERANK_CONNECTIONS, RERANKS_PER_S * seconds)
        cases.append(
            Vectors(
                "rerank, 32 documents",
                DOCUMENTS,
                RERANK_CONNECTIONS,
                requests,
                penstock=penstock,
                direct=onnx,
                rerank=True,
            )
        )
        for case in cases:
            case.once()  # warm: allocations, caches, connections
        rounds: dict[str, list[dict[str, dict[str, float]]]] = {case.name: [] for case in cases}
        for _ in range(1 if bench.is_quick else bench.rounds):
            for case in cases:
                rounds[case.name].append(case.once())
        arguments = {name: worker.said() for name, worker in penstock.workers.items()}
    rows = {case.name: _row(case.unit, rounds[case.name]) for case in cases}
    return {"arguments": arguments, "rows": rows}


def _at_least(least: int, wanted: float) -> int:
    return max(least, round(wanted))


def _row(unit: str, seen: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    row: dict[str, Any] = {"unit": unit}
    for subject in seen[0]:
        row[subject] = {
            figure: harness.spread([one[subject][figure] for one in seen]) for figure in seen[0][subject]
        }
    for base in ("direct", "http"):
        if base in seen[0]:
            ratios = [one["penstock"]["per_s"] / one[base]["per_s"] for one in seen]
            row["penstock"][f"ratio_to_{base}"] = harness.spread(ratios)
            if "ttft_ms" in seen[0][base]:
                added = [one["penstock"]["ttft_ms"] - one[base]["ttft_ms"] for one in seen]
                row["penstock"][f"added_ttft_ms_to_{base}"] = harness.spread(added)
    return row


@dataclass(frozen=True)
class Worker:
    """An engine process of Penstock's: what it was started with."""

    pid: int
    argv: tuple[str, ...]
    env: Mapping[str, str]  # what its numerical libraries read

    @classmethod
    def of(cls, pid: int) -> "Worker":
        argv = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        pairs = (line.partition("=") for line in Path(f"/proc/{pid}/environ").read_text().split("\0"))
        env = {name: value for name, _, value in pairs if name.startswith(("OMP_", "RAYON_"))}
        return cls(pid, tuple(argv), env)

    def option(self, name: str, default: str = "0") -> str:
        return self.argv[self.argv.index(name) + 1] if name in self.argv else default

    def cpu_s(self) -> float:
        return time.clock_gettime((~self.pid << 3) | 2)  # as harness.Program.cpu_s

    def said(self) -> dict[str, str]:
        """For the results: its arguments without paths."""
        names = ("--threads", "--parallel", "--context")
        return {name[2:]: self.option(name) for name in names if name in self.argv}


class Penstock(Program):
    """`penstock serve` with the three builtin models, all of them ready."""

    def __init__(self, work: Path) -> None:
        port = harness.free_port()
        config = work / "penstock.yaml"
        config.write_text(
            f"server: {{host: 127.0.0.1, port: {port}}}\n"
            "deployments:\n"
            f"  chat: {{model: 'builtin:chat', parallel: {SEQUENCES}}}\n"
            f"keys: {{k: {{secret: {SECRET}}}}}\n"
        )
        command = str(Path(sys.executable).with_name("penstock"))
        # The embedding model is fetched at first use, which is not what is measured.
        subprocess.run([command, "pull", "builtin:embedding"], check=True, capture_output=True)
        argv = [command, "serve", "--config", str(config), "--data-dir", str(work / "data")]
        super().__init__(argv, core=None, work=work, name="penstock")
        self.address = ("127.0.0.1", port)
        self.headers = {"authorization": f"Bearer {SECRET}"}
        try:
            harness.wait_for(self._is_ready, self, START_S)
            # `--parallel` tells the configured model's worker from that of builtin:chat, which stays idle.
            self.workers = {
                "llamacpp": Worker.of(_child(self.pid, "llamacpp_worker", "--parallel")),
                "onnx": Worker.of(_child(self.pid, "onnx_worker")),
            }
        except BaseException:
            self.stop()
            raise

    def _is_ready(self) -> bool:
        health = json.loads(harness.http("http://{}:{}/health".format(*self.address)))
        return all(pool["replicas"].get("ready") for pool in health["pools"])


def _child(parent: int, *said: str) -> int:
    """The process that `parent` started with a command line that says that."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                is_ours = (entry / "stat").read_text().rpartition(")")[2].split()[1] == str(parent)
                line = (entry / "cmdline").read_text()
                if is_ours and all(words in line for words in said):
                    return int(entry.name)
    raise RuntimeError(f"penstock started no {said[0]}")


class Direct:
    """bench/direct.py, given what Penstock gave its worker."""

    def __init__(self, library: str, worker: Worker, work: Path) -> None:
        options = ("--threads", "--parallel") if library == "llamacpp" else ("--threads",)
        argv = [sys.executable, "-m", "bench.direct", library, worker.option("--model")]
        argv += [worker.option(name) for name in options]
        argv.append(CONTEXT if library == "llamacpp" else worker.option("--max-input-tokens"))
        self._log = (work / f"direct-{library}.log").open("wb")
        self._process = subprocess.Popen(
            argv,
            cwd=harness.HERE.parent,
            env={"PATH": os.environ.get("PATH", ""), **worker.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.pid = self._process.pid
        self.ready: dict[str, Any] = self._heard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def do(self, bodies: Any) -> dict[str, Any]:
        assert self._process.stdin is not None  # noqa: S101 - for mypy
        self._process.stdin.write(json.dumps({"bodies": bodies}) + "\n")
        self._process.stdin.flush()
        return self._heard()

    def _heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - for mypy
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"bench/direct.py ended: {Path(self._log.name).read_text()[-300:]}")
        said: dict[str, Any] = json.loads(line)
        return said


class Case:
    """One row: the same requests to every subject."""

    name: str
    unit: str

    def once(self) -> dict[str, dict[str, float]]:
        """Figures by subject; `per_s` is what the ratio is taken of."""
        raise NotImplementedError


class Chat(Case):
    unit = "tokens/s"

    def __init__(self, streams: int, seconds: float, penstock: Penstock, direct: Direct) -> None:
        self.name = f"chat, {streams} stream{'s' if streams > 1 else ''}"
        answers = max(2, round(ANSWERS_PER_S[streams] * seconds / streams))
        asked = zip(itertools.cycle(QUESTIONS), itertools.cycle(TOKENS), strict=False)
        self._bodies = [[_chat(*next(asked)) for _ in range(answers)] for _ in range(streams)]
        self._tokens = sum(body["max_tokens"] for stream in self._bodies for body in stream)
        self._penstock, self._direct = penstock, direct
        url = urlsplit(direct.ready["url"])
        self._http = (str(url.hostname), int(url.port or 0))

    def once(self) -> dict[str, dict[str, float]]:
        direct = self._direct.do(self._bodies)
        # Its server promises keep-alive and closes after every stream all the same.
        http = Load(self._http, "/v1/chat/completions", {}, self._bodies, keeps_alive=False)
        http.run()
        gateway, engine = self._penstock, self._penstock.workers["llamacpp"]
        before = gateway.cpu_s(), engine.cpu_s()
        through = Load(gateway.address, "/v1/chat/completions", gateway.headers, self._bodies)
        through.run()
        after = gateway.cpu_s(), engine.cpu_s()
        wanted = self._tokens
        if not direct["tokens"] == http.tokens == through.tokens == wanted:
            raise RuntimeError(
                f"unequal work: {wanted} tokens were asked for; {direct['tokens']} direct,"
                f" {http.tokens} by HTTP, {through.tokens} through Penstock"
            )
        return {
            "direct": {
                **_chat_figures(wanted, direct["wall_s"], direct["waits"]),
                "engine_cpu_us": direct["cpu_s"] / wanted * 1e6,
            },
            "http": _chat_figures(wanted, http.wall_s, http.waits),
            "penstock": {
                **_chat_figures(wanted, through.wall_s, through.waits),
                "gateway_cpu_us": (after[0] - before[0]) / wanted * 1e6,
                "engine_cpu_us": (after[1] - before[1]) / wanted * 1e6,
            },
        }


def _chat(question: str, tokens: int) -> dict[str, Any]:
    return {
        "model": "chat",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0,
        "cache_prompt": False,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _chat_figures(tokens: int, wall_s: float, waits: Sequence[tuple[int, float]]) -> dict[str, float]:
    """The first answers are left out of TTFT: all streams ask for them at the same moment."""
    return {"per_s": tokens / wall_s, "ttft_ms": harness.median([s for n, s in waits if n]) * 1000}


class Vectors(Case):
    """Embeddings or scores: `texts` in each request."""

    def __init__(
        self,
        name: str,
        texts: int,
        connections: int,
        requests: int,
        *,
        penstock: Penstock,
        direct: Direct,
        rerank: bool = False,
    ) -> None:
        self.name, self._texts = name, texts
        self.unit = "pairs/s" if rerank else "texts/s"
        self._path = "/v1/rerank" if rerank else "/v1/embeddings"
        words = itertools.cycle(NAMES)
        each = max(1, requests // connections)
        self._bodies = [
            [_rerank(words, texts) if rerank else _embed(words, texts) for _ in range(each)]
            for _ in range(connections)
        ]
        self._penstock, self._direct = penstock, direct

    def once(self) -> dict[str, dict[str, float]]:
        flat = list(itertools.chain.from_iterable(self._bodies))
        done = len(flat) * self._texts
        direct = self._direct.do(flat)
        gateway, engine = self._penstock, self._penstock.workers["onnx"]
        before = gateway.cpu_s(), engine.cpu_s()
        through = Load(gateway.address, self._path, gateway.headers, self._bodies)
        through.run()
        after = gateway.cpu_s(), engine.cpu_s()
        return {
            "direct": {"per_s": done / direct["wall_s"], "engine_cpu_us": direct["cpu_s"] / done * 1e6},
            "penstock": {
                "per_s": done / through.wall_s,
                "gateway_cpu_us": (after[0] - before[0]) / done * 1e6,
                "engine_cpu_us": (after[1] - before[1]) / done * 1e6,
            },
        }


def _embed(words: Iterator[str], texts: int) -> dict[str, Any]:
    given = [TEXT.format(next(words)) for _ in range(texts)]
    return {"model": "builtin:embedding", "input": given if texts > 1 else given[0]}


def _rerank(words: Iterator[str], texts: int) -> dict[str, Any]:
    documents = [TEXT.format(next(words)) for _ in range(texts)]
    return {"model": "builtin:rerank", "query": "Which gate opens first?", "documents": documents}


@dataclass
class _Connection:
    to_do: Iterator[bytes]
    socket: socket.socket
    got: bytearray = field(default_factory=bytearray)
    asked_at: float = 0.0
    answers: int = 0
    has_begun: bool = False  # content has come


class Load:
    """A closed loop over connections in one thread; an answer is looked at only when it is whole."""

    def __init__(
        self,
        address: tuple[str, int],
        path: str,
        headers: Mapping[str, str],
        bodies: Sequence[Sequence[Any]],
        *,
        keeps_alive: bool = True,
    ) -> None:
        self._address = address
        self._keeps_alive = keeps_alive
        self._selector = selectors.DefaultSelector()
        head = f"POST {path} HTTP/1.1\r\nhost: {address[0]}\r\ncontent-type: application/json\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._connections = [
            _Connection(iter([_request(head, body) for body in one]), self._connect()) for one in bodies
        ]
        self.wall_s = 0.0
        self.tokens = 0  # as the answers say
        self.waits: list[tuple[int, float]] = []  # how manieth answer of its connection, seconds to content

    def run(self) -> None:
        """Raises RuntimeError for an answer that is not 200, OSError for a broken or hung connection."""
        began = time.perf_counter()
        for connection in self._connections:
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
            self._next(connection)
        while self._selector.get_map():
            ready = self._selector.select(SLOW_S)
            if not ready:
                raise TimeoutError("no answer")
            for key, _ in ready:
                self._read(key.data)
        self.wall_s = time.perf_counter() - began
        self._selector.close()

    def _connect(self) -> socket.socket:
        made = socket.create_connection(self._address, timeout=SLOW_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _next(self, connection: _Connection) -> None:
        request = next(connection.to_do, None)
        if request is None:
            self._selector.unregister(connection.socket)
            connection.socket.close()
            return
        connection.got.clear()
        connection.has_begun = False
        connection.asked_at = time.perf_counter()
        connection.socket.sendall(request)

    def _read(self, connection: _Connection) -> None:
        data = connection.socket.recv(1 << 18)
        got = connection.got
        got += data
        if not connection.has_begun and b'"content":"' in got:
            connection.has_begun = True
            self.waits.append((connection.answers, time.perf_counter() - connection.asked_at))
        if not data:
            raise ConnectionError(f"cut after {bytes(got[-200:])!r}")
        if _is_whole(got):
            if not got.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"not 200: {bytes(got[:500])!r}")
            connection.answers += 1
            counted = re.search(rb'"completion_tokens":(\d+)', got[-1000:])
            self.tokens += int(counted[1]) if counted else 0
            if not self._keeps_alive:
                self._selector.unregister(connection.socket)
                connection.socket.close()
                connection.socket = self._connect()
                self._selector.register(connection.socket, selectors.EVENT_READ, connection)
            self._next(connection)


def _request(head: str, body: Any) -> bytes:
    data = json.dumps(body, separators=(",", ":")).encode()
    return f"{head}content-length: {len(data)}\r\n\r\n".encode() + data


def _is_whole(got: bytearray) -> bool:
    if got.endswith(b"\r\n0\r\n\r\n"):
        return True
    end = got.find(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d+)", got[: max(0, end)], re.IGNORECASE)
    return length is not None and len(got) == end + 4 + int(length[1])


def table(result: dict[str, Any]) -> str:
    def cell(row: Mapping[str, Any], subject: str, figure: str, form: str = ",.0f") -> str:
        seen = row.get(subject, {}).get(figure)
        return "" if seen is None else format(seen["median"], form)

    lines = [
        "| | driven directly | its own HTTP server | through Penstock | ratio to direct | to its HTTP server | TTFT, ms: direct | HTTP server | Penstock | CPU us each: engine, direct | engine | gateway |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in result["rows"].items():
        cells = [
            f"{name}, {row['unit']}",
            *(cell(row, subject, "per_s") for subject in SUBJECTS),
            *(_range(row["penstock"].get(f"ratio_to_{base}")) for base in ("direct", "http")),
            *(cell(row, subject, "ttft_ms", ".1f") for subject in SUBJECTS),
            cell(row, "direct", "engine_cpu_us"),
            cell(row, "penstock", "engine_cpu_us"),
            cell(row, "penstock", "gateway_cpu_us"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    given = "; ".join(
        f"{engine} with " + ", ".join(f"{name} {value}" for name, value in options.items())
        for engine, options in result["arguments"].items()
    )
    return "\n".join([*lines, "", f"Every row has the same arguments in all columns: {given}."])


def _range(seen: Mapping[str, float] | None) -> str:
    return "" if seen is None else f"{seen['median']:.2f} ({seen['min']:.2f}-{seen['max']:.2f})"


def reaches(result: dict[str, Any]) -> list[Reach]:
    found = []
    names = {"direct": "the library driven directly", "http": "its own HTTP server"}
    for name, row in result["rows"].items():
        through = row["penstock"]
        for base, against in names.items():
            if (ratio := through.get(f"ratio_to_{base}")) is not None:
                what = f"{name}: {row['unit']} against {against}"
                found.append(Reach(what, 0.95, ratio["median"], at_least=True))
        for base, against in names.items():
            if (added := through.get(f"added_ttft_ms_to_{base}")) is not None:
                found.append(Reach(f"{name}: TTFT over {against}", 5, added["median"], "ms"))
    return found
