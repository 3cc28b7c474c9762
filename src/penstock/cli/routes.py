"""penstock routes: public model names of a running server, over those of its file."""

import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.cli import bounds, options
from penstock.cli.output import say, say_json, told
from penstock.types.errors import InvalidRequest

app = typer.Typer(
    help="Routes of a running server: public model names over those of its file.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


@app.command("list", epilog="Example: penstock routes list")
def list_routes(
    *,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """List routes, those of the configuration file first."""
    from penstock.cli.admin_client import opened

    with told():
        rows = list(opened(url, key, data_dir).every("/routes"))
        if as_json:
            say_json(rows)
            return
        bounds.table(
            ("name", "targets", "strategy", "source", "changed by", "left out"),
            (
                (
                    row["name"],
                    [one["deployment"] for one in row["route"].get("targets", ())],
                    row["route"].get("strategy", ""),
                    row["source"],
                    row["created_by"],
                    row["left_out"],
                )
                for row in rows
            ),
        )


@app.command(
    "set", epilog="Example: penstock routes set chat --target gpu=95 --target mini=5 --fallback haiku"
)
def set_route(
    name: Name,
    *,
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="DEPLOYMENT[=WEIGHT]", help="Repeatable.")
    ] = None,
    fallback: Annotated[
        list[str] | None, typer.Option("--fallback", metavar="DEPLOYMENT", help="Repeatable.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="As `routes.<name>.strategy` in penstock.yaml.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="All of the route as YAML, instead; - reads standard input.")
    ] = None,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Say what a route is; it is made where there is none. It serves within a second."""
    from penstock.cli.admin_client import opened

    with told():
        body = _read(file) if file is not None else _built(target, fallback, strategy)
        row = opened(url, key, data_dir).put(f"/routes/{_path(name)}", {"route": body})
        if as_json:
            say_json(row)
        else:
            say(f"{row['name']}: version {row['version']}")


@app.command("delete", epilog="Example: penstock routes delete chat")
def delete_route(
    name: Name,
    *,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Delete a route that was made at run time."""
    from penstock.cli.admin_client import opened

    with told():
        row = opened(url, key, data_dir).delete(f"/routes/{_path(name)}")
        if as_json:
            say_json(row)
        else:
            say(f"{row['id']} deleted")


def _path(name: str) -> str:
    """Names of routes have slashes, and paths do, too."""
    from urllib.parse import quote

    return quote(name)


def _built(target: list[str] | None, fallback: list[str] | None, strategy: str | None) -> dict[str, Any]:
    if not target:
        raise InvalidRequest("Name a --target, or a --file with the whole route.")
    body: dict[str, Any] = {"targets": [_target(one) for one in target]}
    if fallback:
        body["fallbacks"] = fallback
    if strategy is not None:
        body["strategy"] = strategy
    return body


def _target(text: str) -> dict[str, Any]:
    name, equals, weight = text.rpartition("=")
    if not equals:
        return {"deployment": text}
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidRequest(f"--target {text}: {weight!r} is no number.")
    return {"deployment": name, "weight": number}


def _read(file: Path) -> dict[str, Any]:
    import yaml

    text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    try:
        body = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise InvalidRequest(f"{file} is no YAML: {exc}") from exc
    if not isinstance(body, dict):
        raise InvalidRequest(f"{file} must hold the settings of one route.")
    return body
