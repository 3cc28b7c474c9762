"""The table of commands."""

from typing import Annotated

import typer

from penstock import __version__
from penstock.cli import (
    check,
    doctor,
    importing,
    keys,
    models,
    people,
    prices,
    pull,
    reports,
    routes,
    run,
    serve,
    store,
    up,
    webhooks,
)

app = typer.Typer(
    name="penstock",
    help="One door for every model: chat, embedding and rerank behind an OpenAI-compatible API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"penstock {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


app.command("up", epilog=up.EXAMPLE)(up.up)
app.command("serve", epilog=serve.EXAMPLE)(serve.serve)
app.command("run", epilog=run.EXAMPLE)(run.run)
app.command("pull", epilog=pull.EXAMPLE)(pull.pull)
app.add_typer(models.app, name="models")
app.add_typer(prices.app, name="prices")
app.add_typer(store.app, name="store")
app.add_typer(keys.app, name="keys")
app.add_typer(people.teams, name="teams")
app.add_typer(people.users, name="users")
app.add_typer(people.accounts, name="accounts")
app.add_typer(routes.app, name="routes")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(importing.app, name="import")
app.add_typer(reports.usage_app, name="usage")
app.command("limits", epilog=reports.LIMITS_EXAMPLE)(reports.limits)
app.add_typer(reports.statements_app, name="statements")
app.command("changes", epilog=reports.CHANGES_EXAMPLE)(reports.changes)
app.command("check", epilog=check.EXAMPLE)(check.check)
app.command("doctor", epilog=doctor.EXAMPLE)(doctor.doctor)
