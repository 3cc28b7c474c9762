"""One suite for every backend: what entities, changes, revisions and leases promise."""

import asyncio
from typing import Any

import msgspec
import pytest
from store_help import Opened, key

from penstock.types.errors import Conflict, InvalidRequest, NotFoundRow
from penstock.types.store import (
    Budget,
    Create,
    Delete,
    Entity,
    Key,
    Limits,
    Membership,
    ServiceAccount,
    StoredRoute,
    Team,
    Update,
    User,
    Webhook,
)

LIMITS = Limits(tokens=("20k/min", "1M/day"), concurrency=4)
BUDGET = (Budget("25.50"), Budget("0.000000000001", rolling="7d", models=("chat",)))
ROWS: list[Entity] = [
    Team(name="research", limits=LIMITS, budget=BUDGET),
    User(email="ann@example.com", name="Ann Ü.", role="owner", disabled=7),
    ServiceAccount(name="ci", role="operator"),
    key(
        prefix="sk-ab",
        role="admin",
        priority="bulk",
        routes=("chat", "smart"),
        networks=("10.0.0.0/8",),
        limits=LIMITS,
        budget=BUDGET,
        expires=2**40,
        old_hash=b"\0" * 32,
        overlap_ends=9,
    ),
    key(1, routes=()),
    StoredRoute(id="chat", body={"targets": [{"deployment": "a", "weight": 0.5}], "strict": True, "x": None}),
    Webhook(url="https://example.com/hook", events=("budget.reached",), secret="s3cret"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
async def test_what_is_written_is_read(store: Opened, row: Entity) -> None:
    async with store() as one:
        made = await one.create(row, actor="ann")
        assert (made.created_by, made.version) == ("ann", 1)
        assert made.created > 1_700_000_000
        assert msgspec.structs.replace(made, id=row.id, created=0, created_by="", version=0) == row
    async with store() as one:
        assert await one.get(type(row), made.id) == made
        assert (await one.page(type(row))).rows == (made,)


async def test_nobody_changes_what_he_has_not_read(store: Opened) -> None:
    async with store() as one, store() as other:
        read = await one.create(Team(name="a"), actor="ann")
        newer = await other.update(msgspec.structs.replace(read, name="b"), actor="bob")
        assert newer.version == 2
        assert newer.created_by == "ann"
        with pytest.raises(Conflict, match="version 2, not 1"):
            await one.update(msgspec.structs.replace(read, name="c"), actor="ann")
        with pytest.raises(Conflict, match="version 2, not 1"):
            await one.delete(read, actor="ann")
        assert await one.get(Team, read.id) == newer
        await one.delete(newer, actor="ann")
        with pytest.raises(NotFoundRow, match="There is no team 'team_"):
            await one.get(Team, read.id)
        with pytest.raises(NotFoundRow):
            await one.update(newer, actor="ann")


async def test_of_many_who_change_one_row_one_is_heard(store: Opened) -> None:
    async with store() as one, store() as other:
        read = await one.create(Team(name="a"), actor="ann")
        changed = [msgspec.structs.replace(read, name=f"name {number}") for number in range(20)]
        answers = await asyncio.gather(
            *((one, other)[number % 2].update(row, actor="bob") for number, row in enumerate(changed)),
            return_exceptions=True,
        )
        (winner,) = [answer for answer in answers if isinstance(answer, Team)]
        assert sum(isinstance(answer, Conflict) for answer in answers) == 19
        assert await other.get(Team, read.id) == winner


async def test_names_are_taken_once(store: Opened) -> None:
    async with store() as one:
        team = await one.create(Team(name="a"), actor="ann")
        other = await one.create(Team(name="b"), actor="ann")
        for attempt in (Create(Team(name="a")), Update(msgspec.structs.replace(other, name="a"))):
            with pytest.raises(Conflict, match="There is a team with name 'a' already"):
                await one.write([attempt], actor="ann")
        with pytest.raises(Conflict, match="already"):
            await one.create(Team(id=team.id, name="c"), actor="ann")
        for place in (None, team.id, other.id):  # whether another team has one is not told
            await one.create(ServiceAccount(name="ci", team=place), actor="ann")
            with pytest.raises(Conflict, match=r"service account with .*name 'ci' already"):
                await one.create(ServiceAccount(name="ci", team=place), actor="ann")
        await one.create(key(1), actor="ann")
        with pytest.raises(Conflict, match="with this secret already"):
            await one.create(key(1), actor="ann")
        user = await one.create(User(email="mike@b.c"), actor="ann")
        for email in ("mike@b.c", "MIKE@b.C"):  # a token of either would be of both
            with pytest.raises(Conflict, match=f"user with email '{email}' already"):
                await one.create(User(email=email), actor="ann")
        await one.update(msgspec.structs.replace(user, email="Mike@b.c"), actor="ann")
        await one.create(User(email="mi\N{KELVIN SIGN}e@b.c"), actor="ann")
        await one.create(Membership(team=team.id, user=user.id), actor="ann")
        with pytest.raises(Conflict, match=r"membership with team 'team_.*' and user 'user_"):
            await one.create(Membership(team=team.id, user=user.id, role="admin"), actor="ann")


async def test_a_text_holds_no_nul(store: Opened) -> None:
    async with store() as one:
        with pytest.raises(InvalidRequest, match="NUL"):
            await one.create(Team(name="a\0b"), actor="ann")
        route = await one.create(StoredRoute(id="r", body={"x": "a\0b"}), actor="ann")
        assert (await one.get(StoredRoute, "r")) == route


async def test_nothing_names_what_is_not_there(store: Opened) -> None:
    async with store() as one:
        with pytest.raises(Conflict, match="The key names what does not exist: team 'team_0'"):
            await one.create(key(team="team_0"), actor="ann")
        team = await one.create(Team(name="a"), actor="ann")
        made = await one.create(key(team=team.id), actor="ann")
        with pytest.raises(Conflict, match="names what does not exist"):
            await one.update(msgspec.structs.replace(made, team="team_0"), actor="ann")
        with pytest.raises(Conflict, match="is still named by others"):
            await one.delete(team, actor="ann")
        await one.write([Delete(made), Delete(team)], actor="ann")
        assert (await one.page(Team)).rows == ()


async def test_a_write_is_whole_or_nothing(store: Opened) -> None:
    async with store() as one:
        old = await one.create(key(1), actor="ann")
        before = await one.revision()
        with pytest.raises(NotFoundRow):
            await one.write([Create(key(2)), Delete(key(id="key_none"))], actor="ann")
        assert await one.revision() == before
        assert (await one.page(Key)).rows == (old,)
        assert len((await one.changes()).rows) == 1
        new = key(2, id="key_new")
        rotated = msgspec.structs.replace(old, old_hash=new.hash, overlap_ends=99)
        made, changed = await one.write([Create(new), Update(rotated)], actor="ann")
        assert await one.revision() == before + 1
        assert isinstance(changed, Key)
        assert (changed.old_hash, made.id) == (new.hash, "key_new")


async def test_one_is_found_by_what_is_its_own(store: Opened) -> None:
    async with store() as one:
        made = await one.create(key(7), actor="ann")
        ann = await one.create(User(email="ann@example.com"), actor="ann")
        assert await one.find(Key, hash=(7).to_bytes(32, "big")) == made
        assert await one.find(Key, hash=b"another") is None
        assert await one.find(User, email="ann@example.com") == ann
        with pytest.raises(TypeError):
            await one.find(User, name="Ann")


async def test_lists_come_in_pages_that_miss_nothing(store: Opened) -> None:
    async with store() as one:
        team = await one.create(Team(name="a"), actor="ann")
        rows = [Create(key(number, team=team.id if number % 3 == 0 else None)) for number in range(25)]
        made = await one.write(rows, actor="ann")
        for fields, expected in (
            ({}, list(made)),
            ({"team": team.id}, [row for row in made if isinstance(row, Key) and row.team]),
        ):
            seen: list[Any] = []
            cursor = None
            while True:
                page = await one.page(Key, cursor=cursor, limit=4, **fields)
                assert len(page.rows) <= 4
                seen += page.rows
                cursor = page.cursor
                if cursor is None:
                    break
            assert seen == sorted(expected, key=lambda row: row.id)
        for bad in ("x", "!!", "bnVsbA", "é"):
            with pytest.raises(InvalidRequest, match="cursor"):
                await one.page(Key, cursor=bad)
        with pytest.raises(TypeError):
            await one.page(Team, name="a")


async def test_who_changed_it_is_known(store: Opened) -> None:
    async with store() as one:
        team = await one.create(Team(name="a"), actor="ann")
        changed = await one.update(msgspec.structs.replace(team, name="b", limits=LIMITS), actor="bob")
        secret = await one.create(key(1, prefix="sk-1"), actor="ann")
        await one.delete(changed, actor="eve")
        rows = (await one.changes()).rows
        assert [(row.actor, row.path, row.revision) for row in rows] == [
            ("eve", f"teams/{team.id}", 4),
            ("ann", f"keys/{secret.id}", 3),
            ("bob", f"teams/{team.id}", 2),
            ("ann", f"teams/{team.id}", 1),
        ]
        limits = msgspec.json.decode(msgspec.json.encode(LIMITS))
        assert (rows[2].old, rows[2].new) == ({"name": "a", "limits": {}}, {"name": "b", "limits": limits})
        assert rows[3].old is None
        unset = {"limits": {}, "budget": [], "markup": "0", "allowance": "0"}
        assert rows[3].new == {"id": team.id, "name": "a", **unset}
        assert rows[0].new is None
        assert rows[1].new is not None
        assert rows[1].new["hash"] == "(hidden)"
        assert [row.actor for row in (await one.changes(path=f"teams/{team.id}")).rows] == [
            "eve",
            "bob",
            "ann",
        ]
        assert [row.revision for row in (await one.changes(actor="ann")).rows] == [3, 1]
        assert (await one.changes(path="%")).rows == ()
        first = await one.changes(limit=3)
        assert (await one.changes(limit=3, cursor=first.cursor)).rows == rows[3:]


async def test_other_processes_hear_of_a_change(store: Opened) -> None:
    async with store() as one, store() as other:
        before = await one.revision()
        waiting = [asyncio.ensure_future(each.wait_for_revision(before)) for each in (one, other)]  # noqa: TID251
        await one.create(Team(name="a"), actor="ann")
        async with asyncio.timeout(5):
            assert await asyncio.gather(*waiting) == [before + 1, before + 1]
        assert await other.wait_for_revision(before) == before + 1  # that has passed already


async def test_one_holds_a_lease(store: Opened) -> None:
    async with store() as one, store() as other:
        lease = await one.acquire_lease("loops", "a", 60)
        assert lease is not None
        assert lease.token == 1
        assert await other.acquire_lease("loops", "b", 60) is None
        again = await one.acquire_lease("loops", "a", 120)
        assert again is not None
        assert again.token == 1
        assert again.expires > lease.expires
        renewed = await one.renew_lease(lease, 240)
        assert renewed is not None
        assert renewed.expires > again.expires
        await one.release_lease(lease)
        assert await one.renew_lease(lease, 60) is None
        taken = await other.acquire_lease("loops", "b", 0)  # which has expired at once
        assert taken is not None
        assert taken.token == 2
        assert await other.renew_lease(taken, 60) is None
        back = await one.acquire_lease("loops", "a", 60)
        assert back is not None
        assert back.token == 3
        await other.release_lease(taken)  # too late: it is another's
        assert await other.acquire_lease("loops", "b", 60) is None


async def test_of_many_who_want_a_lease_one_gets_it(store: Opened) -> None:
    async with store() as one, store() as other:
        wanted = [
            (one, other)[number % 2].acquire_lease("loops", f"holder {number}", 60) for number in range(20)
        ]
        assert sum(lease is not None for lease in await asyncio.gather(*wanted)) == 1
