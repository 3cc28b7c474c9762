"""penstock webhooks: whom a running server tells of budgets that are nearly used up."""

from typing import Annotated

import typer

from penstock.cli import bounds, options
from penstock.cli.output import note, say, say_json, told

app = typer.Typer(
    help="Webhooks of a running server: who is told of budgets that are nearly used up.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(
    "create", epilog="Example: penstock webhooks create https://hooks.example.com/penstock --team search"
)
def create(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Gets a POST.", show_default=False)],
    *,
    team: Annotated[str | None, typer.Option(help="Only of this team (name or id).")] = None,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Make a webhook. The secret that signs what is sent is printed this once.

    It has to be at a public address; one of your own network stands in the configuration file.
    """
    from penstock.cli.admin_client import opened

    with told():
        client = opened(url, key, data_dir)
        team_id = None if team is None else client.named("/teams", team, "name")["id"]
        made = client.post("/webhooks", {"url": address, "team": team_id})
        if as_json:
            say_json(made)
            return
        note(f"{made['id']}; the secret of its signatures is shown this once:")
        say(made["secret"])


@app.command("list", epilog="Example: penstock webhooks list")
def list_webhooks(
    *,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """List webhooks, those of the configuration file first."""
    from penstock.cli.admin_client import opened
    from penstock.cli.names import named

    with told():
        client = opened(url, key, data_dir)
        rows = list(client.every("/webhooks"))
        if as_json:
            say_json(rows)
            return
        teams = named(client, "team", (row["team"] for row in rows))
        bounds.table(
            ("id", "address", "events", "team", "state", "source"),
            (
                (
                    row["id"],
                    row["url"],
                    row["events"] or "all",
                    teams.get(row["team"]),
                    f"disabled {bounds.day(row['disabled'])}" if row["disabled"] else "active",
                    row["source"],
                )
                for row in rows
            ),
        )


@app.command("delete", epilog="Example: penstock webhooks delete hook_2f81c0")
def delete(
    webhook: Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id or address.", show_default=False)],
    *,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Delete a webhook."""
    from penstock.cli.admin_client import opened, step

    with told():
        client = opened(url, key, data_dir)
        gone = client.delete(f"/webhooks/{step(client.named('/webhooks', webhook, 'url')['id'])}")
        if as_json:
            say_json(gone)
        else:
            say(f"{gone['id']} deleted")
