"""What a role as a member of a team is good for: that team, its keys and accounts, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
from desk_help import OWNER, Office, office

from penstock.auth.policy import Claims, Issuer, Policy
from penstock.config.stored import with_teams
from penstock.types.identity import ROLES, RoleName, VirtualKey, standing
from penstock.types.store import Key

# the user, the member, the key -> its role, and that over its team
STANDINGS: list[tuple[RoleName, RoleName, RoleName, RoleName, RoleName]] = [
    ("developer", "developer", "developer", "developer", "developer"),
    ("developer", "viewer", "developer", "viewer", "viewer"),
    ("developer", "admin", "developer", "developer", "developer"),  # the key gives no more
    ("developer", "admin", "admin", "developer", "admin"),
    ("developer", "owner", "operator", "developer", "operator"),
    ("developer", "owner", "viewer", "viewer", "viewer"),
    ("viewer", "owner", "owner", "viewer", "viewer"),
    ("admin", "viewer", "admin", "admin", "admin"),  # everywhere, so here, too
    ("admin", "owner", "developer", "developer", "developer"),
    ("operator", "owner", "owner", "operator", "operator"),
]


class Team:
    """A team with a user in it, and who that user is when they call with their key."""

    def __init__(self, desk: Office, team: str, user: str, member: dict[str, Any]) -> None:
        self.desk = desk
        self.team = team
        self.user = user
        self.member = f"/memberships/{member['id']}"

    async def caller(self, role: RoleName = "owner") -> VirtualKey | None:
        """By a new key of this role."""
        made = await self.desk.make("/keys", name="k", team=self.team, user=self.user, role=role)
        await self.desk.follow()
        return next((one for one in self.desk.callers() if one.name == made["id"]), None)

    async def has_keys(self) -> bool:
        await self.desk.follow()
        return any(one.user == self.user for one in self.desk.callers())


async def settled(desk: Office, name: str, member: RoleName, user_role: RoleName = "developer") -> Team:
    team = (await desk.make("/teams", name=name))["id"]
    user = (await desk.make("/users", email=f"{name}@example.com", role=user_role))["id"]
    return Team(desk, team, user, await desk.make("/memberships", team=team, user=user, role=member))


@pytest.mark.parametrize("row", STANDINGS, ids=" ".join)
async def test_user_member_and_key_say_together_what_one_may(
    tmp_path: Path, row: tuple[RoleName, RoleName, RoleName, RoleName, RoleName]
) -> None:
    user, member, key, role, over_team = row
    async with office(tmp_path / "store.db") as desk:
        at = await settled(desk, "t", member, user)
        caller = await at.caller(key)
        assert caller is not None
        assert (caller.role, caller.over_team) == (role, over_team)


@pytest.mark.parametrize("own", ROLES)
@pytest.mark.parametrize("member", ROLES)
def test_a_membership_gives_nothing_beyond_its_team(own: RoleName, member: RoleName) -> None:
    role, team_role = standing(own, member)
    assert ROLES.index(role) >= ROLES.index(own)
    assert team_role is None or (role == own == "developer" and team_role == member)


async def test_who_leaves_a_team_has_no_key_of_it(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        at = await settled(desk, "t", "developer")
        assert await at.caller("developer")
        assert (await desk.ask(OWNER, "DELETE", at.member))[0] == 200
        assert not await at.has_keys()
        for status, body in ((400, {"team": at.team, "user": at.user}), (201, {"user": at.user})):
            got, answer = await desk.ask(OWNER, "POST", "/keys", {"name": "k", **body})
            assert (got, answer.get("param")) == (status, "user" if status == 400 else None)
        member = await desk.make("/memberships", team=at.team, user=at.user, role="viewer")
        await desk.follow()
        (key,) = (one for one in desk.callers() if one.team == at.team)
        assert key.role == "viewer"  # they are back, and look on
        await desk.ask(OWNER, "DELETE", f"/memberships/{member['id']}")
        await desk.make("/memberships", team=at.team, user=at.user)  # both before they are followed
        await desk.follow()
        assert {one.role for one in desk.callers() if one.team == at.team} == {"developer"}


# What a member may do in its team, and what nobody may do as a member: (method, path, body) -> the roles
MAY: list[tuple[str, str, Any, set[RoleName]]] = [
    ("GET", "/memberships", None, set(ROLES)),
    ("GET", "/teams/{team}", None, set(ROLES)),
    ("GET", "/usage", None, set(ROLES)),
    ("POST", "/keys", {"name": "k"}, {"owner", "admin", "developer"}),
    ("PATCH", "/keys/{key}", {"name": "l"}, {"owner", "admin", "developer"}),
    ("POST", "/keys/{key}/rotate", {}, {"owner", "admin", "developer"}),
    ("POST", "/service-accounts", {"name": "bot"}, {"owner", "admin"}),
    ("PATCH", "/service-accounts/{account}", {"disabled": True}, {"owner", "admin"}),
    ("PATCH", "/memberships/{member}", {"role": "admin"}, {"owner", "admin"}),
    ("DELETE", "/memberships/{member}", None, {"owner", "admin"}),
    ("DELETE", "/service-accounts/{account}", None, {"owner", "admin"}),
    ("PATCH", "/teams/{team}", {"limits": {}}, set()),
    ("DELETE", "/teams/{team}", None, set()),
    ("POST", "/teams", {"name": "x"}, set()),
    ("GET", "/users", None, set()),
    ("POST", "/users", {"email": "x@y.z"}, set()),
    ("POST", "/memberships", {"team": "?", "user": "?"}, set()),
    ("POST", "/webhooks", {"url": "https://example.com/"}, set()),
    ("POST", "/routes", {"name": "r", "route": {}}, set()),
    ("GET", "/changes", None, set()),
    ("POST", "/usage/rerate", {"since": "1d"}, set()),
]


@pytest.mark.parametrize("role", ROLES)
async def test_a_member_may_do_what_the_table_says(tmp_path: Path, role: RoleName) -> None:
    async with office(tmp_path / "store.db") as desk:
        at = await settled(desk, "t", role)
        caller = await at.caller()
        other = (await desk.make("/users", email="other@example.com"))["id"]
        member = await desk.make("/memberships", team=at.team, user=other)
        account = await desk.make("/service-accounts", name="nightly", team=at.team)
        key = await desk.make("/keys", name="sibling", team=at.team)
        ids = {"team": at.team, "key": key["id"], "member": member["id"], "account": account["id"]}
        ids["user"] = other
        assert caller is not None
        for method, path, body, roles in MAY:
            sent = {name: ids[name] if one == "?" else one for name, one in (body or {}).items()}
            status, answer = await desk.ask(caller, method, path.format(**ids), sent)
            assert (status < 400) == (role in roles), (method, path, status, answer)
            assert status < 400 or status == 403, (method, path, status, answer)


async def test_over_a_team_nobody_gives_more_than_they_have(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        at = await settled(desk, "t", "admin")
        caller = await at.caller()
        assert caller is not None
        chief = (await desk.make("/users", email="chief@example.com"))["id"]
        owner = await desk.make("/memberships", team=at.team, user=chief, role="owner")
        theirs = await desk.make("/keys", name="k", team=at.team, user=chief, role="owner")
        for method, path, body in (
            ("PATCH", at.member, {"role": "owner"}),
            ("PATCH", f"/memberships/{owner['id']}", {"role": "viewer"}),
            ("DELETE", f"/memberships/{owner['id']}", None),
            ("POST", f"/keys/{theirs['id']}/rotate", {}),
            ("POST", f"/keys/{theirs['id']}/revoke", {}),
            ("POST", "/keys", {"name": "k", "role": "admin"}),  # of no user it would be one everywhere
            ("POST", "/keys", {"name": "k", "role": "operator", "user": chief}),
            ("POST", "/service-accounts", {"name": "bot", "role": "operator"}),
        ):
            status, answer = await desk.ask(caller, method, path, body)
            assert (status, answer["param"]) == (403, "role"), (method, path, answer)


async def test_a_team_s_owner_is_nobody_in_another_team(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        ours, theirs = await settled(desk, "ours", "owner"), await settled(desk, "theirs", "viewer")
        caller = await ours.caller()
        assert caller is not None
        account = await desk.make("/service-accounts", name="bot", team=theirs.team)
        for method, path, body in (
            ("PATCH", theirs.member, {"role": "viewer"}),
            ("DELETE", theirs.member, None),
            ("GET", f"/teams/{theirs.team}", None),
            ("POST", "/keys", {"name": "k", "team": theirs.team}),
            ("POST", "/keys", {"name": "k", "user": theirs.user}),
            ("POST", "/service-accounts", {"name": "k", "team": theirs.team}),
            ("PATCH", f"/service-accounts/{account['id']}", {"disabled": True}),
        ):
            assert (await desk.ask(caller, method, path, body))[0] == 404, (method, path)


async def test_a_key_of_a_team_s_owner_rotates_and_revokes_itself(tmp_path: Path) -> None:
    async with office(tmp_path / "store.db") as desk:
        at = await settled(desk, "t", "owner")
        caller = await at.caller("owner")
        assert caller is not None
        assert (await desk.ask(caller, "POST", f"/keys/{caller.name}/rotate", {}))[0] == 200
        assert (await desk.ask(caller, "POST", f"/keys/{caller.name}/revoke", {}))[0] == 200
        assert (await desk.store.get(Key, caller.name)).revoked is not None


async def test_users_that_tokens_can_be_of(tmp_path: Path) -> None:
    issuer = Issuer("corp", "https://idp.example", frozenset({"p"}), claims=Claims(user="email"))
    async with office(tmp_path / "store.db") as desk:
        at = await settled(desk, "T", "admin")
        other = await settled(desk, "u", "viewer")
        twins = {"user_a": "ann@x.y", "user_b": "ANN@x.y"}  # of before these were one to the store
        await desk.ask(OWNER, "PATCH", f"/users/{other.user}", {"disabled": True})
        await desk.make("/memberships", team=other.team, user=at.user, role="developer")
        await desk.follow()
        around = desk.reload._rows.around
        around.emails |= twins
        users = with_teams(Policy({"i": (issuer,)}), around).users
        assert users["t@example.com"] is users[at.user]  # however it is spelt
        assert users[at.user].teams == {at.team: "admin", other.team: "developer"}
        assert (users["u@example.com"].is_off, users[at.user].is_off) == (True, False)
        assert users["ann@x.y"].is_off  # of whom would it be
        assert users.keys() >= twins.keys()
        plain = with_teams(Policy({"i": (Issuer("i", "i", frozenset()),)}), around)
        assert plain.users == {}
