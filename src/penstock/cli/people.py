"""penstock teams, users, accounts: who may call a running server."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli import bounds, options
from penstock.cli.output import say, say_json, told

if TYPE_CHECKING:
    from penstock.cli.admin_client import AdminClient

_SETTINGS = {"help_option_names": ["-h", "--help"]}
teams = typer.Typer(
    help="Teams of a running server, who is in them, and what they may use.",
    no_args_is_help=True,
    context_settings=_SETTINGS,
)
users = typer.Typer(help="People of a running server.", no_args_is_help=True, context_settings=_SETTINGS)
accounts = typer.Typer(
    help="Service accounts of a running server: who programs are.",
    no_args_is_help=True,
    context_settings=_SETTINGS,
)

TeamName = Annotated[str, typer.Argument(metavar="TEAM", help="Its name or id.", show_default=False)]
UserName = Annotated[str, typer.Argument(metavar="USER", help="E-mail or id.", show_default=False)]
AccountName = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Its name or id.", show_default=False)]
Markup = Annotated[
    str | None,
    typer.Option("--markup", metavar="PERCENT", help="Added to costs in statements: 2.5, or -10 for less."),
]
Allowance = Annotated[
    str | None, typer.Option("--allowance", metavar="USD", help="Free of charge in each month's statement.")
]
RoleName = Annotated[str, typer.Option("--role", help="owner, admin, operator, developer or viewer.")]
NewRole = Annotated[str | None, typer.Option("--role", help="owner, admin, operator, developer or viewer.")]
Disabled = Annotated[
    bool | None,
    typer.Option("--disable/--enable", help="Switch all its keys off, or on again.", show_default=False),
]


@teams.command("create", epilog="Example: penstock teams create search --budget 500 --tokens 200k/min")
def create_team(
    name: Annotated[str, typer.Argument(show_default=False)],
    *,
    id_: Annotated[str | None, typer.Option("--id", help="An id of your own; default: one is made.")] = None,
    requests: bounds.Requests = None,
    tokens: bounds.Tokens = None,
    concurrency: bounds.Concurrency = None,
    budget: bounds.Budget = None,
    markup: Markup = None,
    allowance: Allowance = None,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Make a team. Its limits and budgets are for all its keys together."""
    from penstock.cli.admin_client import opened

    with told():
        body: dict[str, Any] = {
            "name": name,
            "limits": bounds.limits(requests, tokens, concurrency),
            "budget": bounds.budgets(budget),
            **_terms(markup, allowance),
        }
        _made(opened(url, key, data_dir).post("/teams", body | ({"id": id_} if id_ else {})), as_json=as_json)


@teams.command("list", epilog="Example: penstock teams list")
def list_teams(
    *,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """List teams, those of the configuration file first."""
    from penstock.cli.admin_client import opened

    with told():
        rows = list(opened(url, key, data_dir).every("/teams"))
        if as_json:
            say_json(rows)
            return
        names = ("id", "name", "limits", "markup", "allowance", "source")
        head = ("id", "name", "limits", "markup %", "free USD", "source")
        shown = ({**row, "limits": bounds.shown(row)} for row in rows)
        bounds.table(head, ([row[name] for name in names] for row in shown))


@teams.command("set", epilog="Example: penstock teams set search --budget 1000")
def change_team(
    team: TeamName,
    *,
    rename: Annotated[str | None, typer.Option(metavar="NAME", help="Call it otherwise.")] = None,
    requests: bounds.Requests = None,
    tokens: bounds.Tokens = None,
    concurrency: bounds.Concurrency = None,
    budget: bounds.Budget = None,
    no_limits: bounds.NoLimits = False,
    no_budget: bounds.NoBudget = False,
    markup: Markup = None,
    allowance: Allowance = None,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Change a team: what is not said stays."""
    from penstock.cli.admin_client import opened, step

    with told():
        client = opened(url, key, data_dir)
        row = client.named("/teams", team, "name")
        body: dict[str, Any] = {"name": rename} if rename else {}
        body |= _terms(markup, allowance) | bounds.merged(
            row,
            bounds.limits(requests, tokens, concurrency),
            budget=bounds.budgets(budget),
            is_free=no_limits,
            is_unbudgeted=no_budget,
        )
        bounds.require_said(body)
        _changed(
            client.patch(f"/teams/{step(row['id'])}", {**body, "version": row["version"] or 1}),
            as_json=as_json,
        )


def _terms(markup: str | None, allowance: str | None) -> dict[str, Any]:
    said = {"markup": markup, "allowance": allowance}
    return {name: value for name, value in said.items() if value is not None}


@teams.command("delete", epilog="Example: penstock teams delete search")
def delete_team(
    team: TeamName,
    *,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Delete a team that no key, member or account names any more."""
    from penstock.cli.admin_client import opened, step

    with told():
        client = opened(url, key, data_dir)
        _gone(client.delete(f"/teams/{step(client.named('/teams', team, 'name')['id'])}"), as_json=as_json)


@teams.command("members", epilog="Example: penstock teams members search")
def members(
    team: TeamName,
    *,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """List who is in a team."""
    from penstock.cli.admin_client import opened
    from penstock.cli.names import named

    with told():
        client = opened(url, key, data_dir)
        rows = list(client.every("/memberships", team=client.named("/teams", team, "name")["id"]))
        if as_json:
            say_json(rows)
            return
        users = named(client, "user", (row["user"] for row in rows))
        bounds.table(("id", "user", "role"), ((row["id"], users[row["user"]], row["role"]) for row in rows))


@teams.command("add", epilog="Example: penstock teams add search ann@example.com --role developer")
def add_member(
    team: TeamName,
    user: UserName,
    *,
    role: RoleName = "developer",
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Put a user into a team."""
    from penstock.cli.admin_client import opened

    with told():
        client = opened(url, key, data_dir)
        body = {
            "team": client.named("/teams", team, "name")["id"],
            "user": client.named("/users", user, "email")["id"],
            "role": role,
        }
        _made(client.post("/memberships", body), as_json=as_json)


@teams.command("remove", epilog="Example: penstock teams remove search ann@example.com")
def remove_member(
    team: TeamName,
    user: UserName,
    *,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Take a user out of a team. Their keys of it are off then."""
    from penstock.cli.admin_client import opened, step

    with told():
        client = opened(url, key, data_dir)
        row = _member(client, team, user)
        _gone(client.delete(f"/memberships/{step(row['id'])}"), as_json=as_json)


@teams.command("role", epilog="Example: penstock teams role search ann@example.com owner")
def change_member(
    team: TeamName,
    user: UserName,
    role: Annotated[
        str, typer.Argument(help="owner, admin, operator, developer or viewer.", show_default=False)
    ],
    *,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Say what a user may do in a team they are in."""
    from penstock.cli.admin_client import opened, step

    with told():
        client = opened(url, key, data_dir)
        row = _member(client, team, user)
        body = {"role": role, "version": row["version"]}
        _changed(client.patch(f"/memberships/{step(row['id'])}", body), as_json=as_json)


def _member(client: "AdminClient", team: str, user: str) -> dict[str, Any]:
    """Raises NotFoundRow. An owner of the team sees its members by their ids, and no other users."""
    from penstock.types.errors import NotFoundRow

    rows = {
        row["user"]: row
        for row in client.every("/memberships", team=client.named("/teams", team, "name")["id"])
    }
    if user not in rows:
        user_id = client.named("/users", user, "email")["id"]
        if user_id not in rows:
            raise NotFoundRow(f"{user} is not in {team}.")
        return rows[user_id]
    return rows[user]


@users.command("create", epilog="Example: penstock users create ann@example.com --role developer")
def create_user(
    email: Annotated[str, typer.Argument(show_default=False)],
    *,
    name: Annotated[str, typer.Option(help="What people call them.")] = "",
    role: RoleName = "developer",
    requests: bounds.Requests = None,
    tokens: bounds.Tokens = None,
    concurrency: bounds.Concurrency = None,
    budget: bounds.Budget = None,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Make a user. Limits and budgets are for all their keys together."""
    from penstock.cli.admin_client import opened

    with told():
        body = {
            "email": email,
            "name": name,
            "role": role,
            "limits": bounds.limits(requests, tokens, concurrency),
            "budget": bounds.budgets(budget),
        }
        _made(opened(url, key, data_dir).post("/users", body), as_json=as_json)


@users.command("list", epilog="Example: penstock users list --json")
def list_users(
    *,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """List users."""
    from penstock.cli.admin_client import opened

    with told():
        rows = list(opened(url, key, data_dir).every("/users"))
        if as_json:
            say_json(rows)
            return
        bounds.table(
            ("id", "email", "name", "role", "limits", "state"),
            (
                (row["id"], row["email"], row["name"], row["role"], bounds.shown(row), _state(row))
                for row in rows
            ),
        )


@users.command("set", epilog="Example: penstock users set ann@example.com --disable")
def change_user(
    user: UserName,
    *,
    email: Annotated[str | None, typer.Option(help="Another address.")] = None,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    role: NewRole = None,
    disabled: Disabled = None,
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
    """Change a user: what is not said stays. The keys of a disabled user are off."""
    from penstock.cli.admin_client import opened, step

    with told():
        client = opened(url, key, data_dir)
        row = client.named("/users", user, "email")
        said = {"email": email, "name": name, "role": role, "disabled": disabled}
        body = {field: value for field, value in said.items() if value is not None}
        body |= bounds.merged(
            row,
            bounds.limits(requests, tokens, concurrency),
            budget=bounds.budgets(budget),
            is_free=no_limits,
            is_unbudgeted=no_budget,
        )
        bounds.require_said(body)
        _changed(
            client.patch(f"/users/{step(row['id'])}", {**body, "version": row["version"]}), as_json=as_json
        )


@users.command("delete", epilog="Example: penstock users delete ann@example.com")
def delete_user(
    user: UserName,
    *,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Delete a user whom no key or team names; others are disabled."""
    from penstock.cli.admin_client import opened, step

    with told():
        client = opened(url, key, data_dir)
        _gone(client.delete(f"/users/{step(client.named('/users', user, 'email')['id'])}"), as_json=as_json)


@accounts.command("create", epilog="Example: penstock accounts create nightly --team search")
def create_account(
    name: Annotated[str, typer.Argument(show_default=False)],
    *,
    team: Annotated[str | None, typer.Option(help="Name or id of its team.")] = None,
    role: RoleName = "developer",
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Make a service account. Its keys outlive who made it."""
    from penstock.cli.admin_client import opened

    with told():
        client = opened(url, key, data_dir)
        team_id = None if team is None else client.named("/teams", team, "name")["id"]
        _made(
            client.post("/service-accounts", {"name": name, "team": team_id, "role": role}), as_json=as_json
        )


@accounts.command("list", epilog="Example: penstock accounts list")
def list_accounts(
    *,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """List service accounts."""
    from penstock.cli.admin_client import opened
    from penstock.cli.names import named

    with told():
        client = opened(url, key, data_dir)
        rows = list(client.every("/service-accounts"))
        if as_json:
            say_json(rows)
            return
        called = named(client, "team", (row["team"] for row in rows))
        lines = ((row["id"], row["name"], called.get(row["team"]), row["role"], _state(row)) for row in rows)
        bounds.table(("id", "name", "team", "role", "state"), lines)


@accounts.command("set", epilog="Example: penstock accounts set nightly --disable")
def change_account(
    account: AccountName,
    *,
    rename: Annotated[str | None, typer.Option(metavar="NAME", help="Call it otherwise.")] = None,
    role: NewRole = None,
    disabled: Disabled = None,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Change a service account: what is not said stays. The keys of a disabled one are off."""
    from penstock.cli.admin_client import opened, step

    with told():
        client = opened(url, key, data_dir)
        row = client.named("/service-accounts", account, "name")
        said = {"name": rename, "role": role, "disabled": disabled}
        body = {field: value for field, value in said.items() if value is not None}
        bounds.require_said(body)
        _changed(
            client.patch(f"/service-accounts/{step(row['id'])}", {**body, "version": row["version"]}),
            as_json=as_json,
        )


@accounts.command("delete", epilog="Example: penstock accounts delete nightly")
def delete_account(
    account: AccountName,
    *,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Delete a service account that no key names."""
    from penstock.cli.admin_client import opened, step

    with told():
        client = opened(url, key, data_dir)
        row = client.named("/service-accounts", account, "name")
        _gone(client.delete(f"/service-accounts/{step(row['id'])}"), as_json=as_json)


def _made(row: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(row)
    else:
        say(row["id"])


def _changed(row: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(row)
    else:
        say(f"{row['id']} changed: version {row['version']}")


def _gone(row: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(row)
    else:
        say(f"{row['id']} deleted")


def _state(row: dict[str, Any]) -> str:
    return f"disabled {bounds.day(row['disabled'])}" if row["disabled"] else "active"
