"""Terms of teams are noted as they change, and stay as they were."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from store_help import connected, opened

from penstock.store import open_store
from penstock.store.base import ScriptedStore
from penstock.store.migrations import OURS
from penstock.store.postgres import PostgresStore
from penstock.store.sqlite import SQLiteStore
from penstock.testing.clock import FakeClock
from penstock.types.store import Team, Terms

NINE = 500_000 * 3600  # of some hour
NEVER = 2**40


@asynccontextmanager
async def timed(url: str, clock: FakeClock) -> AsyncIterator[ScriptedStore]:
    store = await open_store(url, migrate=True, clock=clock)
    try:
        yield store
    finally:
        await store.aclose()


async def noted(store: ScriptedStore, team: str | None = None) -> list[tuple[str, str, str, int]]:
    return [msgspec.structs.astuple(one) for one in await store.terms(NEVER, team=team)]


async def test_terms_hold_from_the_next_hour_on(url: str) -> None:
    clock = FakeClock(wall=NINE + 1200)
    async with timed(url, clock) as one:
        team = await one.create(Team(id="t", name="t", markup="5"), actor="ann")
        of_file = {"f": Terms("f", "-10", "50")}
        for _ in range(2):  # again changes nothing
            await one.note_terms(of_file)
        first = [("f", "-10", "50", 0), ("t", "5", "0", 0)]
        assert await noted(one) == first
        team = await one.update(msgspec.structs.replace(team, markup="7"), actor="ann")
        await one.note_terms(of_file)
        clock.advance(600)
        team = await one.update(msgspec.structs.replace(team, allowance="1"), actor="ann")
        await one.note_terms(of_file)
        assert await noted(one) == [*first, ("t", "7", "1", NINE + 3600)]
        clock.advance(3600)
        await one.note_terms({"f": Terms("f", "-10", "51")})
        await one.delete(team, actor="ann")
        await one.note_terms({})  # what is gone stays as it was
        assert await noted(one, "f") == [("f", "-10", "50", 0), ("f", "-10", "51", NINE + 7200)]
        assert await noted(one, "t") == [("t", "5", "0", 0), ("t", "7", "1", NINE + 3600)]
        before = await one.terms(NINE + 7200)
        assert [row.team for row in before] == ["f", "t", "t"]


async def test_the_file_s_terms_go_before_those_of_the_row(url: str) -> None:
    """A team of the file gets a row, for keys to name."""
    async with opened(url) as one:
        await one.create(Team(id="f", name="f"), actor="ann")
        await one.note_terms({"f": Terms("f", "-10")})
        assert await noted(one) == [("f", "-10", "0", 0)]


async def test_a_clock_that_is_behind_does_not_write_before_the_last(url: str) -> None:
    async with timed(url, FakeClock(wall=NINE + 9 * 3600)) as ahead, timed(url, FakeClock(wall=NINE)) as one:
        await ahead.note_terms({"f": Terms("f", "1")})
        await ahead.note_terms({"f": Terms("f", "2")})
        await one.note_terms({"f": Terms("f", "3")})
        assert await noted(one) == [("f", "1", "0", 0), ("f", "3", "0", NINE + 10 * 3600)]


async def test_two_who_note_at_once_note_once(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        await one.create(Team(id="t", name="t", markup="5"), actor="ann")
        of_file = {name: Terms(name, "1") for name in ("f", "g")}
        await asyncio.gather(*(store.note_terms(of_file) for store in (one, other) for _ in range(5)))
        assert [row[0] for row in await noted(one)] == ["f", "g", "t"]


async def test_what_an_older_release_changes_is_noted_by_this_one(url: str) -> None:
    """It does not know the table."""
    before = [one for one in OURS if one.number < 4]
    old = (
        SQLiteStore(Path(url.removeprefix("sqlite:///")), known=before)
        if url.startswith("sqlite")
        else PostgresStore(url, known=before)
    )
    await old.open()
    try:
        await old.migrate("pre")
        await old.create(Team(id="t", name="t", markup="5"), actor="ann")
        async with connected(url) as new:
            assert await new.migrate("pre") == [one for one in OURS[3:] if one.phase == "pre"]
            await new.note_terms({})
            await old.require_schema()
            row = await old.get(Team, "t")
            await old.update(msgspec.structs.replace(row, markup="6"), actor="ann")
            await new.note_terms({})
            assert [row[:3] for row in await noted(new)] == [("t", "5", "0"), ("t", "6", "0")]
    finally:
        await old.aclose()
