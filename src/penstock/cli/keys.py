"""penstock keys: virtual keys of a running server."""

from typing import Annotated, Any

import typer

from penstock.cli import bounds, options
from penstock.cli.output import note, say, say_json, told

app = typer.Typer(
    help="Virtual keys of a running server: make, rotate, revoke.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

KeyName = Annotated[str, typer.Argument(metavar="KEY", help="Its id, name or prefix.", show_default=False)]
Team = Annotated[str | None, typer.Option(help="Name or id of its team.")]
User = Annotated[str | None, typer.Option(help="E-mail or id of who it is for.")]
Account = Annotated[str | None, typer.Option(help="Name or id of its service account.")]
Role = Annotated[
    str | None, typer.Option(help="owner, admin, operator, developer or viewer. \\[default: developer]")
]
NewRole = Annotated[str | None, typer.Option("--role", help="owner, admin, operator, developer or viewer.")]
NewRoute = Annotated[
    list[str] | None, typer.Option("--route", metavar="NAME", help="A model it may use. Repeatable.")
]
NewNetwork = Annotated[
    list[str] | None,
    typer.Option("--network", metavar="CIDR", help="Where it may be used from. Repeatable."),
]
Priority = Annotated[str | None, typer.Option(help="system, interactive, default or bulk.")]
Route = Annotated[
    list[str] | None,
    typer.Option("--route", metavar="NAME", help="A model it may use. Repeatable; default: all."),
]
Network = Annotated[
    list[str] | None,
    typer.Option(
        "--network", metavar="CIDR", help="Where it may be used from. Repeatable; default: anywhere."
    ),
]
Expires = Annotated[
    str | None, typer.Option(metavar="WHEN", help="In 90d, or after 2027-01-31, its last good day (UTC).")
]


@app.command("create", epilog="Example: penstock keys create ci --team search --requests 60/min --budget 25")
def create(
    name: Annotated[str, typer.Argument(show_default=False)],
    *,
    team: Team = None,
    user: User = None,
    account: Account = None,
    role: Role = None,
    priority: Priority = None,
    route: Route = None,
    network: Network = None,
    expires: Expires = None,
    requests: bounds.Requests = None,
    tokens: bounds.Tokens = None,
    concurrency: bounds.Concurrency = None,
    budget: bounds.Budget = None,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Make a key. Its secret is printed this once; only its hash is kept."""
    from penstock.cli.admin_client import opened

    with told():
        client = opened(url, key, data_dir)
        body: dict[str, Any] = {"name": name, **_said(role, priority, route, network, expires)}
        if team is not None:
            body["team"] = client.named("/teams", team, "name")["id"]
        if user is not None:
            body["user"] = client.named("/users", user, "email")["id"]
        if account is not None:
            body["account"] = client.named("/service-accounts", account, "name")["id"]
        body["limits"] = bounds.limits(requests, tokens, concurrency)
        body["budget"] = bounds.budgets(budget)
        _secret(client.post("/keys", body), as_json=as_json)


@app.command("list", epilog="Example: penstock keys list --team search")
def list_keys(
    *,
    team: Team = None,
    user: User = None,
    account: Account = None,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """List keys, those of the configuration file first."""
    from penstock.cli.admin_client import opened
    from penstock.cli.names import named

    with told():
        client = opened(url, key, data_dir)
        query = {
            "team": None if team is None else client.named("/teams", team, "name")["id"],
            "user": None if user is None else client.named("/users", user, "email")["id"],
            "account": None if account is None else client.named("/service-accounts", account, "name")["id"],
        }
        rows = list(client.every("/keys", **query))
        if as_json:
            say_json(rows)
            return
        teams = named(client, "team", (row["team"] for row in rows))
        head = ("id", "name", "secret", "team", "role", "models", "limits", "state", "source")
        bounds.table(
            head,
            (
                (
                    row["id"],
                    row["name"],
                    f"{row['prefix']}..." if row["prefix"] else "",
                    teams.get(row["team"]),
                    row["role"],
                    "all" if row["routes"] is None else row["routes"],
                    bounds.shown(row),
                    _state(row),
                    row["source"],
                )
                for row in rows
            ),
        )


@app.command("show", epilog="Example: penstock keys show ci")
def show(
    name: KeyName,
    *,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Show a key, without its secret."""
    from penstock.cli.admin_client import opened

    with told():
        row = opened(url, key, data_dir).named("/keys", name, "name", "prefix")
        if as_json:
            say_json(row)
        else:
            stamps = ("created", "expires", "revoked", "overlap_ends")
            said = {**row, "version": str(row["version"]), "limits": bounds.shown(row)}
            said |= {name: bounds.second(row[name]) if row[name] else None for name in stamps}
            said |= {"version": said["version"] if row["version"] else None}
            said |= {"routes": "all" if row["routes"] is None else row["routes"]}
            del said["budget"]
            bounds.table(("field", "value"), said.items())


@app.command("set", epilog="Example: penstock keys set ci --tokens 100k/min --expires 90d")
def change(
    name: KeyName,
    *,
    rename: Annotated[str | None, typer.Option(metavar="NAME", help="Call it otherwise.")] = None,
    role: NewRole = None,
    priority: Priority = None,
    route: NewRoute = None,
    all_routes: Annotated[bool, typer.Option("--all-routes", help="It may use every model.")] = False,
    network: NewNetwork = None,
    all_networks: Annotated[
        bool, typer.Option("--all-networks", help="It may be used from anywhere.")
    ] = False,
    expires: Expires = None,
    no_expiry: Annotated[bool, typer.Option("--no-expiry", help="It does not expire.")] = False,
    requests: bounds.Requests = None,
    tokens: bounds.Tokens = None,
    concurrency: bounds.Concurrency = None,
    budget: bounds.Budget = None,
    no_limits: bounds.NoLimits = False,
    no_budget: bounds.NoBudget = False,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Change a key: what is not said stays."""
    from penstock.cli.admin_client import opened, step

    with told():
        client = opened(url, key, data_dir)
        row = client.named("/keys", name, "name", "prefix")
        body: dict[str, Any] = _said(role, priority, route, network, expires)
        body |= {"name": rename} if rename else {}
        body |= {"routes": None} if all_routes else {}
        body |= {"networks": []} if all_networks else {}
        body |= {"expires": None} if no_expiry else {}
        body |= bounds.merged(
            row,
            bounds.limits(requests, tokens, concurrency),
            budget=bounds.budgets(budget),
            is_free=no_limits,
            is_unbudgeted=no_budget,
        )
        bounds.require_said(body)
        changed = client.patch(f"/keys/{step(row['id'])}", {**body, "version": row["version"] or 1})
        if as_json:
            say_json(changed)
        else:
            say(f"{changed['id']} changed: version {changed['version']}")


@app.command("rotate", epilog="Example: penstock keys rotate ci --overlap 1h")
def rotate(
    name: KeyName,
    *,
    overlap: Annotated[str, typer.Option(help="How long the old secret still works.")] = "1d",
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Give a key a new secret. It keeps its id, its usage and its budgets."""
    from penstock.cli.admin_client import opened, step
    from penstock.config.units import parse_duration
    from penstock.types.errors import InvalidRequest

    with told():
        try:
            overlap_s = int(parse_duration(overlap))
        except ValueError as exc:
            raise InvalidRequest(f"--overlap {overlap}: {exc}.") from exc
        client = opened(url, key, data_dir)
        row = client.named("/keys", name, "name", "prefix")
        _secret(client.post(f"/keys/{step(row['id'])}/rotate", {"overlap_s": overlap_s}), as_json=as_json)


@app.command("revoke", epilog="Example: penstock keys revoke ci")
def revoke(
    name: KeyName,
    *,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Switch a key off. Answers that are under way with it end within a second."""
    from penstock.cli.admin_client import opened, step

    with told():
        client = opened(url, key, data_dir)
        row = client.named("/keys", name, "name", "prefix")
        gone = client.post(f"/keys/{step(row['id'])}/revoke", {})
        if as_json:
            say_json(gone)
        else:
            say(f"{gone['id']} ({gone['name']}) is revoked")


def _said(
    role: str | None,
    priority: str | None,
    route: list[str] | None,
    network: list[str] | None,
    expires: str | None,
) -> dict[str, Any]:
    from penstock.lib.clock import SystemClock

    said = {"role": role, "priority": priority, "routes": route or None, "networks": network or None}
    body = {name: value for name, value in said.items() if value is not None}
    if expires is not None:
        body["expires"] = bounds.moment(expires, SystemClock().wall())  # type: ignore[assignment]
    return body


def _secret(made: dict[str, Any], *, as_json: bool) -> None:
    """Alone on stdout, so that it may be caught: KEY=$(penstock keys create ci)"""
    if as_json:
        say_json(made)
        return
    note(f"{made['id']} ({made['name']}); its secret is shown this once:")
    say(made["secret"])


def _state(row: dict[str, Any]) -> str:
    from penstock.lib.clock import SystemClock

    if row["revoked"] is not None:
        return f"revoked {bounds.day(row['revoked'])}"
    if row["expires"] is None:
        return "active"
    word = "expired" if row["expires"] <= SystemClock().wall() else "until"
    return f"{word} {bounds.day(row['expires'] - 1)}"  # the last day on which it is good
