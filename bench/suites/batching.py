"""What it is worth to send small requests as one: single texts to the embedded engine, batching on and off.

One gateway has each model twice, once with `batching: off`; both engines get one thread. The engine itself runs
what waits for it as one batch either way, so what is compared is the price of a request between gateway and
engine: two HTTP messages and their JSON. The tiny model takes no time of its own and shows the most that there
is to win; builtin:embedding is what a user runs, and there the model is what takes the time.

Nothing is pinned but the load: gateway and engine share both cores, as they do for a user.
"""

import re
import sys
import time
from pathlib import Path
from typing import Any

import penstock
from bench import harness
from bench.harness import Bench, Program, Wrk
from bench.reach import Reach
from bench.subjects import SECRET, Launch
from penstock.testing.tiny import make_encoder

NAME = "batching"
TITLE = "Single texts, sent one by one and as one"
IS_LONG = False

CONNECTIONS = (32,)
CONNECTIONS_ALL = (1, 8, 32, 128)
MODELS = {"builtin:embedding": "builtin:embedding", "a tiny model": "file:tiny"}
WARM_UP_S = 0.5
START_S = 60.0
WAYS = ("off", "on")
REACH = 4.0

# Each text is another one.
LUA = """
local turn = 0
local before, after = wrk.body:match('^(.*)TURN(.*)$')
request = function()
  turn = turn + 1
  return wrk.format(nil, nil, nil, before .. turn .. after)
end
"""


def run(bench: Bench) -> dict[str, Any]:
    """{"builtin:embedding": {"32": {"off": {...}, "on": {...}, "ratio": {...}, "together": {...}}}}"""
    connections = CONNECTIONS_ALL if bench.is_all else CONNECTIONS
    cases = [(model, count) for model in MODELS for count in connections]
    seen: dict[tuple[str, int], list[dict[str, float]]] = {case: [] for case in cases}
    with harness.scratch() as work:
        make_encoder(work / "tiny")
        with Gateway(work) as gateway:
            for _ in range((bench.rounds + 1) // 2):
                for model, count in cases:
                    one: dict[str, float] = {}
                    for how in WAYS:
                        one[how], one[f"{how}_cpu_ms"] = gateway.speed(
                            f"{how} {model}", count, bench.window_s
                        )
                    one["ratio"] = one["on"] / one["off"]
                    one["cpu_ratio"] = one["on_cpu_ms"] / one["off_cpu_ms"]
                    seen[model, count].append(one)
    rows: dict[str, Any] = {model: {} for model in MODELS}
    for (model, count), rounds in seen.items():
        rows[model][str(count)] = {name: harness.spread([one[name] for one in rounds]) for name in rounds[0]}
    return rows


class Gateway(Program):
    """With every model twice, ready."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._url = f"http://127.0.0.1:{(port := harness.free_port())}"
        self._headers = {"authorization": f"Bearer {SECRET}"}
        lines = [
            "builtin: off",
            f"server: {{port: {port}}}",
            f"keys: {{k: {{secret: {SECRET}}}}}",
            "deployments:",
            *(
                f'  {_name(f"{how} {model}")}: {{model: "{source}", operations: [embedding], threads: 1,'
                f" batching: {how}}}"
                for model, source in MODELS.items()
                for how in WAYS
            ),
        ]
        path = work / "penstock.yaml"
        path.write_text("\n".join(lines))
        argv = [str(Path(sys.executable).with_name("penstock")), "serve", "--config", str(path)]
        env = {"PYTHONPATH": str(Path(penstock.__file__).parents[1])}  # the checkout that this suite is of
        super().__init__(argv, core=None, work=work, env=env)
        try:
            harness.wait_for(self._is_ready, self, START_S)
        except BaseException:
            self.stop()
            raise

    def speed(self, name: str, connections: int, window_s: float) -> tuple[float, float]:
        """Requests per second in the middle of a load, and CPU milliseconds of gateway and engine for each."""
        name = _name(name)
        asked = {
            "model": name,
            "input": "When does gate number TURN of the dam open?",
            "encoding_format": "base64",
        }
        target = Launch((), f"{self._url}/v1/embeddings", name, self._headers)
        load = Wrk(
            target,
            asked,
            connections=connections,
            duration_s=WARM_UP_S + window_s + 0.5,
            work=self._work,
            more=LUA,
        )
        time.sleep(WARM_UP_S)
        before, cpu, began = self._answered(name), self.cpu_s(), time.monotonic()
        time.sleep(window_s)
        answered, cpu_s, wall_s = self._answered(name) - before, self.cpu_s() - cpu, time.monotonic() - began
        load.finish()
        return answered / wall_s, cpu_s / answered * 1e3

    def pids(self) -> list[int]:
        """The engines, too, which are in sessions of their own."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [*super().pids(), *map(int, children.split())]

    def _is_ready(self) -> bool:
        for model in MODELS:
            for how in WAYS:
                asked = {"model": _name(f"{how} {model}"), "input": "ready?"}
                harness.http(f"{self._url}/v1/embeddings", asked, self._headers)
        return True

    def _answered(self, name: str) -> float:
        text = harness.http(f"{self._url}/metrics").decode()
        line = re.compile(rf'penstock_requests_total{{[^}}]*deployment="{name}"[^}}]*status="200"}} (\S+)')
        return sum(float(found[1]) for found in line.finditer(text))


def _name(text: str) -> str:
    return re.sub("[^a-z]", "-", text)


def table(result: dict[str, Any]) -> str:
    lines = [
        "| model | at once | requests/s, one by one | as one | ratio | CPU ms, one by one | as one | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for model, rows in result.items():
        for count, row in rows.items():
            cells = [f"{row[way]['median']:.3g}" for way in WAYS] + [_spread(row["ratio"])]
            cells += [f"{row[f'{way}_cpu_ms']['median']:.3g}" for way in WAYS] + [_spread(row["cpu_ratio"])]
            lines.append(f"| {model} | {count} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(seen: dict[str, float]) -> str:
    return f"{seen['median']:.2f} ({seen['min']:.2f}-{seen['max']:.2f})"


def reaches(result: dict[str, Any]) -> list[Reach]:
    row = result["builtin:embedding"].get("32")
    ratio = None if row is None else float(row["ratio"]["median"])
    what = "single texts per second at 32 at once on builtin:embedding, batching on against off"
    return [Reach(what, REACH, ratio, at_least=True)]
