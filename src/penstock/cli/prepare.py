"""From flags to a snapshot: what `up`, `serve` and `check` have in common.

        adopts providers   mints a key                               workers
up      yes                always; it may use everything             one, whatever the file says
serve   no                 on loopback, when the file has no keys    as the file says
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from penstock.cli import minted
from penstock.config import schema
from penstock.config.compile import adopt
from penstock.config.errors import ConfigError
from penstock.config.load import Flags, Loaded, load
from penstock.config.problems import is_loopback
from penstock.config.snapshot import Snapshot
from penstock.control.source import Source
from penstock.lib import http1
from penstock.lib.clock import SystemClock

OLLAMA_WAIT_S = 0.3


@dataclass(frozen=True)
class Prepared:
    loaded: Loaded
    snapshot: Snapshot
    key: str | None
    source: Source
    adopted: Mapping[str, str] = field(default_factory=dict)  # provider -> what it was found by
    has_minted: bool = False

    @property
    def settings(self) -> schema.Settings:
        return self.loaded.settings


def prepare(flags: Flags, *, is_up: bool, is_dry: bool = False) -> Prepared:
    """Raises ConfigError and InvalidRequest. `is_dry` touches no disk: nothing will be served with it."""
    found = adopt(os.environ, ollama=ollama_answers()) if is_up else {}
    flags = replace(flags, workers=1) if is_up else flags
    loaded = load(flags, adopted=found)
    if is_up:
        loaded = replace(loaded, sources={**loaded.sources, "server.workers": "penstock up"})
    found = {name: row for name, row in found.items() if name not in loaded.settings.providers}
    mints = is_up or (not loaded.settings.keys and is_loopback(loaded.settings.server.host))
    secret = b"dry run" if is_dry or loaded.settings.server.secret else minted.secret(loaded.data_dir)
    key = ("sk-penstock-dry-run" if is_dry else minted.key(loaded.data_dir)) if mints else None
    source = Source(
        flags,
        loaded.origin,
        loaded.path,
        secret,
        {name: provider for name, (_, provider) in found.items()},
        key,
        int(SystemClock().wall()),
        loaded.data_dir,
    )
    try:
        snapshot = source.compile(loaded.settings, {})
    except ConfigError as exc:
        raise exc.located(loaded.lines, loaded.origin) from None
    adopted = {name: how for name, (how, _) in found.items()}
    return Prepared(loaded, snapshot, key, source, adopted, has_minted=mints)


def ollama_answers(url: str = "http://127.0.0.1:11434") -> bool:
    return asyncio.run(_answers(url, "/api/version"))


async def _answers(url: str, path: str) -> bool:
    origin, _ = http1.Origin.parse(url)
    wait = OLLAMA_WAIT_S
    timeouts = http1.Timeouts(wait, wait, wait, wait, wait)
    try:
        async with (
            http1.Client(proxies={}) as client,
            await client.request(origin, "GET", path, timeouts=timeouts) as response,
        ):
            body = await response.read(4096)
            return response.status == 200 and b"version" in body
    except http1.HTTPClientError:
        return False


def ready_file(said: Path | None) -> Path | None:
    """Raises InvalidRequest early: a server that cannot say that it is ready is of no use to its starter."""
    from penstock.types.errors import InvalidRequest

    variable = os.environ.get("PENSTOCK_READY_FILE")
    path = said or (Path(variable).expanduser() if variable else None)
    if path is not None and not path.parent.is_dir():
        raise InvalidRequest(f"--ready-file {path}: the folder {path.parent} does not exist.")
    if path is not None and not os.access(path.parent, os.W_OK):
        raise InvalidRequest(f"--ready-file {path}: the folder {path.parent} cannot be written.")
    return path
