"""Keys made at run time: how much longer a server with very many takes to start, and how much more memory.

Half of them have routes of their own, two in three an expiry, and all are in teams with limits. The server is
started as a user starts it; it has loaded them when the last one is let in. Memory is the program's own: of what is
resident, pages of the database's file are the system's, which takes them back at will.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import penstock
from bench import harness
from bench.harness import Bench, Program
from bench.reach import Reach
from penstock.config.compile import compile_settings
from penstock.config.load import load_text
from penstock.config.snapshot import key_hash
from penstock.store import open_store
from penstock.types.store import Create, Key, Limits, Team

NAME = "keys"
TITLE = "Keys of the store: a server with very many"
IS_LONG = True

KEYS = 100_000
KEYS_QUICK = 1_000
TEAMS = 100
TOGETHER = 1_000  # of one write
FAR = 2**33  # Unix seconds
START_S = 60.0
CONFIG = "builtin: off\nserver: {{port: {port}, secret: benches-only}}\n"
BOUND_S = 2.0
BOUND_MB = 150.0


def run(bench: Bench) -> dict[str, Any]:
    """{"keys": 100000, "one": {"start_s": {...}, "own_mb": {...}, "rss_mb": {...}}, "all": {...}, "load_s": 1.1,
    "load_mb": 58.0}
    """
    count = KEYS_QUICK if bench.is_quick else KEYS
    result: dict[str, Any] = {"keys": count}
    with harness.scratch() as work:
        for name, number in (("one", 1), ("all", count)):
            folder = work / name
            folder.mkdir()
            asyncio.run(_fill(folder, number))
            seen = [_started(folder, number) for _ in range(bench.rounds)]
            result[name] = {what: harness.spread([one[what] for one in seen]) for what in seen[0]}
    for what, of in (("load_s", "start_s"), ("load_mb", "own_mb")):
        result[what] = round(result["all"][of]["median"] - result["one"][of]["median"], 3)
    return result


def _secret(number: int) -> str:
    return f"sk-bench-{number:07}"


async def _fill(folder: Path, count: int) -> None:
    hash_key = compile_settings(load_text(CONFIG.format(port=1)), secret=b"").hash_key
    store = await open_store(f"sqlite:///{folder / 'penstock.db'}")
    try:
        teams = [
            (await store.create(Team(name=f"team-{at}", limits=Limits(tokens=("1M/min",))), actor="bench")).id
            for at in range(min(TEAMS, count))
        ]
        for first in range(0, count, TOGETHER):
            numbers = range(first, min(first + TOGETHER, count))
            await store.write([Create(_key(number, teams, hash_key)) for number in numbers], actor="bench")
    finally:
        await store.aclose()


def _key(number: int, teams: list[str], hash_key: bytes) -> Key:
    return Key(
        name=f"key-{number}",
        hash=key_hash(_secret(number).encode(), hash_key),
        prefix=_secret(number)[:12],
        team=teams[number % len(teams)],
        routes=("builtin:chat",) if number % 2 else None,
        expires=FAR if number % 3 else None,
    )


def _started(folder: Path, count: int) -> dict[str, float]:
    """Seconds until the last key is let in, and MB then."""
    port = harness.free_port()
    path = folder / "penstock.yaml"
    path.write_text(CONFIG.format(port=port))
    argv = [
        *(str(Path(sys.executable).with_name("penstock")), "serve", "--config", str(path)),
        *("--data-dir", str(folder)),
    ]
    env = {"PYTHONPATH": str(Path(penstock.__file__).parents[1])}  # the checkout that this suite is of
    began_s = time.monotonic()
    with Program(argv, core=harness.CORE_UNDER_TEST, work=folder, env=env) as program:
        headers = {"authorization": f"Bearer {_secret(count - 1)}"}
        harness.wait_for(
            lambda: harness.http(f"http://127.0.0.1:{port}/v1/models", headers=headers), program, START_S
        )
        start_s = time.monotonic() - began_s
        status = Path(f"/proc/{program.pid}/status").read_text()
        own_kib = int(status.partition("RssAnon:")[2].split()[0])
        return {"start_s": start_s, "own_mb": own_kib * 1024 / 1e6, "rss_mb": program.rss_bytes() / 1e6}


def table(result: dict[str, Any]) -> str:
    lines = ["| keys | starts in s | own memory, MB | resident, MB |", "|---:|---:|---:|---:|"]
    for name, count in (("one", 1), ("all", result["keys"])):
        cells = (_spread(result[name][what]) for what in ("start_s", "own_mb", "rss_mb"))
        lines.append(f"| {count:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(seen: dict[str, float]) -> str:
    return f"{seen['median']:g} ({seen['min']:g}-{seen['max']:g})"


def reaches(result: dict[str, Any]) -> list[Reach]:
    what = f"{result['keys']:,} keys of the store, beside one"
    return [
        Reach(f"{what}: longer start", BOUND_S, result.get("load_s"), "s"),
        Reach(f"{what}: more memory", BOUND_MB, result.get("load_mb"), "MB"),
    ]
