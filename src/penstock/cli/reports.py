"""penstock usage, statements, changes: what a running server was used for, and who changed it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.cli import bounds, options
from penstock.cli.output import note, say, say_json, told
from penstock.types.errors import InvalidRequest

USAGE_EXAMPLE = "Example: penstock usage --by team,model --since 7d"
LIMITS_EXAMPLE = "Example: penstock limits --team search"
RERATE_EXAMPLE = "Example: penstock usage rerate --model chat --since 2026-11-01 --dry-run"
STATEMENTS_EXAMPLE = "Example: penstock statements --month 2026-11 --csv > november.csv"
RECONCILE_EXAMPLE = (
    "Example: penstock statements reconcile --invoice costs.csv --provider openai --month 2026-11"
)
CHANGES_EXAMPLE = "Example: penstock changes --path keys/"

_COLUMNS = ("calls", "failed", "prompt_tokens", "completion_tokens", "cost_usd", "unpriced")
_HEAD = ("calls", "failed", "input", "output", "USD", "unpriced")
_BILLED = (*_COLUMNS[:5], "markup_percent", "markup_usd", "due_usd", "unpriced")
_BILL_HEAD = (*_HEAD[:5], "%", "markup", "due", "unpriced")


_SETTINGS = {"help_option_names": ["-h", "--help"]}
usage_app = typer.Typer(invoke_without_command=True, context_settings=_SETTINGS)
statements_app = typer.Typer(invoke_without_command=True, context_settings=_SETTINGS)


@usage_app.callback(epilog=USAGE_EXAMPLE)
def usage(
    context: typer.Context,
    *,
    by: Annotated[
        str,
        typer.Option(
            help="team, key, user, route, model, deployment, provider, operation; several with commas."
        ),
    ] = "",
    since: Annotated[str, typer.Option(help="A time ago (7d), a date or RFC 3339.")] = "30d",
    until: Annotated[
        str | None, typer.Option(help="Likewise, itself left out: a date is its first moment; default: now.")
    ] = None,
    step: Annotated[str | None, typer.Option(help="hour or day: a series.")] = None,
    team: Annotated[str | None, typer.Option(help="Only this team's (name or id).")] = None,
    of_key: Annotated[
        str | None, typer.Option("--of-key", help="Only this key's (id, name or prefix).")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Show calls, tokens and cost, grouped as you like. Sums are exact."""
    from penstock.cli.admin_client import opened
    from penstock.cli.names import named

    if options.is_for_another(context):
        return
    with told():
        client = opened(url, key, data_dir)
        asked = {
            "by": by or None,
            "since": since,
            "until": until,
            "step": step,
            "team": client.known("/teams", team, "name"),
            "key": client.known("/keys", of_key, "name", "prefix"),
            "model": model,
        }
        rows = list(client.every("/usage/series" if step else "/usage", **asked))
        if as_json:
            say_json(rows)
            return
        names = [name for name in by.split(",") if name]
        head = (*(["time"] if step else []), *names, *_HEAD)
        called = {name: named(client, name, (row["by"][name] for row in rows)) for name in names}
        bounds.table(head, ((*_place(row, called, step), *(row[name] for name in _COLUMNS)) for row in rows))


@usage_app.command("rerate", epilog=RERATE_EXAMPLE)
def rerate(
    *,
    since: Annotated[str, typer.Option(help="A time ago (30d), a date or RFC 3339.", show_default=False)],
    until: Annotated[
        str | None, typer.Option(help="Likewise, itself left out: a date is its first moment; default: now.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model, as clients ask for it.")] = None,
    deployment: Annotated[str | None, typer.Option(help="Only of this deployment.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only of this provider.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would change.")] = False,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Give the calls kept the cost that they have by the prices that hold now.

    It may be stopped and started again: a call that has its cost already stays as it is.
    """
    from penstock.cli.admin_client import opened
    from penstock.types.money import format_usd, parse_usd

    with told():
        client = opened(url, key, data_dir)
        asked: dict[str, Any] = {"since": since, "dry_run": dry_run}
        words = {"until": until, "model": model, "deployment": deployment, "provider": provider}
        asked |= {name: word for name, word in words.items() if word is not None}
        counts = dict.fromkeys((*_LEFT, "changed", "were_unpriced"), 0)
        pico = {"before_usd": 0, "after_usd": 0}
        while True:
            found = client.post("/usage/rerate", asked)
            for name in counts:
                counts[name] += found[name]
            for name in pico:
                pico[name] += parse_usd(found[name])
            if found["cursor"] is None:
                break
            asked["cursor"] = found["cursor"]
            note(f"{sum(counts.values()) - counts['were_unpriced']:,} calls so far")
        money = {name: format_usd(one) for name, one in pico.items()}
        if as_json:
            say_json({"dry_run": dry_run, **counts, **money})
            return
        would = "would cost" if dry_run else "cost"
        before = f"{money['before_usd']} USD"
        if counts["were_unpriced"]:
            before += f" and {counts['were_unpriced']:,} of them an unknown sum"
        say(f"{counts['changed']:,} calls {would} {money['after_usd']} USD; before it was {before}")
        for name, meaning in _LEFT.items():
            if counts[name]:
                say(f"{counts[name]:,} calls stay as they are: {meaning}")


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
    from penstock.cli.names import named

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
        head = ("of", "name", "models", "what", "in", "limit", "used", "reserved", "remaining")
        fields = ("models", "resource", "window", "limit", "used", "reserved", "remaining")
        kinds = {row["scope"] for row in rows}
        called = {
            kind: named(client, kind, (row["id"] for row in rows if row["scope"] == kind)) for kind in kinds
        }
        shown = ({**row, "window": _window(row["window"])} for row in rows)
        bounds.table(
            head,
            (
                (row["scope"], called[row["scope"]].get(row["id"]), *(row[name] for name in fields))
                for row in shown
            ),
        )


@statements_app.callback(epilog=STATEMENTS_EXAMPLE)
def statements(
    context: typer.Context,
    *,
    month: Annotated[str | None, typer.Option(help="Such as 2026-11, of UTC; default: this one.")] = None,
    team: Annotated[str | None, typer.Option(help="Only this team's (name or id).")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV for a spreadsheet.")] = False,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Show what each team used in a month, and what it owes."""
    from penstock.cli.admin_client import opened

    if options.is_for_another(context):
        return
    with told():
        client = opened(url, key, data_dir)
        asked = {"month": month, "team": client.known("/teams", team, "name")}
        if as_csv:
            typer.echo(client.text("/statements", **asked, format="csv"), nl=False)
            return
        found = client.get("/statements", **asked)
        if as_json:
            say_json(found)
            return
        say(f"{found['month']}, {'final' if found['is_final'] else 'so far'}")
        lines = [
            (one["name"] or "(no team)", line["route"], line["provider"], *(line[name] for name in _BILLED))
            for one in found["data"]
            for line in [*map(_named, one["lines"]), _named({**one, "item": "all"})]
        ]
        bounds.table(("team", "model", "provider", *_BILL_HEAD), lines)


def _window(window: str | None) -> str:
    """60 -> 1m, as durations are written; null -> at once."""
    from penstock.config.units import format_duration

    if window is None:
        return "at once"
    return format_duration(float(window)) if window.isdigit() else window


MAX_INVOICE_BYTES = 8_000_000
_RECONCILE = "/statements/reconcile"
_STATES = {"matched": "matched", "invoice_only": "only on the invoice", "ours_only": "only with us"}
_RECONCILED = (
    *("day", "model", "state", "calls", "invoice_usd", "our_usd", "difference_usd"),
    *("difference_input", "difference_output"),
)
_RECONCILED_HEAD = (
    *("day", "model", "state", "calls", "invoice USD", "our USD", "difference"),
    *("input +-", "output +-"),
)
_LEFT = {
    "same": "they have this cost already",
    "no_price": "no price is known of their deployment",
    "no_usage": "their usage is not known as finely as the price asks for",
    "nothing_owed": "nobody was told of their answer",
}


def _named(line: dict[str, Any]) -> dict[str, Any]:
    if line["item"] == "usage":
        return line
    return {**line, "route": line["item"], "provider": "", "markup_percent": ""}


@statements_app.command("reconcile", epilog=RECONCILE_EXAMPLE)
def reconcile(
    *,
    invoice: Annotated[Path, typer.Option(metavar="FILE", help="CSV with a header.", show_default=False)],
    provider: Annotated[str, typer.Option(help="Whose it is: `providers.<name>`.", show_default=False)],
    month: Annotated[str, typer.Option(help="Such as 2026-11, of UTC.", show_default=False)],
    columns: Annotated[
        str | None,
        typer.Option(
            help="Those that are not known: date=Day,model=SKU,cost=Amount,input=In+Cached,output=Out."
        ),
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="Their name=ours, with commas, where they are not found.")
    ] = None,
    dates: Annotated[
        str | None, typer.Option(help="day or month: what is first in dates such as 11/03/2026.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV for a spreadsheet.")] = False,
    url: options.Url = None,
    key: options.ApiKey = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Compare a provider's invoice with our usage, by day and model."""
    from penstock.cli.admin_client import opened

    with told():
        client = opened(url, key, data_dir)
        asked = {
            "provider": provider,
            "month": month,
            "invoice": _text_of(invoice),
            "columns": _pairs("--columns", columns),
            "models": _pairs("--models", models),
            **({"dates": dates} if dates else {}),
        }
        if as_csv:
            typer.echo(client.post_for_text(_RECONCILE, {**asked, "format": "csv"}), nl=False)
            return
        found = client.post(_RECONCILE, asked)
        if as_json:
            say_json(found)
            return
        lines = [*found["data"], {**found["total"], "day": "all", "model": "", "state": ""}]
        bounds.table(_RECONCILED_HEAD, ([line[name] for name in _RECONCILED] for line in lines))
        say(", ".join(f"{count} {_STATES[state]}" for state, count in found["states"].items()))
        if found["other_months"]:
            note(f"{found['other_months']:,} rows of the invoice are of other months")
        if found["totals"]:
            note(
                f"{found['totals']:,} rows of the invoice have no date and no model: not added up, as totals"
            )
        if found["repeated"]:
            note(
                f"{found['repeated']:,} rows of the invoice are as one before in every field, and added up:"
                " was it exported twice?"
            )
        if found["total"]["unpriced"]:
            note(f"{found['total']['unpriced']:,} of our calls have no price: our sums lack them")


def _text_of(path: Path) -> str:
    """Raises InvalidRequest, OSError."""
    if path.stat().st_size > MAX_INVOICE_BYTES:
        raise InvalidRequest(f"{path} has more than {MAX_INVOICE_BYTES:,} bytes: split it.")
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise InvalidRequest(f"{path} is no text in UTF-8: {exc.reason} at byte {exc.start:,}.") from exc


def _pairs(option: str, text: str | None) -> dict[str, str]:
    """`a=b,c=d`. Raises InvalidRequest."""
    pairs = [one.partition("=") for one in (text or "").split(",") if one]
    for name, equals, value in pairs:
        if not (name.strip() and equals and value.strip()):
            raise InvalidRequest(f"{option}: write name=name, with commas between them.")
    return {name.strip(): value.strip() for name, _, value in pairs}


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
        called = new.get("name") or new.get("email") or new.get("url")
        return f"made ({called})" if called else "made"
    if new is None:
        return "deleted"
    said = (
        f"{name} {old[name]!r} -> {new[name]!r}" if name in old else f"{name} {new[name]!r}" for name in new
    )
    return ", ".join(said) or "written anew"


def _place(
    row: dict[str, Any], called: Mapping[str, Mapping[str | None, str]], step: str | None
) -> list[str | None]:
    time = [bounds.second(row["start"])[: 16 if step == "hour" else 10]] if step else []
    return [*time, *(names.get(row["by"][dimension]) for dimension, names in called.items())]
