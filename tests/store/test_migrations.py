"""The schema goes up, down and up again; an older release works on what a newer one has prepared."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from store_help import NOON_US, call, connected, count_dims, key, opened

from penstock.store import open_store
from penstock.store.base import ScriptedStore
from penstock.store.migrations import OURS, Applied, Migration, check, parse, pending, to_revert
from penstock.store.postgres import PostgresStore
from penstock.store.sql import QUERIES, Ask, Script
from penstock.store.sqlite import SQLiteStore
from penstock.types.errors import Conflict, InvalidRequest, SchemaMismatch
from penstock.types.store import Key, Membership, ServiceAccount, StoredRoute, Team, User, Webhook
from penstock.types.usage_store import DAY_US, UsageWhere

# What a release after this one might bring.
PRE = parse(
    "9001_labels.pre.sql",
    """
-- up
ALTER TABLE teams ADD COLUMN labels {text} NOT NULL DEFAULT '[]';
ALTER TABLE keys ADD COLUMN nickname {text};
ALTER TABLE usage ADD COLUMN region {text} NOT NULL DEFAULT '';
ALTER TABLE usage_days ADD COLUMN regions {int} NOT NULL DEFAULT 0;
CREATE TABLE labels (id {text} NOT NULL PRIMARY KEY) {table_end};
-- down
DROP TABLE labels;
ALTER TABLE usage_days DROP COLUMN regions;
ALTER TABLE usage DROP COLUMN region;
ALTER TABLE keys DROP COLUMN nickname;
ALTER TABLE teams DROP COLUMN labels;
""",
)
POST = parse(
    "9002_no_prefix.post.sql",
    """
-- up
ALTER TABLE keys DROP COLUMN prefix;
-- down
ALTER TABLE keys ADD COLUMN prefix {text} NOT NULL DEFAULT '';
""",
)
NEWER = (*OURS, PRE, POST)


def release(url: str, known: Sequence[Migration]) -> ScriptedStore:
    """A store of a release that brings `known`."""
    if url.startswith("sqlite"):
        return SQLiteStore(Path(url.removeprefix("sqlite:///")), known=known)
    return PostgresStore(url, known=known)


def schema() -> Script[list[tuple[Any, ...]]]:
    rows = yield Ask("test.schema")
    return [tuple(row) for row in rows]


SCHEMA = {
    "sqlite": "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2",
    "postgres": (
        "SELECT table_name, column_name, data_type, is_nullable, column_default, collation_name,"
        " (SELECT string_agg(indexdef, ';' ORDER BY indexdef) FROM pg_indexes WHERE tablename = table_name)"
        " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
    ),
}


@pytest.fixture(autouse=True)
def _query(monkeypatch: pytest.MonkeyPatch) -> None:

    for dialect, text in SCHEMA.items():
        monkeypatch.setitem(QUERIES[dialect], "test.schema", text)  # type: ignore[index]


async def test_up_down_up_gives_the_same_schema(url: str) -> None:
    async with connected(url) as one:
        empty = await one.read(schema)
        assert await one.migrate("pre") == list(OURS)
        assert await one.migrate("post") == []
        full = await one.read(schema)
        await one.create(key(1), actor="ann")
        await one.add_usage([call(1), call(2, time_us=NOON_US + 9 * DAY_US)])
        assert await one.revert(1) == [OURS[-1]]
        assert await one.revert(len(OURS) - 1) == list(OURS[-2::-1])
        left = await one.read(schema)
        assert [row for row in left if "schema_migrations" not in str(row)] == empty
        assert await one.migrate("pre") == list(OURS)
        assert await one.read(schema) == full
        assert (await one.page(Key)).rows == ()
        assert await one.migrate("pre") == []


async def test_an_older_release_works_on_what_a_newer_one_prepared(url: str) -> None:
    """Every query of this release runs on the schema after the pre phase of the next."""
    old, new = release(url, OURS), release(url, NEWER)
    await old.open()
    await new.open()
    try:
        await old.migrate("pre")
        await use(old, 1)
        assert await new.migrate("pre") == [PRE]
        await old.require_schema()
        await use(old, 2)
        assert await new.migrate("post") == [POST]
        with pytest.raises(SchemaMismatch, match="belongs to a newer release of Penstock: 9002_no_prefix"):
            await old.require_schema()
        with pytest.raises(SchemaMismatch, match="newer release"):
            await old.migrate("pre")
        with pytest.raises(SchemaMismatch, match="Only the release that brought 9002_no_prefix"):
            await old.revert(1)
        assert await new.revert(2) == [POST, PRE]
        await old.require_schema()
        await use(old, 3)
    finally:
        await old.aclose()
        await new.aclose()


PEOPLE: dict[str, Any] = {"key": "k", "user": "u"}


async def test_sums_of_teams_begin_with_what_was_used_before(url: str) -> None:
    """They are made once no older release writes; until then the others answer."""
    before = tuple(one for one in OURS if one.number < 5)
    old, new = release(url, before), release(url, OURS)
    await old.open()
    await new.open()
    try:
        await old.migrate("pre")
        times = [NOON_US, NOON_US, NOON_US + 5, NOON_US + 90 * 60_000_000, NOON_US - 3 * DAY_US]
        rows = [
            call(at, time_us=time_us, team="ab"[at % 2], key=f"k{at}", model="m", cost_pico=2**62 + at)
            for at, time_us in enumerate(times)
        ]
        await old.add_usage(rows)
        await new.migrate("pre")
        await new.require_schema()
        await new.add_usage([call(7, team="a", model="m", **PEOPLE)])  # as the older one does
        assert await new.read(count_dims) == 6  # one for each key
        ever = UsageWhere(NOON_US - 60 * DAY_US, NOON_US + 60 * DAY_US)
        asked: list[dict[str, Any]] = [
            {},
            {"by": ("team",)},
            {"by": ("team", "model"), "step": "hour"},
            {"step": "day"},
        ]
        told = [(await new.sum_usage(ever, **one)).rows for one in asked]
        assert [one.number for one in await new.migrate("post")] == [5]
        assert [(await new.sum_usage(ever, **one)).rows for one in asked] == told
        await new.add_usage([call(8, team="a", model="m", cost_pico=1, **PEOPLE), call(9, team="new")])
        by_key = (await new.sum_usage(ever, by=("team", "key"))).rows
        by_team = (await new.sum_usage(ever, by=("team",))).rows
        for name in ("calls", "cost_pico", "unpriced"):
            sums: dict[str, int] = {}
            for row in by_key:
                sums[row.by["team"]] = sums.get(row.by["team"], 0) + getattr(row, name)
            assert {row.by["team"]: getattr(row, name) for row in by_team} == sums
        with pytest.raises(SchemaMismatch, match="belongs to a newer release of Penstock: 0005_team_sums"):
            await old.require_schema()
        assert [one.number for one in await new.revert(1)] == [5]
        await old.require_schema()
        assert (await old.sum_usage(ever, by=("team",))).rows == by_team
    finally:
        await old.aclose()
        await new.aclose()


async def test_names_of_accounts_become_their_team_s_and_the_platform_s_again(url: str) -> None:
    before = tuple(one for one in OURS if one.number < 6)
    old, new = release(url, before), release(url, tuple(one for one in OURS if one.number <= 6))
    await old.open()
    await new.open()
    try:
        await old.migrate("pre")
        teams = [await old.create(Team(name=name), actor="ann") for name in "ab"]
        first = await old.create(ServiceAccount(name="ci", team=teams[0].id), actor="ann")
        kept = await old.create(key(1, team=teams[0].id, account=first.id), actor="ann")
        await new.migrate("pre")
        assert await new.get(ServiceAccount, first.id) == first
        assert (await new.page(Key, account=first.id)).rows == (kept,)
        with pytest.raises(Conflict, match="still named"):
            await new.delete(first, actor="ann")
        second = await new.create(ServiceAccount(name="ci", team=teams[1].id), actor="ann")
        await new.revert(1)
        names = {(await new.get(ServiceAccount, one.id)).name for one in (first, second)}
        assert len(names) == 2
        assert names & {"ci"}
        assert [one.number for one in await new.migrate("pre")] == [6]
    finally:
        await old.aclose()
        await new.aclose()


async def test_a_file_that_another_process_uses_is_not_taken_from_it(tmp_path: Path) -> None:
    """It may be of an older release."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    old = release(url, [one for one in OURS if one.phase == "pre"])
    await old.open()
    try:
        await old.migrate("pre")
        lease = await old.acquire_lease("control", "me", 60)
        assert lease is not None
        async with opened(url) as new:
            assert (await new.status()).pending == ("0005_team_sums (post)",)
        await old.release_lease(lease)
    finally:
        await old.aclose()
    async with opened(url) as new:
        assert (await new.status()).pending == ()


async def use(one: ScriptedStore, number: int) -> None:
    """Each query once."""
    team = await one.create(Team(name=f"team {number}"), actor="ann")
    user = await one.create(User(email=f"{number}@example.com"), actor="ann")
    await one.create(Membership(team=team.id, user=user.id), actor="ann")
    await one.create(StoredRoute(id=f"route {number}", body={}), actor="ann")
    hook = await one.create(Webhook(url="https://example.com"), actor="ann")
    made = await one.create(key(number, team=team.id, prefix="sk"), actor="ann")
    assert await one.update(made, actor="bob") == await one.find(Key, hash=made.hash)
    await one.delete(hook, actor="ann")
    assert (await one.page(Key, team=team.id)).rows
    assert (await one.changes(actor="bob")).rows
    lease = await one.acquire_lease("loops", "me", 60)
    assert lease is not None
    assert await one.renew_lease(lease, 60)
    await one.release_lease(lease)
    where = UsageWhere(NOON_US - 60 * DAY_US, NOON_US + 60 * DAY_US)
    before = (await one.sum_usage(where)).rows[0].calls
    await one.add_usage([call(number * 10), call(number * 10 + 1, time_us=NOON_US - 40 * DAY_US, team="t")])
    assert (await one.sum_usage(where)).rows[0].calls == before + 2
    status = await one.status()
    assert status.revision == await one.revision()
    day = NOON_US - 9 * DAY_US
    assert await one.drop_usage(calls_before_us=day, sums_before_us=day - 90 * DAY_US) == 1


async def test_two_who_migrate_at_once_do_it_once(url: str) -> None:

    async with connected(url) as one, connected(url) as other:
        applied = await asyncio.gather(one.migrate("pre"), other.migrate("pre"))
        assert sorted([*applied[0], *applied[1]]) == sorted(OURS)


async def test_a_migration_that_fails_leaves_nothing(url: str) -> None:
    bad = parse(
        "9003_bad.pre.sql", "-- up\nCREATE TABLE half (id {int});\nCREATE TABLE half (id {int});\n-- down\n"
    )
    one = release(url, (*OURS, bad))
    await one.open()
    try:
        with pytest.raises(Exception, match="half"):
            await one.migrate("pre")
        found = await one.read(schema)
        assert not [row for row in found if "half" in str(row)]
        with pytest.raises(
            SchemaMismatch, match=re.escape("lacks 9003_bad (pre). Type: penstock store migrate, with")
        ):
            await one.require_schema()
    finally:
        await one.aclose()


async def test_an_edited_migration_is_refused(url: str) -> None:
    async with opened(url):
        pass
    edited = OURS[0]._replace(checksum="other")
    one = release(url, (edited, *OURS[1:]))
    await one.open()
    try:
        with pytest.raises(SchemaMismatch, match=re.escape("0001_entities (pre) is not the one")):
            await one.require_schema()
    finally:
        await one.aclose()


async def test_postgres_waits_for_the_command(postgres_url: str) -> None:
    with pytest.raises(SchemaMismatch, match=re.escape("lacks 0001_entities (pre), 0002_usage (pre)")):
        await open_store(postgres_url)
    async with connected(postgres_url) as one:
        await one.migrate("pre")
    one = await open_store(postgres_url)
    await one.aclose()


def test_what_is_pending_and_what_is_refused() -> None:
    def done(*rows: Migration) -> list[Applied]:
        return [Applied(row.number, row.name, row.phase, row.checksum) for row in rows]

    assert pending(done(*OURS), NEWER, "pre") == [PRE]
    assert pending(done(*OURS, PRE), NEWER, "post") == [POST]
    assert pending([], NEWER, "post") == [*(one for one in OURS if one.phase == "post"), POST]
    check(done(*OURS, PRE), OURS)
    with pytest.raises(SchemaMismatch):
        check(done(*OURS, POST), OURS)
    assert to_revert(done(*OURS, POST, PRE), NEWER, 2) == [PRE, POST]  # in the order in which they came
    with pytest.raises(InvalidRequest, match=f"{len(OURS)} migrations; {len(OURS) + 1} cannot"):
        to_revert(done(*OURS), OURS, len(OURS) + 1)


def test_migrations_are_numbered_one_by_one() -> None:
    assert [one.number for one in OURS] == list(range(1, len(OURS) + 1))
    with pytest.raises(ValueError, match="is not a migration"):
        parse("0001_x.sql", "-- up\n-- down\n")
    with pytest.raises(ValueError, match="is not a migration"):
        parse("0001_x.pre.sql", "-- up\n")
