"""penstock import: the configuration of another gateway as a penstock.yaml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from penstock.cli import options
from penstock.cli.output import err, note, say, say_json, told
from penstock.types.errors import Conflict, InvalidRequest

_RESULT: Final = "the imported configuration"
_BY_VARIABLES: Final = ("providers.", "store.", "limits.")  # what is right there, only their values can tell

app = typer.Typer(
    help="Take over the configuration of another gateway.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("litellm", epilog="Example: penstock import litellm config.yaml --out penstock.yaml")
def litellm(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The config.yaml of LiteLLM's proxy.", show_default=False)
    ],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write here; default: standard output.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the --out FILE.")] = False,
    as_json: options.Json = False,
) -> None:
    """Turn a LiteLLM config.yaml into a penstock.yaml.

    What has no equivalent is listed on standard error, item by item. The result passes `penstock check` once
    the variables that it names are set.
    """
    import yaml

    from penstock.cli import minted
    from penstock.config.litellm import imported

    with told():
        if out is not None and out.exists() and not force:
            raise Conflict(f"{out} exists. Type --force to overwrite it.")
        try:
            theirs = yaml.safe_load(file.read_text("utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as exc:
            raise InvalidRequest(f"{file} is no YAML: {exc}") from exc
        if not isinstance(theirs, dict):
            raise InvalidRequest(f"{file} is no configuration: it must hold sections such as model_list.")
        found = imported(theirs)
        if not found.settings.get("deployments") and not found.settings.get("providers"):
            raise InvalidRequest(f"{file} names no model that can be taken over (model_list).")
        _require_good(found.settings, found.variables)
        if as_json:
            say_json(
                {
                    "settings": found.settings,
                    "notes": [one._asdict() for one in found.notes],
                    "variables": found.variables,
                }
            )
            return
        text = f"# From {file.name} of LiteLLM, by `penstock import litellm`.\n{_yaml(found.settings)}"
        if out is None:
            say(text.rstrip())
        else:
            minted.write_atomically(out, text.encode())  # their credentials are in it
            note(f"{out} written: {len(found.settings.get('deployments', ()))} deployments")
        if found.notes:
            err.print(f"{len(found.notes)} without an equivalent, or different:", markup=False)
        for one in found.notes:
            err.print(f"  {one.path}: {one.message}", markup=False)
        if found.variables:
            note(f"It needs these variables: {', '.join(found.variables)}")


def _require_good(settings: Mapping[str, Any], variables: list[str]) -> None:
    """That the result can be read, whatever the variables will hold. Raises ConfigError."""
    from penstock.config.errors import ConfigError
    from penstock.config.problems import problems
    from penstock.config.reader import read

    reading = read(_yaml(settings), dict.fromkeys(variables, "set-later"))
    found = [
        one
        for one in reading.problems or problems(reading.settings)
        if not variables or not one.path.startswith(_BY_VARIABLES)
    ]
    if found:
        raise ConfigError(found, _RESULT).located(reading.lines, _RESULT)


def _yaml(settings: Mapping[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True, width=110))
