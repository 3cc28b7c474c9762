"""Rows that were followed are the rows that would be loaded."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.auth import policy
from penstock.config.claims import Claims
from penstock.config.stored import Around, with_teams
from penstock.control.rows import Rows
from penstock.store import open_store
from penstock.store.base import ScriptedStore
from penstock.types.errors import Conflict, StoreUnavailable
from penstock.types.identity import VirtualKey
from penstock.types.store import (
    Budget,
    Key,
    Limits,
    Membership,
    ServiceAccount,
    StoredRoute,
    Team,
    User,
    Webhook,
)

LIMITS = (Limits(), Limits(requests=("5/min",)), Limits(concurrency=2, tokens=("1k/min", "1M/day")))
ROLES = ("viewer", "developer", "admin")
STEPS = st.tuples(
    st.sampled_from(["key", "revoke", "rotate", "team", "user", "member", "account", "route"]),
    st.integers(0, 11),
)
POLICY = policy.Policy({"i": (policy.Issuer("i", "i", frozenset(), claims=policy.Claims(user="email")),)})


def plain(key: VirtualKey) -> dict[str, Any]:
    """Claims are compared by what they say."""
    said: dict[str, Any] = msgspec.to_builtins(key)
    return said


def people(around: Around) -> Any:
    """With the order of their teams."""
    users = with_teams(POLICY, around).users
    return {word: (msgspec.to_builtins(one), list(one.teams)) for word, one in users.items()}


async def settle(store: ScriptedStore) -> None:
    for at in range(2):
        await store.create(Team(id=f"t{at}", name=f"t{at}"), actor="a")
        await store.create(User(id=f"u{at}", email=f"u{at}@x.y", role="admin"), actor="a")
        await store.create(Membership(team=f"t{at}", user=f"u{at}", role="admin"), actor="a")
        await store.create(ServiceAccount(id=f"a{at}", name=f"a{at}", team=f"t{at}", role="admin"), actor="a")


async def step(store: ScriptedStore, what: str, number: int, at: int) -> None:
    half, which = divmod(number, 2)
    keys = (await store.page(Key, limit=1000)).rows
    match what:
        case "key":
            owner = {0: {}, 1: {"user": f"u{which}"}, 2: {"account": f"a{which}"}}[half % 3]
            hash_ = at.to_bytes(32, "big")
            limits = LIMITS[half % 3]
            await store.create(Key(name="k", hash=hash_, team=f"t{which}", limits=limits, **owner), actor="a")
        case "revoke" if keys:
            row = keys[number % len(keys)]
            new = msgspec.structs.replace(row, revoked=None if row.revoked else 1)
            await store.update(new, actor="a")
        case "rotate" if keys:
            row = keys[number % len(keys)]
            hash_ = (1_000 + at).to_bytes(32, "big")
            new = msgspec.structs.replace(row, hash=hash_, old_hash=row.hash, overlap_ends=2**33)
            await store.update(new, actor="a")
        case "team":
            team = await store.get(Team, f"t{which}")
            await store.update(msgspec.structs.replace(team, limits=LIMITS[half % 3]), actor="a")
        case "user":
            user = await store.get(User, f"u{which}")
            new_user = msgspec.structs.replace(
                user, disabled=half % 2 or None, role=ROLES[half % 3], limits=LIMITS[number % 3]
            )
            await store.update(new_user, actor="a")
        case "member":
            member = await store.find(Membership, team=f"t{which}", user=f"u{half % 2}")
            if member is None:
                row_ = Membership(team=f"t{which}", user=f"u{half % 2}", role=ROLES[half % 3])
                await store.create(row_, actor="a")
            elif half % 3:
                await store.update(msgspec.structs.replace(member, role=ROLES[half % 3]), actor="a")
            else:
                await store.delete(member, actor="a")
        case "account":
            account = await store.get(ServiceAccount, f"a{which}")
            await store.update(msgspec.structs.replace(account, disabled=half % 2 or None), actor="a")
        case "route":
            try:
                await store.create(StoredRoute(id=f"r{which}", body={"at": at}), actor="a")
            except Conflict:
                await store.delete(await store.get(StoredRoute, f"r{which}"), actor="a")
        case _:
            pass


@pytest.mark.timeout(120)
@given(steps=st.lists(st.lists(STEPS, max_size=4), max_size=8))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_followed_is_what_would_be_loaded(
    steps: list[list[tuple[str, int]]], strictly: Callable[[Callable[[], Awaitable[Any]]], None]
) -> None:
    async def check() -> None:
        with TemporaryDirectory() as folder:
            store = await open_store(f"sqlite:///{folder}/store.db")
            try:
                await settle(store)
                rows = Rows(store, Around())
                await rows.load()
                number = 0
                for some in steps:
                    good = {key.name for key in rows.keys.values()}
                    for what, choice in some:
                        number += 1
                        await step(store, what, choice, number)
                    news = await rows.follow()
                    fresh = Rows(store, Around())
                    await fresh.load()
                    assert {hash_: plain(key) for hash_, key in rows.keys.items()} == {
                        hash_: plain(key) for hash_, key in fresh.keys.items()
                    }
                    assert rows.routes == fresh.routes
                    assert people(rows.around) == people(fresh.around)
                    assert rows.revision == fresh.revision
                    gone = good - {key.name for key in rows.keys.values()}
                    assert gone <= news.ended
            finally:
                await store.aclose()

    strictly(check)


async def test_a_key_with_limits_that_make_no_sense_is_off_and_told(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/store.db")
    try:
        team = await store.create(Team(name="t", budget=(Budget("much"),)), actor="a")
        key = await store.create(Key(name="k", hash=b"1" * 32, team=team.id), actor="a")
        other = await store.create(Key(name="o", hash=b"2" * 32, limits=Limits(("often",))), actor="a")
        good = await store.create(Key(name="g", hash=b"3" * 32), actor="a")
        rows = Rows(store, Around())
        await rows.load()
        assert [one.name for one in rows.keys.values()] == [good.id]
        assert [one.path for one in rows.left_out] == [f"teams/{team.id}", f"keys/{other.id}"]
        await store.update(msgspec.structs.replace(team, budget=()), actor="a")
        await store.update(msgspec.structs.replace(other, limits=Limits()), actor="a")
        await rows.follow()
        assert {one.name for one in rows.keys.values()} == {key.id, other.id, good.id}
        assert rows.left_out == ()
    finally:
        await store.aclose()


async def test_webhooks_come_and_go(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/store.db")
    try:
        rows = Rows(store, Around())
        await rows.load()
        made = await store.create(Webhook(url="https://a.b/c", secret="s", team=None), actor="a")
        assert (await rows.follow()).has_hooks
        (hook,) = rows.hooks.values()
        assert (hook.name, hook.url, hook.secret, hook.is_trusted) == (made.id, "https://a.b/c", "s", False)
        await store.update(msgspec.structs.replace(made, disabled=1), actor="a")
        await rows.follow()
        assert rows.hooks == {}
    finally:
        await store.aclose()


async def test_the_file_s_team_wins(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/store.db")
    try:
        await store.create(Team(id="t", name="t", limits=Limits(("1/min",))), actor="a")
        await store.create(Key(name="k", hash=b"1" * 32, team="t"), actor="a")
        rows = Rows(store, Around(file_teams={"t": Claims()}))
        await rows.load()
        (key,) = rows.keys.values()
        assert key.claims == ()
    finally:
        await store.aclose()


async def test_a_store_that_fails_half_way_is_read_again(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/store.db")
    try:
        user = await store.create(User(email="a@b.c"), actor="a")
        await store.create(Key(name="k", hash=b"1" * 32, user=user.id), actor="a")
        rows = Rows(store, Around())
        await rows.load()
        await store.update(msgspec.structs.replace(user, disabled=1), actor="a")
        page = store.page

        async def fails(*_: Any, **__: Any) -> Any:
            raise StoreUnavailable("gone")

        store.page = fails  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable):
            await rows.follow()
        store.page = page  # type: ignore[method-assign]
        news = await rows.follow()
        assert (rows.keys, len(news.ended)) == ({}, 1)
    finally:
        await store.aclose()
