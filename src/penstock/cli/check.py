"""penstock check: what would run, and where each value comes from. Starts and writes nothing."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from penstock.cli import options
from penstock.cli.output import say, say_json, told

EXAMPLE = "Example: penstock check -c penstock.yaml"
HIDDEN = "(set)"
_PASSWORD = re.compile(r"(?<=://)[^/?#\s]*:[^/?#\s]*(?=@)|(?<=password=)[^&#\s]+")


def check(
    *,
    config: options.Config = None,
    host: options.Host = None,
    port: options.Port = None,
    workers: options.Workers = None,
    data_dir: options.DataDir = None,
    log_level: options.LogLevel = None,
    explain: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="PATH",
            help="Tell of this setting alone its value and its source: routes.chat.strategy. Of a row of the"
            " store also which key changed it, of a file whose it is.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Compile the configuration and print what would run, with the source of every value.

    With a file it shows what `penstock serve` would do, without one what `penstock up` would.
    """
    from penstock.cli import explain as explaining
    from penstock.cli import prepare
    from penstock.config.load import Flags

    with told():
        flags = Flags(config, host, port, data_dir, log_level, workers)
        is_up = config is None and not os.environ.get("PENSTOCK_CONFIG")
        prepared = prepare.prepare(flags, is_up=is_up, is_dry=True)
        if explain is not None:
            explained = explaining.explain(prepared.loaded, list(_settings(prepared, data_dir)), explain)
            if as_json:
                say_json(explained)
            else:
                for line in explaining.lines(explained, _written):
                    say(line)
            return
        report = {
            "config": prepared.loaded.origin,
            "settings": list(_settings(prepared, data_dir)),
            "adopted": dict(prepared.adopted),
            "models": [
                {"id": row.id, **{name: value for name, value in row.extras.items() if value is not None}}
                for row in prepared.snapshot.models()
            ],
            "workers": 1 if is_up else prepared.settings.server.workers,
            "few_slots": {
                one.name: one.concurrency
                for one in prepared.snapshot.deployments()
                if not is_up and (one.concurrency or sys.maxsize) < prepared.settings.server.workers
            },
            "pools": [msgspec.to_builtins(pool) for pool in prepared.snapshot.pools.values()],
            "defaults": dict(prepared.snapshot.defaults),
            "unpriced": sorted(prepared.snapshot.unpriced),
            "refused": sorted(prepared.snapshot.refused),
            "keys": sorted(
                {key.name for key in prepared.snapshot.keys.values()} | set(prepared.settings.keys)
            ),
        }
        if as_json:
            say_json(report)
        else:
            for line in _lines(report):
                say(line)


def _settings(prepared: Any, flag: Path | None) -> Iterator[dict[str, Any]]:
    """Every leaf of the settings, defaults included; secrets only as present."""
    for path, value, is_secret in leaves(prepared.settings):
        shown = HIDDEN if is_secret and value not in (None, []) else _without_passwords(value)
        yield {"setting": path, "value": shown, "source": prepared.loaded.source(path)}
    yield {
        "setting": "data folder",
        "value": str(prepared.loaded.data_dir),
        "source": _data_dir_source(flag),
    }


def _without_passwords(value: Any) -> Any:
    """A URL may hold one: redis://:hunter2@host."""
    return _PASSWORD.sub(HIDDEN, value) if isinstance(value, str) else value


def _data_dir_source(flag: Path | None) -> str:
    if flag is not None:
        return "--data-dir"
    return "PENSTOCK_DATA_DIR" if os.environ.get("PENSTOCK_DATA_DIR") else "default"


def leaves(value: Any, path: str = "", *, is_secret: bool = False) -> Iterator[tuple[str, Any, bool]]:
    from penstock.config.fields import secret_fields, units
    from penstock.config.schema import Rates
    from penstock.config.units import FORMATS

    match value:
        case Rates():
            for name in value.__struct_fields__:
                below, said = f"{path}.{name}", getattr(value, name)
                if isinstance(said, tuple):
                    for index, tier in enumerate(said):
                        yield from leaves(tier, f"{below}[{index}]")
                elif said is not None:
                    yield below, str(said) if name == "above_input_tokens" else FORMATS["price"](said), False
        case msgspec.Struct():
            for name in value.__struct_fields__:
                below = f"{path}.{name}" if path else name
                inner = getattr(value, name)
                if (unit := units(value.__class__).get(name)) and isinstance(inner, int | float):
                    inner = FORMATS[unit](inner)
                yield from leaves(inner, below, is_secret=is_secret or name in secret_fields(value.__class__))
        case dict():
            for name, inner in value.items():
                yield from leaves(inner, f"{path}.{name}", is_secret=is_secret)
        case tuple() if any(isinstance(item, msgspec.Struct) for item in value):
            for index, item in enumerate(value):
                yield from leaves(item, f"{path}[{index}]", is_secret=is_secret)
        case tuple():
            yield path, list(value), is_secret
        case _:
            yield path, value, is_secret


def _lines(report: dict[str, Any]) -> Iterator[str]:
    yield f"config: {report['config']}"
    yield ""
    width = max(len(row["setting"]) for row in report["settings"])
    for row in report["settings"]:
        yield f"{row['setting']:{width}}  {_written(row['value'])}   [{row['source']}]"
    yield ""
    for name, how in report["adopted"].items():
        yield f"adopts {name} ({how})"
    if report["workers"] > 1:
        yield f"answers with {report['workers']} workers"
    for name, concurrency in report["few_slots"].items():
        yield f"{name} answers one at once for each worker: more than its concurrency of {concurrency}"
    for pool in report["pools"]:
        yield f"runs {pool['replicas']} x {pool['source']} on {pool['engine']}"
    for row in report["models"]:
        yield f"serves {row['id']}: {', '.join(row['operations'])}. {row['description']}"
    for operation, name in report["defaults"].items():
        yield f"{operation} requests that name no model get {name}"
    yield f"keys: {', '.join(report['keys']) or 'none'}"
    if report["unpriced"]:
        what = "are refused" if report["refused"] else "have an unknown cost, and budgets do not see them"
        yield f"no price is known of {', '.join(report['unpriced'])}: calls {what} (`prices.models`)"


def _written(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "on" if value else "off"
        case list():
            return ", ".join(map(str, value)) or "-"
    return str(value)
