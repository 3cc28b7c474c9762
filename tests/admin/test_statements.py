"""Statements: what a team used, what it pays for that, and that all of it adds up."""

import csv
import io
from fractions import Fraction
from pathlib import Path

from desk_help import CONFIG, OWNER, Office, office
from hypothesis import given
from hypothesis import strategies as st

from penstock.admin.statements import Terms, statement
from penstock.types.money import charge, parse_usd
from penstock.types.usage_store import UsageRow, UsageSum

NOV_S = 1_793_491_200  # 2026-11-01


async def used(desk: Office, seq: int, team: str, pico: int) -> None:
    row = UsageRow("req", NOV_S * 10**6, team=team, route="r", provider="up", cost_pico=pico, seq=seq)
    await desk.store.add_usage([row])


LINES = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 10**14))


@given(LINES, st.integers(-10_000, 100_000), st.integers(0, 10**14))
def test_a_statement_adds_up_whatever_its_terms(said: dict[str, int], markup: int, allowance: int) -> None:
    rows = [UsageSum(by={"route": name, "provider": "up"}, cost_pico=pico) for name, pico in said.items()]
    found = statement("t", Terms("t", markup, allowance), rows)
    cost, due = sum(row.cost_pico for row in rows), charge(sum(row.cost_pico for row in rows), markup)
    credit = min(allowance, due)
    assert (parse_usd(found.cost_usd), parse_usd(found.markup_usd)) == (cost, due - cost)
    assert (parse_usd(found.allowance_usd), parse_usd(found.due_usd)) == (-credit, due - credit)
    assert parse_usd(found.due_usd) >= 0
    for name in ("cost_usd", "markup_usd", "due_usd"):
        assert sum(parse_usd(getattr(line, name)) for line in found.lines) == parse_usd(getattr(found, name))
    for line in found.lines:
        is_usage = line.item == "usage"
        assert not is_usage or parse_usd(line.due_usd) == parse_usd(line.cost_usd) + parse_usd(
            line.markup_usd
        )
        exact = Fraction(parse_usd(line.cost_usd) * (10_000 + markup), 10_000)
        assert not is_usage or abs(parse_usd(line.due_usd) - exact) <= 1


async def test_a_statement_has_the_terms_of_its_team(tmp_path: Path) -> None:
    config = CONFIG.replace("filed: {limits", "filed: {markup: -10%, allowance: 0.5, limits")
    async with office(tmp_path / "store.db", config) as desk:
        made = await desk.make("/teams", name="dear", markup=2.5, allowance="1")
        assert (made["markup"], made["allowance"]) == ("2.5", "1")
        await used(desk, 1, made["id"], 4 * 10**12)
        await used(desk, 2, "filed", 10**11)
        await used(desk, 3, "", 1)
        found = {row["team"]: row for row in (await desk.see("/statements?month=2026-11"))["data"]}
        names = ("markup_percent", "cost_usd", "markup_usd", "allowance_usd", "due_usd")
        told = {team: tuple(row[name] for name in names) for team, row in found.items()}
        assert told == {
            made["id"]: ("2.5", "4", "0.1", "-1", "3.1"),
            "filed": ("-10", "0.1", "-0.01", "-0.09", "0"),
            "": ("0", "0.000000000001", "0", "0", "0.000000000001"),
        }
        assert found[made["id"]]["lines"][-1] == {
            **dict.fromkeys(found[made["id"]]["lines"][-1], 0),
            "item": "allowance",
            "route": "",
            "provider": "",
            "cost_usd": "0",
            "markup_usd": "0",
            "due_usd": "-1",
        }
        _, text = await desk.ask(OWNER, "GET", "/statements?month=2026-11&format=csv")
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["due_usd"] for row in rows if row["team"] == made["id"]] == ["4.1", "-1"]
        assert (await desk.see("/teams/filed"))["markup"] == "-10"
        path = f"/teams/{made['id']}"
        _, changed = await desk.ask(OWNER, "PATCH", path, {"markup": "-5.25"})
        assert (changed["markup"], changed["allowance"]) == ("-5.25", "1")
        assert (await desk.see("/changes?path=teams/"))["data"][0]["old"] == {"markup": "2.5"}
        for bad in (
            {"markup": "2.555"},
            {"markup": -101},
            {"markup": "x"},
            {"allowance": -1},
            {"markup": None},
        ):
            status, said = await desk.ask(OWNER, "PATCH", path, bad)
            assert (status, said["param"]) == (400, next(iter(bad)))
