"""Copies: what is restored is what was there, in either backend; what is broken is refused whole."""

import asyncio
import gzip
import random
import resource
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from store_help import NOON_US, call, connected, key, opened

from penstock.store.base import ScriptedStore
from penstock.store.dump import TABLES, backup, restore
from penstock.store.migrations import OURS, parse
from penstock.store.sql import Ask, Script
from penstock.store.sqlite import SQLiteStore
from penstock.types.errors import Conflict, InvalidRequest, SchemaMismatch
from penstock.types.store import Key, Membership, ServiceAccount, StoredRoute, Team, Terms, User, Webhook
from penstock.types.usage_store import DAY_US, HOUR_US, UsageWhere

EVER = UsageWhere(0, 2**60)


async def fill(one: ScriptedStore) -> None:
    team = await one.create(Team(name="a"), actor="ann")
    await one.note_terms({"filed": Terms("filed", "2.5", "10")})
    user = await one.create(User(email="ann@example.com"), actor="ann")
    await one.create(Membership(team=team.id, user=user.id), actor="ann")
    account = await one.create(ServiceAccount(name="ci", team=team.id), actor="ann")
    await one.create(key(2**200 + 255, team=team.id, account=account.id, routes=("a",)), actor="ann")
    await one.create(StoredRoute(id="röute", body={"x": [1.5, None, "\n"]}), actor="ann")
    await one.create(Webhook(url="https://example.com", secret="s"), actor="ann")
    assert await one.acquire_lease("loops", "me", 60)
    rng = random.Random(1)  # noqa: S311 - the same calls each time
    for start in range(0, 9000, 3000):
        await one.add_usage(
            [
                call(
                    start + at,
                    time_us=NOON_US - rng.randrange(90) * DAY_US,
                    key=rng.choice("abc"),
                    cost_pico=rng.choice([None, 2**50]),
                    ttft_us=rng.choice([None, 5]),
                    dropped=("a", "b"),
                )
                for at in range(3000)
            ]
        )


def rows() -> Script[dict[str, list[tuple[Any, ...]]]]:
    """All there is, but for leases."""
    found = {}
    for table, order in TABLES.items():
        words = (("table", table), ("order", ", ".join(order)))
        answer = yield Ask("copy.first", {"limit": 2**40}, words)
        found[table] = [tuple(sorted(dict(row).items())) for row in answer]
    return found


@pytest.fixture(params=["sqlite", "postgres"])
def other_url(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> str:
    return new_url(request.param)


async def test_a_copy_is_restored_into_either_backend(url: str, other_url: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    async with opened(url) as one, connected(other_url) as other:
        await fill(one)
        heard: list[int] = []
        await backup(one, copy, report=heard.append)
        before = await one.read(rows)
        await one.create(Team(name="later"), actor="ann")
        count = await restore(other, copy)
        assert count == sum(map(len, before.values()))
        assert await other.read(rows) == before
        assert await other.revision() == await one.revision()
        assert await other.acquire_lease("loops", "you", 60)
        # It goes on as any other: new dimensions get new numbers, sums go on.
        await other.add_usage([call(99_999, key="new"), call(99_998, key="a")])
        sums = (await other.sum_usage(EVER, by=("key",))).rows
        assert sum(row.calls for row in sums) == 9002
        assert [row.by["key"] for row in sums] == ["a", "b", "c", "new"]
        hour = await other.sum_usage(UsageWhere(NOON_US, NOON_US + HOUR_US), by=("key",))
        assert hour.rows[-1].by == {"key": "new"}


async def test_a_target_that_is_not_empty_is_spared(url: str, tmp_path: Path) -> None:
    async with opened(url) as one:
        await fill(one)
        await backup(one, tmp_path / "copy")
        before = await one.revision()
        await one.create(Team(name="later"), actor="ann")
        with pytest.raises(Conflict, match="is not empty: it has teams"):
            await restore(one, tmp_path / "copy")
        waiting = asyncio.ensure_future(one.wait_for_revision(before + 1))  # noqa: TID251
        assert await restore(one, tmp_path / "copy", force=True)
        assert [row.name for row in (await one.page(Team)).rows] == ["a"]
        assert await waiting == before + 2  # whoever waits hears of it


async def test_a_copy_that_was_cut_off_changes_nothing(backend: str, url: str, tmp_path: Path) -> None:
    async with opened(url) as one:
        await fill(one)
        await backup(one, tmp_path / "copy")
        before = await one.read(rows)
        whole = (tmp_path / "copy").read_bytes()
        (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InvalidRequest):
            await restore(one, tmp_path / "cut", force=True)
        assert await one.read(rows) == before
        if backend == "postgres":
            lines = gzip.decompress(whole).splitlines(keepends=True)
            for broken in (
                lines[:-1],
                [*lines[:5], *lines[6:]],
                [*lines[:3], b"{]\n"],
                lines[:-5] + lines[-1:],
            ):
                (tmp_path / "cut").write_bytes(gzip.compress(b"".join(broken)))
                with pytest.raises(InvalidRequest, match="Nothing was restored"):
                    await restore(one, tmp_path / "cut", force=True)
                assert await one.read(rows) == before


async def test_what_is_no_copy_is_refused(url: str, tmp_path: Path) -> None:
    head = {"penstock_store": 1, "schema": [1, 2, 99], "revision": 1}
    files: dict[str, bytes] = {
        "text": b"hello",
        "empty": b"",
        "gz": gzip.compress(b"hello"),
        "version": gzip.compress(msgspec.json.encode({**head, "penstock_store": 2})),
        "newer": gzip.compress(msgspec.json.encode(head)),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE x (y)")
    other.commit()
    other.close()
    async with connected(url) as one:
        for name, expected in {**dict.fromkeys(files, InvalidRequest), "other.db": InvalidRequest}.items():
            error = SchemaMismatch if name in {"version", "newer"} else expected
            with pytest.raises(error):
                await restore(one, tmp_path / name)
        assert (await one.status()).schema == ()


async def test_calls_go_on_where_a_restore_took_their_day_away(
    url: str, other_url: str, tmp_path: Path
) -> None:
    """A server that was not stopped would else drop them one by one, as rows that are wrong."""
    async with opened(other_url) as other:
        await other.add_usage([call(1, time_us=NOON_US - 40 * DAY_US)])
        await backup(other, tmp_path / "copy")
    async with opened(url) as one:
        await one.add_usage([call(2)])
        await restore(one, tmp_path / "copy", force=True)
        await one.add_usage([call(3)])
        assert (await one.sum_usage(EVER)).rows[0].calls == 2


HEAD = {"penstock_store": 1, "schema": [1, 2, 3, 4, 5], "revision": 1}
EDITED: dict[str, list[Any]] = {
    "a column that there is not": [HEAD, {"table": "teams", "columns": ["id", "colour"]}, ["a", "b"]],
    "a column that is none": [HEAD, {"table": "teams", "columns": ["id) SELECT 1 --"]}, ["a"]],
    "a value that is missing": [HEAD, {"table": "teams", "columns": ["id"]}, ["a"]],
    "a value of another kind": [HEAD, {"table": "usage_dims", "columns": ["id"]}, [{"x": 1}]],
    "calls without a time": [HEAD, {"table": "usage", "columns": ["seq"]}, [1]],
    "a team that there is not": [
        HEAD,
        {
            "table": "memberships",
            "columns": ["id", "created", "created_by", "version", "team", "user", "role"],
        },
        ["m", 1, "x", 1, "t", "u", "viewer"],
    ],
}


@pytest.mark.parametrize("name", EDITED)
async def test_a_dump_that_somebody_edited_is_refused_whole(url: str, tmp_path: Path, name: str) -> None:
    lines = [*EDITED[name], {"rows": len(EDITED[name]) // 2}]
    text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    (tmp_path / "copy").write_bytes(gzip.compress(text))
    async with opened(url) as one:
        await one.create(Team(name="a"), actor="ann")
        with pytest.raises(InvalidRequest, match=r"copy cannot be .*[^.]\. Nothing was restored\.$"):
            await restore(one, tmp_path / "copy", force=True)
        assert [row.name for row in (await one.page(Team)).rows] == ["a"]


async def test_a_damaged_file_of_sqlite_is_no_copy(tmp_path: Path) -> None:
    """SQLite reads what a page says, if it can: rows and sums would be others."""
    source, target = f"sqlite:///{tmp_path / 'source.db'}", f"sqlite:///{tmp_path / 'target.db'}"
    async with opened(source) as one:
        await fill(one)
        await backup(one, tmp_path / "copy")

    def damage() -> None:
        whole = bytearray((tmp_path / "copy").read_bytes())
        last = len(whole) - 4096
        whole[last + 2000 : last + 2050] = bytes(50)
        (tmp_path / "copy").write_bytes(whole)

    await asyncio.to_thread(damage)
    async with opened(target) as other:
        with pytest.raises(InvalidRequest, match=r"is damaged: .* Nothing was restored"):
            await restore(other, tmp_path / "copy")
        assert (await other.page(Team)).rows == ()


async def test_a_disk_that_is_full_is_told_to_be_the_copys(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 'source.db'}") as one:
        await fill(one)
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
        try:
            with pytest.raises(InvalidRequest, match=r"copy\.part cannot be written"):
                await backup(one, tmp_path / "copy")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert not (tmp_path / "copy.part").exists()
        assert (await one.page(Team)).rows


async def test_an_old_copy_is_brought_up_to_date(tmp_path: Path) -> None:
    """A copy of this release, restored by the next."""
    newer = parse(
        "9001_x.pre.sql",
        "-- up\nALTER TABLE teams ADD COLUMN colour {text} NOT NULL DEFAULT 'red';\n"
        "-- down\nALTER TABLE teams DROP COLUMN colour;\n",
    )
    async with opened(f"sqlite:///{tmp_path / 'old.db'}") as old:
        await fill(old)
        await backup(old, tmp_path / "copy")
    one = SQLiteStore(tmp_path / "new.db", known=(*OURS, newer))
    await one.open()
    try:
        await restore(one, tmp_path / "copy")
        found = await one.read(rows)
        assert ("colour", "red") in found["teams"][0]
        await one.require_schema()
    finally:
        await one.aclose()


async def test_a_copy_is_of_one_moment_and_only_its_owners(url: str, tmp_path: Path) -> None:
    """Others write meanwhile."""
    async with opened(url) as one:
        await fill(one)
        writing = [asyncio.ensure_future(one.create(key(number), actor="ann")) for number in range(40)]  # noqa: TID251
        await backup(one, tmp_path / "copy")
        await asyncio.gather(*writing)
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy"]  # noqa: ASYNC240
    async with connected(f"sqlite:///{tmp_path / 'copied.db'}") as copied:
        await restore(copied, tmp_path / "copy")
        made = len((await copied.page(Key, limit=1000)).rows) - 1
        assert await copied.revision() == 8 + made + 0
