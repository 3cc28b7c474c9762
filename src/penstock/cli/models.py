"""penstock models: what is in the cache, what the catalogue knows."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli import options
from penstock.cli.output import say, say_json, told

if TYPE_CHECKING:
    from penstock.models import ResolvedModel
    from penstock.models.catalogue import Entry

app = typer.Typer(
    help="Models on this machine and short names of well-known ones.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Source = Annotated[str, typer.Argument(help="As `penstock models list` shows it.")]


@app.command("list", epilog="Example: penstock models list --catalogue")
def list_models(
    catalogue: Annotated[
        bool, typer.Option("--catalogue", help="The short names that `pull` and `run` know, instead.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """List the models in the cache, or the catalogue."""
    from penstock.models import Store
    from penstock.models.catalogue import entries

    with told():
        if catalogue:
            rows = [_entry_row(name, entry) for name, entry in entries().items()]
            _print(rows, as_json, "")
            return
        store = Store()
        rows = [_model_row(model) for model in store.list()]
        _print(rows, as_json, f"No models in {store.root} yet; `penstock pull qwen3:0.6b` fetches one.")


@app.command("show", epilog="Example: penstock models show qwen3:4b")
def show(source: Source, as_json: options.Json = False) -> None:
    """Show one model: of the catalogue, of the cache, or both."""
    from penstock.models import Store, parse_source, read_gguf_metadata
    from penstock.models.catalogue import entries

    with told():
        parsed = str(parse_source(source))
        facts: dict[str, Any] = {"source": parsed}
        entry = entries().get(parsed)
        if entry is not None:
            facts |= {**_entry_row(parsed, entry), "note": entry.note}
        model = Store().get(parsed)
        facts["cached"] = model is not None
        if model is not None:
            facts |= {
                **_model_row(model),
                "path": str(model.path),
                "revision": model.revision,
                "why": model.note,
            }
            if model.format == "gguf":
                facts |= _gguf_facts(read_gguf_metadata(model.path))
        if as_json:
            say_json(facts)
            return
        for name, value in facts.items():
            if value not in ("", None):
                say(f"{name:12} {_shown(name, value)}")


@app.command("rm", epilog="Example: penstock models rm qwen3:4b")
def remove(source: Source, as_json: options.Json = False) -> None:
    """Delete a model from the cache, with what is left of its downloads."""
    from penstock.models import Store, parse_source
    from penstock.models.store import size

    with told():
        parsed = str(parse_source(source))
        freed = Store().remove(parsed)
        if as_json:
            say_json({"source": parsed, "freed_bytes": freed})
        else:
            say(f"{parsed} removed, {size(freed)} freed")


def _model_row(model: "ResolvedModel") -> dict[str, Any]:
    return {"source": model.source, "format": model.format, "bytes": model.bytes}


def _entry_row(name: str, entry: "Entry") -> dict[str, Any]:
    return {
        "source": name,
        "kind": entry.kind,
        "engine": entry.engine,
        "parameters": f"{entry.parameters_b:g}B",
        "context": entry.context,
        "licence": entry.licence,
        "sizes": {quantization: megabytes * 1_000_000 for quantization, megabytes in entry.sizes_mb.items()},
        "repository": f"hf:{entry.repo}",
    }


def _gguf_facts(metadata: Any) -> dict[str, Any]:
    import msgspec

    known = msgspec.to_builtins(metadata) if isinstance(metadata, msgspec.Struct) else vars(metadata)
    return {name: value for name, value in known.items() if isinstance(value, str | int | float)}


def _print(rows: list[dict[str, Any]], as_json: bool, nothing: str) -> None:
    if as_json:
        say_json(rows)
        return
    if not rows:
        say(nothing)
        return
    lines = [list(rows[0]), *([_shown(name, value) for name, value in row.items()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _shown(name: str, value: Any) -> str:
    from penstock.models.store import size

    if name == "bytes":
        return size(value)
    if name == "sizes":
        return ", ".join(f"{quantization} {size(count)}" for quantization, count in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
