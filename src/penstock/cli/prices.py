"""penstock prices: what models cost, and a newer table."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli import options
from penstock.cli.output import say, say_json, told
from penstock.types.errors import InvalidRequest

if TYPE_CHECKING:
    from penstock.models.prices import ModelFacts, Table
    from penstock.types.money import Prices, Tier

DEFAULT_URL = "https://raw.githubusercontent.com/penstock/penstock/main/src/penstock/models/prices.yaml"
MAX_BYTES = 8 * 1024 * 1024
PER_USD = 1_000_000
PIPE_WIDTH = 200

app = typer.Typer(
    help="What models cost, and a newer table of prices.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("list", epilog="Example: penstock prices list --vendor anthropic")
def list_prices(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Only models whose name holds one of these."),
    ] = None,
    vendor: Annotated[str | None, typer.Option(help="Only this vendor's.")] = None,
    config: options.Config = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """List prices in USD per million tokens; `?` is unknown. Those of the configuration stand first."""
    from penstock.models.prices import load

    with told():
        table = load(_folder(data_dir))
        rows = []
        for of, name, row in (*_configured(config), *_tabled(table)):
            is_wanted = not names or any(part in name for part in names)
            if is_wanted and (vendor is None or of == vendor):
                rows.append(row)
        if as_json:
            say_json(rows)
            return
        if not rows:
            raise InvalidRequest("No price is known for that.")
        _print(rows)


@app.command("update", epilog="Example: penstock prices update --from prices.yaml")
def update(
    source: Annotated[
        str, typer.Option("--from", help="A URL or file of the same form; default: the project's newest.")
    ] = DEFAULT_URL,
    data_dir: options.DataDir = None,
) -> None:
    """Take a newer table. It is checked in full first: a bad one changes nothing."""
    from penstock.models.prices import FILE, PriceTableError, builtin, load, read

    with told():
        folder = _folder(data_dir)
        try:
            old = load(folder)
        except PriceTableError:  # ours is broken: the newer one takes its place
            old = builtin()
        text = _fetched(source)
        new = read(text)
        added = [key for key in new if key not in old]
        changed = [key for key, facts in new.items() if key in old and facts.row != old[key].row]
        folder.mkdir(parents=True, exist_ok=True)
        half = folder / f"{FILE}.new"
        half.write_text(text, "utf-8")
        half.replace(folder / FILE)
        for word, keys in (("new", added), ("changed", changed)):
            for of, name in keys[:20]:
                say(f"{word}: {of}/{name}")
        say(f"{len(new)} names, {len(added)} of them new and {len(changed)} changed, in {folder / FILE}")


def _folder(data_dir: Path | None) -> Path:
    from penstock.config.load import DEFAULT_DATA_DIR

    return (data_dir or Path(os.environ.get("PENSTOCK_DATA_DIR") or DEFAULT_DATA_DIR)).expanduser()


def _fetched(source: str) -> str:
    """Raises InvalidRequest, OSError."""
    if not source.startswith(("http://", "https://")):
        path = Path(source)
        if not path.is_file():
            raise InvalidRequest(f"There is no file {source}.")
        return path.read_text("utf-8")
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(source, timeout=30) as response:  # noqa: S310 - http and https only
            data: bytes = response.read(MAX_BYTES + 1)
    except (urllib.error.URLError, OSError) as exc:
        raise InvalidRequest(f"{source} could not be fetched: {exc}.") from exc
    if len(data) > MAX_BYTES:
        raise InvalidRequest(f"{source} is no price table: it is above {MAX_BYTES} bytes.")
    return data.decode("utf-8", "replace")


def _configured(config: Path | None) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Those of `prices.models`: vendor, model, row. Raises ConfigError."""
    from penstock.config.load import Flags, load
    from penstock.config.parts import compiled_price

    loaded = load(Flags(config))
    for key, written in loaded.settings.prices.models.items():
        price = compiled_price(written)
        vendor, slash, model = key.partition("/")
        if not slash:  # a deployment's
            vendor, model = "", key
        row = {
            "vendor": vendor,
            "model": model,
            **_dollars(price),
            "query": None if price.query is None else price.query / PER_USD,
            "image": None if price.image is None else price.image / PER_USD,
            "context": None,
            "tiers": _tiers(price.tiers),
            "source": loaded.source(f"prices.models.{key}"),
            "version": price.version,
        }
        yield vendor, model, row


def _tabled(table: "Table") -> Iterator[tuple[str, str, dict[str, Any]]]:
    for (of, name), facts in sorted(table.items()):
        if name == facts.row.model:
            yield of, name, _row(facts)


def _tiers(tiers: Iterable["Tier"]) -> list[dict[str, Any]]:
    return [{"above_input_tokens": tier.above_input_tokens, **_dollars(tier)} for tier in tiers]


def _row(facts: "ModelFacts") -> dict[str, Any]:
    from penstock.models.prices import price_of

    return {
        "vendor": facts.vendor,
        "model": facts.row.model,
        **_dollars(facts.row),
        "query": None if facts.row.query is None else facts.row.query / PER_USD,
        "image": None if facts.row.image is None else facts.row.image / PER_USD,
        "context": facts.row.context,
        "max_output": facts.row.max_output,
        "operation": facts.row.operation,
        "takes": facts.row.takes,
        "gives": facts.row.gives,
        "can": facts.row.can,
        "batch": None if facts.row.batch is None else _dollars(facts.row.batch),
        "tiers": _tiers(facts.row.tiers),
        "confirmed": facts.row.confirmed,
        "source": facts.source,
        "date": facts.date,
        "version": price_of(facts).version,
    }


def _dollars(prices: "Prices") -> dict[str, float | None]:
    from penstock.types.money import Prices

    return {
        name: None if (price := getattr(prices, name)) is None else price / PER_USD
        for name in Prices.__struct_fields__
    }


def _print(rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    columns = ("input", "output", "cached")  # the rest in --json: a terminal is narrow
    origins = sorted({str(row["source"]) for row in rows if "date" not in row})
    table = Table(title="USD per million tokens", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for name in ("vendor", "model"):
        table.add_column(name, overflow="fold")
    for name in (*columns, "context"):
        table.add_column(name, justify="right")
    for row in rows:
        shown = ["?" if row[name] is None else f"{row[name]:g}" for name in columns]
        table.add_row(row["vendor"], row["model"], *shown, str(row["context"] or "?"))
    console = Console(
        width=None if sys.stdout.isatty() else PIPE_WIDTH
    )  # names that are cut cannot be pasted
    console.print(table)
    for origin in origins:
        console.print(f"configured in {origin}", highlight=False)
