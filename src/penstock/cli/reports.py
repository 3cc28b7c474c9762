"""penstock usage, statements, changes: what a running server was used for, and who changed it."""

from typing import Annotated, Any

import typer

from penstock.cli import bounds, options
from penstock.cli.output import say, say_json, told

USAGE_EXAMPLE = "Example: penstock usage --by team,model --since 7d"
LIMITS_EXAMPLE = "Example: penstock limits --team search"
STATEMENTS_EXAMPLE = "Example: penstock statements --month 2026-11 --csv > november.csv"
CHANGES_EXAMPLE = "Example: penstock changes --path keys/"

_COLUMNS = ("calls", "failed", "prompt_tokens", "completion_tokens", "cost_usd", "unpriced")
_HEAD = ("calls", "failed", "input", "output", "USD", "unpriced")
_BILLED = (*_COLUMNS[:5], "markup_usd", "due_usd", "unpriced")
_BILL_HEAD = (*_HEAD[:5], "markup", "due", "unpriced")


def usage(
    *,
    by: Annotated[
        str,
        typer.Option(
            help="team, key, user, route, model, deployment, provider, operation; several with commas."
        ),
    ] = "",
    since: Annotated[str, typer.Option(help="A time ago (7d), a date or RFC 3339.")] = "30d",
    until: Annotated[str | None, typer.Option(help="Likewise; default: now.")] = None,
    step: Annotated[str | None, typer.Option(help="hour or day: a series.")] = None,
    team: Annotated[str | None, typer.Option(help="Only this team's (id).")] = None,
    of_key: Annotated[str | None, typer.Option("--of-key", help="Only this key's (id).")] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Show calls, tokens and cost, grouped as you like. Sums are exact."""
    from penstock.cli.admin_client import opened

    with told():
        client = opened(url, key, data_dir)
        asked = {
            "by": by or None,
            "since": since,
            "until": until,
            "step": step,
            "team": team,
            "key": of_key,
            "model": model,
        }
        rows = list(client.every("/usage/series" if step else "/usage", **asked))
        if as_json:
            say_json(rows)
            return
        names = [name for name in by.split(",") if name]
        head = (*(["time"] if step else []), *names, *_HEAD)
        bounds.table(head, ((*_place(row, names, step), *(row[name] for name in _COLUMNS)) for row in rows))


def limits(
    *,
    team: Annotated[str | None, typer.Option(help="Of this team (name or id).")] = None,
    of_key: Annotated[str | None, typer.Option("--of-key", help="Of this key (id, name or prefix).")] = None,
    user: Annotated[str | None, typer.Option(help="Of this user (e-mail or id).")] = None,
    route: Annotated[str | None, typer.Option(help="Of this route.")] = None,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Show limits and budgets, and what is used of them. Nothing said: those of the key that asks."""
    from penstock.cli.admin_client import opened

    with told():
        client = opened(url, key, data_dir)
        asked = {
            "team": None if team is None else client.named("/teams", team, "name")["id"],
            "key": None if of_key is None else client.named("/keys", of_key, "name", "prefix")["id"],
            "user": None if user is None else client.named("/users", user, "email")["id"],
            "route": route,
        }
        rows = client.get("/limits", **asked)["data"]
        if as_json:
            say_json(rows)
            return
        head = ("of", "id", "models", "what", "in", "limit", "used", "reserved", "remaining")
        names = ("scope", "id", "models", "resource", "window", "limit", "used", "reserved", "remaining")
        bounds.table(head, ([row[name] for name in names] for row in rows))


def statements(
    *,
    month: Annotated[str | None, typer.Option(help="Such as 2026-11, of UTC; default: this one.")] = None,
    team: Annotated[str | None, typer.Option(help="Only this team's (id).")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV for a spreadsheet.")] = False,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Show what each team used in a month."""
    from penstock.cli.admin_client import opened

    with told():
        client = opened(url, key, data_dir)
        if as_csv:
            text = client.text("/statements", month=month, team=team, format="csv")
            typer.echo(text, nl=False)
            return
        found = client.get("/statements", month=month, team=team)
        if as_json:
            say_json(found)
            return
        say(f"{found['month']}, {'final' if found['is_final'] else 'so far'}")
        lines = [
            (one["name"] or "(no team)", line["route"], line["provider"], *(line[name] for name in _BILLED))
            for one in found["data"]
            for line in [*map(_named, one["lines"]), {**one, "route": "all", "provider": ""}]
        ]
        bounds.table(("team", "model", "provider", *_BILL_HEAD), lines)


def _named(line: dict[str, Any]) -> dict[str, Any]:
    return {**line, "route": "allowance"} if line["item"] == "allowance" else line


def changes(
    *,
    path: Annotated[
        str, typer.Option(help="Of what was changed, or how it begins: keys/, routes/chat.")
    ] = "",
    actor: Annotated[str | None, typer.Option(help="Only what this key changed.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The newest so many.")] = 50,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Show who changed what, newest first."""
    from penstock.cli.admin_client import opened

    with told():
        client = opened(url, key, data_dir)
        rows = client.get("/changes", path=path, actor=actor, limit=str(limit))["data"]
        if as_json:
            say_json(rows)
            return
        for row in rows:
            say(f"{bounds.second(row['time'])}  {row['actor']}  {row['path']}: {change(row)}")


def change(row: dict[str, Any]) -> str:
    """One line of what a change did."""
    old, new = row["old"], row["new"]
    if old is None:
        return "made"
    if new is None:
        return "deleted"
    return ", ".join(f"{name} {old.get(name)!r} -> {new[name]!r}" for name in new) or "written anew"


def _place(row: dict[str, Any], names: list[str], step: str | None) -> list[str]:
    time = [bounds.second(row["start"])[: 16 if step == "hour" else 10]] if step else []
    return [*time, *(row["by"][name] for name in names)]
