"""Simulated engines (penstock.testing.simulated) in one process, and Penstock in front of them."""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench import harness
from bench.harness import CORE_OF_LOAD, CORE_UNDER_TEST, Program
from bench.replay import Door
from bench.subjects import SECRET, penstock_argv

START_S = 30.0


@contextlib.contextmanager
def engines(work: Path, factor: float, *more: str, number: int = 8) -> Iterator[list[str]]:
    """Base URLs, with /v1. `more`: options of the module."""
    argv = [sys.executable, "-m", "penstock.testing.simulated", "--engines", str(number), "--model", "m"]
    argv += ["--time-scale", str(factor), *more]
    with Program(argv, core=CORE_OF_LOAD, work=work, name="engines") as program:
        harness.wait_for(lambda: program.said().startswith("{"), program, START_S)
        ports = json.loads(program.said())["ports"]
        yield [f"http://127.0.0.1:{port}/v1" for port in ports]


@contextlib.contextmanager
def penstock(
    urls: Sequence[str],
    work: Path,
    *,
    route: str,
    deployment: str = "",
    keys: Mapping[str, str] | None = None,
) -> Iterator[Door]:
    """Route `m` over all `urls`. `route`, `deployment`: further settings; `keys`: name -> settings, beside `bench`."""
    port = harness.free_port()
    more = f", {deployment}" if deployment else ""
    config = [
        "builtin: off",
        f"server: {{host: 127.0.0.1, port: {port}}}",
        "providers:",
        *(f"  p{at}: {{kind: vllm, base_url: '{url}', api_key: none}}" for at, url in enumerate(urls)),
        "deployments:",
        *(f"  d{at}: {{provider: p{at}, model: m{more}}}" for at in range(len(urls))),
        "routes:",
        f"  m: {{targets: [{', '.join(f'{{deployment: d{at}}}' for at in range(len(urls)))}], {route}}}",
        "keys:",
        f"  bench: {{secret: {SECRET}}}",
        *(f"  {name}: {{secret: {secret_of(name)}, {said}}}" for name, said in (keys or {}).items()),
    ]
    path = work / "penstock.yaml"
    path.write_text("\n".join(config))
    url = f"http://127.0.0.1:{port}"
    with Program(penstock_argv(path), core=CORE_UNDER_TEST, work=work, name="penstock") as program:
        harness.wait_for(lambda: harness.http(f"{url}/health/live"), program, START_S)
        yield Door((f"{url}/v1/chat/completions",), "m", (("authorization", f"Bearer {SECRET}"),))


def secret_of(key: str) -> str:
    return f"{SECRET}-{key}"


def metric(door: Door, name: str, *labels: str) -> float:
    """The sum of a metric's samples that have all these labels, as `name="value"`."""
    text = harness.http(
        door.urls[0].replace("/v1/chat/completions", "/metrics"), None, dict(door.headers)
    ).decode()
    rows = (line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
    return sum(float(row.rpartition(" ")[2]) for row in rows if all(label in row for label in labels))
