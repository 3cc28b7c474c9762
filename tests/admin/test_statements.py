"""Statements: what a team used, what it pays for that, and that all of it adds up."""

import asyncio
import csv
import io
from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from desk_help import CONFIG, OWNER, Office, office
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from penstock.admin.statements import Part, history, parts_of, statement
from penstock.config.units import format_percent, parse_percent
from penstock.control import terms
from penstock.lib import tasks
from penstock.testing.clock import FakeClock
from penstock.types.control import ConfigurationView
from penstock.types.errors import StoreUnavailable
from penstock.types.money import charge, format_usd, parse_usd
from penstock.types.store import Terms
from penstock.types.usage_store import UsageRow, UsageSum

NOV_S = 1_793_491_200  # 2026-11-01


async def used(desk: Office, seq: int, team: str, pico: int, at_s: int = NOV_S) -> None:
    row = UsageRow("req", at_s * 10**6, team=team, route="r", provider="up", cost_pico=pico, seq=seq)
    await desk.store.add_usage([row])


LINES = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 10**14))
PARTS = st.lists(st.tuples(LINES, st.integers(-10_000, 100_000)), min_size=1, max_size=3)


@given(PARTS, st.integers(0, 10**14))
def test_a_statement_adds_up_whatever_its_terms(
    said: list[tuple[dict[str, int], int]], allowance: int
) -> None:
    parts = [
        Part(
            NOV_S + at * 3600,
            NOV_S + at * 3600 + 3600,
            Terms("t", format_percent(markup), format_usd(allowance)),
            [UsageSum(by={"route": name, "provider": "up"}, cost_pico=pico) for name, pico in used.items()],
        )
        for at, (used, markup) in enumerate(said)
    ]
    found = statement("t", "t", parts)
    costs = [sum(used.values()) for used, _ in said]
    cost, due = sum(costs), sum(charge(one, markup) for one, (_, markup) in zip(costs, said, strict=True))
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
        exact = Fraction(parse_usd(line.cost_usd) * (10_000 + parse_percent(line.markup_percent)), 10_000)
        assert not is_usage or abs(parse_usd(line.due_usd) - exact) <= 1


@given(st.lists(st.integers(-5, 15), max_size=5), st.integers(0, 10), st.integers(1, 5))
def test_a_month_is_cut_where_other_terms_begin(begins: list[int], since_s: int, length_s: int) -> None:
    terms = [Terms("t", str(at), since=since) for at, since in enumerate([0, *sorted(begins)])]
    parts = parts_of(terms, since_s, since_s + length_s)
    assert [parts[0].since_s, parts[-1].until_s] == [since_s, since_s + length_s]
    assert all(one.until_s == next_.since_s for one, next_ in pairwise(parts))
    for part in parts:
        for second in range(part.since_s, part.until_s):
            in_force = [one for one in terms if one.since <= second]
            assert part.terms == in_force[-1]


def test_terms_that_were_not_noted_yet_hold_from_the_next_hour_on() -> None:
    old, new = Terms("t", "5"), Terms("t", "7", "1")
    assert history("t", [], None, NOV_S) == [Terms("t")]
    assert history("t", [], new, NOV_S) == [new]
    assert history("t", [old], None, NOV_S) == [old]  # the team is gone
    assert history("t", [old], msgspec.structs.replace(old), NOV_S) == [old]
    assert history("t", [old], new, NOV_S) == [old, msgspec.structs.replace(new, since=NOV_S + 3600)]


FILED = CONFIG.replace("filed: {limits", "filed: {markup: -10%, allowance: 0.5, limits")


async def test_a_statement_has_the_terms_of_its_team(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db", FILED) as desk:
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
            "since": "2026-11-01T00:00:00+00:00",
            "route": "",
            "provider": "",
            "markup_percent": "0",
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


async def test_a_month_that_was_dropped_is_not_one_without_use(tmp_path: Path) -> None:
    clock = FakeClock(wall=NOV_S + 366 * 86_400)  # what is older than a year is dropped by whole months
    invoice = "date,model,cost\n2026-10-01,m,1\n2026-11-01,m,1\n"
    async with office(tmp_path / "store.db", FILED, clock) as desk:
        assert (await desk.see("/statements?month=2026-11"))["is_final"]
        status, said = await desk.ask(OWNER, "GET", "/statements?month=2026-10")
        assert (status, said["param"]) == (400, "month")
        assert "2026-10 is no longer kept (`store.usage.keep_sums`)" in said["message"]
        for month_, expected in (("2026-10", 400), ("2026-11", 200)):
            body = {"provider": "up", "month": month_, "invoice": invoice}
            assert (await desk.ask(OWNER, "POST", "/statements/reconcile", body))[0] == expected


async def month(desk: Office, team: str) -> Any:
    (found,) = (await desk.see(f"/statements?month=2026-11&team={team}"))["data"]
    return found


def told(found: Any) -> list[tuple[str, ...]]:
    names = ("since", "markup_percent", "cost_usd", "markup_usd", "due_usd")
    return [tuple(line[name] for name in names) for line in found["lines"]]


async def test_a_month_that_is_over_keeps_its_terms(tmp_path: Path) -> None:
    clock = FakeClock(wall=NOV_S - 86_400)
    usd = 10**12
    async with office(tmp_path / "store.db", FILED, clock) as desk:
        team = (await desk.make("/teams", name="dear", markup=10, allowance="1"))["id"]
        await desk.store.note_terms(desk.reload.file_terms())
        await used(desk, 1, team, 2 * usd)
        await used(desk, 2, "filed", usd)
        clock.advance(10 * 86_400 + 1200)  # the tenth, twenty past midnight
        await desk.ask(OWNER, "PATCH", f"/teams/{team}", {"markup": 20, "allowance": "2"})
        ten_s = NOV_S + 9 * 86_400
        await used(desk, 3, team, usd, ten_s + 3599)
        await used(desk, 4, team, usd, ten_s + 3600)
        begin, ten = "2026-11-01T00:00:00+00:00", "2026-11-10T01:00:00+00:00"
        expected = [
            (begin, "10", "3", "0.3", "3.3"),
            (ten, "20", "1", "0.2", "1.2"),
            (begin, "0", "0", "0", "-2"),
        ]
        assert told(await month(desk, team)) == expected  # also before it was noted
        await desk.store.note_terms(desk.reload.file_terms())
        kept = await month(desk, team)
        assert told(kept) == expected
        assert (kept["markup_percent"], kept["cost_usd"], kept["due_usd"]) == ("20", "4", "2.5")
        filed = await month(desk, "filed")
        assert told(filed) == [(begin, "-10", "1", "-0.1", "0.9"), (begin, "0", "0", "0", "-0.5")]
        clock.advance(21 * 86_400)  # December
        assert not (await desk.see("/statements?month=2026-11"))["is_final"]
        clock.advance(86_400)
        assert (await desk.see("/statements?month=2026-11"))["is_final"]
        await desk.ask(OWNER, "PATCH", f"/teams/{team}", {"markup": 90})
        assert await month(desk, team) == kept
        await desk.store.note_terms(desk.reload.file_terms())
        assert await month(desk, team) == kept
        assert (await desk.ask(OWNER, "DELETE", f"/teams/{team}"))[0] == 200
        assert await month(desk, team) == {**kept, "name": team}
    dearer = FILED.replace("-10%, allowance: 0.5", "40%")
    async with office(tmp_path / "store.db", dearer, clock) as desk:  # with another file
        assert await month(desk, "filed") == filed
        await desk.store.note_terms(desk.reload.file_terms())
        assert await month(desk, "filed") == filed
        await used(desk, 5, "filed", usd, int(clock.wall()) + 3600)
        (now,) = (await desk.see("/statements?team=filed"))["data"]
        assert (now["markup_percent"], now["due_usd"]) == ("40", "1.4")
    gone = FILED[: FILED.index("teams:")] + "keys: {root: {secret: sk-owner, role: owner}}\n"
    async with office(tmp_path / "store.db", gone, clock) as desk:
        assert await month(desk, "filed") == filed


async def test_terms_are_noted_while_the_server_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terms, "LOOK_S", 0.01)
    async with office(tmp_path / "store.db", FILED, FakeClock(wall=NOV_S)) as desk:
        running: tasks.Tasks = set()
        task = tasks.spawn(running, terms.note_terms(desk.store, desk.reload), "terms")

        async def noted(count: int) -> list[str]:
            while len(found := await desk.store.terms(2**40)) < count:
                await asyncio.sleep(0.01)
            return [one.markup for one in found]

        assert await noted(1) == ["-10"]
        team = (await desk.make("/teams", id="t", name="dear", markup=10))["id"]
        await desk.follow()
        assert await noted(2) == ["-10", "10"]
        await desk.ask(OWNER, "PATCH", f"/teams/{team}", {"markup": 20})
        await desk.follow()
        assert await noted(3) == ["-10", "10", "20"]
        await tasks.cancel_and_wait(task)


async def test_terms_are_noted_once_the_store_answers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terms, "LOOK_S", 0.0)
    asked = asyncio.Event()

    class Failing:
        failures = 3

        async def note_terms(self, of_file: Mapping[str, Terms], /) -> None:
            if self.failures:
                self.failures -= 1
                raise StoreUnavailable("gone")
            assert of_file == {}
            asked.set()

    class Quiet:
        def file_terms(self) -> Mapping[str, Terms]:
            return {}

        def view(self) -> ConfigurationView:
            return ConfigurationView(origin="", since=0, revision=1)

    running: tasks.Tasks = set()
    with capture_logs() as said:
        task = tasks.spawn(running, terms.note_terms(Failing(), Quiet()), "terms")  # type: ignore[arg-type]
        await asked.wait()
        await tasks.cancel_and_wait(task)
    assert [line["event"] for line in said] == ["terms of teams are not noted, as the store does not answer"]
