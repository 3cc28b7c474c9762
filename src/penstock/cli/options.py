"""Options that several commands share. Variables are read by config/load.py, which remembers the source."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None,
    typer.Option(
        "-c",
        "--config",
        metavar="FILE",
        help="Configuration file. \\[env: PENSTOCK_CONFIG]",
        show_default=False,
    ),
]
Host = Annotated[
    str | None, typer.Option(help="Address to listen on. \\[env: PENSTOCK_HOST] \\[default: 127.0.0.1]")
]
Port = Annotated[int | None, typer.Option(help="0 = a free one. \\[env: PENSTOCK_PORT] \\[default: 8600]")]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes that answer requests. \\[env: PENSTOCK_WORKERS] \\[default: 1]"),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Holds the minted key. \\[env: PENSTOCK_DATA_DIR] \\[default: ~/.local/share/penstock]"
    ),
]
LogLevel = Annotated[
    str | None,
    typer.Option(help="debug, info, warning or error. \\[env: PENSTOCK_LOG_LEVEL] \\[default: info]"),
]
ReadyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help='Receives {"url", "pid", "key"} as JSON once the server is ready. \\[env: PENSTOCK_READY_FILE]',
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Url = Annotated[
    str | None,
    typer.Option(
        help="Of the server. \\[env: PENSTOCK_URL] \\[default: the one that runs here]", show_default=False
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--key",
        help="Who asks. \\[env: PENSTOCK_KEY] \\[default: the minted key of the data folder]",
        show_default=False,
    ),
]


def is_for_another(context: typer.Context) -> bool:
    """Whether a command of its own follows. It hears of no option before it: raises BadParameter."""
    command = context.invoked_subcommand
    if command is None:
        return False
    for one in context.command.params:
        source = context.get_parameter_source(one.name or "")
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"`{command}` does not hear of it: write {one.opts[0]} after it.")
    return True
