"""No sequence of requests by one tenant reads or changes anything of another.

Two teams with everything a team can have, and a user who is in both. One side sends random requests to every
endpoint, naming its own ids, the other's, and ids of nobody, as its developer, its viewer, its owner, and
with keys that it makes on the way. After each request the other side's rows are as they were, no answer holds
a word of theirs, and a refusal that names theirs is in the words of one that names nobody's.
"""

import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from desk_help import OWNER, Office, office
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.admin.table import Endpoint
from penstock.config.stored import Around, Member, keys_of
from penstock.types.identity import VirtualKey
from penstock.types.store import Entity, Key, Membership, ServiceAccount, StoredRoute, Team, User, Webhook
from penstock.types.usage_store import UsageRow

KINDS: tuple[type[Entity], ...] = (Team, User, Membership, ServiceAccount, Key, StoredRoute, Webhook)
FIELDS = (
    "name",
    "team",
    "user",
    "account",
    "key",
    "role",
    "routes",
    "limits",
    "version",
    "overlap_s",
    "path",
)
PLACES = ("own", "theirs", "nobody")


class Side:
    """A team and what it has. `marks`: words that nobody else may read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ids: dict[str, str] = {}
        self.callers: list[VirtualKey] = []
        self.made: list[str] = []
        self.marks: list[str] = []
        self.bot = f"{name} bot"  # the other side may have thought of the same name

    async def settle(self, desk: Office, common: str) -> None:
        mark = f"{self.name}-side"
        team = (await desk.make("/teams", name=f"{mark}-team"))["id"]
        user = (await desk.make("/users", email=f"{mark}@example.com"))["id"]
        for one in (user, common):
            member = await desk.make("/memberships", team=team, user=one)
        account = (await desk.make("/service-accounts", name=f"{mark}-bot", team=team))["id"]
        await desk.make("/service-accounts", name=self.bot, team=team)
        key = await desk.make(
            "/keys", name=f"{mark}-key", team=team, user=common, limits={"tokens": "1k/min"}
        )
        hook = await desk.make("/webhooks", url=f"https://{mark}.example.com/hook", team=team)
        self.ids = {
            "team": team,
            "user": user,
            "account": account,
            "key": key["id"],
            "membership": member["id"],
            "webhook": hook["id"],
        }
        self.marks = [mark, key["secret"], hook["secret"], *self.ids.values()]
        self.callers = [
            VirtualKey(f"{mark}-dev", role="developer", team=team),
            VirtualKey(f"{mark}-look", role="viewer", team=team),
            VirtualKey(f"{mark}-chief", role="developer", team=team, team_role="owner"),
        ]
        now_us = desk.reload.view().since * 1_000_000
        await desk.store.add_usage(
            [UsageRow(f"{mark}-call", now_us, key=key["id"], team=team, user=user, seq=len(self.name))]
        )

    async def rows(self, desk: Office) -> list[Entity]:
        found: list[Entity] = []
        for kind in KINDS:
            page = await desk.store.page(kind, limit=1000)
            assert page.cursor is None
            found += [
                row
                for row in page.rows
                if self.ids["team"] in {row.id, getattr(row, "team", None)} or row.id == self.ids["user"]
            ]
        return found

    async def adopt(self, desk: Office, key_id: str) -> None:
        """A key that it made asks, too."""
        row = await desk.store.get(Key, key_id)
        around = Around(roles={one: "owner" for one in (row.user, row.account) if one})
        if row.user is not None and row.team is not None:
            around.members[row.user] = {row.team: Member(row.team, "owner", (0, ""))}
        pairs = keys_of(row, around)
        self.callers += [key for _, key in pairs[:1]]
        self.made.append(key_id)


@st.composite
def requests(draw: st.DrawFn) -> tuple[int, int, dict[str, Any]]:
    """(which endpoint, which caller, the choices of what it names)"""
    wish: dict[str, Any] = {"id": draw(st.sampled_from(PLACES))}
    for field in FIELDS:
        if draw(st.booleans()):
            wish[field] = draw(st.sampled_from(PLACES) | st.integers(0, 3))
    return draw(st.integers(0, 10_000)), draw(st.integers(0, 10)), wish


def noun_of(row: Endpoint) -> str:
    first = row.path.split("/")[1]
    return {"service-accounts": "account"}.get(first, first.removesuffix("s"))


def written(row: Endpoint, wish: dict[str, Any], us: Side, them: Side) -> tuple[str, Any]:
    """The path with its query, and the body."""

    def named(noun: str, place: Any) -> str:
        own = us.made[-1] if noun == "key" and us.made and place == 1 else us.ids.get(noun, "none")
        return {"theirs": them.ids.get(noun, "none"), "nobody": f"{noun}_of_nobody"}.get(place, own)

    values: dict[str, Any] = {
        noun: named(noun, wish[noun]) for noun in ("team", "user", "account", "key") if noun in wish
    }
    values["name"] = {"theirs": them.bot, "own": us.bot}.get(wish.get("name", ""), us.name)
    for field, choices in {
        "role": ("viewer", "developer", "operator", "owner"),
        "routes": (None, ["m"], [], ["n"]),
        "limits": ({}, {"requests": "1/min"}, {"concurrency": 1}, {}),
        "version": (1, 2, 1, 1),
        "overlap_s": (0, 60, 0, 60),
    }.items():
        if field in wish:
            values[field] = choices[wish[field] if isinstance(wish[field], int) else 0]
    values["path"] = f"keys/{named('key', wish.get('path'))}"
    values["email"] = f"{us.name}{wish.get('role')}@example.com"
    values["url"] = "https://example.com/hook"
    values["route"] = {"targets": [{"deployment": "m"}]}
    fields = set(row.body.__struct_fields__) if row.body is not None else set()
    asked = set(row.query.__struct_fields__) if row.query is not None else set()
    body = {name: value for name, value in values.items() if name in fields} if row.body else None
    query = "&".join(f"{name}={value}" for name, value in values.items() if name in asked)
    path = row.path.replace("{id}", named(noun_of(row), wish["id"])).replace("{name}", "fixed")
    return f"{path}?{query}", body


@pytest.mark.timeout(300)
@given(asked=st.lists(requests(), min_size=1, max_size=25))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_tenant_reads_and_changes_nothing_of_another(
    asked: list[tuple[int, int, dict[str, Any]]], strictly: Callable[[Callable[[], Awaitable[Any]]], None]
) -> None:
    async def check() -> None:
        with TemporaryDirectory() as folder:
            async with office(Path(folder) / "store.db") as desk:
                us, them = Side("left"), Side("right")
                common = (await desk.make("/users", email="common@example.com"))["id"]
                await us.settle(desk, common)
                await them.settle(desk, common)
                before = await them.rows(desk)
                for which, who, wish in asked:
                    row = desk.api.rows[which % len(desk.api.rows)]
                    caller = us.callers[who % len(us.callers)]
                    path, body = written(row, wish, us, them)
                    status, answer = await desk.ask(caller, row.method, path, body)
                    said = f"{caller.role}: {row.method} {path} {body} -> {status} {answer}"
                    assert status < 500, said
                    assert await them.rows(desk) == before, said
                    if status < 400:
                        text = json.dumps(answer)
                        assert not [mark for mark in them.marks if mark in text], said
                    if status < 400 and row.path.startswith("/keys") and row.method == "POST":
                        await us.adopt(desk, answer["id"])
                    if status >= 400 and "theirs" in wish.values():
                        nobodys = {name: "nobody" if one == "theirs" else one for name, one in wish.items()}
                        path, body = written(row, nobodys, us, them)
                        twin = await desk.ask(caller, row.method, path, body)
                        assert twin[0] >= 400, said
                        assert mute(answer) == mute(twin[1]), said

    def mute(answer: Any) -> Any:
        """Without the id that is named, which the caller knows."""
        return {**answer, "message": re.sub("'[^']*'", "", answer["message"])}

    strictly(check)


async def test_who_has_no_team_sees_nothing(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        lonely = VirtualKey("lonely", role="developer")
        await desk.make("/teams", name="a")
        for path in ("/teams", "/keys", "/memberships", "/service-accounts", "/usage", "/statements"):
            status, answer = await desk.ask(lonely, "GET", path)
            assert (status, answer["code"]) == (403, "permission_denied")


async def test_what_a_person_may_use_in_all_teams_is_not_used_up_by_one(tmp_path: Path) -> None:
    """The budget of a user who is in two teams: the developers of one could spend it for the other."""
    async with office(tmp_path / "store.db") as desk:
        us, them = Side("left"), Side("right")
        common = (await desk.make("/users", email="common@example.com", budget=[{"usd": 5}]))["id"]
        await us.settle(desk, common)
        await them.settle(desk, common)
        await desk.follow()
        asked: list[tuple[str, dict[str, Any]]] = [
            ("/keys", {"name": "k", "user": common}),
            (f"/keys/{us.ids['key']}/rotate", {}),
        ]
        for path, body in asked:
            for caller in (us.callers[0], us.callers[-1]):
                status, answer = await desk.ask(caller, "POST", path, body)
                assert (status, answer.get("param")) == (403, "user"), answer
            theirs = VirtualKey("oidc:corp:1", team=us.ids["team"], user=common)
            assert (await desk.ask(theirs, "POST", path, body))[0] in {200, 201}
            assert (await desk.ask(VirtualKey("admin", role="admin"), "POST", path, body))[0] in {200, 201}
        free = us.ids["user"]
        assert (await desk.make("/keys", us.callers[0], name="k", user=free))["user"] == free


async def test_a_name_that_another_team_has_is_free(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        us, them = Side("left"), Side("right")
        common = (await desk.make("/users", email="common@example.com"))["id"]
        await us.settle(desk, common)
        await them.settle(desk, common)
        chief = us.callers[-1]
        made = await desk.make("/service-accounts", chief, name=them.bot)
        path = f"/service-accounts/{made['id']}"
        assert (await desk.ask(chief, "PATCH", path, {"name": f"{them.name}-side-bot"}))[0] == 200
        assert (await desk.ask(chief, "PATCH", path, {"name": us.bot}))[0] == 409


async def test_an_owner_sees_both(tmp_path: Path) -> None:
    """That the property above does not hold by there being nothing to see."""
    async with office(tmp_path / "store.db") as desk:
        us, them = Side("left"), Side("right")
        common = (await desk.make("/users", email="common@example.com"))["id"]
        await us.settle(desk, common)
        await them.settle(desk, common)
        for side in (us, them):
            paths = ("/keys", "/teams", "/usage/calls", "/statements")
            seen = json.dumps([await desk.see(path) for path in paths])
            assert side.ids["key"] in seen
            assert f"{side.name}-side-team" in seen
            own = json.dumps([await desk.see(path, side.callers[1]) for path in ("/keys", "/usage/calls")])
            assert f"{side.name}-side-call" in own
        assert (await desk.ask(OWNER, "DELETE", f"/webhooks/{them.ids['webhook']}"))[0] == 200
        assert msgspec.to_builtins(us.callers[0])["role"] == "developer"
