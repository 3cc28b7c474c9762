"""Which replica: the time to the first token on real traces, by how the replica is chosen.

Eight simulated engines (penstock.testing.simulated: prefill 6,000 tokens/s, one prompt at a time, a cache of 900
blocks of 512 tokens, decoding 20 ms a token and more beside others) answer the same trace once for each way of
choosing: our strategies and smg's through the real gateways, random, round robin and least in-flight by the client
itself, without any gateway in between. Engines and gateways are started anew for each.
"""

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import harness, replay
from bench.harness import Bench, Program
from bench.peers import SMG_VERSION, smg_argv
from bench.reach import Reach
from bench.replay import Asked, Door
from bench.simulated import engines, penstock
from bench.subjects import NotInstalled
from penstock.gateway.balance import Balance
from penstock.gateway.health import Health
from penstock.lib.clock import SystemClock
from penstock.types.call import Call
from penstock.types.deployment import Address, Deployment, Labels, ReplicaView, Route, Target
from penstock.types.identity import VirtualKey
from penstock.types.requests import ChatRequest

NAME = "routing"
TITLE = "Choosing a replica: traces against eight simulated engines"
IS_LONG = False

BIG = ("--kv-blocks", "900", "--block-tokens", "512", "--max-running", "256")
FACTOR = 60.0  # time compression
GOOD_S = 10.0  # a first token within this is good
PART_S = {True: 600.0, False: 120.0}  # of a trace, with shared prompts and without, but for bench-all
WARM_UP = 3  # requests before the trace: they open connections

STRATEGIES = ("affinity", "least-loaded", "weighted")
TRACES: dict[str, Callable[[float], list[Asked]]] = {
    "Mooncake conversation": lambda until_s: replay.mooncake("conversation", until_s=until_s),
    "Mooncake synthetic": lambda until_s: replay.mooncake("synthetic", until_s=until_s),
    "Azure conv": lambda until_s: replay.azure("conv", until_s=until_s),
    "Azure code": lambda until_s: replay.azure("code", until_s=until_s),
}
SHARED = ("Mooncake conversation", "Mooncake synthetic")  # prompts with common beginnings


@dataclass(frozen=True)
class Way:
    name: str
    door: Callable[[list[str], Path], contextlib.AbstractContextManager[Door]]


def run(bench: Bench) -> dict[str, Any]:
    """{"factor": 100, "decision": {...}, "index_mb": 54,
    "traces": {"Mooncake conversation": {"seconds": 1200, "requests": 3650, "rows": {"affinity": {...}}}}}
    """
    result: dict[str, Any] = {"factor": FACTOR, "decision": decision(), "index_mb": index_mb(), "traces": {}}
    for name, read in TRACES.items():
        if bench.is_quick and name not in SHARED[:1]:
            continue
        until_s = 100.0 if bench.is_quick else float("inf") if bench.is_all else PART_S[name in SHARED]
        trace = read(until_s)
        rows: dict[str, Any] = {}
        for way in WAYS if not bench.is_quick else WAYS[:2]:
            rows[way.name] = measured(way, trace)
        span_s = trace[-1].at_s - trace[0].at_s
        result["traces"][name] = {"seconds": span_s, "requests": len(trace), "rows": rows}
    return result


DECISIONS = 2_000  # of one measurement
REPLICAS = 64
PROMPT_BYTES = 32_768  # 8,192 tokens


class _Remote:
    """A fleet of no replicas."""

    newest_s = float("-inf")


def decision() -> dict[str, float]:
    """Microseconds of one choice among REPLICAS by a prompt of PROMPT_BYTES: read, hashed, matched, chosen."""
    rng = random.Random(3)  # noqa: S311 - the same texts each time
    letters = "abcdefghijklmnop "
    codec: Any = None  # never asked
    deployments = [
        Deployment(
            f"d{at}", "m", codec, frozenset({"chat"}), remote=ReplicaView(f"d{at}", "ready", Address())
        )
        for at in range(REPLICAS)
    ]
    route = Route("m", tuple(Target(one, Labels()) for one in deployments), strategy="affinity")
    texts = ["".join(rng.choices(letters, k=PROMPT_BYTES)) for _ in range(100)]
    balance = Balance()
    fleet: Any = _Remote()
    health = Health(fleet, SystemClock(), balance.load)

    def choose(text: str) -> tuple[Call, Target]:
        call = Call("req_0", "/", "chat", 0.0, 1, VirtualKey("k"))
        request = ChatRequest("m", {"messages": [{"role": "user", "content": text}]})
        return call, balance.choose(call, request, route, fleet, health)

    for _ in range(1_000):  # all busy, and most texts known in some places
        call, target = choose(rng.choice(texts))
        view = target.deployment.remote
        if view is not None:
            balance.placed(call, target.deployment, view)
    times = []
    for _ in range(7):
        began = time.process_time()
        for number in range(DECISIONS):
            choose(texts[number % len(texts)])
        times.append((time.process_time() - began) / DECISIONS * 1e6)
    return harness.spread(times)


_INDEX = f"""
import random
from penstock.routing.prefix import PrefixIndex

def resident():
    with open("/proc/self/statm") as said:
        return int(said.read().split()[1]) * 4096

rng = random.Random(4)
before = resident()
index = PrefixIndex()
for number in range(10_000_000 // 64):
    index.add(f"r{{number % {REPLICAS}}}", [rng.getrandbits(64) for _ in range(64)])
print((resident() - before) / 1e6)
"""


def index_mb() -> float:
    """Megabytes of the prefix index after 10 million blocks have passed through it."""
    said = subprocess.run([sys.executable, "-c", _INDEX], capture_output=True, text=True, check=True)
    return float(said.stdout)


def measured(way: Way, trace: list[Asked]) -> dict[str, Any]:
    try:
        with harness.scratch() as work, engines(work, FACTOR, *BIG) as urls, way.door(urls, work) as door:
            replay.replay(door, [Asked(at / 10, 8, 2) for at in range(WARM_UP)], 1.0)
            return replay.figures(replay.replay(door, trace, FACTOR), GOOD_S)
    except NotInstalled as exc:
        return {"missing": str(exc)}


# -- ways to choose


def through_penstock(strategy: str, urls: list[str], work: Path) -> contextlib.AbstractContextManager[Door]:
    return penstock(urls, work, route=f"strategy: {strategy}")


@contextlib.contextmanager
def through_smg(urls: list[str], work: Path) -> Iterator[Door]:
    port = harness.free_port()
    argv = smg_argv(port, [url.removesuffix("/v1") for url in urls])
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    ask = {"model": "m", "max_tokens": 2, "messages": [{"role": "user", "content": "hi"}]}
    with Program(argv, core=harness.CORE_UNDER_TEST, work=work, name="smg") as program:
        harness.wait_for(lambda: harness.http(url, ask, {}), program, 60.0)
        yield Door((url,), "m")


@contextlib.contextmanager
def by_the_client(how: str, urls: list[str], _work: Path) -> Iterator[Door]:
    """Without a gateway: the client knows all replicas and what it has open at each."""
    in_flight = [0] * len(urls)
    rng = random.Random(2)  # noqa: S311 - the same choices each time

    def choose(number: int) -> int:
        at = number % len(urls)
        if how == "random":
            at = rng.randrange(len(urls))
        elif how == "least in-flight":
            at = min(range(len(urls)), key=lambda one: (in_flight[one], (one - number) % len(urls)))
        in_flight[at] += 1
        return at

    def ended(at: int) -> None:
        in_flight[at] -= 1

    yield Door(tuple(f"{url}/chat/completions" for url in urls), "m", choose=choose, ended=ended)


SMG = f"smg {SMG_VERSION} cache-aware"
WAYS = (
    *(Way(name, lambda urls, work, name=name: through_penstock(name, urls, work)) for name in STRATEGIES),  # type: ignore[misc]
    Way(SMG, through_smg),
    *(
        Way(name, lambda urls, work, name=name: by_the_client(name, urls, work))  # type: ignore[misc]
        for name in ("random", "round robin", "least in-flight")
    ),
)


def table(result: dict[str, Any]) -> str:
    lines = [
        f"Seconds of the trace; time compressed {result['factor']:g} times. Good: a first token within {GOOD_S:g} s.",
        "",
        "| trace | chosen by | mean TTFT s | p50 s | p99 s | good | cached | failed |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for trace, measured_ in result["traces"].items():
        label = f"{trace}, {measured_['requests']} requests in {measured_['seconds']:.0f} s"
        for name, row in measured_["rows"].items():
            lines.append(f"| {label} | {name} {cells(row)}")
            label = ""
    return "\n".join(lines)


def cells(row: dict[str, Any]) -> str:
    if "missing" in row:
        return f"| not measured: {row['missing']} | | | | | |"
    times = " | ".join(f"{row[name]:.3g}" for name in ("mean_s", "p50_s", "p99_s"))
    return f"| {times} | {row['goodput']:.1%} | {row['cached']:.1%} | {row['failed']:g} |"


def reaches(result: dict[str, Any]) -> list[Reach]:
    chosen = result["decision"]["median"]
    found = [
        Reach(f"a choice among {REPLICAS} replicas by a prompt of 8,192 tokens", 30.0, chosen, "us"),
        Reach("the prefix index after 10 million blocks", 64.0, result["index_mb"], "MB"),
    ]
    for trace in SHARED:
        rows = result["traces"].get(trace, {}).get("rows", {})
        for peer, bound in (("round robin", 0.25), (SMG, 0.9)):
            ours, theirs = rows.get("affinity", {}).get("mean_s"), rows.get(peer, {}).get("mean_s")
            value = ours / theirs if ours and theirs else None
            found.append(Reach(f"affinity's mean TTFT against {peer}, {trace}", bound, value))
    return found
